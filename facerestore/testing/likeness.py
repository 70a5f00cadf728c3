"""The clauses that compare the restored picture with the crop: value range, orientation and order of the colours.

A network is a black box here, so all ask first whether the picture follows the crop at all. One with random weights
does not, and one may be trained to draw other colours; then the answer is that it could not be told. All look at
16 x 16 areas, where a restorer changes little, whatever detail it adds.

What they cannot see: a network that wants BGR, given RGB, whose result is BGR, taken for RGB, looks right from outside
unless it knows the colours of skin. And a network that merely passes its input through looks right in any range.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.pixels import resize_face
from facerestore.testing.trial import Finding, Trial, Verdict, finding
from facerestore.types import FaceImage

AREAS = 16
"""Areas along a side: coarse enough that eyes and mouth are one or two areas."""

# The bounds below are judgements, set between what was measured with the bundled restorer: used rightly it follows the
# drawn faces with a correlation of 1.00 in grey and in colour (the next order of channels: 0.31), and keeps level and
# contrast within 0.01; with one conversion between [0, 1] and [-1, 1] forgotten the level moves by 0.3 and the contrast
# halves. Of 180 small GPENs with random weights none followed the crop.
FOLLOWS = 0.8
LEVEL_BOUND = 0.1
CONTRAST_BOUNDS = (0.6, 1.6)
FLAT = 0.01
CHROMA_FOLLOWS = 0.6
CHROMA_MARGIN = 0.3

TURNS = {
    "upright": (0, 1),
    "mirrored": (0, -1),
    "turned by 180 degrees": (2, 1),
    "upside down": (2, -1),
    "turned to the left": (1, 1),
    "turned to the right": (3, 1),
    "transposed": (1, -1),
    "transposed the other way": (3, -1),
}
"""The eight ways to lay a square picture: quarter turns to the left, and 1 or -1 for a mirror before them."""

WEIGHTS_REMEDY = "check it with trained weights"
RANGE_REMEDY = (
    "convert [0, 1] to the range that the network was trained for, and its output back (network_range)"
)


def check_tone(trial: Trial) -> Finding:
    """Tell whether brightness and contrast are those of the crop, as where value ranges are converted right."""
    given, made = (
        _channel_mean(_area_colours([face.lq for face in trial.faces])),
        _channel_mean(_area_colours(trial.restored)),
    )
    if made.std() < FLAT:
        return Finding("tone", Verdict.FAILED, f"the result is flat (spread {made.std():.3f})", RANGE_REMEDY)
    follows = _correlation(given, made)
    if abs(follows) < FOLLOWS:
        return _does_not_follow("tone", follows)
    level, contrast = float(made.mean() - given.mean()), float(made.std() / given.std())
    measured = f"follows the crop (correlation {follows:.2f}), level {level:+.2f}, contrast x{contrast:.2f}"
    low, high = CONTRAST_BOUNDS
    kept = follows > 0 and abs(level) <= LEVEL_BOUND and low <= contrast <= high
    return finding("tone", kept, measured, remedy=RANGE_REMEDY)


def check_place(trial: Trial) -> Finding:
    """Tell whether the picture lies as the crop does: neither mirrored nor turned."""
    given, made = (
        _channel_mean(_area_colours([face.lq for face in trial.faces])),
        _channel_mean(_area_colours(trial.restored)),
    )
    scores = {
        name: _correlation(np.rot90(given[:, :, ::mirror], quarters, axes=(1, 2)), made)
        for name, (quarters, mirror) in TURNS.items()
    }
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < FOLLOWS:
        return _does_not_follow("place", scores["upright"])
    others = max(score for name, score in scores.items() if name != "upright")
    measured = f"correlates {scores['upright']:.2f} upright, at most {others:.2f} mirrored or turned"
    if best != "upright":
        measured = f"correlates {scores[best]:.2f} {best}, {scores['upright']:.2f} upright"
    remedy = "lay tensors out as (N, 3, rows, columns)"
    return finding("place", best == "upright", measured, remedy=remedy)


def check_colour(trial: Trial) -> Finding:
    """Tell whether the channels of the result are those of the crop, in the order red, green, blue."""
    given, made = _area_colours([face.lq for face in trial.faces]), _area_colours(trial.restored)
    follows = _correlation(_channel_mean(given), _channel_mean(made))
    if follows < FOLLOWS:
        return _does_not_follow("colour", follows)
    chroma, found = given - given.mean(axis=-1, keepdims=True), made - made.mean(axis=-1, keepdims=True)
    if found.std() < FLAT:
        return Finding("colour", Verdict.UNCLEAR, "the result is grey", WEIGHTS_REMEDY)
    scores = {order: _correlation(chroma[..., order], found) for order in permutations(range(3))}
    return _judge_orders(scores)


def _judge_orders(scores: dict[tuple[int, ...], float]) -> Finding:
    """Return what the correlations of the colours with each order of the crop's channels say."""
    rgb = (0, 1, 2)
    best, second = sorted(scores, key=lambda order: -scores[order])[:2]
    name = "".join("RGB"[channel] for channel in best)
    measured = f"colours correlate {scores[rgb]:.2f} as RGB"
    measured += (
        f", {scores[second]:.2f} as the next best order" if best == rgb else f", {scores[best]:.2f} as {name}"
    )
    if scores[best] < CHROMA_FOLLOWS or scores[best] - scores[second] < CHROMA_MARGIN:
        return Finding("colour", Verdict.UNCLEAR, measured, WEIGHTS_REMEDY)
    return finding("colour", best == rgb, measured, remedy="give the network RGB, and return RGB")


def _does_not_follow(name: str, follows: float) -> Finding:
    measured = f"the result does not follow the crop (correlation {follows:.2f})"
    return Finding(name, Verdict.UNCLEAR, measured, WEIGHTS_REMEDY)


def _area_colours(faces: Sequence[FaceImage]) -> NDArray[np.float64]:
    """Return the mean colours of the areas of each face: (N, AREAS, AREAS, 3), or smaller for small faces."""
    size = min(AREAS, *(len(face) for face in faces))
    return np.stack([resize_face(face, size) for face in faces]).astype(np.float64)


def _channel_mean(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the channels, which no exchange of channels changes."""
    grey: NDArray[np.float64] = areas.mean(axis=-1)
    return grey


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Pearson's correlation of all values; 0 where one of both is constant."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
