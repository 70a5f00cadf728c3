"""``facerestore colorize``: give the faces of black-and-white photos colours."""

from __future__ import annotations

from typing import Annotated

import typer

from facerestore.cli import options
from facerestore.config import COLORIZE

EPILOG = """Once, for the weights (not for commercial use; their terms are shown first):

facerestore weights download gpen.colorization-1024

Examples:

facerestore colorize grandmother.jpg

facerestore colorize grandmother.jpg --strength 0.6 --compare

facerestore colorize album -r -o coloured --report report.json

facerestore colorize group.jpg --faces 0,2 --mask face

facerestore colorize crop.png --aligned --weights my_network.pth"""

Saturation = Annotated[
    float | None,
    typer.Option(
        metavar="0..1",
        help="Saturation of the added colours; 0 changes nothing. 1 unless given.",
        rich_help_panel="Restoration",
    ),
]

Parts = Annotated[
    str | None,
    typer.Option(
        metavar="PARTS",
        help="What is coloured: whole (the whole square around each face, with a soft border; unless given), face, or"
        " parts such as face,hair.",
        rich_help_panel="Restoration",
    ),
]


def colorize(
    inputs: options.Inputs,
    output: options.Output = None,
    recursive: options.Recursive = False,
    weights: options.Weights = None,
    detector: options.Detector = None,
    detect_size: options.DetectSize = None,
    rotations: options.Rotations = False,
    parser: options.Parser = None,
    mask: Parts = None,
    strength: Saturation = None,
    upscale: options.Upscale = None,
    faces: options.Faces = None,
    min_face: options.MinFace = None,
    force: options.ForceSmall = False,
    aligned: options.Aligned = False,
    format: options.Format = None,
    quality: options.Quality = None,
    suffix: options.Suffix = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    compare: options.Compare = False,
    save_faces: options.SaveFaces = None,
    report: options.Report = None,
    config: options.Config = None,
    dry_run: options.DryRun = False,
    page: options.Page = None,
    max_pixels: options.MaxPixels = None,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    workers: options.Workers = None,
    offline: options.Offline = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Give the faces of black-and-white photos colours, and keep their light and shade.

    Each face is found and shown to a GPEN network in grey; the network's colours are laid over the photo. The photo's
    own luma (Y = 0.299 R + 0.587 G + 0.114 B) stays in every pixel, to within rounding (JPEG and lossy WebP files,
    which are encoded anew, round more), so that no wrinkle is added or lost. Only the colours are invented: they may be
    wrong.

    Only faces and what is close around them get colours; the rest of the photo stays as it is. A grey file becomes a
    colour file. A photo that has colours already is coloured anew, and that is said. To sharpen faces as well, enhance
    first and colorize the result.

    Without --weights the best installed weights for colouring are used. They are not part of facerestore: see below.
    """
    flags = dict(locals())
    from facerestore.cli.photos import execute
    from facerestore.cli.request import request_from
    from facerestore.pipeline.tasks.build import COLORIZE_MASK, build_colorizer

    defaults = {"mask": COLORIZE_MASK}
    raise typer.Exit(execute(request_from(flags, COLORIZE, build=build_colorizer, restore_defaults=defaults)))
