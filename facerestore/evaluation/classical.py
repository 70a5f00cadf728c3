"""A classical baseline, tuned fairly: non-local means and unsharp masking, tuned on half of the faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import cv2
import numpy as np

from facerestore.degradation import REFERENCE_SIZE
from facerestore.errors import ConfigError, ImageError
from facerestore.evaluation.cases import Case, CaseFiles, CaseSource, Face, fit_face
from facerestore.imaging.pixels import whole_levels

NAME = "NLM + unsharp"

STRENGTHS = (0.0, 3.0, 5.0, 8.0, 12.0)
"""Of OpenCV's non-local means (Buades et al. 2005), levels of 255; 0 leaves it out."""

AMOUNTS = (0.0, 0.5, 1.0, 2.0)
"""Of unsharp masking: how much of the difference from the blurred face is added."""

UNSHARP_SIGMA_PX = 4.0  # at 512 px, as all widths here; scales with the face
PATCH_PX, WINDOW_PX = 7, 21  # OpenCV's defaults

MOST_TUNED_ON = 100
"""Faces beyond these would change the choice among twenty little, and take long."""

LEAST_FACES = 4


@dataclass(frozen=True, slots=True)
class Classical:
    """Non-local means, then unsharp masking.

    Attributes:
        strength: of non-local means, levels.
        amount: of unsharp masking.
        facts: how both were chosen.
    """

    strength: float
    amount: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in tables."""
        return NAME

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the (face_size, face_size, 3) uint8 RGB face."""
        return sharpened(denoised(fit_face(case.lq, face_size), self.strength), self.amount)


def denoised(face: Face, strength: float) -> Face:
    """Return the face after non-local means of this strength."""
    if strength == 0:
        return face
    found = cv2.fastNlMeansDenoisingColored(face, None, strength, strength, PATCH_PX, WINDOW_PX)
    return np.asarray(found, dtype=np.uint8)


def sharpened(face: Face, amount: float) -> Face:
    """Return the face after unsharp masking of this amount."""
    if amount == 0:
        return face
    sigma = UNSHARP_SIGMA_PX * face.shape[0] / REFERENCE_SIZE
    values = face.astype(np.float32)
    blurred = cv2.GaussianBlur(values, (0, 0), sigma)
    return whole_levels(values + amount * (values - blurred))


def tune(
    source: CaseSource,
    files: Sequence[CaseFiles],
    face_size: int,
    *,
    seed: int,
    on_face: Callable[[str], None] | None = None,
) -> Classical:
    """Return the baseline with the strengths of the grid that have the best mean PSNR on a seeded half of the faces.

    Faces that cannot be read are passed over here; the evaluation names them.

    Args:
        source: reads the faces; they need originals.
        files: all faces of the evaluation.
        face_size: its face size.
        seed: of the half.
        on_face: called with the name of each face.

    Raises:
        ConfigError: there are too few faces, or no originals.
    """
    if not source.has_reference:
        raise ConfigError(
            "the classical baseline is tuned against originals, and there are none; leave out --classical"
        )
    half = tuning_half(files, seed=seed)
    grid = list(product(STRENGTHS, AMOUNTS))
    totals = np.zeros(len(grid))
    used: list[str] = []
    for each in half:
        if on_face is not None:
            on_face(each.name)
        try:
            case = source.load(each, face_size)
        except ImageError:
            continue
        totals += _psnr_over_grid(case, face_size)
        used.append(each.name)
    if not used:
        raise ConfigError("no face of the half that the classical baseline is tuned on can be read")
    strength, amount = grid[int(np.argmax(totals))]
    facts = {
        "kind": "classical",
        "nlm_strength": strength,
        "unsharp_amount": amount,
        "grid": {"nlm_strength": list(STRENGTHS), "unsharp_amount": list(AMOUNTS)},
        "unsharp_sigma_px_at_512": UNSHARP_SIGMA_PX,
        "tuned_for": "mean PSNR",
        "tuned_on": used,
        "seed": seed,
    }
    return Classical(strength, amount, facts)


def tuning_half(files: Sequence[CaseFiles], *, seed: int) -> list[CaseFiles]:
    """Return a seeded half of the faces, `MOST_TUNED_ON` at most, in their order.

    Raises:
        ConfigError: there are too few faces.
    """
    if len(files) < LEAST_FACES:
        raise ConfigError(
            f"the classical baseline is tuned on half of the faces, and there are {len(files)}; give {LEAST_FACES} or"
            " more, or leave out --classical"
        )
    count = min(len(files) // 2, MOST_TUNED_ON)
    chosen = np.random.default_rng([seed, len(files)]).choice(len(files), count, replace=False)
    return [files[index] for index in sorted(chosen)]


def _psnr_over_grid(case: Case, face_size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the PSNR of each point of the grid, dB."""
    if case.hq is None:
        raise ConfigError("this face has no original")
    hq, lq = case.hq.astype(np.float32), fit_face(case.lq, face_size)
    found = []
    for strength in STRENGTHS:
        smooth = denoised(lq, strength)
        for amount in AMOUNTS:
            error = np.mean(np.square(sharpened(smooth, amount).astype(np.float32) - hq))
            found.append(10 * np.log10(255**2 / max(float(error), 1e-9)))
    return np.array(found)
