"""Metrics of pixels against the original, by torchmetrics: PSNR, SSIM and MS-SSIM."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from facerestore.errors import ConfigError
from facerestore.evaluation.cases import Face
from facerestore.evaluation.metrics import FaceMetric, Setting, Spec, require

LEVELS = 255.0
KERNEL_PX = 11  # Wang et al. 2004: an 11 px Gaussian window of sigma 1.5
SCALES = 5  # Wang et al. 2003
LEAST_MS_SSIM_PX = (KERNEL_PX - 1) * 2 ** (SCALES - 1) + 1
"""The coarsest of the scales must hold the window."""


WINDOW = {"gaussian_kernel": True, "sigma": 1.5, "kernel_size": KERNEL_PX, "k1": 0.01, "k2": 0.03}
FIVE_SCALES = {"betas": (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), "normalize": "relu"}
"""Negative similarity of a scale counts as none: a fractional power of it would be no number."""


def psnr(spec: Spec, setting: Setting) -> FaceMetric:
    """Open PSNR.

    Identical faces have no finite PSNR; they count as if one value differed by one level, which is the most that two
    different 8-bit pictures can have.
    """
    most = 10 * math.log10(LEVELS**2 * 3 * setting.face_size**2)
    found = _metric_of("peak_signal_noise_ratio", {}, spec, setting)
    protocol = {**found.protocol, "settings": {"identical_faces_db": most}}
    return FaceMetric(spec, protocol, lambda face, hq: min(found.measure(face, hq) or 0.0, most))


def ssim(spec: Spec, setting: Setting) -> FaceMetric:
    """Open SSIM (Wang et al. 2004): means over all pixels and colour channels."""
    return _metric_of("structural_similarity_index_measure", WINDOW, spec, setting)


def ms_ssim(spec: Spec, setting: Setting) -> FaceMetric:
    """Open multi-scale SSIM (Wang et al. 2003, with its five weights).

    Raises:
        ConfigError: the faces are too small for five scales.
    """
    if setting.face_size < LEAST_MS_SSIM_PX:
        raise ConfigError(
            f"{spec.title} has {SCALES} scales, which needs faces of {LEAST_MS_SSIM_PX} px or more, and these are"
            f" {setting.face_size} px; choose a larger --face-size, or leave it out of --metrics"
        )
    settings = WINDOW | FIVE_SCALES
    return _metric_of("multiscale_structural_similarity_index_measure", settings, spec, setting)


def _metric_of(name: str, settings: dict[str, Any], spec: Spec, setting: Setting) -> FaceMetric:
    """Open a function of torchmetrics."""
    function = getattr(require("torchmetrics.functional.image", metric=spec.title), name)

    def measure(restored: Face, hq: Face | None) -> float:
        return float(function(*_face_tensors(restored, hq), data_range=LEVELS, **settings))

    protocol = {
        "implementation": f"torchmetrics {name}",
        "colour": "RGB, 8 bit",
        "crop": f"the whole aligned face, {setting.face_size} px",
        "data_range": LEVELS,
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
    }
    return FaceMetric(spec, protocol, measure)


def _face_tensors(restored: Face, hq: Face | None) -> tuple[Tensor, Tensor]:
    """Return both faces as (1, 3, S, S) float64 tensors on the CPU, where sums do not depend on the machine."""
    if hq is None:
        raise ConfigError("this metric compares a face with its original, and there is none")
    first, second = (torch.from_numpy(face.copy()).permute(2, 0, 1)[None].double() for face in (restored, hq))
    return first, second
