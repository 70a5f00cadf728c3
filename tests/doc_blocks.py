"""The fenced blocks of a Markdown page, run as a reader would run them; for tests of the documentation.

``console`` blocks hold ``$ command`` lines, each with what it prints; ``python`` blocks share their names on a page,
and a ``text`` block right behind one is what it prints. Decimals, shares, times and sizes differ between machines and
are not compared; ``...`` stands for anything, such as the names and versions that a machine has. A block below
``<!-- not run: REASON -->`` is left out.
"""

import contextlib
import io
import re
import shlex
import subprocess
from dataclasses import dataclass

from facerestore.cli.app import main

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.*?) -->\n+)?^```(?P<language>\w+).*?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"^\$ .*(?:\n(?!\$ ).*)*", re.MULTILINE)
BUSY = re.compile(r"facerestore: warning: the machine is busy.*\n?")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, what is in it, and why it is not run, if so."""

    language: str
    body: str
    reason: str | None


def blocks_of(page):
    """Return the blocks of a page in order."""
    return [
        Block(match["language"], match["body"], match["reason"])
        for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def output_of(command):
    """Return what one line prints, on both streams as they come."""
    words = shlex.split(command, comments=True)
    if words[0] == "facerestore":
        return _said_by(lambda: main(words[1:]))
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).rstrip("\n")


def matches(expected, printed):
    """Whether what was printed is what a page says, but for decimals and what ``...`` stands for."""
    parts = [_comparable(part) for part in expected.split("...")]
    return re.fullmatch(".*?".join(map(re.escape, parts)), _comparable(printed), re.DOTALL) is not None


def _comparable(text):
    return re.sub(
        r"[ \t]+", " ", re.sub(r"\d+\.\d+|\b\d+(?= (?:ms|[MG]i?B)\b|%)", "#", BUSY.sub("", text))
    ).strip()


def run_page(page, write=False):
    """Run all blocks of a page in the current folder; return what was printed otherwise than it says.

    With ``write`` the page is given what was printed instead, but where it says ``...``.
    """
    text, names, wrong, said = page.read_text(encoding="utf-8"), {}, [], ""
    rewritten, end = [], 0
    for match in BLOCK.finditer(text):
        body, language = match["body"], match["language"]
        rewritten += [text[end : match.start("body")], body]
        end = match.end("body")
        if match["reason"] is not None:
            continue
        if language == "python":
            said = _said_by(lambda body=body: exec(compile(body, page.name, "exec"), names))
        elif language in ("console", "text"):
            shown = _commands(body) if language == "console" else [("", body.rstrip("\n"))]
            printed = [(line, told, output_of(line[2:]) if line else said) for line, told in shown]
            wrong += [
                f"{page.name}: {line}\n{now}\n--- but the page says\n{told}"
                for line, told, now in printed
                if not matches(told, now)
            ]
            kept = [(line, told if matches(told, now) else now) for line, told, now in printed]
            rewritten[-1] = "".join(f"{part}\n" for pair in kept for part in pair if part.strip())
    if write:
        page.write_text("".join([*rewritten, text[end:]]), encoding="utf-8")
    return wrong


def _commands(body):
    """Return the lines ``$ command`` of a block, each with what is said to be printed."""
    parts = (found.partition("\n") for found in COMMAND.findall(body))
    return [(line, told.rstrip("\n")) for line, _, told in parts]


def _said_by(work):
    """Return what is printed while ``work`` is done, on both streams as it comes."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        work()
    return "\n".join(line.rstrip() for line in printed.getvalue().strip("\n").splitlines())
