"""``facerestore parse``: show the parts of faces, and write their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facerestore.cli.one_by_one import Look, Row, one_by_one
from facerestore.cli.options import command
from facerestore.cli.request import ONE_PAGE, PhotosRequest
from facerestore.cli.telling import absent_words, stream_name, warn_passed_over
from facerestore.cli.terminal import Terminal, print_json
from facerestore.errors import ConfigError, ImageError, count, no_face
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.batch import PhotoJob
    from facerestore.config import OutputConfig, RestoreConfig
    from facerestore.types import (
        AlignedFace,
        DetectedFace,
        FaceDetector,
        FaceParser,
        Image,
        ParsingMap,
    )

SHOWN_FACES, SHOWN_CLASSES = 6, 5
"""How many faces of a photo, and parts of each, the largest first, are told in text; --json tells all."""

EPILOG = """Examples:
facerestore parse portrait.jpg
facerestore parse portrait.jpg -o parts.png --parser bisenet.facexlib
facerestore parse album -r -o parts --maps maps
facerestore parse crop.png --aligned --json"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looking:
    """What stays the same from photo to photo."""

    detector: FaceDetector | None
    parser: FaceParser
    weights: str | None
    config: RestoreConfig
    maps: Path | None
    overwrite: bool

    @property
    def labeller(self) -> str:
        """Who labels the parts, in a caption's words."""
        return "drawn from its landmarks" if self.weights is None else f"parsed by {Path(self.weights).name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsRequest:
    """What ``parse`` is asked for beside pictures."""

    maps: Path | None = option(None, metavar="DIR")
    """Also write each face's map alone: a PNG whose pixels are the class ids 0 to 18 and whose palette has their
    colours.
    """


@command(
    {
        "": "output recursive maps parser detector faces aligned device threads page max_pixels overwrite as_json quiet"
        " no_progress",
        "Restoration": "detect_size rotations",
    },
    texts={
        "output": "A file for one photo, a directory for more, or - for standard output. Without it, pictures go beside"
        " their photos as NAME_parsing.png.",
        "parser": "auto (the best network that is installed; one comes with facerestore), landmarks (drawn from five"
        " points), or weights by name or file.",
        "page": ONE_PAGE,
        "overwrite": "Replace pictures and maps that exist.",
        "as_json": "Print JSON for programs instead of lines.",
    },
)
def parse(request: PhotosRequest, also: MapsRequest) -> None:
    """Show the parts of faces: skin, eyes, brows, nose, lips, hair and the rest of the 19 classes of CelebAMask-HQ.

    For each photo one picture is written: every face as it is, under its coloured parts, and as its map, with a legend.
    What is labelled here is what 'enhance --mask' and 'enhance --region' go by. No face is a normal result.

    The parser that comes with facerestore learnt to label blurred, noisy and compressed faces. With --parser landmarks
    the parts are drawn from five points, which know neither hair nor glasses nor a hand before the face.
    """
    from facerestore.batch import plan_jobs
    from facerestore.engines.device import set_threads

    config, maps, as_json = request.restore, also.maps, request.as_json
    plan = plan_jobs(
        request.inputs,
        output=request.output,
        options=_picture_files(request),
        recursive=request.recursive,
        aside=() if maps is None else (maps,),
        takes=("face",) if config.aligned else (),
    )
    to_stdout = any(str(job.target) == "-" for job in plan.jobs)
    if to_stdout:
        request.check_stdout("picture", example="parts.png")
    set_threads(config.threads)
    terminal = request.terminal(stdout_taken=as_json or to_stdout)
    lines: list[_Looking] = []

    def assemble() -> Look:
        lines.append(_assemble_line(config, maps, request.files.overwrite, terminal))
        return partial(_parse_one, line=lines[0])

    blank: Row = {
        "output": None,
        "maps": [],
        "found": None,
        "search": None,
        "faces": [],
        "absent_indices": [],
    }

    def tell(row: Row) -> None:
        _tell_photo(row, lines[0], terminal)

    rows, code = one_by_one(plan, assemble, blank=blank | {"notes": []}, tell=tell, terminal=terminal)
    if as_json:
        names = {"parser": lines[0].parser.name, "weights": lines[0].weights} if lines else {}
        print_json({"parser": None, "weights": None, **names, "photos": rows})
    raise typer.Exit(code)


def _picture_files(request: PhotosRequest) -> OutputConfig:
    """Return how pictures are named: PNG, which keeps edges between colours, unless a file's own name says another."""
    output = request.output
    named = output is not None and output.suffix and not output.is_dir() and len(request.inputs) == 1
    return replace(request.files, format=None if named else "png", suffix="_parsing")


def _assemble_line(config: RestoreConfig, maps: Path | None, overwrite: bool, terminal: Terminal) -> _Looking:
    """Return the line, and say who labels."""
    from facerestore.engines.device import resolve_device
    from facerestore.parsing import LandmarkParser
    from facerestore.pipeline.choose import choose
    from facerestore.pipeline.installed import DETECT, NONE, PARSE
    from facerestore.pipeline.load import build_detector, build_parser
    from facerestore.weights import WeightsStore

    if config.parser == NONE:
        raise ConfigError("'facerestore parse' is all about a parser; leave out --parser none")
    store, device = WeightsStore(), resolve_device(config.device)
    # Restoring a crop needs no map of its own; here the map is what is asked for.
    chosen, finding = choose(PARSE, replace(config, aligned=False), store), choose(DETECT, config, store)
    warn_passed_over((*chosen.passed_over, *finding.passed_over), terminal)
    if chosen.name == NONE:
        raise ConfigError(
            "no parser network that is installed can be used; give --parser landmarks, or a file"
        )
    weights = None if chosen.path is None else chosen.name
    if weights is not None:
        terminal.say(f"parsing with {weights}, on {device}")
    else:
        terminal.say("parts are drawn from the five landmarks: no hair, glasses, ears or hands")
    detector = None if config.aligned else build_detector(finding, config, store, device)
    return _Looking(
        detector=detector,
        parser=build_parser(chosen, config, device=device) or LandmarkParser(),
        weights=weights,
        config=config,
        maps=maps,
        overwrite=overwrite,
    )


def _parse_one(job: PhotoJob, line: _Looking) -> dict[str, Any]:
    """Parse the faces of one photo, and write its picture and its maps; return what was found and written."""
    from facerestore.batch.photo import result_format
    from facerestore.imaging.blending import whole_face
    from facerestore.io import DEFAULT_MAX_PIXELS, exists, marked, read_shown, write_image
    from facerestore.pictures.parts import parsing_picture
    from facerestore.pipeline.report import reading_notes, search_facts
    from facerestore.pipeline.selection import absent_indices, left_to_right, select_faces
    from facerestore.types import DecodedImage, Metadata

    if not line.overwrite and str(job.target) != "-" and exists(job.target):
        raise ImageError(f"'{job.target}' exists; give --overwrite to replace it, or another -o")
    image = read_shown(
        job.source, max_pixels=line.config.max_pixels or DEFAULT_MAX_PIXELS, page=line.config.page
    )
    looked = [whole_face(image.pixels)] if line.detector is None else line.detector.detect(image.pixels)
    detected = left_to_right(looked)
    chosen = select_faces(line.config.faces, detected, image.pixels.shape)
    found = [(i, _cut_face(image.pixels, face, line)) for i, face in enumerate(detected) if i in chosen]
    faces = [face for _, face in found]
    maps = line.parser.parse(faces)
    captions = [f"face {index}, {line.labeller}" for index, _ in found]
    drawing = parsing_picture(faces, maps, captions=captions)
    picture = DecodedImage(drawing, metadata=marked(Metadata(), "parts"))
    indexed = [(index, parsing_map) for (index, _), parsing_map in zip(found, maps, strict=True)]
    written = _write_maps(job, indexed, line)
    write_image(job.target, picture, format=result_format(job.target, picture), overwrite=line.overwrite)
    rows = [_face_facts(index, face, own) for (index, face), own in zip(found, maps, strict=True)]
    absent = absent_indices(line.config.faces, len(detected))
    return {
        "output": str(job.target),
        "maps": written,
        "found": len(detected),
        "search": search_facts(detected),
        "faces": rows,
        "absent_indices": absent,
        "notes": reading_notes(image),
    }


def _cut_face(pixels: Image, face: DetectedFace, line: _Looking) -> AlignedFace:
    """Return the crop of a face at the size of the parsers."""
    from facerestore.imaging.alignment import align_face, resize_affine, warp_to_crop
    from facerestore.parsing.network_parser import INPUT_SIZE
    from facerestore.types import AlignedFace

    if line.detector is not None:
        return align_face(pixels, face, INPUT_SIZE)
    affine = resize_affine(INPUT_SIZE / pixels.shape[0])
    return AlignedFace(face, affine, warp_to_crop(pixels, affine, INPUT_SIZE))


def _write_maps(job: PhotoJob, maps: Sequence[tuple[int, ParsingMap]], line: _Looking) -> list[str]:
    """Write the map of each face alone, where that is asked for; return the paths."""
    from facerestore.io import fitting, write_encoded
    from facerestore.pictures.parts import palette_png

    if line.maps is None:
        return []
    written = []
    for index, parsing_map in maps:
        stem = line.maps / job.name
        target = stem.with_name(fitting(stem.parent, stem.name, f"_face{index}.png"))
        write_encoded(target, palette_png(parsing_map), overwrite=line.overwrite)
        written.append(str(target))
    return written


def _face_facts(index: int, face: AlignedFace, parsing_map: ParsingMap) -> dict[str, Any]:
    from facerestore.parsing import class_shares

    return {
        "index": index,
        "box": [round(value, 1) for value in face.detected.box],
        "score": round(float(face.detected.score), 3),
        "shares": {name: round(share, 4) for name, share in class_shares(parsing_map).items()},
    }


def _tell_photo(row: dict[str, Any], line: _Looking, terminal: Terminal) -> None:
    """Say what was found in one photo, and where its picture is."""
    faces = count(row["found"], "face") if row["found"] else no_face(row["search"])
    if len(row["faces"]) != row["found"]:
        faces += f", {len(row['faces'])} shown"
    name, target = stream_name(row["input"], "standard input"), stream_name(row["output"], "standard output")
    terminal.say(f"{name}: {faces} -> {target}")
    # What is drawn from landmarks has the same shares in every face.
    for face in row["faces"][:SHOWN_FACES] if line.weights is not None else []:
        parts = [item for item in face["shares"].items() if item[0] != "background"]
        largest = sorted(parts, key=lambda item: -item[1])[:SHOWN_CLASSES]
        shares = ", ".join(f"{part.replace('_', ' ')} {share:.0%}" for part, share in largest)
        terminal.say(f"  face {face['index']}: {shares or 'nothing but background'}")
    terminal.say_below([*map(absent_words, row["absent_indices"]), *row["notes"]])
    if row["maps"]:
        terminal.say(f"  also wrote {count(len(row['maps']), 'map')} into {Path(row['maps'][0]).parent}")
