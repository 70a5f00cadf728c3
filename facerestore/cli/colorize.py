"""``facerestore colorize``: give the faces of black-and-white photos colours."""

from __future__ import annotations

from dataclasses import replace

import typer

from facerestore.cli.options import FILES, SETTING, command
from facerestore.cli.request import SMALL, PhotosRequest
from facerestore.config import COLORIZE, COLORIZE_MASK

EPILOG = """Examples:
facerestore colorize grandmother.jpg
facerestore colorize grandmother.jpg --strength 0.6 --compare
facerestore colorize album -r -o coloured --report report.json
facerestore colorize group.jpg --faces 0,2 --mask face
facerestore colorize portrait.jpg --mask whole
facerestore colorize crop.png --aligned --weights my_network.pth
The authors' GPEN (not for commercial use; its terms are shown first), which is taken once it is here:
facerestore weights download gpen.colorization-1024"""

TEXTS = {
    "strength": "Saturation of the added colours; 0 changes nothing. 1 unless given.",
    "mask": "What is coloured: parts of faces (face,hair,neck,ears unless given), or whole (the whole square around"
    " each face, with a soft border).",
    "force": SMALL,
}


@command(
    {
        "Files": FILES,
        "Restoration": "weights detector detect_size rotations parser mask strength upscale faces min_face force"
        " aligned",
        **SETTING,
    },
    without="sheet save_stages save_damaged provider tile dial engine address",
    texts=TEXTS,
    changes={"mask": {"metavar": "PARTS"}},
    presets={"mask": COLORIZE_MASK},
)
def colorize(request: PhotosRequest) -> None:
    """Give the faces of black-and-white photos colours, and keep their light and shade.

    Each face is found and shown to a network in grey; the network's colours are laid over the photo. The photo's
    own luma (Y = 0.299 R + 0.587 G + 0.114 B) stays in every pixel, to within rounding (JPEG and lossy WebP files,
    which are encoded anew, round more), so that no wrinkle is added or lost. Only the colours are invented: they may be
    wrong.

    Only heads get colours, or what --mask says; the rest of the photo stays as it is. A grey file becomes a
    colour file. A photo that has colours already is coloured anew, and that is said. To sharpen faces as well, enhance
    first and colorize the result.

    Without --weights the best installed weights for colouring are used; lite.colour-128 comes with facerestore.
    """
    from facerestore.cli.photos import execute
    from facerestore.pipeline.tasks.build import build_colorizer

    raise typer.Exit(execute(replace(request, task=COLORIZE, build=build_colorizer)))
