"""The types that flow along the line: arrays with stated layout and range, frozen records, and protocols.

Frames: *image* coordinates are pixels of the decoded (EXIF-turned) photo, *aligned* coordinates are pixels of the
square face crop. In both, x runs right, y runs down, and integer values are pixel centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) RGB in the file's own depth and colour space; a grey photo has three equal channels."""

FaceImage: TypeAlias = NDArray[np.float32]
"""(S, S, 3) RGB in [0, 1], in the five-point FFHQ frame."""

Landmarks: TypeAlias = NDArray[np.float32]
"""(5, 2) (x, y) in pixels: eyes, nose tip, mouth corners; the one further left when the face is upright comes first."""

Affine: TypeAlias = NDArray[np.float64]
"""(2, 3) similarity that takes image pixels to aligned pixels."""

ParsingMap: TypeAlias = NDArray[np.uint8]
"""(S, S) CelebAMask-HQ class ids, 0 to 18."""

Mask: TypeAlias = NDArray[np.float32]
"""(H, W) soft mask in [0, 1]."""

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) in image pixels."""


class Part(NamedTuple):
    """A piece of a file that goes back into a file of the same format as it stands, and into others where they can.

    Attributes:
        format: upper-case Pillow name of the format.
        key: what the piece is there: the type of a PNG or WebP chunk, the marker byte of a JPEG segment, ``tags``.
        body: its content.
    """

    format: str
    key: bytes
    body: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Metadata:
    """What a picture file carries beside its pixels, as raw bytes where the standard has bytes.

    The orientation is already applied to the pixels and reset to 1 wherever it was stated.

    Attributes:
        exif: a TIFF block, without the ``Exif`` prefix.
        xmp: one packet, UTF-8.
        icc: the colour profile.
        dpi: dots per inch across and down.
        iptc: IPTC-IIM records, where they stand outside of ``photoshop``.
        photoshop: Photoshop's image resources, each with its ``8BIM``; they may hold IPTC records.
        size: width and height of the picture that all this is true of; None where that is not known.
        parts: what the source's own format has beside all these, in the order of the file.
        dropped: what the source holds and what is no longer true of the pixels, in words for people.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    size: tuple[int, int] | None = None
    parts: tuple[Part, ...] = ()
    dropped: tuple[str, ...] = ()

    def body_of(self, key: bytes) -> bytes | None:
        """Return the content of the first part of this key; None where there is none."""
        return next((part.body for part in self.parts if part.key == key), None)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DecodedImage:
    """A decoded picture: everything that is needed to write it back in kind.

    Attributes:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        alpha: (H, W) of the same dtype, or None; carried, never changed.
        grey: the file has one colour channel, and is written so again.
        metadata: what else the file carries.
        format: upper-case Pillow name of the source format, such as ``"JPEG"``; None for arrays.
        stored_as: what the pixels were in the file, where they are written back as something else: ``CMYK``, ``a
            palette of 16 colours``, ``12-bit samples``; None where they are not.
        damage: which of the pixels are not those of the photo, since the file is damaged there, such as ``from row 812
            on``, rows counted from 0 as they are stored; None for a whole file.
        notes: what people should know about how the file was read, a line each.
    """

    pixels: Image
    alpha: Image | None = None
    grey: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    format: str | None = None
    stored_as: str | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return size, depth and format: no pixels."""
        height, width = self.pixels.shape[:2]
        colour = ("grey" if self.grey else "RGB") + ("" if self.alpha is None else " with alpha")
        return f"<DecodedImage {width} x {height} px, {8 * self.pixels.dtype.itemsize}-bit {colour}, {self.format}>"


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFace:
    """One face found in a photo.

    Attributes:
        box: (left, top, right, bottom), image pixels.
        landmarks: (5, 2) float32, image pixels.
        score: the detector's confidence in [0, 1].
    """

    box: Box
    landmarks: Landmarks
    score: float

    @property
    def eye_distance_px(self) -> float:
        """Distance between the eyes, image pixels."""
        return float(np.hypot(*(self.landmarks[1] - self.landmarks[0])))

    @property
    def stands_upright(self) -> bool:
        """The face is turned in the photo by less than half a quarter turn, to either side."""
        across, down = self.landmarks[3:].mean(axis=0) - self.landmarks[:2].mean(axis=0)
        return bool(down > abs(across))


@dataclass(frozen=True, slots=True)
class Search:
    """What a detector looked at in one photo.

    Attributes:
        sizes: (width, height) at which the photo was looked at upright, largest first, pixels.
        least_face_px: width of the narrowest face that the largest of them shows well enough, image pixels.
        turned_sizes: those at which it was looked at in the three quarter turns; none where it was not.
        least_turned_px: as ``least_face_px``, for turned faces; None where none were looked for.
        best_rejected: score of the likeliest candidate that is no face; None where there was none.
    """

    sizes: tuple[tuple[int, int], ...]
    least_face_px: float
    turned_sizes: tuple[tuple[int, int], ...] = ()
    least_turned_px: float | None = None
    best_rejected: float | None = None

    def of_reduced(self, scale: float) -> Search:
        """Return the search of a photo that the detector was given reduced by ``scale``."""
        turned = None if self.least_turned_px is None else self.least_turned_px / scale
        return replace(self, least_face_px=self.least_face_px / scale, least_turned_px=turned)


class FoundFaces(list[DetectedFace]):
    """The faces of one photo, as a detector gives them, and what it looked at.

    Attributes:
        search: None where the detector does not tell.
    """

    def __init__(self, faces: Iterable[DetectedFace] = (), *, search: Search | None = None) -> None:
        super().__init__(faces)
        self.search = search


def search_of(faces: Sequence[DetectedFace]) -> Search | None:
    """Return what a detector looked at to find these; None where it does not tell."""
    return faces.search if isinstance(faces, FoundFaces) else None


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFace:
    """A face cut out of its photo into the FFHQ frame.

    Attributes:
        detected: the face as found.
        affine: (2, 3) float64, image pixels to aligned pixels.
        lq: (S, S, 3) float32 RGB in [0, 1], the degraded input of the restorer.
    """

    detected: DetectedFace
    affine: Affine
    lq: FaceImage


class Outcome(StrEnum):
    """What became of a face."""

    RESTORED = "restored"
    KEPT = "kept"


class Effect(StrEnum):
    """How much a restored face was changed; ``facerestore.pipeline.change`` has the limits."""

    RESTORED = "restored"
    CLEANED = "cleaned"
    BARELY_CHANGED = "barely-changed"

    @property
    def words(self) -> str:
        """The same for people."""
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a face is restored, and why.

    Attributes:
        outcome: restored or kept.
        code: short machine-readable reason: ``restored``, ``too-small``, ``sharp``, ``not-selected``, ``strength-0``,
            ``not-parsed``, ``would-lose-detail``, ``unlike`` (it would not be the face in the photo);
            of official pipelines ``low-score`` and ``over-999-px``.
        reason: one plain sentence for people, with the numbers that decided.
    """

    outcome: Outcome
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """How far a restored face is from its input, and how much of it is used; `facerestore.pipeline.guard` has limits.

    Attributes:
        share: of the restored face that is used, 0 to 1; the rest is the input.
        structure: share of the input's light and shade, as far as it resolves them, that the face does not show.
        colour: difference of mean colour, levels of 255.
        shift: the farthest that an eye or the mouth has moved, percent of the eye distance.
        identity: likeness to the input: 1 less the distance of dlib's network, or ArcFace's cosine, as the report's
            ``identity`` names the network; None without one.
        least_identity: what that must be at least; None without a network.
        reason: why the whole face does not pass, one plain sentence for people; None where it does.
        eyes_closed: how likely its eyes are closed in the input, 0 to 1; None where nobody looked: the input is sharp
            enough, or no network tells.
        eyes_softened: they count as closed, and nothing finer than the input shows is drawn there.
    """

    share: float
    structure: float
    colour: float
    shift: float
    identity: float | None = None
    least_identity: float | None = None
    reason: str | None = None
    eyes_closed: float | None = None
    eyes_softened: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which network serves a face where the choice was automatic, and why.

    Attributes:
        weights: catalog name of its weights.
        backend: name of its backend.
        face_size: side of the faces that it gives, pixels.
        code: short machine-readable reason: ``light``, ``heavy``, ``no-prior`` (heavily degraded, and no network that
            draws detail is here), ``too-large`` (no network here is large enough for the face).
        reason: one plain sentence for people, with the numbers that decided.
    """

    weights: str
    backend: str
    face_size: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RestoredFace:
    """One face at the end of the line.

    Attributes:
        detected: the face as found.
        decision: restored or kept, and why.
        aligned: the crop that was judged; None where the face was set aside before it was cut.
        restored: (S, S, 3) float32 RGB in [0, 1]; None for kept faces.
        parsing_map: (S, S) uint8 ids; None without a parser.
        choice: which network serves it, where that was chosen for this face; None where one serves all, or none does.
        seconds: the network's time for it, the mean of its batch; None where it did not run.
        precision: number format that its network computed it in; None where it did not run, or does not tell.
        change: mean absolute difference that restoring has made within the face's oval, levels of 255; None for kept
            faces, and where something else than restoring was done.
        effect: the same in a word.
        guard: how far it is from its input; None for faces that no network has restored, and without a guard.
    """

    detected: DetectedFace
    decision: Decision
    aligned: AlignedFace | None = None
    restored: FaceImage | None = None
    parsing_map: ParsingMap | None = None
    choice: Choice | None = None
    seconds: float | None = None
    precision: str | None = None
    change: float | None = None
    effect: Effect | None = None
    guard: Guarded | None = None

    def __repr__(self) -> str:
        """Return what became of it and why, and where it is: no pixels."""
        word = self.decision.outcome.value if self.effect is None else self.effect.words
        change = "" if self.change is None else f" ({self.change:.1f} levels)"
        left, top, right, bottom = (round(value) for value in self.detected.box)
        return f"<RestoredFace {word}{change} at {left}, {top} to {right}, {bottom}: {self.decision.reason}>"


class Stage(NamedTuple):
    """What a network has made of a face at one scale, and what that scale adds.

    Attributes:
        size: side of the features at this scale, pixels; also of the three views.
        picture: (size, size, 3) float32 RGB in [0, 1], the picture that this scale and the coarser ones make: the
            style blocks of the finer scales are left out. That of the finest scale is the restored face.
        added: (size, size, 3) float32, this picture minus that without the style block of this scale, not clipped;
            over all scales, and the picture of the learnt constant, the additions sum to the restored face.
        features: (size, size, 3) float32 RGB in [0, 1], the three largest principal components of the features.
    """

    size: int
    picture: FaceImage
    added: NDArray[np.float32]
    features: FaceImage


class FaceDetector(Protocol):
    """Finds faces and their five landmarks."""

    name: str

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces of an (H, W, 3) RGB uint8 or uint16 image, best score first; none is normal."""
        ...


class FaceParser(Protocol):
    """Labels the parts of aligned faces."""

    name: str

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one (S, S) map of CelebAMask-HQ ids per face, S the size of its ``lq``."""
        ...
