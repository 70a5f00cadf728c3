"""Which of the installed networks serves a face, and why: a rule over the face's size and what was measured on it.

In order:

1. *Size.* A network reaches a face when its pixels, enlarged ``COVERED_ENLARGEMENT`` times at most, fill the crop of
   the face in the result. Only networks that reach it are asked; where none does, only the largest.
2. *Character.* A heavily blurred or tiny face goes to a network that draws detail from what it has learnt of faces
   (``generative``), a nearly sharp one to one that holds to the photo (``careful``), any other to one that draws what
   the photo hints at (``detailed``); where none of that kind is left, to the next kind of `ORDERS`.
3. *Thrift.* Of those that are left the smallest, and of one size the first in the order of the catalog.

Whether a face is restored at all is for ``facerestore.quality.judge`` to say; this module says by whom, and stops
what would harm: a face that is nearly sharp and holds far more pixels than any network here gives is kept. What is
known of each network is data of the catalog: size, character, rank, and whether it takes part (``auto``). The first
and the second threshold were measured with the bundled careful network. That generative ones serve heavy blur better
is the finding of their papers and not a measurement of ours: the weights that this would take are not ours to ship.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facerestore.quality.judge import SHARP_BLOCKINESS, SHARP_NOISE_LEVELS, FaceQuality
from facerestore.types import Choice, Decision, Outcome

CAREFUL, DETAILED, GENERATIVE = "careful", "detailed", "generative"

SLIGHT, LIGHT, HEAVY = "nearly sharp", "lightly degraded", "heavily degraded"
"""Degrees of damage, in the words of reasons."""

ORDERS: Mapping[str, tuple[str, ...]] = {
    SLIGHT: (CAREFUL, DETAILED, GENERATIVE),
    LIGHT: (DETAILED, CAREFUL, GENERATIVE),
    HEAVY: (GENERATIVE, DETAILED, CAREFUL),
}
"""Which character serves a face of each degree, the first that is there."""

COVERED_ENLARGEMENT = 1.25
"""Most enlargement of a network's pixels in the result at which it reaches a face. Measured with the bundled 256 px
network on 15 validation portraits, blurred by 2 px: at 1.25 (320 px faces) it gains 0.5 dB and 0.003 of SSIM over the
photo itself, at 1.5 still 0.2 dB but no SSIM, at 2 it loses."""

CLEAN_EDGE_PX = 1.18
"""Median width of the edges of 90 clean validation portraits at 256 px, as the judge measures it."""
HEAVY_BLUR_PX = 2.2
"""Blur from which a face is heavily degraded, sigma in a crop of 256 px: measured edges are then 2.5 px wide. From
there on the careful network's own results keep edges of 2 px and more (medians, by blur, of 270 degraded validation
faces): the detail of a face of half the size, whatever it was before."""
HEAVY_BLUR_CROP_PX = 256
HEAVY_CROP_PX = 64.0
"""Crop in the photo up to which a face is heavily degraded, whatever its edges: of 12 validation portraits reduced by 4
the careful network gives back edges of 2 px again, by 3 still narrower ones."""

LOSING_ENLARGEMENT = 2.0
NEARLY_SHARP_EDGE_PX = 1.6
"""A face with so many times the pixels of the largest network, edges no wider than this (crop pixels), and neither
noise nor JPEG blocks over the limits of a sharp face, loses by a restoration, and is kept. Measured on 75 degraded
draws of validation portraits of 512 px, restored at 256 px: the 23 with such edges lose 0.6 dB on average, and 65% of
them are further from the original than before; those only blurred by 1 px lose 1.5 dB. With 1.5 times the pixels such
faces lose 0.2 dB, but half of them gain."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that may be chosen.

    Attributes:
        name: catalog name of its weights.
        backend: name of its backend.
        face_size: side of the faces that it gives, pixels.
        character: ``careful``, ``detailed`` or ``generative``.
        bundled: its weights come with facerestore.
        commercial_use: ``yes``, ``no`` or ``unclear``.
    """

    name: str
    backend: str
    face_size: int
    character: str
    bundled: bool
    commercial_use: str


def contenders(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return those that could be chosen for some face: of each size and character the first."""
    first = {(c.face_size, c.character): c for c in reversed(candidates)}
    return tuple(c for c in candidates if first[c.face_size, c.character] is c)


def reaching(candidates: Sequence[Candidate], wanted_px: float) -> tuple[Candidate, ...]:
    """Return the candidates that reach a face; where none does, the largest.

    Args:
        candidates: at least one, in the order of preference.
        wanted_px: side of the face's crop in the result, pixels.
    """
    largest = max(c.face_size for c in candidates)
    return tuple(c for c in candidates if reach_px(c) >= wanted_px) or tuple(
        c for c in candidates if c.face_size == largest
    )


def reach_px(candidate: Candidate) -> float:
    """Return the largest crop, in pixels of the result, that a network fills with what it gives."""
    return candidate.face_size * COVERED_ENLARGEMENT


def judged_size(candidates: Sequence[Candidate], *, crop_px: float, upscale: float) -> int:
    """Return the side at which a face is cut out to be judged, pixels.

    That of the smallest network that may serve it, but not enlarged beyond the smallest of all: no face is sharp that
    was enlarged.

    Args:
        candidates: at least one.
        crop_px: side of the face's crop in the photo, pixels.
        upscale: size of the result over that of the photo.
    """
    serving = min(c.face_size for c in reaching(candidates, crop_px * upscale))
    return min(serving, max(round(crop_px), min(c.face_size for c in candidates)))


def heavy_edge_px(face_size: int) -> float:
    """Return the width of edges from which a crop of ``face_size`` is heavily degraded, crop pixels."""
    return math.hypot(CLEAN_EDGE_PX, HEAVY_BLUR_PX * face_size / HEAVY_BLUR_CROP_PX)


def route(
    candidates: Sequence[Candidate], quality: FaceQuality, *, crop_px: float, upscale: float = 1.0
) -> Choice:
    """Return which network serves a face that is to be restored, and why.

    Args:
        candidates: at least one, in the order of preference.
        quality: what was measured on the face, on a crop of ``judged_size``.
        crop_px: side of the face's crop in the photo, pixels.
        upscale: size of the result over that of the photo.
    """
    wanted_px = crop_px * upscale
    judged_px = judged_size(candidates, crop_px=crop_px, upscale=upscale)
    degree, measured = _degree(quality, judged_px=judged_px, crop_px=crop_px)
    chosen = _pick(candidates, wanted_px, degree)
    loses = reach_px(chosen) < crop_px
    return Choice(
        weights=chosen.name,
        backend=chosen.backend,
        face_size=chosen.face_size,
        code="too-large" if loses else _degree_code(chosen, degree),
        reason=f"{degree} ({measured}): {_character_words(chosen, degree)}; {_size_words(chosen, crop_px, upscale)}",
    )


def harm(candidates: Sequence[Candidate], quality: FaceQuality, *, crop_px: float) -> Decision | None:
    """Return the decision to keep a face that would lose more than it gains; None where nothing speaks for that.

    Args:
        candidates: at least one, in the order of preference.
        quality: what was measured on the face, on a crop of the largest candidate's size.
        crop_px: side of the face's crop in the photo, pixels.
    """
    largest = max(c.face_size for c in candidates)
    return harm_of(largest, quality, crop_px=crop_px, giver="any network here")


def harm_of(
    face_size: int, quality: FaceQuality, *, crop_px: float | None = None, giver: str = "this network"
) -> Decision | None:
    """Return the decision to keep a face that one network would take more from than it gives; None for none.

    Args:
        face_size: side of what the network gives, pixels.
        quality: what was measured on the face, on a crop of that size.
        crop_px: side of the face's crop in the photo, pixels; None for what follows from such a crop.
        giver: who gives so much, in words.
    """
    crop_px = face_size / quality.enlargement if crop_px is None else crop_px
    if crop_px < face_size * LOSING_ENLARGEMENT or quality.blur_px > NEARLY_SHARP_EDGE_PX:
        return None
    if quality.noise_sigma > SHARP_NOISE_LEVELS or quality.blockiness > SHARP_BLOCKINESS:
        return None
    reason = (
        f"nearly sharp (edges {quality.blur_px:.1f} px wide of {face_size}), and with {crop_px:.0f} px much larger than"
        f" what {giver} gives ({face_size} px): restoring it would lose detail"
    )
    return Decision(Outcome.KEPT, "would-lose-detail", reason)


def summary(candidates: Sequence[Candidate]) -> str:
    """Return in one sentence which candidate serves which faces."""
    if len(candidates) == 1:
        return f"{candidates[0].name} for every face, the only one here that it may take"
    served: dict[str, list[str]] = {}
    for degree in ORDERS:
        served.setdefault(_ranges(candidates, degree), []).append(degree)
    if len(served) == 1:
        return f"{_ranges(candidates, HEAVY)}, however degraded"
    return "; ".join(f"for {' or '.join(degrees)} faces {ranges}" for ranges, degrees in served.items())


def _degree(quality: FaceQuality, *, judged_px: int, crop_px: float) -> tuple[str, str]:
    """Return how degraded a face is, a key of `ORDERS`, and the number that decided, in words."""
    if crop_px <= HEAVY_CROP_PX:
        return HEAVY, f"{crop_px:.0f} px in the photo, heavy up to {HEAVY_CROP_PX:.0f}"
    limit, edges = heavy_edge_px(judged_px), f"edges {quality.blur_px:.1f} px wide of {judged_px}"
    if quality.blur_px >= limit:
        return HEAVY, f"{edges}, heavy from {limit:.1f}"
    clean = quality.noise_sigma <= SHARP_NOISE_LEVELS and quality.blockiness <= SHARP_BLOCKINESS
    if clean and quality.blur_px <= NEARLY_SHARP_EDGE_PX:
        return SLIGHT, f"{edges}, sharp to {NEARLY_SHARP_EDGE_PX}"
    return LIGHT, f"{edges}, heavy from {limit:.1f}"


def _pick(candidates: Sequence[Candidate], wanted_px: float, degree: str) -> Candidate:
    """Return the candidate that the rule takes."""
    able = reaching(candidates, wanted_px)
    suited = next(own for kind in ORDERS[degree] if (own := [c for c in able if c.character == kind]))
    return min(suited, key=lambda c: c.face_size)  # of one size the first, since min keeps the order


def _degree_code(chosen: Candidate, degree: str) -> str:
    if degree != HEAVY:
        return "light"
    return "no-prior" if chosen.character == CAREFUL else "heavy"


def _character_words(chosen: Candidate, degree: str) -> str:
    """Return why a network of this character has the face."""
    if chosen.character == CAREFUL and degree == HEAVY:
        return "no network here for it draws what is lost, so the face stays soft"
    if chosen.character == GENERATIVE and degree != HEAVY:
        return "no careful network here is large enough"
    return _WORDS[chosen.character]


_WORDS: Mapping[str, str] = {
    CAREFUL: "the careful network holds to the photo",
    DETAILED: "a network that draws what the photo hints at",
    GENERATIVE: "a network that draws what is lost from what it has learnt of faces",
}


def _size_words(chosen: Candidate, crop_px: float, upscale: float) -> str:
    """Return how the network's size stands to the face's, and what that costs."""
    wanted_px = crop_px * upscale
    words = f"{chosen.face_size} px for a face of {wanted_px:.0f} px"
    words += " in the result" if upscale != 1 else ""
    if reach_px(chosen) < crop_px:
        return f"{words}, larger than any network here: detail finer than that goes with the faults"
    return f"{words}, and no network here has more" if reach_px(chosen) < wanted_px else words


def _ranges(candidates: Sequence[Candidate], degree: str) -> str:
    """Return who serves faces of which size, smallest first."""
    edges = sorted({reach_px(c) for c in candidates})
    picked = [_pick(candidates, edge, degree).name for edge in edges]
    steps = [
        (name, edge)
        for name, edge, following in zip(picked, edges, [*picked[1:], None], strict=True)
        if name != following
    ]
    words = [f"{name} up to {edge:.0f} px" for name, edge in steps[:-1]]
    return ", ".join([*words, f"{steps[-1][0]} above" if words else steps[-1][0]])
