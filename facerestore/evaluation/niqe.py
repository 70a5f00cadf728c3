"""NIQE (Mittal et al. 2013), by the implementation of basicsr with the pristine model that its authors published.

There is no stand-in: a model fitted to other pictures gives other numbers under the same name. basicsr does not
install on Python 3.13, and there NIQE is not measured.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from facerestore.errors import ConfigError
from facerestore.evaluation.cases import Face
from facerestore.evaluation.metrics import FaceMetric, Setting, Spec

BLOCK_PX = 96  # of the authors' release, and of basicsr
LEAST_PX = 2 * BLOCK_PX
"""A covariance needs several blocks: four at least."""

REMOVED_MODULE = "torchvision.transforms.functional_tensor"
"""basicsr 1.4.2 imports it; torchvision 0.17 moved its contents to ``torchvision.transforms.functional``."""


def niqe(spec: Spec, setting: Setting) -> FaceMetric:
    """Open NIQE.

    Raises:
        ConfigError: basicsr cannot be imported, or the faces are too small.
    """
    if setting.face_size < LEAST_PX:
        raise ConfigError(
            f"{spec.title} needs faces of {LEAST_PX} px or more (four blocks of {BLOCK_PX} px), and these are"
            f" {setting.face_size} px; choose a larger --face-size, or leave it out of --metrics"
        )
    calculate = _basicsr_niqe()

    def measure(restored: Face, hq: Face | None) -> float | None:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Flat blocks have no statistics; basicsr leaves them out, and numpy warns.
            warnings.simplefilter("ignore")
            value = float(calculate(restored[..., ::-1], crop_border=0, input_order="HWC", convert_to="y"))
        return value if np.isfinite(value) else None

    protocol = {
        "implementation": "basicsr calculate_niqe",
        "pristine_model": "niqe_pris_params of basicsr, from the authors' release",
        "colour": "Y of MATLAB's YCbCr, 8 bit",
        "crop": f"the whole aligned face, {setting.face_size} px, in whole blocks of {BLOCK_PX} px",
    }
    return FaceMetric(spec, protocol, measure)


def _basicsr_niqe() -> Callable[..., Any]:
    """Return basicsr's function.

    Raises:
        ConfigError: basicsr is not installed, or cannot be imported.
    """
    try:
        with _with_removed_module(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports names that scipy has deprecated
            found: Callable[..., Any] = import_module("basicsr.metrics.niqe").calculate_niqe
    except ImportError as error:
        newest = " (basicsr does not install on Python 3.13 and later)" if sys.version_info >= (3, 13) else ""
        raise ConfigError(
            f"NIQE is measured by basicsr alone, which cannot be imported ({error}){newest};"
            ' pip install "facerestore[train]" on Python 3.11 or 3.12'
        ) from error
    return found


@contextmanager
def _with_removed_module() -> Iterator[None]:
    """Let basicsr find, while it is imported, the module that newer versions of torchvision no longer have."""
    try:
        import_module(REMOVED_MODULE)
        yield
        return
    except ImportError:
        pass
    try:
        sys.modules[REMOVED_MODULE] = import_module("torchvision.transforms.functional")
        yield
    finally:
        sys.modules.pop(REMOVED_MODULE, None)
