"""What is written beside a result: faces before and after, stages of a network, pictures of the photo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.config import OutputConfig
from facerestore.errors import InTheWayError
from facerestore.imaging.pixels import to_8_bit
from facerestore.io import (
    RemotePath,
    check_free,
    colours_of,
    fitting,
    is_folder,
    is_there,
    marked,
    write_image,
)
from facerestore.pictures.result import RestoreResult
from facerestore.pictures.stages import stage_pictures
from facerestore.types import DecodedImage, Image

if TYPE_CHECKING:
    from facerestore.pipeline.restore import RestorePipeline


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise ImageError when a file cannot be written where it is to be, before any work is spent on it."""
    if not isinstance(target, RemotePath) and is_folder(target):
        raise InTheWayError(f"'{target}' is a directory; give another --suffix or -o")
    if overwrite:
        check_free(target, overwrite=True)
    elif target.is_file() if isinstance(target, RemotePath) else is_there(target):
        raise InTheWayError(
            f"'{target}' exists; give --overwrite to replace it, --skip-existing to leave such photos out,"
            " or another --suffix or -o"
        )


def picture_of(pixels: Image, result: RestoreResult, kind: str) -> DecodedImage:
    """Return a picture made of a photo's pixels, whose colours look as the photo's do, marked as drawn."""
    return DecodedImage(pixels, metadata=marked(colours_of(result.image), kind), format=result.image.format)


def beside(stem: Path, ending: str) -> Path:
    """Return the path of a side product: what names a job's, and what it is."""
    return stem.with_name(fitting(stem.parent, stem.name, ending))


def write_extra(target: Path, image: DecodedImage, options: OutputConfig) -> Path:
    """Write a picture of a run, in place of an older one where that is allowed; return its path."""
    return write_image(target, image, overwrite=options.overwrite)


def write_faces(stem: Path, result: RestoreResult, options: OutputConfig) -> list[Path]:
    """Write the aligned faces, as they were and as they became."""
    written = []
    for index, face in enumerate(result.faces):
        for word, pixels in (("before", face.aligned.lq if face.aligned else None), ("after", face.restored)):
            if pixels is not None:
                target = beside(stem, f"_face{index}_{word}.png")
                written.append(write_extra(target, picture_of(to_8_bit(pixels), result, "face"), options))
    return written


def write_stages(
    stem: Path, result: RestoreResult, pipeline: RestorePipeline, options: OutputConfig
) -> list[Path]:
    """Write what each scale added to each restored face."""
    written = []
    for index, face in enumerate(result.faces):
        if face.aligned is None or face.restored is None or face.parsing_map is None:
            continue
        stages = pipeline.restorer.stages(face.aligned, face.parsing_map)
        for ending, pixels in stage_pictures(stages, face.aligned.lq, face.parsing_map).items():
            target = beside(stem, f"_face{index}_{ending}.png")
            written.append(write_extra(target, picture_of(pixels, result, "stage"), options))
    return written
