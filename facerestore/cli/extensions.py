"""``facerestore extensions``: what there is of each kind that other packages can add to, and what they add."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerestore.cli.terminal import print_json
from facerestore.errors import FaceRestoreError

if TYPE_CHECKING:
    from facerestore.extensions import Extension, Extensions

EPILOG = """Examples:
facerestore extensions
facerestore extensions --json"""

WIDTH = 100


def extensions(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")] = False,
) -> None:
    """List the names of backends, detectors, recipes, degradations and metrics, and which other packages bring.

    What cannot be used is shown as broken, with the reason; everything else works all the same. What other packages
    bring is imported to see whether it can be.
    """
    from facerestore.extensions import all_extensions

    kinds = all_extensions()
    if as_json:
        print_json({kind.kind: [*map(_own_facts, kind.own), *_facts(kind)] for kind in kinds})
        return
    for kind in kinds:
        typer.echo(_filled(f"{kind.kind}s: {', '.join(kind.own)}", ""))
        for facts in _facts(kind):
            state = "" if facts["problem"] is None else "BROKEN, "
            typer.echo(f"    {facts['name']}  {state}from {facts['package']}")
            if facts["problem"] is not None:
                typer.echo(_filled(facts["problem"], 8 * " "))


def _own_facts(name: str) -> dict[str, Any]:
    return {"name": name, "package": "facerestore", "problem": None}


def _facts(kind: Extensions[Any]) -> list[dict[str, Any]]:
    """Return what is known of the extensions from outside."""
    return [
        {"name": each.name, "package": each.package, "problem": _problem(kind, each)}
        for each in kind.outside()
    ]


def _problem(kind: Extensions[Any], extension: Extension) -> str | None:
    """Return why an extension cannot be used; None where it can."""
    try:
        kind.import_one(extension)
    except FaceRestoreError as error:
        return str(error)
    return None


def _filled(text: str, indent: str) -> str:
    """Return a text in lines of a screen, those behind the first moved in."""
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent or 4 * " ", break_on_hyphens=False
    )
