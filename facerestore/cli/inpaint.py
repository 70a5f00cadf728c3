"""``facerestore inpaint``: fill what is damaged in faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facerestore.cli import options
from facerestore.config import INPAINT
from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from facerestore.pipeline.tasks.build import MaskFile, Strokes

EPILOG = """Once, for the weights (not for commercial use; their terms are shown first):

facerestore weights download gpen.inpainting-1024

Examples:

facerestore inpaint torn.jpg --mask torn_mask.png

facerestore inpaint scans -o filled --mask masks

facerestore inpaint photo.jpg --strokes --seed 3 --compare

facerestore inpaint crop.png --aligned --strokes --save-damaged damaged"""

Damage = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE|DIR",
        help="White where the photo is damaged, black elsewhere, of the photo's size; or a directory of such masks that"
        " have the names of their photos.",
        rich_help_panel="Restoration",
    ),
]

DrawStrokes = Annotated[
    bool,
    typer.Option(
        "--strokes",
        help="Damage the photo itself with random brush strokes across each face, to try what is made of them.",
        rich_help_panel="Restoration",
    ),
]

Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Other strokes; the same number and name of a photo give the same. 0 unless given.",
        rich_help_panel="Restoration",
    ),
]

SaveDamaged = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Also save the photos as the network sees them, damage white.",
        rich_help_panel="Files",
    ),
]


def inpaint(
    inputs: options.Inputs,
    damage: Damage = None,
    strokes: DrawStrokes = False,
    seed: Seed = None,
    output: options.Output = None,
    recursive: options.Recursive = False,
    weights: options.Weights = None,
    detector: options.Detector = None,
    detect_size: options.DetectSize = None,
    rotations: options.Rotations = False,
    faces: options.Faces = None,
    min_face: options.MinFace = None,
    force: options.ForceSmall = False,
    aligned: options.Aligned = False,
    no_colour_match: options.NoColourMatch = False,
    format: options.Format = None,
    quality: options.Quality = None,
    suffix: options.Suffix = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    compare: options.Compare = False,
    save_faces: options.SaveFaces = None,
    save_damaged: SaveDamaged = None,
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
    """Fill scratches, tears and stains in faces: what is white in a mask is drawn anew.

    Draw the mask in any paint program: as large as the photo, white on what is damaged, black on the rest. Each face is
    found in the photo as it is and shown to a GPEN network with its damage painted white. Of the network's picture only
    the damage is taken, with a narrow feather around it: every other pixel stays (JPEG and lossy WebP files are encoded
    anew; the others keep them bit for bit). What is drawn there is invented.

    Only faces are filled. Damage outside them stays, and how much there is of it is said. An empty mask leaves the
    photo byte for byte. With --compare and --strokes the picture before is the damaged one.

    Without --weights the best installed weights for inpainting are used. They are not part of facerestore: see below.
    """
    flags = dict(locals())
    from facerestore.cli.photos import execute
    from facerestore.cli.request import request_from
    from facerestore.pipeline.tasks.build import build_inpainter

    source = _source(damage, strokes=strokes, seed=seed)
    request = request_from(
        flags,
        INPAINT,
        build=lambda config: build_inpainter(source, config),
        check=source.for_photo,
        aside=() if damage is None else (damage,),
    )
    raise typer.Exit(execute(request))


def _source(damage: Path | None, *, strokes: bool, seed: int | None) -> MaskFile | Strokes:
    """Return what says what is damaged."""
    from facerestore.pipeline.tasks.build import MaskFile, Strokes

    if strokes and damage is not None:
        raise ConfigError("--mask and --strokes exclude each other; give one of them")
    if strokes:
        return Strokes(seed or 0)
    if seed is not None:
        raise ConfigError("--seed is for --strokes; give that too, or leave the seed out")
    if damage is None:
        raise ConfigError(
            "nothing says what is damaged; give --mask FILE (white on black, of the photo's size), or --strokes to try"
        )
    if not damage.exists():
        raise ConfigError(f"the mask '{damage}' does not exist; give a picture, or a directory of them")
    return MaskFile(damage)
