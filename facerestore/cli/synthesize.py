"""``facerestore synthesize``: draw faces from parsing maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from facerestore.cli.options import FILES, SETTING, command
from facerestore.cli.request import PhotosRequest
from facerestore.config import SYNTHESIZE
from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES

EPILOG = """Once, for the weights (not for commercial use; their terms are shown first):
facerestore weights download gpen.seg2face-512
Examples:
facerestore synthesize map.png
facerestore synthesize map.png -o face.png --compare
facerestore parse photo.jpg --maps maps
facerestore synthesize maps -o faces
facerestore synthesize --legend"""


def _print_legend(wanted: bool) -> None:
    if not wanted:
        return
    typer.echo("id  colour (R, G, B)   hex      class")
    for index, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        code = "#" + "".join(f"{value:02x}" for value in colour)
        typer.echo(f"{index:>2}  {colour!s:<17}  {code}  {name.replace('_', ' ')}")
    raise typer.Exit


Legend = Annotated[
    bool,
    typer.Option(
        "--legend",
        callback=_print_legend,
        is_eager=True,
        help="Print the 19 classes with their ids and colours.",
    ),
]


@command(
    {"Files": FILES, "Restoration": "weights", **SETTING},
    without="sheet save_faces save_stages save_damaged page provider tile dial engine address",
    texts={"inputs": "Parsing maps, directories of them, or - for standard input."},
)
def synthesize(*, legend: Legend = False, request: PhotosRequest) -> None:
    """Draw a face from a parsing map: a square picture that says what is skin, hair, an eye and so on.

    A map in colour is read by the colours of CelebAMask-HQ (--legend lists them; 'facerestore parse --maps DIR' makes
    such maps of photos).
    A map without colour is read by its grey values, 0 to 18, as class ids. An indexed file whose colours are others is
    read by its indices. A colour that is no class is an error, told with the nearest class: draw without smoothing, and
    save as PNG.

    Maps of any size are brought to the network's by nearest neighbour; the face has the network's size. Nobody looks
    like the result: it is invented.

    Without --weights the best installed weights for synthesis are used. They are not part of facerestore: see below.
    """
    from facerestore.cli.photos import execute
    from facerestore.pipeline.tasks.build import build_synthesizer

    raise typer.Exit(execute(replace(request, task=SYNTHESIZE, build=build_synthesizer)))
