"""``facerestore data``: from photographs to faces to learn from, and what degradations make of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facerestore.cli.helping import paragraphs, subcommand
from facerestore.cli.options import Spoken, command
from facerestore.cli.terminal import Terminal, print_json
from facerestore.errors import ConfigError, ImageError, count
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.training.data.degraded_faces import DegradedFace
    from facerestore.training.data.face_files import FaceFile
    from facerestore.training.data.preparation import Preparation
    from facerestore.training.data.prepared import Prepared

EPILOG = """To begin:
facerestore data prepare PHOTOS FACES
facerestore data degrade FACES/train -o degradations.png
facerestore train lite --data FACES/train --val FACES/val --run runs/lite"""

data_app = typer.Typer(
    no_args_is_help=True,
    help="Make faces to learn from out of photographs, and see what degradations make of them.",
    epilog=paragraphs(EPILOG),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions(Spoken):
    """What ``data prepare`` was asked for."""

    photos: Path = option(argument=True, metavar="PHOTOS")
    """Folder of photographs; its subfolders are the sets."""

    out: Path = option(argument=True, metavar="OUT")
    """Folder of the faces; one that was begun is gone on with."""

    size: int = option(512, least=64, metavar="PX")
    """Largest side of a face."""

    min_size: int = option(256, least=64, metavar="PX")
    """Smallest side; faces are never enlarged, smaller ones are dropped."""

    max_blur: float = option(1.75, least=0.0, metavar="PX")
    """Widest edges, pixels of the crop; 1 is sharp."""

    max_noise: float = option(5.0, least=0.0, metavar="LEVELS")
    """Strongest noise, levels of 255."""

    max_blocks: float = option(1.25, least=1.0, metavar="X")
    """Strongest JPEG blocks; 1 is none."""

    max_turn: float = option(0.4, least=0.0, metavar="X")
    """Furthest turn to a side; 0 is frontal, 0.3 about three quarters."""

    max_outside: float = option(0.1, least=0.0, most=1.0, metavar="SHARE")
    """Largest share of the crop that lies outside the photo."""

    duplicate_bits: int = option(30, least=0, most=256, metavar="N")
    """Faces whose 256-bit hashes differ in so many bits are one picture."""

    val_share: float = option(0.05, least=0.0, most=1.0, metavar="SHARE")
    """Share of photos whose faces go to OUT/val."""

    shards: int | None = option(None, metavar="MB")
    """Pack the faces into tar files of this size, as webdataset names them."""

    detector: str = option("auto")
    """auto, embedded, yunet, retinaface-resnet50, retinaface-mobile0.25, or the file of a face detector."""

    device: str = option("auto")
    """auto, cpu, cuda, cuda:N or mps."""

    threads: int = option(0, metavar="N")
    """CPU threads; 0 for automatic."""

    max_pixels: int | None = option(None, least=1, metavar="N")
    """Refuse pictures with more pixels than this."""

    as_json: bool = option(False, flags=("--json",))
    """Print JSON for programs at the end."""

    @property
    def settings(self) -> Preparation:
        """How photos become faces.

        Raises:
            ConfigError: a value is unfit.
        """
        from facerestore.training.data.preparation import Preparation
        from facerestore.training.engine.settings import make_settings

        screening = {
            "largest_px": self.size,
            "smallest_px": self.min_size,
            "max_outside": self.max_outside,
            "max_turn": self.max_turn,
            "max_blur_px": self.max_blur,
            "max_noise": self.max_noise,
            "max_blockiness": self.max_blocks,
            "duplicate_bits": self.duplicate_bits,
        }
        limit = {} if self.max_pixels is None else {"max_pixels": self.max_pixels}
        values = {"screening": screening, "val_share": self.val_share, **limit}
        return make_settings(Preparation, values, source="data prepare")


@subcommand(data_app, "prepare", "facerestore data prepare album faces --size 512 --min-size 288")
@command({"": "* quiet no_progress"})
def prepare(asked: PrepareOptions) -> None:
    """Cut the faces out of photographs: aligned, screened, split, and listed.

    OUT/train and OUT/val get one PNG a face, in folders by set. OUT/manifest.csv says what became of every face, and
    OUT/dropped.jpg shows those that were dropped and why. The same command goes on where it was stopped, tries photos
    that failed again, and does photos that were added since.
    """
    out, shards = asked.out, asked.shards
    if shards is not None and shards < 1:
        raise ConfigError(f"--shards is {shards}; give megabytes, such as 1000")
    settings = asked.settings
    terminal = asked.terminal(stdout_taken=asked.as_json)
    prepared = _prepare_photos(asked, settings, terminal)
    if shards is not None:
        from facerestore.training.data.preparation import pack_faces

        for shard in pack_faces(out, prepared, max_bytes=shards * 10**6):
            terminal.say(f"{shard}: {shard.stat().st_size / 1e6:.1f} MB")
    _tell_prepared(prepared, out, terminal, as_json=asked.as_json)
    failed = len(prepared.failed)
    raise typer.Exit(0 if not failed else 1 if failed == len(prepared.photos) else 3)


def _prepare_photos(asked: PrepareOptions, settings: Preparation, terminal: Terminal) -> Prepared:
    """Prepare with a bar, and a line for each photo that fails."""
    from facerestore.config import RestoreConfig
    from facerestore.engines.device import resolve_device, set_threads
    from facerestore.pipeline.choose import choose
    from facerestore.pipeline.installed import DETECT
    from facerestore.pipeline.load import build_detector
    from facerestore.training.data.preparation import FacePreparation
    from facerestore.weights import WeightsStore

    set_threads(asked.threads)
    config, store = RestoreConfig(detector=asked.detector), WeightsStore()
    found = build_detector(choose(DETECT, config, store), config, store, resolve_device(asked.device))
    work = FacePreparation(asked.photos, asked.out, found, settings)
    with terminal.steps(len(work.todo)) as begin:
        for photo in work.todo:
            begin(photo)
            row = work.do(photo)
            if row.error:
                terminal.warn(f"error: {row.error}")
    return work.finish()


def _tell_prepared(prepared: Prepared, out: Path, terminal: Terminal, *, as_json: bool) -> None:
    kept, dropped = prepared.kept, prepared.dropped
    without = sum(not row.faces and not row.error for row in prepared.photos)
    splits = {split: sum(face.split == split for face in kept) for split in ("train", "val")}
    if as_json:
        values = {
            "photos": len(prepared.photos),
            "failed": [{"photo": row.photo, "error": row.error} for row in prepared.failed],
            "without_face": without,
            **splits,
            "dropped": dropped,
            "manifest": str(out / "manifest.csv"),
            "sheet": None if prepared.sheet is None else str(prepared.sheet),
        }
        print_json(values)
        return
    why = f" ({', '.join(f'{number} {reason}' for reason, number in dropped.items())})" if dropped else ""
    terminal.say(
        f"{count(len(prepared.photos), 'photo')}: {count(len(kept), 'face')} kept ({splits['train']} to learn from,"
        f" {splits['val']} to judge on), {sum(dropped.values())} dropped{why}, {without} without a face,"
        f" {len(prepared.failed)} failed"
    )
    terminal.say(f"list: {out / 'manifest.csv'}")
    if kept and not splits["val"]:
        terminal.say(
            "no face to judge on; with so few photos give a larger --val-share, such as 0.2, and another OUT"
        )
    if prepared.sheet is not None:
        terminal.say(f"dropped faces: {prepared.sheet}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeOptions(Spoken):
    """What ``data degrade`` was asked for."""

    faces: Path = option(argument=True, metavar="FACES")
    """Aligned faces: a folder, a tar shard, or shards/{000..099}.tar."""

    preset: tuple[str, ...] = option((), metavar="NAME")
    """gfpgan, gpen, severe, psfr, sr-x4, sr-x8, sr-x16, old-photo, web, print, damage, phone, or one of another
    package. Repeat it for more; all of ours without it.
    """

    mix: str | None = option(None, metavar="SHARES")
    """Draw a preset for each face instead: gfpgan=0.8,clean=0.2"""

    output: Path | None = option(None, flags=("-o", "--output"), metavar="SHEET")
    """Picture to write; degradations.png where neither this nor --pairs is given."""

    pairs: Path | None = option(None, metavar="DIR")
    """Write the pairs of all faces: DIR/lq, DIR/hq and DIR/pairs.jsonl with all parameters; in a folder for each preset
    where there are several.
    """

    seed: int = option(7, least=0, metavar="N")
    """Another number, other parameters."""

    size: int = option(256, least=16, metavar="PX")
    """Side of the faces; larger ones are reduced."""

    rows: int = option(4, least=1, metavar="N")
    """Faces on the sheet, spread over all."""

    overwrite: bool = option(False)
    """Replace files that exist."""


@subcommand(data_app, "degrade", "facerestore data degrade faces/val --preset psfr --pairs pairs --seed 7")
@command({"": "* quiet no_progress"})
def degrade(asked: DegradeOptions) -> None:
    """Show what degradations make of faces, with the parameters that were drawn, and write pairs.

    A pair depends on the seed and on the face's number among all faces alone, and can be made again from its line in
    pairs.jsonl.
    """
    from facerestore.degradation import PRESETS
    from facerestore.training.data.degraded_faces import parse_mix
    from facerestore.training.data.face_files import face_files

    if asked.preset and asked.mix:
        raise ConfigError(
            "--preset shows every face in each preset, --mix in one that is drawn; give one of both"
        )
    mixes = [parse_mix(asked.mix)] if asked.mix else [parse_mix(name) for name in asked.preset or PRESETS]
    files = face_files(asked.faces)
    terminal = asked.terminal()
    failures = 0
    if asked.output is not None or asked.pairs is None:
        failures += _write_sheet(asked, files, mixes, terminal)
    if asked.pairs is not None:
        failures += _write_pairs(asked, files, mixes, asked.pairs, terminal)
    raise typer.Exit(3 if failures else 0)


def _write_sheet(
    asked: DegradeOptions, files: list[FaceFile], mixes: list[dict[str, float]], terminal: Terminal
) -> int:
    """Write the sheet and return how many faces could not be read."""
    from facerestore.io import marked, write_image
    from facerestore.training.data.degraded_faces import degradation_sheet
    from facerestore.training.data.face_files import spread
    from facerestore.types import DecodedImage, Metadata

    chosen, shown = list(spread(files, asked.rows)), []
    for index, file in chosen:
        row = [_degraded_or_told(asked, file, index, mix, terminal) for mix in mixes]
        whole = [pair for pair in row if pair is not None]
        shown += [whole] if len(whole) == len(row) else []
    if not shown:
        raise ImageError(f"none of {len(chosen)} faces can be shown; the lines above say why")
    page = degradation_sheet(shown, tile_px=min(asked.size, 256))
    target = asked.output or Path("degradations.png")
    picture = DecodedImage(page, metadata=marked(Metadata(), "sheet"))
    write_image(target, picture, overwrite=asked.overwrite)
    terminal.say(f"{target}: {count(len(shown), 'face')}, {count(len(mixes), 'degradation')}")
    return len(chosen) - len(shown)


def _degraded_or_told(
    asked: DegradeOptions, file: FaceFile, index: int, mix: dict[str, float], terminal: Terminal
) -> DegradedFace | None:
    """Return a pair, or None where the face cannot be read, which is said."""
    from facerestore.training.data.degraded_faces import degraded_face

    try:
        return degraded_face(file, index, face_size=asked.size, mix=mix, seed=asked.seed)
    except ImageError as error:
        terminal.warn(f"error: {error}")
        return None


def _write_pairs(
    asked: DegradeOptions,
    files: list[FaceFile],
    mixes: list[dict[str, float]],
    folder: Path,
    terminal: Terminal,
) -> int:
    """Write the pairs of all faces and return how many could not be."""
    from facerestore.training.data.degraded_faces import PairFolder

    failures = 0
    with terminal.steps(len(files) * len(mixes)) as begin:
        for mix in mixes:
            place = folder / next(iter(mix)) if len(mixes) > 1 else folder
            written = PairFolder(place, overwrite=asked.overwrite)
            for index, file in enumerate(files):
                begin(file.name)
                pair = _degraded_or_told(asked, file, index, mix, terminal)
                if pair is None:
                    failures += 1
                else:
                    written.add(pair)
            written.close()
            terminal.say(f"{place}: {count(len(files), 'face')}")
    return failures
