"""The parts of a result in the making: whole segments in a hidden folder beside it, which a later run goes on from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerestore.errors import ImageError, MalformedError, parse_json_object, read_text, refusing
from facerestore.files import path_written_whole, write_text_whole

ENDING = ".facerestore-parts"
_SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """The folder of the segments of one result.

    Attributes:
        path: of the folder.
    """

    path: Path

    def segments(self) -> list[Path]:
        """Return the whole segments in their order."""
        return sorted(self.path.glob("[0-9]*.nut"))

    def facts(self) -> list[dict[str, Any]]:
        """Return what was found in each whole segment, as it was noted."""
        return [parse_json_object(read_text(each.with_suffix(".json"))) for each in self.segments()]

    @contextmanager
    def segment(self, number: int) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield where to write a segment and what to note of it; it counts as whole where the block ends well."""
        place, facts = self.path / f"{number:06}.nut", dict[str, Any]()
        with path_written_whole(place) as (temporary, _):
            yield temporary, facts
            write_text_whole(place.with_suffix(".json"), json.dumps(facts))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path)


@contextmanager
def parts_beside(target: Path, settings: Mapping[str, Any]) -> Iterator[PartsFolder]:
    """Yield the folder of a result's segments, empty unless an earlier run with the same settings has left some.

    It stays where the block does not end well, and is gone where it does.

    Args:
        target: the result.
        settings: all that decides what the segments look like, ready for JSON.

    Raises:
        ImageError: another run makes the same result, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = PartsFolder(target.with_name(f".{target.name}{ENDING}"))
    with refusing(lambda why: ImageError(f"{target}: cannot be written ({why}); choose another place")):
        folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.path / "lock", timeout=0):
            _settle(folder, json.dumps(settings, sort_keys=True, default=str))
            try:
                yield folder
            except BaseException:
                if not folder.segments():
                    folder.remove()
                raise
    except Timeout as error:
        raise ImageError(
            f"{target}: another run is making it; wait for that, or choose another name"
        ) from error
    folder.remove()


def _settle(folder: PartsFolder, settings: str) -> None:
    """Remove what an earlier run with other settings has left, and note those of this one."""
    note, digest = folder.path / _SETTINGS, hashlib.sha256(settings.encode()).hexdigest()
    with suppress(OSError, MalformedError, UnicodeDecodeError):
        if parse_json_object(read_text(note)).get("sha256") == digest:
            return
    for left in folder.path.iterdir():
        if left.name != "lock":
            left.unlink()
    write_text_whole(note, json.dumps({"sha256": digest, "settings": json.loads(settings)}))
