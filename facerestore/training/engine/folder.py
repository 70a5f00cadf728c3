"""The folder of a run: its settings, its machine, its log, its pictures, its checkpoints."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facerestore import __version__
from facerestore.errors import ConfigError, ImageError, MalformedError, parse_json_object, read_text, refusing
from facerestore.files import write_text_whole, written_whole
from facerestore.io import png_mark
from facerestore.training.engine.settings import differing_settings

FREE_TO_CHANGE = frozenset(
    {
        "engine.steps",
        "engine.workers",
        "engine.save_every",
        "engine.keep",
        "engine.validate_every",
        "engine.log_every",
        "engine.compile",
        "engine.channels_last",
        "engine.rollbacks",
    }
)
"""Settings that may change when a run is resumed: what is learnt does not depend on them.

``steps`` does change the schedule of the rates from there on; a run that is to be longer needs it.
"""

DIFFERENCES_SHOWN = 5
"""How many differing settings an error names; more would not be read."""


class Listener(Protocol):
    """Is told of the progress of a run; the library itself never prints."""

    def begin(self, first: int, steps: int) -> None:
        """Be told that steps ``first`` to ``steps`` follow."""
        return

    def step(self, record: Mapping[str, float]) -> None:
        """Be told the terms, rate and seconds of a step, by name."""
        return

    def message(self, text: str) -> None:
        """Be told a message for the user."""
        return


class Silence(Listener):
    """A listener that ignores everything."""


class RunFolder:
    """Files of one run.

    Args:
        path: the folder; made where it is not there.
        main: this process writes; the others only look.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, path: Path, *, main: bool = True) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self._log = path / "log.jsonl"
        self._main = main
        if main:
            try:
                for folder in (self.checkpoints, self.samples):
                    folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"the run's folder '{path}' cannot be made ({error.strerror}); give another --run folder"
                ) from error

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write settings and environment, after checking that a resumed run has the settings it began with.

        Raises:
            ConfigError: the folder holds a run of another recipe or with other settings, or one whose settings cannot
                be read.
        """
        stored = self.path / "settings.json"
        if stored.exists():
            with refusing(
                lambda why: ConfigError(f"'{stored}' cannot be read ({why}); give another --run folder")
            ):
                before = parse_json_object(read_text(stored))
            self._check_same_run(before, settings)
        if self._main:
            write_text_whole(stored, json.dumps(settings, indent=2) + "\n")
            write_text_whole(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def _check_same_run(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        begun, asked = before.get("recipe"), now.get("recipe")
        if begun != asked:
            raise ConfigError(
                f"'{self.path}' holds a run of recipe '{begun}' and not of '{asked}'; give another --run folder"
            )
        found = differing_settings(before, now, free=FREE_TO_CHANGE)
        differences = [f"{name} was {then!r}, is {given!r}" for name, then, given in found]
        if differences:
            more = len(differences) - DIFFERENCES_SHOWN
            shown = "; ".join(differences[:DIFFERENCES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise ConfigError(
                f"'{self.path}' holds a run with other settings ({shown}); give those, or another --run folder"
            )

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to ``log.jsonl``."""
        if self._main:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the log's lines beyond ``step``: the run goes on from there and will write them again."""
        if self._main and self._log.exists():
            kept = [json.dumps(record) for record in self.records() if record["step"] <= step]
            write_text_whole(self._log, "".join(f"{line}\n" for line in kept))

    def records(self) -> list[dict[str, Any]]:
        """Return the log, without the torn last line that a killed run may leave.

        Raises:
            ConfigError: it cannot be read, or a line is no record of a step.
        """
        if not self._log.exists():
            return []
        with refusing(
            lambda why: ConfigError(f"the log '{self._log}' cannot be read ({why}); mend it, or move it away")
        ):
            text = self._log.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            return [_parsed_record(line) for line in whole.splitlines() if line]

    def judgements(self) -> list[dict[str, Any]]:
        """Return the log's lines of validations, which have no rate as those of steps have."""
        return [record for record in self.records() if "rate" not in record]

    def picture(self, name: str, rows: list[Tensor]) -> Path | None:
        """Write rows of pictures, (B, 3, H, W) in [0, 1] each, as one grid; return its path."""
        if not self._main or not rows:
            return None
        path = self.samples / f"{name}.png"
        write_grid(path, rows)
        return path


def write_grid(path: Path, rows: list[Tensor], *, faces: int = 8) -> None:
    """Write rows of pictures, (B, 3, H, W) in [0, 1] each, as one PNG; of each row the first ``faces``.

    Raises:
        ImageError: it cannot be written.
    """
    size = max(row.shape[-1] for row in rows)
    strips = [_strip_of(row[:faces], size) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    grid = np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in strips])
    try:
        with written_whole(path) as stream:
            Image.fromarray(grid).save(stream, format="PNG", pnginfo=png_mark("sheet"))
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error


def _strip_of(row: Tensor, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (B, 3, H, W) in [0, 1] side by side, (size, B * size, 3) uint8; smaller ones enlarged by whole pixels."""
    if row.shape[-1] != size:
        row = torch.nn.functional.interpolate(row, size=(size, size), mode="nearest")
    levels = row.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    return levels.permute(2, 0, 3, 1).reshape(size, -1, 3).numpy()


def _parsed_record(line: str) -> dict[str, Any]:
    """Return the record of one line of a log."""
    record = parse_json_object(line)
    if not isinstance(record.get("step"), int) or not all(
        isinstance(v, int | float) for v in record.values()
    ):
        raise MalformedError("a line is no record of a step and its numbers")
    return record


def environment() -> dict[str, Any]:
    """Return versions, processor or accelerator, and the time."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "facerestore": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
