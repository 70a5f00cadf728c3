"""Help as people read it, on every terminal, and answers to the flags of other programs."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

from facerestore.cli.terminal import is_plain
from facerestore.cli.values import quickened

FOREIGN_FLAGS = {
    "-i": "photos and directories are named without a flag: facerestore {command} PHOTO",
    "-s": "the factor of enlargement is --upscale 2",
    "-w": "how much of the restored face is taken is --strength 0..1; CodeFormer's weight is --fidelity 0..1",
    "-n": "the network is named with --backend or --weights",
    "-t": "the side of a tile is --tile PX",
    "-g": "the device is --device cuda:N",
    "-j": "photos at a time are --workers N",
    "-f": "the format of results is --format png",
    "-x": "there is no such flag; --upscale enlarges",
    "--version": "the network is named with --weights, such as gfpgan.v1.4",
    "--arch": "the network is named with --backend or --weights",
    "--channel": "the size of a network is read from its weights",
    "--model-name": "the network is named with --backend or --weights",
    "--bg-upsample": "the rest of the photo is enlarged with --background NAME",
    "--draw-box": "boxes are drawn by: facerestore detect PHOTO -o found.jpg",
    "--save-video-fps": "a video keeps the times of its frames: facerestore {command} clip.mp4",
    "--alpha": "how much of the restored face is taken is --strength 0..1",
    "--in-size": "the size of a network is read from its weights",
    "--use-sr": "the rest of the photo is enlarged with --background NAME",
    "--sr-scale": "the factor of enlargement is --upscale 2",
    "--tile-size": "the side of a tile is --tile PX",
    "--save-face": "faces are saved with --save-faces DIR",
    "--task": "GPEN's tasks are commands: facerestore enhance, colorize, inpaint, synthesize",
    "--input": "photos and directories are named without a flag: facerestore {command} PHOTO",
    "--input-path": "photos and directories are named without a flag: facerestore {command} PHOTO",
    "--indir": "photos and directories are named without a flag: facerestore {command} DIR",
    "--test-path": "photos and directories are named without a flag: facerestore {command} DIR",
    "--output-path": "results go to -o OUT",
    "--outdir": "results go to -o DIR",
    "--scale": "the factor of enlargement is --upscale 2",
    "--weight": "how much of the restored face is taken is --strength 0..1",
    "--fidelity-weight": "CodeFormer's weight is --fidelity 0..1",
    "--bg-upsampler": "the rest of the photo is enlarged with --background NAME",
    "--bg-tile": "the side of a tile is --tile PX",
    "--face-upsample": "faces follow --upscale by themselves",
    "--has-aligned": "square face crops are --aligned",
    "--only-center-face": "the face in the middle is --faces center",
    "--detection-model": "the detector is --detector NAME",
    "--ext": "the format of results is --format png",
    "--model": "the network is named with --backend or --weights",
    "--model-path": "the file of a network is --weights FILE",
    "--use-cuda": "the device is --device cuda",
}
"""Flags of GFPGAN, CodeFormer, GPEN and the ncnn programs, as they are written and with dashes, and ours for them."""

GFPGAN_VERSIONS = {
    "1": "gfpgan.v1.4 (version 1 is not here)",
    "1.2": "gfpgan.v1.4 (version 1.2 is not here)",
    "1.3": "gfpgan.v1.3",
    "1.4": "gfpgan.v1.4",
    "RestoreFormer": "restoreformer.ffhq-512",
}
"""What follows ``-v`` in GFPGAN, and the weights for it here."""

FOREIGN_COMMANDS = {
    "help": "facerestore --help, or facerestore COMMAND --help",
    "version": "facerestore --version",
    "restore": "facerestore enhance PHOTO",
    "batch": "facerestore enhance DIRECTORY -r",
    "upscale": "facerestore enhance PHOTO --upscale 2",
    "models": "facerestore weights list",
    "download": "facerestore weights download NAME",
    "list": "facerestore weights list",
    "eval": "facerestore evaluate",
    "check": "facerestore doctor",
}
"""What others call what is a command here, or an option."""

_NAMELESS = ("-o", "--output")
"""Options in which an empty word, as an unset variable gives it, would be the current directory or nothing."""

Command = TypeVar("Command", bound=Callable[..., None])

_MARKUP = re.compile(r"\[/?(?:bold|italic|dim)\]")


class Program(TyperGroup):
    """The program, whose help has words where typer has types, and no frames on plain terminals."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        settle(self, plain=is_plain(sys.stdout))


def settle(command: Any, *, plain: bool) -> None:
    """Change the help of a command and of all below it.

    What typer shows of a type depends on its version; metavars are shown as they are by all.
    """
    if plain:
        command.rich_markup_mode = None
        command.help = _MARKUP.sub("", command.help or "")
    for below in getattr(command, "commands", {}).values():
        settle(below, plain=plain)
    usual = command.get_params

    def get_params(context: Any) -> Any:
        return [quickened(_settled(parameter), command) for parameter in usual(context)]

    command.get_params = get_params
    if not hasattr(command, "commands"):
        arguments = [_named(p) for p in command.params if p.param_type_name == "argument"]
        command.collect_usage_pieces = lambda context: [command.options_metavar, *arguments]


def _named(argument: Any) -> str:
    """Return an argument as the line of usage has it."""
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required else f"[{name}]"


def _settled(parameter: Any) -> Any:
    """Return a parameter whose kind is told in a word; of a switch there is nothing to tell."""
    if getattr(parameter, "is_flag", False) or getattr(parameter, "count", False):
        parameter.metavar = ""
    elif parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: ""
    elif parameter.metavar is None:
        parameter.metavar = "TEXT"
    return parameter


def paragraphs(*texts: str) -> str:
    """Return texts with each line as a paragraph: the terminal's width, not the source's, decides where lines break."""
    return "\n\n".join(line for text in texts for line in text.splitlines() if line)


def help_of(command: Callable[..., None]) -> str:
    """Return a command's docstring with one line a paragraph."""
    written = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return paragraphs(*(" ".join(paragraph.split()) for paragraph in written))


def subcommand(app: typer.Typer, name: str, *examples: str) -> Callable[[Command], Command]:
    """Return what adds a command to a group; its docstring is its help, with examples below."""

    def added(function: Command) -> Command:
        epilog = paragraphs("Examples:", *examples) if len(examples) > 1 else "".join(examples)
        app.command(name, help=help_of(function), epilog=epilog)(function)
        return function

    return added


def foreign_answer(option: str, command: str) -> str | None:
    """Return what to write for a flag of another program; None for one that nobody has.

    Args:
        option: as it was written, such as ``-i``.
        command: that was called, such as ``enhance``.
    """
    word = option.split("=")[0]
    found = FOREIGN_FLAGS.get(word) or FOREIGN_FLAGS.get(word.replace("_", "-"))
    return None if found is None else found.format(command=command)


def version_answer(words: Sequence[str]) -> str | None:
    """Return how GFPGAN's ``-v 1.4`` is written, which here would be more words and a photo called 1.4."""
    found = next((word for flag, word in pairwise(words) if flag == "-v" and word in GFPGAN_VERSIONS), None)
    if found is None or os.path.lexists(found):
        return None
    return f"-v says more here, and '{found}' is no photo: the network is named with --weights {GFPGAN_VERSIONS[found]}"


def command_answer(word: str) -> str | None:
    """Return what to write in place of a command that there is not; None where nobody knows."""
    if os.path.lexists(word):
        return f"facerestore enhance {shlex.quote(word)}"
    return FOREIGN_COMMANDS.get(word.lstrip("-").lower())


def empty_answer(words: Sequence[str]) -> str | None:
    """Return what is wrong with an empty word among those of a command line; None where none is, or it is a value."""
    for before, word in zip(("-o", *words), words, strict=False):
        if word == "" and (before in _NAMELESS or not before.startswith("-")):
            return "an input or output is empty (an unset variable?); for the current directory write ."
    return None


def file_answer(words: Sequence[str]) -> str | None:
    """Return how to name a file whose name begins with a dash, where one of the words is such a file's."""
    found = next(
        (word for word in words if word.startswith("-") and len(word) > 1 and os.path.lexists(word)), None
    )
    return None if found is None else f"to name the file '{found}', write ./{found}"
