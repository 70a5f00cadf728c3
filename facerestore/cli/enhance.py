"""``facerestore enhance``: restore the faces of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerestore.cli.choices import given

_LINE, _FILES, _MACHINE, _TALK = "Restoration", "Files", "Machine", "What is said"

EPILOG = """Examples:

facerestore enhance photo.jpg

facerestore enhance photo.jpg -o better.png --compare

facerestore enhance album -r -o restored --report report.json

facerestore enhance group.jpg --faces 0,2 --strength 0.7

facerestore enhance old.tif --upscale 2 --format png

cat in.jpg | facerestore enhance - -o - > out.jpg"""


def enhance(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Photos, directories, or - for standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A file for one photo, a directory for more (directories are mirrored into it), or - for standard"
            " output. Without it, results go beside their photos as NAME_restored.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Look into subdirectories.", rich_help_panel=_FILES)
    ] = False,
    backend: Annotated[
        str | None,
        typer.Option(
            help="auto (the best that is installed, else the bundled one), or a name such as lite or gpen.",
            rich_help_panel=_LINE,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Weights by a name of 'facerestore weights list', or a file.",
            rich_help_panel=_LINE,
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="auto, embedded, yunet, retinaface-resnet50 or retinaface-mobile0.25.", rich_help_panel=_LINE
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="How much of the restored face is mixed in; 0 changes nothing. 1 unless given.",
            rich_help_panel=_LINE,
        ),
    ] = None,
    upscale: Annotated[
        float | None,
        typer.Option(metavar="1..8", help="Enlarge the photo by this factor.", rich_help_panel=_LINE),
    ] = None,
    faces: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="all, largest, center, or indices such as 0,2 as 'facerestore detect' shows them.",
            rich_help_panel=_LINE,
        ),
    ] = None,
    min_face: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            help="Leave faces alone whose eyes are closer together than this.",
            rich_help_panel=_LINE,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Restore small and already sharp faces too.", rich_help_panel=_LINE),
    ] = False,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned", help="The photos are square face crops; detect nothing.", rich_help_panel=_LINE
        ),
    ] = False,
    no_colour_match: Annotated[
        bool,
        typer.Option(
            "--no-colour-match",
            "--no-color-match",
            help="Keep the network's own colours instead of the photo's.",
            rich_help_panel=_LINE,
        ),
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            help="jpeg, png, webp, tiff or bmp; the photo's own unless given.", rich_help_panel=_FILES
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(metavar="1..100", help="Of JPEG and WebP.", rich_help_panel=_FILES)
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Ends the names of results; _restored beside the photo, nothing in another directory.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace results that exist. A photo itself is replaced only if -o names it.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave out photos whose result exists.", rich_help_panel=_FILES),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also draw a before/after picture beside each result, as NAME_compare.jpg.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    save_faces: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also save the aligned faces, before and after.", rich_help_panel=_FILES
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write all facts: boxes, decisions, seconds, weights.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Options from a file, in the tables 'restore' and 'output'; flags win over it.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=_FILES),
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Refuse pictures with more pixels than this.", rich_help_panel=_MACHINE
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MACHINE)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="CPU threads; 0 for automatic.", rich_help_panel=_MACHINE)
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Never use the network (enhance never does without being asked).",
            rich_help_panel=_MACHINE,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the report as JSON; text goes to standard error.", rich_help_panel=_TALK
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel=_TALK)
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            help="Say more: each face and stage; twice, the trace of errors.",
            rich_help_panel=_TALK,
        ),
    ] = 0,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=_TALK)
    ] = False,
) -> None:
    """Restore the faces of photos, and say what was done.

    Each face is found, judged, restored and blended back. Pixels outside the faces are not touched, nor are faces that
    are sharp already or too small to know (JPEG and WebP files are encoded anew when a face in them was restored; PNG,
    TIFF and BMP keep every other pixel bit for bit). A photo in which nothing was restored is copied as it is. Existing
    files are never overwritten unless you say so, and a bad file does not stop the rest.

    In a directory, files whose name ends in _restored are taken for results of an earlier run and left out.
    """
    from facerestore.cli.enhancing import Request, execute
    from facerestore.config import load_config

    restore_config, output_config = load_config(
        config,
        restore=given(
            backend=backend,
            weights=weights,
            detector=detector,
            strength=strength,
            upscale=upscale,
            faces=faces,
            min_face=min_face,
            force=force or None,
            aligned=aligned or None,
            colour_match=False if no_colour_match else None,
            device=device,
            threads=threads,
            offline=offline or None,
            max_pixels=max_pixels,
        ),
        output=given(
            format=format,
            quality=quality,
            suffix=suffix,
            overwrite=overwrite or None,
            skip_existing=skip_existing or None,
            compare=compare or None,
            save_faces=None if save_faces is None else str(save_faces),
        ),
    )
    request = Request(
        inputs=tuple(inputs),
        output=output,
        recursive=recursive,
        restore=restore_config,
        files=output_config,
        report=report,
        as_json=as_json,
        dry_run=dry_run,
        verbosity=-1 if quiet else verbose,
        progress=not no_progress,
    )
    raise typer.Exit(execute(request))
