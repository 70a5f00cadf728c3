"""``facerestore undo``: give back the photos that results were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerestore.cli.terminal import Terminal
from facerestore.errors import ConfigError, FaceRestoreError, ImageError, refusing

EPILOG = """Examples:
facerestore enhance album -r -o restored --keep-originals
facerestore undo restored/a.jpg -o again
facerestore undo restored -r -o again"""


def undo(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Results, the files beside them that end in .undo, or directories of these.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file for one, a directory for more; else beside the result.",
        ),
    ] = None,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Look into subdirectories, which OUT gets, too."),
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Give back the photos that results were made of, byte for byte, where --keep-originals has kept them.

    A photo comes back under its own name. Each is checked against its sha256; a result that was changed since it was
    restored is told, and stays as it is.
    """
    from facerestore.batch.undo import ENDING
    from facerestore.batch.undo import undo as take_back

    terminal = Terminal(-1 if quiet else 0)
    several = len(results) > 1 or any(path.is_dir() for path in results)
    found = [(each, path) for path in results for each in _within(path, ENDING, recursive=recursive)]
    if output is not None and several:
        if output.is_file():
            raise ConfigError(
                f"'{output}' is one file, but there may be several photos; give a directory with -o"
            )
        _make(output)
    failed = 0
    for result, given in found:
        try:
            place = output
            if output is not None and several and result != given:
                place = output / result.parent.relative_to(given)
                _make(place)
            written, same = take_back(result, output=place, overwrite=overwrite)
        except FaceRestoreError as error:
            failed += 1
            terminal.warn(f"error: {error}")
            continue
        terminal.say(f"{result} -> {written}, as it was")
        if not same:
            terminal.warn(
                f"{result}: is not the result that was made of it; it is missing, or was changed since"
            )
    raise typer.Exit(0 if not failed else 1 if failed == len(found) else 3)


def _within(path: Path, ending: str, *, recursive: bool) -> list[Path]:
    """Return the files of a directory that take results back, in order; what is given itself where there are none."""
    return sorted(path.rglob(f"*{ending}") if recursive else path.glob(f"*{ending}")) or [path]


def _make(folder: Path) -> None:
    with refusing(lambda why: ImageError(f"'{folder}' cannot be made: {why}; give another directory")):
        folder.mkdir(parents=True, exist_ok=True)
