"""The test pipelines of the original GPEN and PSFR-GAN, so that published pictures can be compared.

They repeat the choices of the original programs (alignment, mask, rounding, order), known defects included, and stay
apart from the normal line, which has none of them. The detectors are facerestore's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from facerestore.errors import ConfigError
from facerestore.pipeline.official.base import OfficialPipeline
from facerestore.pipeline.official.gpen import GPENPipeline
from facerestore.pipeline.official.psfr import PSFRPipeline

__all__ = ["OFFICIAL_PIPELINES", "GPENPipeline", "OfficialPipeline", "PSFRPipeline", "official_pipeline"]

OFFICIAL_PIPELINES: Mapping[str, type[OfficialPipeline]] = {"gpen": GPENPipeline, "psfr": PSFRPipeline}
"""The pipeline of each backend that has an official one."""


def official_pipeline(backend: str) -> type[OfficialPipeline]:
    """Return the class of the official test pipeline of a backend.

    Raises:
        ConfigError: the backend has none.
    """
    if backend not in OFFICIAL_PIPELINES:
        raise ConfigError(
            f"there is no official test pipeline for backend '{backend}', only for"
            f" {' and '.join(OFFICIAL_PIPELINES)}; leave out --official, or choose one of these backends"
        )
    return OFFICIAL_PIPELINES[backend]
