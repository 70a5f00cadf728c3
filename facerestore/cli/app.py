"""The command line: parse, call one function of the library, print. Errors become one line and an exit code."""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from facerestore import __version__
from facerestore.cli import stopping
from facerestore.cli.commands import COMPLETION, QuickEnd, add_all, add_called, called_command
from facerestore.cli.helping import (
    Program,
    command_answer,
    empty_answer,
    file_answer,
    foreign_answer,
    version_answer,
)
from facerestore.cli.terminal import silence
from facerestore.engines.device import wait_asleep
from facerestore.errors import ConfigError, FaceRestoreError, WeightsError, named

ORDERLY_ENDS = ("train", "evaluate")
"""Commands whose libraries may have something to write or to take leave of when the process ends."""

DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow"}
"""What is installed by another name than it is imported by."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

EXIT_FAILURE, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_WEIGHTS, EXIT_SIGNAL = 1, 2, 3, 4, 128
EXIT_UNREAD = 141
"""Whoever read the output has gone: 128 + SIGPIPE, as other programs end then."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facerestore {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _program() -> typer.Typer:
    """Return the program without its commands."""
    program = typer.Typer(
        name="facerestore",
        cls=Program,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=(
            "Restore faces in real photographs: offline, on any machine, keeping the person recognisable.\n\n"
            "Start with [bold]facerestore enhance photo.jpg[/bold]: it writes photo_restored.jpg beside it and says"
            " what it did. Nothing is downloaded, and nothing leaves this machine."
        ),
        epilog=(
            "Exit codes: 0 done (no face is a normal result), 1 failure, 2 usage, 3 some inputs failed,"
            " 4 weights missing or corrupt, 130 interrupted, 141 output no longer read, 143 terminated."
        ),
    )
    program.callback()(_common)
    return program


def __getattr__(name: str) -> typer.Typer:
    """Return the program with all its commands as ``app``, for who wants to look at them; ``main`` imports only one."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    program = _program()
    add_all(program)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name; those of the process when None.
    """
    if arguments is not None:
        return _run(list(arguments))
    words = sys.argv[1:]
    end = QuickEnd()
    stopping.listen()
    orderly = called_command(words) in ORDERLY_ENDS
    if orderly:
        gc.set_threshold(700)  # Python's own number, which runs of hours with large cycles go by
    code = _run(words)
    if not orderly:
        end.code = code
        if code > EXIT_SIGNAL:  # photos may be under way in threads, which nobody waits for any more
            end.now()
    return code


def _run(words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the terminal's encoding lacks must not end a run.
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is None:  # it was closed before, and nobody wants to hear
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    wait_asleep()
    program = _program()
    try:
        if (fault := empty_answer(words) or version_answer(words)) is not None:
            raise ConfigError(fault)
        add_called(program, words)
        result = _invoke(program, words)
        if sys.stdout is not None:  # which it is where it was closed before
            sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort) as error:
        return _complain("interrupted", stopping.code_of(error))
    except BrokenPipeError:
        silence(sys.stdout)  # whoever read a list has seen enough of it
        return EXIT_UNREAD
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich, which draws tables and help, ends so
            return EXIT_UNREAD
        raise
    except Exception as error:  # the one place where an error meets a person
        if _wants_traceback(words):
            import traceback

            traceback.print_exc()
        return _complain(_answer(error, words) or _describe(error), _exit_code(error))
    return result if isinstance(result, int) else 0


def _invoke(program: typer.Typer, words: Sequence[str]) -> object:
    """Call the command of a command line, and return its exit code or what else it returns.

    Not by typer's own ``main``, in which an interruption and a closed output end without a word.
    """
    if COMPLETION in os.environ:
        return program(args=list(words), prog_name="facerestore", standalone_mode=False)
    command = typer.main.get_command(program)
    try:
        with command.make_context("facerestore", list(words)) as context:
            return command.invoke(context)
    except typer.Exit as end:
        return end.exit_code


def _answer(error: Exception, words: Sequence[str]) -> str | None:
    """Return what to write in place of an option or a command that there is not; None where nobody knows."""
    if isinstance(error, OSError):  # nothing was wrong with the words
        return None
    option = getattr(error, "option_name", None)
    if words and called_command(words) is None and not isinstance(error, FaceRestoreError):
        word = next((word for word in words if not word.startswith("-")), words[0])
        ours = command_answer(word)
        return None if ours is None else f"'{word}' is no command; write: {ours}"
    if option is None or not hasattr(error, "possibilities"):
        return None
    ours = file_answer(words) or foreign_answer(option, called_command(words) or "enhance")
    return None if ours is None else f"there is no option {option}: {ours}"


def _exit_code(error: Exception) -> int:
    if isinstance(error, WeightsError):
        return EXIT_WEIGHTS
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    # The parser's own errors carry a code; where they live depends on the version of typer.
    code = getattr(error, "exit_code", EXIT_FAILURE)
    return code if isinstance(code, int) else EXIT_FAILURE


def _describe(error: Exception) -> str:
    """Return what went wrong, for one line."""
    if isinstance(error, FaceRestoreError):
        return str(error)
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "facerestore"
        message = format_message()
        message = message if not message or message.endswith((".", "?")) else f"{message}."
        return f"{message} See '{command} --help'." if message else ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = DISTRIBUTIONS.get(error.name.partition(".")[0], error.name.partition(".")[0])
        return f"this needs the package {package}, which is not installed; run: pip install {package}"
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return f"nothing more can be written ({error.strerror}); make room, or lead standard output elsewhere"
    return f"{named(error)} (FACERESTORE_DEBUG=1 shows where)"


def _complain(message: str, code: int) -> int:
    """Print one line, unless there is nothing to say (help was shown already), and return the code."""
    if message:
        try:
            typer.echo(f"facerestore: {'' if code > EXIT_SIGNAL else 'error: '}{message}", err=True)
        except OSError:  # nobody hears it, and the code still tells
            silence(sys.stderr)
    return code


def _wants_traceback(words: Sequence[str]) -> bool:
    verbose = sum(word.count("v") for word in words if word.startswith("-v") and set(word) == {"-", "v"})
    verbose += words.count("--verbose")
    return verbose >= 2 or os.environ.get("FACERESTORE_DEBUG", "") not in ("", "0")
