"""The test pipelines of the original GPEN and PSFR-GAN, so that published pictures can be compared.

They repeat the choices of the original programs (alignment, mask, rounding, order), known defects included, and stay
apart from the normal line, which has none of them. The detectors are facerestore's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from facerestore.errors import ConfigError
from facerestore.pipeline.official.base import Program
from facerestore.pipeline.official.gpen import GPEN
from facerestore.pipeline.official.psfr import PSFR

__all__ = ["GPEN", "PROGRAMS", "PSFR", "Program", "official_program"]

PROGRAMS: Mapping[str, Program] = {program.backend: program for program in (GPEN, PSFR)}
"""By the backend that has one."""


def official_program(backend: str) -> Program:
    """Return the official test program of a backend.

    Raises:
        ConfigError: the backend has none.
    """
    if backend not in PROGRAMS:
        raise ConfigError(
            f"there is no official test pipeline for backend '{backend}', only for"
            f" {' and '.join(PROGRAMS)}; leave out --official, or choose one of these backends"
        )
    return PROGRAMS[backend]
