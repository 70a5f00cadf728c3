"""Measure what cleans whole photos: PSNR by degradation, on photographs that no training saw and beside faces.

python -m benchmarks.surroundings WEIGHTS --photos DIR [--faces DIR] [--sheet SHEET.png]

DIR holds photographs of any shape, of which squares of 256 px are taken, three of each; ``--faces`` aligned faces, of
every third of which that counts which the bundled parser does not call face. Both are degraded by each preset and stay
as small as it made them, as a photo does; NLM is OpenCV's non-local means at the best of three strengths for each
preset, tried on squares. "x2" squares are halved, stored as JPEG of quality 80, and brought back to their size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.background import TiledUpsampler, load_upsampler
from facerestore.engines import Place
from facerestore.evaluation.bootstrap import estimate
from facerestore.evaluation.classical import denoised
from facerestore.face_parts import CLASS_NAMES, FACE_CLASSES
from facerestore.imaging.blending import whole_crop
from facerestore.io import write_image
from facerestore.parsing import load_parser
from facerestore.training.data.datasets import DataSettings, PairDataset, face_files
from facerestore.training.data.face_files import read_face
from facerestore.types import DecodedImage

Square: TypeAlias = NDArray[np.uint8]
Shares: TypeAlias = NDArray[np.bool_]
Triple: TypeAlias = tuple[Square, Square, Shares]
"""A degraded square, the real one, and which of its pixels count."""

PRESETS = ("clean", "web", "phone", "old-photo", "print", "gfpgan")
SIDE, LEAST_SIDE, SQUARES, EACH_FACE, SEED, SHOWN = 256, 96, 3, 3, 31, 6
STRENGTHS = (3.0, 5.0, 8.0)
QUALITIES = (50, 70, 80, 90, 95)


def settings(preset: str, *, max_reduction: float) -> DataSettings:
    """Return how squares or faces are taken and degraded."""
    return DataSettings(
        face_size=SIDE,
        max_reduction=max_reduction,
        crop_size=LEAST_SIDE,  # the least side of what is left small
        reduced_share=1.0,
        mix={preset: 1.0},
        seed=SEED,
    )


def squares(photos: Path, preset: str) -> Iterator[Triple]:
    """Yield degraded and real squares of photographs."""
    files = face_files(photos)
    samples = PairDataset(files, settings(preset, max_reduction=2.0))
    for position in range(SQUARES * len(files)):
        lq, hq, _ = samples.pair(position)
        yield lq, in_tone(hq, lq), np.ones(hq.shape[:2], dtype=bool)


def surroundings(faces: Path, preset: str) -> Iterator[Triple]:
    """Yield degraded and real faces, and what lies beside the faces in them."""
    parser = load_parser(Path(__file__).parents[1] / "weights/parse_clean_256.safetensors", place=Place())
    face_ids = [number for number, name in enumerate(CLASS_NAMES) if name in FACE_CLASSES]
    for number, file in enumerate(face_files(faces)[::EACH_FACE]):
        real = read_face(file, SIDE)
        (ids,) = parser.parse([whole_crop(real.astype(np.float32) / 255)])
        beside = ~np.isin(cv2.resize(ids, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), face_ids)
        lq, hq, _ = PairDataset([file], settings(preset, max_reduction=0)).pair(number)
        counts = cv2.resize(beside.astype(np.uint8), hq.shape[:2], interpolation=cv2.INTER_NEAREST) > 0
        yield lq, in_tone(hq, lq), counts


def in_tone(real: Square, degraded: Square) -> Square:
    """Return a real square in the tone of its degraded one where that has faded; see ``recipe.faded_below``."""
    import torch

    from facerestore.training.recipes.lite.recipe import in_tone_of

    hq, lq = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (real, degraded))
    toned = in_tone_of(lq, hq, faded_below=0.82)[0].permute(1, 2, 0).clamp(0, 1)
    return np.rint(toned.numpy() * 255).astype(np.uint8)


def psnr(found: Square, real: Square, counts: Shares) -> float:
    """Return the PSNR over the pixels that count, decibels; of equal ones 60."""
    square = np.square(found[counts].astype(np.float64) - real[counts]).mean()
    return float(10 * np.log10(255**2 / max(square, 255**2 / 1e6)))


def told(name: str, values: list[float]) -> str:
    """Return a mean with its interval."""
    e = estimate(values)
    return f"{name} {e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]"


def cleaned(network: TiledUpsampler, square: Square) -> Square:
    """Return what the network makes of a square."""
    return np.asarray(network.upsample(square, (square.shape[1], square.shape[0])), dtype=np.uint8)


def compare(
    name: str, pairs: list[Triple], network: TiledUpsampler, strengths: tuple[float, ...] = ()
) -> list[Square]:
    """Print the PSNR of inputs, of NLM at its best strength and of the network; return some: input, result, real."""
    methods: dict[str, Callable[[Square], Square]] = {
        "input": lambda lq: lq,
        "network": lambda lq: cleaned(network, lq),
    } | {f"NLM {h:g}": lambda lq, h=h: denoised(lq, h) for h in strengths}
    results = {method: [make(lq) for lq, _, _ in pairs] for method, make in methods.items()}
    values = {
        method: [psnr(result, hq, counts) for result, (_, hq, counts) in zip(made, pairs, strict=True)]
        for method, made in results.items()
    }
    nlm = [method for method in values if method.startswith("NLM")]
    best = sorted(nlm, key=lambda each: -np.mean(values[each]))[:1]
    gains = np.subtract(values["network"], values["input"])
    change = np.mean(
        [np.abs(a.astype(int) - lq).mean() for a, (lq, _, _) in zip(results["network"], pairs, strict=True)]
    )
    means = [told(method, values[method]) for method in ("input", *best, "network")]
    print(
        f"{name}: {len(pairs)} squares, {', '.join(means)}, {told('gain', gains.tolist())},"
        f" {100 * (gains > 0).mean():.0f}% better, changed by {change:.2f} levels",
        flush=True,
    )
    every = max(len(pairs) // SHOWN, 1)
    shown = [(lq, made, hq) for (lq, hq, _), made in zip(pairs, results["network"], strict=True)][::every][
        :SHOWN
    ]
    return [
        np.hstack([cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for x in row])
        for row in shown
    ]


def doubled(photos: Path, network: TiledUpsampler) -> None:
    """Print the PSNR of squares that are brought back to twice their size, in three ways."""
    rows: dict[str, list[float]] = {"Lanczos": [], "cleaned, then Lanczos": [], "Lanczos, then cleaned": []}
    for _, hq, counts in squares(photos, "clean"):
        half = cv2.resize(hq, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        stored = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), dtype=np.uint8)
        twice = [
            cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_LANCZOS4)
            for x in (stored, cleaned(network, stored))
        ]
        results = (*twice, np.asarray(network.upsample(stored, (SIDE, SIDE))))
        for row, result in zip(rows.values(), results, strict=True):
            row.append(psnr(np.asarray(result, np.uint8), hq, counts))
    print("x2:", ", ".join(told(name, row) for name, row in rows.items()))


def stored(photos: Path, network: TiledUpsampler) -> None:
    """Print the PSNR of clean squares that were stored as JPEG, and of what the network makes of them."""
    for quality in QUALITIES:
        rows: list[tuple[float, float]] = []
        for lq, hq, counts in squares(photos, "clean"):
            encoded = cv2.imencode(".jpg", lq, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), dtype=np.uint8)
            rows.append((psnr(decoded, hq, counts), psnr(cleaned(network, decoded), hq, counts)))
        before, after = zip(*rows, strict=True)
        print(f"JPEG {quality}: {told('input', list(before))}, {told('network', list(after))}")


def main() -> None:
    """Print the figures, and write a sheet: input, result, real."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("weights", type=Path)
    options.add_argument("--photos", type=Path, required=True)
    options.add_argument("--faces", type=Path)
    options.add_argument("--sheet", type=Path, help="where to show some squares")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    network = load_upsampler(chosen.weights)
    columns = [
        np.vstack(compare(each, list(squares(chosen.photos, each)), network, STRENGTHS)) for each in PRESETS
    ]
    doubled(chosen.photos, network)
    stored(chosen.photos, network)
    for preset in PRESETS if chosen.faces is not None else ():
        compare(f"beside faces, {preset}", list(surroundings(chosen.faces, preset)), network)
    if chosen.sheet is not None:
        write_image(chosen.sheet, DecodedImage(np.hstack(columns)), overwrite=True)


if __name__ == "__main__":
    main()
