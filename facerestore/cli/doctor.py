"""``facerestore doctor``: say what works on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from facerestore.cli.options import command
from facerestore.cli.telling import BETTER_WEIGHTS
from facerestore.cli.terminal import print_json
from facerestore.config import RestoreConfig

if TYPE_CHECKING:
    from facerestore.testing.doctor import Check

MARKS = {"ok": "ok", "absent": "--", "broken": "!!"}

EPILOG = """Examples:
facerestore doctor
facerestore doctor --device cuda
facerestore doctor --device cuda --precision fp16
facerestore doctor --json"""


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@command(
    {"": "device weights precision threads"},
    texts={
        "device": "Try the line on auto, cpu, cuda, cuda:N or mps.",
        "weights": "Try the line with these weights.",
        "precision": "Try the line in this number format; other devices than the CPU are compared with its float32.",
    },
)
def doctor(config: RestoreConfig, as_json: AsJson = False) -> None:
    """Say what works on this machine: versions, devices, weights, detectors, parsers, and a trial of the whole line.

    Nothing is downloaded or written. Exit code 1 if something that is needed is broken; what is merely not installed is
    marked -- and is no fault.
    """
    from facerestore.testing.doctor import State, diagnose

    checks = diagnose(config)
    sound = all(check.state is not State.BROKEN for check in checks)
    if as_json:
        rows = [
            {"topic": c.topic, "name": c.name, "state": c.state.value, "detail": c.detail} for c in checks
        ]
        print_json({"ok": sound, "checks": rows})
    else:
        _print_checks(checks, sound)
    raise typer.Exit(0 if sound else 1)


def _print_checks(checks: Sequence[Check], sound: bool) -> None:
    width = max(len(check.name) for check in checks)
    topic = ""
    for check in checks:
        if check.topic != topic:
            typer.echo(f"{'' if not topic else chr(10)}{check.topic}")
        topic = check.topic
        typer.echo(f"  {MARKS[check.state.value]}  {check.name:<{width}}  {check.detail}")
    typer.echo("\nall that is needed works" if sound else "\nwhat is marked !! does not work")
    if all(check.detail == "bundled" for check in checks if check.topic == "weights" and "." in check.name):
        typer.echo(BETTER_WEIGHTS)
