"""How alike degradation alone leaves faces, by an identity network: what the guard asks of restored ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facerestore.degradation import preset
from facerestore.errors import ConfigError, count
from facerestore.evaluation.cases import Case, degraded_source
from facerestore.imaging.blending import whole_crop
from facerestore.pipeline.guard import LIMITS, LIMITS_SIZE, band_of
from facerestore.pipeline.identity_limits import IdentityLimits
from facerestore.quality.identity import IdentityNetwork
from facerestore.quality.judge import assess

DEGRADATIONS = ("gfpgan", "severe")
"""Together they leave inputs of every band of `LIMITS`."""

PERCENT = 5
"""Of the undamaged originals lie below a limit."""

LEAST_FACES = 10
"""In a band: from fewer the limit would be that of one face. The 90 faces of `LIMITS` leave 12 in the smallest."""


def limits_of_network(
    network: IdentityNetwork, faces: Path, *, sha256: str, seed: int, on_face: Callable[[str], None]
) -> IdentityLimits:
    """Return what a network's likenesses are worth, measured as `LIMITS` were.

    Args:
        network: whose.
        faces: folder of aligned, undamaged portraits, of at least `LIMITS_SIZE` px.
        sha256: of its weights.
        seed: of the degradations.
        on_face: told each face as it begins.

    Raises:
        ImageError: the folder or a picture cannot be read, or is too small.
        ConfigError: the faces leave too few inputs in a band of `LIMITS`.
        CheckpointError: the network gives values that are not finite.
    """
    bands: list[list[float]] = [[] for _ in LIMITS]
    for name in DEGRADATIONS:
        source = degraded_source(faces, degradation=preset(name), seed=seed)
        for files in source.files:
            on_face(files.name)
            band, likeness = _measured(network, source.load(files, LIMITS_SIZE))
            bands[band].append(likeness)
    for limits, found in zip(LIMITS, bands, strict=True):
        if len(found) < LEAST_FACES:
            raise ConfigError(
                f"'{faces}' leaves {count(len(found), 'input')} with edges of up to {limits.most_blur_px:g} px, and a"
                f" limit needs {LEAST_FACES}; give more portraits (90 were enough for dlib's limits)"
            )
    return IdentityLimits(
        sha256=sha256,
        least=tuple(round(float(np.percentile(found, PERCENT)), 2) for found in bands),
        faces=tuple(len(found) for found in bands),
        folder=faces.resolve().name,
        protocol=f"{' and '.join(DEGRADATIONS)}, seed {seed}, {LIMITS_SIZE} px, percentile {PERCENT}",
    )


def _measured(network: IdentityNetwork, case: Case) -> tuple[int, float]:
    """Return in which band of `LIMITS` an input is, and how alike its original is to it."""
    assert case.hq is not None, "the source degrades originals"
    lq, original = (face.astype(np.float32) / np.float32(255) for face in (case.lq, case.hq))
    aligned = whole_crop(lq)
    likeness = network.likeness(*network.describe([lq, original]))
    return band_of(assess(aligned), LIMITS_SIZE), likeness
