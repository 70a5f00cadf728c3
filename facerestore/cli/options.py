"""The options that commands share, each declared once: its name, its help and where it stands in the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LINE, _FILES, _MACHINE, _TALK = "Restoration", "Files", "Machine", "What is said"

Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Photos, directories, or - for standard input.")
]

Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="A file for one photo, a directory for more (directories are mirrored into it), or - for standard"
        " output. Without it, results go beside their photos, named after what was done: NAME_restored and the like.",
        rich_help_panel=_FILES,
    ),
]

Recursive = Annotated[
    bool, typer.Option("-r", "--recursive", help="Look into subdirectories.", rich_help_panel=_FILES)
]

Backend = Annotated[
    str | None,
    typer.Option(
        help="auto (each face has the installed network that suits its size and damage), a name of"
        " 'facerestore backends list', or an exported network: onnx:FILE, openvino:FILE.xml or torchscript:FILE (see"
        " 'facerestore export').",
        rich_help_panel=_LINE,
    ),
]

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Weights by a name of 'facerestore weights list', or a file.",
        rich_help_panel=_LINE,
    ),
]

Detector = Annotated[
    str | None,
    typer.Option(
        help="auto, embedded, yunet, retinaface-resnet50, retinaface-mobile0.25, or the file of a face finder.",
        rich_help_panel=_LINE,
    ),
]

DetectSize = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        help="Look for faces in the photo reduced to this longest side; quicker, but small ones are missed.",
        rich_help_panel=_LINE,
    ),
]

Rotations = Annotated[
    bool,
    typer.Option("--rotations", help="Look for turned faces beside upright ones too.", rich_help_panel=_LINE),
]

Parser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Who labels the parts of a face: auto (the best parser network that is installed, else none), none,"
        " landmarks (drawn from five points; no download), or weights by name or file.",
        rich_help_panel=_LINE,
    ),
]

Mask = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="What is pasted: face, whole (the crop, hair and all), or parts such as face,hair or face,-ears."
        " Parts need a parser.",
        rich_help_panel=_LINE,
    ),
]

Region = Annotated[
    str | None,
    typer.Option(
        metavar="PART=0..1,...",
        help="Strength of single parts in place of --strength, such as eyes=0.3,mouth=1; 0 keeps a part as it is."
        " Parts: eyes, brows, nose, mouth, lips, skin, ears, glasses, hair and more.",
        rich_help_panel=_LINE,
    ),
]

Strengths = Annotated[
    str | None,
    typer.Option(
        "--strength",
        metavar="0..1",
        help="How much of the restored face is mixed in; 0 changes nothing. 1 unless given.",
        rich_help_panel=_LINE,
    ),
]
"""A number, or a list where a sheet is drawn."""

Upscale = Annotated[
    float | None,
    typer.Option(metavar="1..8", help="Enlarge the photo by this factor.", rich_help_panel=_LINE),
]

Faces = Annotated[
    str | None,
    typer.Option(
        metavar="WHICH",
        help="all, largest, center, or indices such as 0,2 as 'facerestore detect' shows them.",
        rich_help_panel=_LINE,
    ),
]

Fidelity = Annotated[
    float | None,
    typer.Option(
        metavar="0..1",
        help="For codeformer: 0 for quality (faces from its codebook alone), 1 for fidelity (as much of the photo as it"
        " can hold). 0.5 unless given.",
        rich_help_panel=_LINE,
    ),
]

Background = Annotated[
    str | None,
    typer.Option(
        metavar="auto|NAME|FILE",
        help="Enlarge the rest of the photo with this network instead of resizing it; with --upscale 1 it is cleaned"
        " at its own size. A name of 'facerestore weights list' for the purpose background (auto is the best that is"
        " installed), or a file with a super-resolution network, such as those that spandrel knows. Slow on a CPU.",
        rich_help_panel=_LINE,
    ),
]

Tile = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        help="Compute the background in tiles of at most this side; smaller ones need less memory. Chosen by the"
        " network and the device unless given.",
        rich_help_panel=_MACHINE,
    ),
]

MinFace = Annotated[
    float | None,
    typer.Option(
        metavar="PX", help="Keep faces whose eyes are closer together than this.", rich_help_panel=_LINE
    ),
]

Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Restore faces too that would be kept as small, sharp or too large.",
        rich_help_panel=_LINE,
    ),
]

ForceSmall = Annotated[
    bool,
    typer.Option("--force", help="Take faces too that are too small to know.", rich_help_panel=_LINE),
]

Aligned = Annotated[
    bool,
    typer.Option(
        "--aligned", help="The photos are square face crops; detect nothing.", rich_help_panel=_LINE
    ),
]

NoColourMatch = Annotated[
    bool,
    typer.Option(
        "--no-colour-match",
        "--no-color-match",
        help="Keep the network's own colours instead of the photo's.",
        rich_help_panel=_LINE,
    ),
]

Official = Annotated[
    bool,
    typer.Option(
        "--official",
        help="Align, mask and round as the original test program of gpen or psfr does, defects included, so that"
        " published pictures can be compared.",
        rich_help_panel=_LINE,
    ),
]

Format = Annotated[
    str | None,
    typer.Option(help="jpeg, png, webp, tiff or bmp; the photo's own unless given.", rich_help_panel=_FILES),
]

Quality = Annotated[
    int | None,
    typer.Option(
        metavar="1..100", help="Of JPEG and WebP; 95, or as fine as the photo was.", rich_help_panel=_FILES
    ),
]

Suffix = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Ends the names of results; _restored and the like beside the photo, nothing in another directory.",
        rich_help_panel=_FILES,
    ),
]

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace results that exist. A photo itself is replaced only if -o names it.",
        rich_help_panel=_FILES,
    ),
]

SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave out photos whose result exists.", rich_help_panel=_FILES),
]

Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Also draw a before/after picture beside each result, as NAME_compare.jpg.",
        rich_help_panel=_FILES,
    ),
]

Sheet = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Compare only: draw each face as every backend and strength would restore it, side by side; no restored"
        " photo is written. --backend then takes a list such as lite,gpen.bfr-512,my.pth or all (whatever is"
        " installed), and --weights and --strength take lists, too.",
        rich_help_panel=_FILES,
    ),
]

SaveFaces = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Also save the aligned faces, before and after.", rich_help_panel=_FILES
    ),
]

SaveStages = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="With psfr: also save, for each face, what each scale from 16 to 512 px adds, the degraded face, its"
        " coloured parsing map, and one picture with all of them (NAME_faceN_stages.png).",
        rich_help_panel=_FILES,
    ),
]

Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write all facts: boxes, decisions, seconds, weights.",
        rich_help_panel=_FILES,
    ),
]

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Options from a file, in the tables 'restore' and 'output'; flags win over it.",
        rich_help_panel=_FILES,
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done, and do nothing; with -v also which network each face would have, and why.",
        rich_help_panel=_FILES,
    ),
]

MaxPixels = Annotated[
    int | None,
    typer.Option(metavar="N", help="Refuse pictures with more pixels than this.", rich_help_panel=_MACHINE),
]

Page = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Only this page of a TIFF, or this frame of an animation; the first is 1. All pages of a TIFF are done"
        " without it.",
        rich_help_panel=_FILES,
    ),
]

OnePage = Annotated[
    int | None,
    typer.Option(metavar="N", help="Which page of a TIFF, or which frame of an animation; the first is 1."),
]

Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MACHINE)]

Precision = Annotated[
    str | None,
    typer.Option(
        metavar="auto|float32|fp16|bf16",
        help="Number format in which the restoring network computes. auto: fp16 on CUDA for networks that were compared"
        " in it (a face that fp16 cannot hold is computed again in float32, which is told), float32 elsewhere. A format"
        " that the processor or GPU has no arithmetic for is refused. Detector, parser and background stay in float32."
        " What a GPU gains by it has not been measured; 'facerestore bench' does that.",
        rich_help_panel=_MACHINE,
    ),
]

Provider = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs an exported network: cpu, cuda, directml, coreml or openvino for onnx:FILE; cpu, gpu, npu or"
        " auto for openvino:FILE. Unless given, onnx follows --device and openvino takes the CPU.",
        rich_help_panel=_MACHINE,
    ),
]

Threads = Annotated[
    int | None, typer.Option(metavar="N", help="CPU threads; 0 for automatic.", rich_help_panel=_MACHINE)
]

Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Photos worked on at a time; 0 for automatic: one for each core, with a GPU at most 16. Their faces then"
        " share the GPU's calls, so that last bits may differ from run to run; 1 repeats exactly.",
        rich_help_panel=_MACHINE,
    ),
]

Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Never use the network (enhance never does without being asked).",
        rich_help_panel=_MACHINE,
    ),
]

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the report as JSON; text goes to standard error.", rich_help_panel=_TALK
    ),
]

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel=_TALK)]

Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        help="Say more: each face and stage; twice, the trace of errors.",
        rich_help_panel=_TALK,
    ),
]

NoProgress = Annotated[
    bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=_TALK)
]


def paragraphs(*lines: str) -> str:
    """Join paragraphs of one long line each: the terminal's width, not the source's, decides where lines break."""
    return "\n\n".join(lines)
