"""Where evaluations go: standard output, and a directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facerestore.cli.options import Spoken
from facerestore.errors import ImageError
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.evaluation.result import Evaluation

MARKDOWN_FILE, JSON_FILE = "evaluation.md", "evaluation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Spoken):
    """Where results go."""

    output: Path | None = option(None, flags=("-o", "--output"), metavar="DIR")
    """Write evaluation.md, evaluation.json (with every face's values) and cases_METHOD.png (best and worst)."""

    overwrite: bool = option(False)
    """Replace results that exist."""

    as_json: bool = option(False, flags=("--json",))
    """Print JSON instead of Markdown."""


def check_free(asked: Results) -> None:
    """Raise ImageError before any work where a result would replace one that is to stay."""
    from facerestore.io import check_free as check_file

    folder = asked.output
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"'{folder}' is a file; give a directory with -o")
    for name in (MARKDOWN_FILE, JSON_FILE):
        check_file(folder / name, overwrite=asked.overwrite)


def write_report(
    found: Evaluation, asked: Results, *, against: str = "input", notes: Sequence[str] = ()
) -> None:
    """Print the report, and write it where a folder is given."""
    from facerestore.evaluation.tables import markdown
    from facerestore.io import write_encoded

    text = markdown(found, against=against, notes=notes)
    if asked.output is not None:
        write_encoded(asked.output / MARKDOWN_FILE, text.encode(), overwrite=asked.overwrite)
        write_encoded(asked.output / JSON_FILE, found.to_json().encode(), overwrite=asked.overwrite)
    typer.echo(found.to_json() if asked.as_json else text, nl=False)
