"""Which parts a line can be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facerestore.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from facerestore.config import RestoreConfig
    from facerestore.types import FaceDetector, FaceParser, Restorer


def check_parts(
    detector: FaceDetector | None,
    restorer: Restorer,
    parser: FaceParser | None,
    config: RestoreConfig | None,
    *,
    official: bool,
) -> None:
    """Make sure that the parts of a line fit together.

    Args:
        detector: of the line; None for none.
        restorer: of the line.
        parser: of the line; None for none.
        config: what is asked of it; None for the defaults of its kind.
        official: the line is the test pipeline of an original program.

    Raises:
        BackendError: the restorer needs a parser and there is none.
        ConfigError: there is no detector, and the input is not said to be aligned; or one of the line and what is asked
            of it is official, and the other is not.
    """
    if restorer.needs_parsing and parser is None:
        raise BackendError(
            f"backend '{restorer.name}' needs a face parser; give one, or choose another backend"
        )
    if detector is None and not (config is not None and config.aligned):
        raise ConfigError(
            "a pipeline without a detector takes aligned faces only; set aligned, or give a detector"
        )
    if config is not None and config.official != official:
        raise ConfigError(
            "official pipelines have classes of their own; use build_pipeline, or facerestore.official"
        )
