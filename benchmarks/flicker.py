"""How much restored faces flicker in a moving picture, and how sharp they are: per frame, followed, and steadied.

A clip of ten seconds is made of photographs: pans, zooms, turns of the camera and of a head, with cuts between, noise
and compression. Where each pixel of a photograph lies in each frame is known, so that frames can be laid over each
other exactly. Flicker is the mean difference of neighbouring frames, so laid, within the faces. What of it is none, for
the clean frames have it too when they are laid over each other, is subtracted; told is also what is left beyond the
input's, which is noisy itself. Photographs are not part of the repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import align_face
from facerestore.io import read_image, write_image
from facerestore.parsing.mask import face_mask
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.restore import RestorePipeline
from facerestore.types import DecodedImage, DetectedFace, FaceDetector, FaceImage, Image
from facerestore.video.line import ClipLine
from facerestore.video.reading import Frame, load_av, open_video

WIDTH, HEIGHT, RATE = 384, 320, Fraction(25, 2)
SHOT_FRAMES = 25
NOISE_LEVELS = {"pan": 1.0, "zoom": 4.0, "roll": 2.0, "turn": 3.0, "walk": 5.0}
"""Of brightness, before compression; that of colours is a third of it."""
BLUR_SIGMA_PX = 0.8
CRF = "29"
FACE_PX = 0.42
"""Distance from brows to chin in the frame, of its height, in the middle of each shot."""

Pixels = NDArray[np.uint8]
Homography = NDArray[np.float64]

KINDS = ("pan", "zoom", "roll", "turn", "walk")


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A piece of the clip that shows one photograph.

    Attributes:
        picture: the photograph.
        centre: of its face, pixels of it.
        scale: from it to the middle frame.
        kind: of KINDS.
    """

    picture: Pixels
    centre: tuple[float, float]
    scale: float
    kind: str

    def place(self, number: int) -> Homography:
        """Return where the photograph lies in a frame of the shot: its pixels to the frame's."""
        t = 2 * number / (SHOT_FRAMES - 1) - 1
        x, y, zoom, roll, yaw = 0.0, 0.0, 1.0, 0.0, 0.0
        if self.kind == "pan":
            x = 70 * t
        elif self.kind == "zoom":
            zoom = 1.35**t
        elif self.kind == "roll":
            roll = 14 * t
        elif self.kind == "turn":
            yaw = 32 * t
        else:
            x, y, roll = 40 * t, 6 * np.sin(9 * t), 4 * np.sin(5 * t)
        to_centre = np.array([[1, 0, -self.centre[0]], [0, 1, -self.centre[1]], [0, 0, 1.0]])
        size = np.diag([self.scale * zoom, self.scale * zoom, 1.0])
        a, b = np.deg2rad(roll), np.deg2rad(yaw)
        turned = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
        far = 3.0 * HEIGHT  # of the camera, in pixels of the frame
        head = np.array([[np.cos(b), 0, 0], [0, 1, 0], [np.sin(b) / far, 0, 1.0]])
        back = np.array([[1, 0, WIDTH / 2 + x], [0, 1, HEIGHT / 2 + y], [0, 0, 1.0]])
        return back @ turned @ head @ size @ to_centre

    def frame(self, number: int) -> Pixels:
        """Return a frame of the shot, clean."""
        big = np.diag([2.0, 2.0, 1.0])
        big[:2, 2] = 0.5  # drawn at twice the size and averaged, so that nothing folds
        drawn = cv2.warpPerspective(
            self.picture,
            big @ self.place(number),
            (2 * WIDTH, 2 * HEIGHT),
            flags=cv2.INTER_AREA,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def shot_of(path: Path, kind: str, pipeline: RestorePipeline) -> Shot:
    """Return the shot of the largest face of a photograph, which is reduced to about the scale of the clip."""
    pixels = read_image(path).pixels
    face = max(pipeline.active_detector.detect(pixels), key=lambda each: each.eye_distance_px)
    height = 2.4 * face.eye_distance_px
    scale = FACE_PX * HEIGHT / height
    reduce = min(1.0, 1.6 * scale)
    small = cv2.resize(pixels, None, fx=reduce, fy=reduce, interpolation=cv2.INTER_AREA)
    centre = face.landmarks.mean(axis=0) * reduce
    return Shot(np.ascontiguousarray(small), (float(centre[0]), float(centre[1])), scale / reduce, kind)


def write_clip(path: Path, shots: Sequence[Shot]) -> None:
    """Write the clip as a phone would: soft, noisy and compressed."""
    av, rng = load_av(), np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, width=WIDTH, height=HEIGHT, options={"crf": CRF})
        for index, clean in enumerate(clean_frames(shots)):
            levels = NOISE_LEVELS[shots[index // SHOT_FRAMES].kind]
            soft = cv2.GaussianBlur(clean, (0, 0), BLUR_SIGMA_PX).astype(np.float32)
            noise = rng.normal(0, levels, (HEIGHT, WIDTH, 1)) + rng.normal(0, levels / 3, soft.shape)
            noisy = np.clip(soft + noise, 0, 255).round().astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24").reformat(format="yuv420p")
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def clean_frames(shots: Sequence[Shot]) -> Iterator[Pixels]:
    """Yield the frames of all shots as they would be without any damage."""
    yield from (shot.frame(number) for shot in shots for number in range(SHOT_FRAMES))


class _Plain:
    """Steadies nothing: the landmarks alone are smoothed."""

    def __call__(self, restored: FaceImage, lq: FaceImage, lapse_s: float) -> FaceImage:
        return restored

    def forget(self) -> None:
        """Keep nothing."""


class _Remembering:
    """Finds the faces of each frame once for all variants."""

    def __init__(self, detector: FaceDetector) -> None:
        self.name, self._detector = detector.name, detector
        self._found: dict[bytes, list[DetectedFace]] = {}

    def detect(self, image: Image) -> list[DetectedFace]:
        key = image.tobytes()
        if key not in self._found:
            self._found[key] = self._detector.detect(image)
        return self._found[key]


def variants(pipeline: RestorePipeline) -> dict[str, Callable[[Frame], Any]]:
    """Return what restores a frame, by name."""
    return {
        "per frame": lambda frame: pipeline.run(frame.image),
        "followed": ClipLine(pipeline, steadier=_Plain).run,
        "steadied": ClipLine(pipeline).run,
    }


def masks_of(shots: Sequence[Shot], pipeline: RestorePipeline) -> list[NDArray[np.float32]]:
    """Return where the face is in the middle frame of each shot, (H, W) in [0, 1]."""
    masks = []
    for shot in shots:
        middle = shot.frame(SHOT_FRAMES // 2)
        face = max(pipeline.active_detector.detect(middle), key=lambda each: each.eye_distance_px)
        aligned = align_face(middle, face, 256)
        mask = face_mask(aligned)
        masks.append(
            cv2.warpAffine(
                mask, aligned.affine, (WIDTH, HEIGHT), flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
            )
        )
    return masks


def laid(frames: Sequence[Pixels], shot: Shot) -> list[NDArray[np.float32]]:
    """Return the brightness of the frames of a shot, each laid over its middle frame."""
    home = shot.place(SHOT_FRAMES // 2)
    found = []
    for number, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        to_home = home @ np.linalg.inv(shot.place(number))
        found.append(
            cv2.warpPerspective(
                grey, to_home, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        )
    return found


def fine(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what of a picture is finer than a pixel and a half."""
    return grey - cv2.GaussianBlur(grey, (0, 0), 1.5)


def measure(
    frames: Sequence[Pixels],
    truth: Sequence[Pixels],
    shots: Sequence[Shot],
    masks: Sequence[NDArray[np.float32]],
) -> dict[str, list[float]]:
    """Return by shot: flicker in levels, rms of what is fine, and the rms error against the clean frames, levels."""
    found: dict[str, list[float]] = {"flicker": [], "fine": [], "lasting": [], "error": []}
    for index, (shot, mask) in enumerate(zip(shots, masks, strict=True)):
        part = slice(index * SHOT_FRAMES, (index + 1) * SHOT_FRAMES)
        over, true = laid(frames[part], shot), laid(truth[part], shot)
        weight = mask / mask.sum()
        changes = [np.abs(b - a) for a, b in pairwise(over)]
        found["flicker"].append(float(np.mean([(c * weight).sum() for c in changes])))
        found["fine"].append(float(np.mean([np.sqrt((fine(each) ** 2 * weight).sum()) for each in over])))
        found["lasting"].append(float(np.sqrt((fine(np.mean(over, axis=0)) ** 2 * weight).sum())))
        found["error"].append(
            float(np.mean([np.sqrt(((a - b) ** 2 * weight).sum()) for a, b in zip(over, true, strict=True)]))
        )
    return found


def contact_sheet(rows: dict[str, Sequence[Pixels]], numbers: Sequence[int]) -> Pixels:
    """Return chosen frames side by side, a row a variant."""
    return np.vstack([np.hstack([frames[n] for n in numbers]) for frames in rows.values()])


def main() -> None:
    """Make the clip, restore it in each way, measure, and write the figures and a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path, nargs=5, help="one for each of " + ", ".join(KINDS))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    pipeline = build_pipeline()
    shots = [shot_of(path, kind, pipeline) for path, kind in zip(asked.photos, KINDS, strict=True)]
    pipeline = replace(pipeline, detector=_Remembering(pipeline.active_detector))
    clip = asked.out / "clip.mp4"
    write_clip(clip, shots)
    masks, truth = masks_of(shots, pipeline), [*clean_frames(shots)]
    with open_video(clip) as reader:
        frames = [*reader.frames()]
    rows: dict[str, list[Pixels]] = {"clean": truth, "input": [frame.image.pixels for frame in frames]}
    for name, run in variants(pipeline).items():
        rows[name] = [run(frame).image.pixels for frame in frames]
        print(f"{name}: done", flush=True)
        np.savez_compressed(asked.out / f"{name.replace(' ', '_')}.npz", *rows[name])
    figures = {name: measure(made, truth, shots, masks) for name, made in rows.items()}
    (asked.out / "flicker.json").write_text(json.dumps(figures, indent=1))
    print(table(figures))
    numbers = [SHOT_FRAMES * shot + n for shot in range(len(shots)) for n in (8, 16)]
    write_image(asked.out / "sheet.png", DecodedImage(contact_sheet(rows, numbers)), overwrite=True)


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Return the figures as a table of Markdown, means over the shots."""
    mean = {
        name: {key: float(np.mean(each)) for key, each in found.items()} for name, found in figures.items()
    }
    clean, base, noisy = (mean[name]["flicker"] for name in ("clean", "per frame", "input"))
    lines = [
        "| | flicker | beyond the clean frames' | of per frame's | beyond the input's | fine | lasting | error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in mean.items():
        beyond = found["flicker"] - clean
        cells = [f"{found['flicker']:.2f}", f"{beyond:.2f}", f"{beyond / (base - clean):.0%}"]
        cells += [
            f"{found['flicker'] - noisy:+.2f}",
            *(f"{found[key]:.2f}" for key in ("fine", "lasting", "error")),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
