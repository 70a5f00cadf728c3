"""The process that reads inputs, and that one of them may end; ``fuzz.__main__`` starts it.

It tells findings on standard output, an object of JSON a line; what is read has standard error for both.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TextIO

from fuzz.board import Board
from fuzz.engines import ENGINES, Turn
from fuzz.guard import Guard, Watch, limit_memory
from fuzz.kinds import Kind
from fuzz.targets import kinds_of


def main() -> None:
    """Work as the JSON object on the command line says."""
    order = json.loads(sys.argv[1])
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    out = Path(order["folder"]) / "out"
    out.mkdir(exist_ok=True)
    tempfile.tempdir = str(out)
    sys.dont_write_bytecode = True
    with _instrumented(order["engine"]):
        kinds = kinds_of(order["target"])
        for kind in kinds:  # which imports all that is imported late
            with contextlib.suppress(Exception):
                kind.read(kind.examples[0])
    guard = Guard(Board(Path(order["folder"]) / "board"), Watch(out), partial(_told, told))
    if order["engine"] != "atheris":  # whose own words go there
        guard.said = _Words().said
    limit_memory()
    until = time.monotonic() + order["seconds"]
    ENGINES[order["engine"]](Turn(kinds, guard, order["seed"], order["first"], order["runs"], until))


def _instrumented(engine: str) -> contextlib.AbstractContextManager[object]:
    if engine != "atheris":
        return contextlib.nullcontext()
    import atheris

    context: contextlib.AbstractContextManager[object] = atheris.instrument_imports(include=["facerestore"])
    return context


def _told(stream: TextIO, words: str, kind: Kind, data: bytes) -> None:
    print(json.dumps({"words": words, "kind": kind.name, "input": data.hex()}), file=stream, flush=True)


class _Words:
    """What was written to standard output and error, a file, since it was last asked for."""

    def __init__(self) -> None:
        self._size = os.fstat(2).st_size

    def said(self) -> str:
        """Return it as a finding; empty where it is nothing."""
        sys.stdout.flush()
        size = os.fstat(2).st_size
        before, self._size = self._size, size
        if size == before:
            return ""
        text = os.pread(2, min(size - before, 300), before).decode(errors="replace")
        return f"says something: {' '.join(text.split())}"


if __name__ == "__main__":
    main()
