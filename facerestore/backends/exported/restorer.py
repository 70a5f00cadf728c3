"""Exported networks as restorers: all that was fixed at the export stays so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from facerestore.backends.engine_restorer import EngineRestorer, usual_batch
from facerestore.backends.restorer import Restorer
from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from facerestore.backends.exported.record import NetworkRecord
    from facerestore.engines import Engine


class ExportedRestorer(EngineRestorer):
    """Restores faces with an exported network.

    Its name is that of runtime and file, as ``--backend`` takes them, without the folder.

    Attributes:
        record: what the file says of itself.
    """

    def __init__(self, path: Path, runtime: str, record: NetworkRecord, engine: Engine) -> None:
        super().__init__(
            record.described(f"{runtime}:{path.name}", usual_batch(record.face_size, engine)), engine
        )
        self.record = record

    def with_fidelity(self, value: float) -> Restorer:
        """Refuse another weight between quality and fidelity: it is part of the exported graph.

        Raises:
            ConfigError: always.
        """
        own = self.record.fidelity
        if own is None:
            return super().with_fidelity(value)
        raise ConfigError(
            f"the fidelity of '{self.name}' was fixed at {own:g} when it was exported; leave it out, or export again"
            f" with --fidelity {value:g}"
        )

    def with_precision(self, precision: str) -> Self:
        """Return this restorer; its number format is that of its file.

        Raises:
            ConfigError: another format is asked for than float32, which stands for the file's own.
        """
        if precision != "float32":
            raise ConfigError(
                f"'{self.name}' computes in the number format of its file, {self.record.precision}; leave out the"
                f" precision '{precision}', or export with --half"
            )
        return self

    def for_task(self, purpose: str) -> Self:
        """Return this restorer, where its network was trained for the task.

        Raises:
            ConfigError: it was trained for another one.
        """
        if self.record.purpose != purpose:
            raise ConfigError(f"'{self.name}' is a network for '{self.record.purpose}', not for '{purpose}'")
        return self
