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
facerestore undo restored -o again"""


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
    results = [each for path in results for each in (sorted(path.glob(f"*{ENDING}")) or [path])]
    if output is not None and several:
        if output.is_file():
            raise ConfigError(
                f"'{output}' is one file, but there may be several photos; give a directory with -o"
            )
        with refusing(lambda why: ImageError(f"'{output}' cannot be made: {why}; give another directory")):
            output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for result in results:
        try:
            written, same = take_back(result, output=output, overwrite=overwrite)
        except FaceRestoreError as error:
            failed += 1
            terminal.warn(f"error: {error}")
            continue
        terminal.say(f"{result} -> {written}, as it was")
        if not same:
            terminal.warn(
                f"{result}: is not the result that was made of it; it is missing, or was changed since"
            )
    raise typer.Exit(0 if not failed else 1 if failed == len(results) else 3)
