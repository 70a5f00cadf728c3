"""Aligned faces and parsing maps on disk: finding them, in folders and in shards, and reading them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facerestore.errors import ConfigError, ImageError
from facerestore.face_parts import CLASS_NAMES, UNKNOWN
from facerestore.imaging.pixels import in_8_bits
from facerestore.io import decode_image, find_images, read_image
from facerestore.training.data.shards import ShardFace, expand_braces, shard_faces

MAP_ENDINGS = ("", "_face0", "_parsing_face0")
"""What stands behind a face's name in that of its map: nothing, or what 'facerestore parse' appends."""

MAKE_MAPS = "facerestore parse {faces} -r --aligned --maps {maps} -o PICTURES"
"""The command that makes parsing maps of faces, and pictures to look at them."""

IN_SHARDS = "shards"
"""Stands in the settings for the folder of parsing maps where they lie beside the faces in their shards."""


@dataclass(frozen=True, slots=True)
class FaceFile:
    """One aligned face on disk.

    Attributes:
        set_name: the set that it is of: the folder that it lies in.
        path: the picture, or the shard that holds it.
        in_shard: where in that shard.
    """

    set_name: str
    path: Path
    in_shard: ShardFace | None = None

    @property
    def name(self) -> str:
        """Its name without folder and ending."""
        return self.path.stem if self.in_shard is None else self.in_shard.name

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return str(self.path) if self.in_shard is None else f"{self.path}:{self.set_name}/{self.name}"


def face_files(root: Path) -> list[FaceFile]:
    """Return the faces below a folder in sorted order, those of ``root/<set>/*`` being of that set.

    Args:
        root: a folder of pictures, of tar shards or of both; one shard; or shards by number,
            ``shards/{000000..000099}.tar``.

    Raises:
        ConfigError: there is no face, or a shard cannot be read.
        ImageError: there is no such folder.
    """
    named = [path for path in expand_braces(root) if path.suffix.lower() == ".tar" and not path.is_dir()]
    pictures = [] if named else find_images(root, recursive=True)
    shards = named or sorted(path for path in root.rglob("*.tar") if path.is_file())
    found = [FaceFile(path.parent.name, path) for path in pictures]
    found += [FaceFile(face.set_name, shard, face) for shard in shards for face in shard_faces(shard)]
    if not found:
        raise ConfigError(
            f"no pictures in '{root}'; give a folder of aligned faces, such as 'facerestore data prepare' makes"
        )
    return found


def read_face(file: FaceFile, face_size: int) -> NDArray[np.uint8]:
    """Return a face as (S, S, 3) uint8 RGB, reduced by area.

    Raises:
        ImageError: it cannot be read, is not square, or would have to be enlarged.
    """
    pixels = _pixels_of(file)
    height, width = pixels.shape[:2]
    if height != width or height < face_size:
        raise ImageError(
            f"'{file.place}' is {width} x {height}; an aligned face is square and at least {face_size} px"
        )
    return _reduced(pixels, face_size)


def read_window(
    file: FaceFile, size: int, *, max_reduction: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a random square of a photograph of any shape as (S, S, 3) uint8 RGB, reduced by area.

    Args:
        file: the photograph.
        size: S.
        max_reduction: the factor of the reduction goes from 1 to this, or as far as the photograph is large; its
            logarithm is drawn evenly.
        rng: of the factor and the place.

    Raises:
        ImageError: it cannot be read, or would have to be enlarged.
    """
    pixels = _pixels_of(file)
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise ImageError(f"'{file.place}' is {width} x {height}; both sides are to be at least {size} px")
    most = min(max_reduction, min(height, width) / size)
    side = min(round(size * float(np.exp(rng.uniform(0, np.log(most))))), height, width)
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    return _reduced(pixels[top : top + side, left : left + side], size)


def _pixels_of(file: FaceFile) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the RGB pixels of a picture in a folder or a shard."""
    if file.in_shard is None:
        return read_image(file.path).pixels
    return decode_image(file.in_shard.face.read(file.path), name=file.place).pixels


def _reduced(pixels: NDArray[np.uint8] | NDArray[np.uint16], size: int) -> NDArray[np.uint8]:
    """Return a square in 8 bits, reduced by area."""
    reduced = cv2.resize(in_8_bits(pixels), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.uint8)


def read_parsing_map(file: FaceFile, maps: Path | None, face_size: int) -> NDArray[np.uint8]:
    """Return the (S, S) uint8 class ids of a face, from a palette or grey PNG.

    Args:
        file: the face.
        maps: folder of the maps, ``<set>/<name>.png`` or ``<name>.png``, or as 'facerestore parse --aligned'
            names them; None for those in shards.
        face_size: S.

    Raises:
        ImageError: there is none, or it cannot be read, has colours instead of ids, is not square, or holds unknown
            classes.
    """
    if maps is None:
        span = None if file.in_shard is None else file.in_shard.parsing
        if span is None:
            raise ImageError(f"'{file.place}' has no parsing map beside it in a shard")
        ids = decode_parsing_map(span.read(file.path), f"{file.place}.parsing.png")
    else:
        names = [
            folder / f"{file.name}{end}.png" for end in MAP_ENDINGS for folder in (maps / file.set_name, maps)
        ]
        path = next((name for name in names if name.exists()), names[0])
        try:
            ids = decode_parsing_map(path.read_bytes(), str(path))
        except OSError as error:
            raise ImageError(f"parsing map '{path}' cannot be read: {error}") from error
    resized = cv2.resize(ids, (face_size, face_size), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.uint8)


def decode_parsing_map(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the (S, S) uint8 class ids of a PNG.

    Raises:
        ImageError: see :func:`read_parsing_map`.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, ids = picture.mode, np.asarray(picture)
    except (OSError, ValueError) as error:
        raise ImageError(f"parsing map '{name}' cannot be read: {error}") from error
    if mode not in {"P", "L"}:
        raise ImageError(f"parsing map '{name}' has mode {mode}; give an 8-bit PNG of class ids 0 to 18")
    if ids.ndim != 2 or ids.shape[0] != ids.shape[1]:
        raise ImageError(f"parsing map '{name}' is {ids.shape[1]} x {ids.shape[0]}; a face's map is square")
    known = ids[ids != UNKNOWN]
    if known.max(initial=0) >= len(CLASS_NAMES):
        raise ImageError(
            f"parsing map '{name}' has class {known.max()}; the classes are 0 to {len(CLASS_NAMES) - 1},"
            f" those of CelebAMask-HQ, as 'facerestore parse --maps' writes them, and {UNKNOWN} where unknown"
        )
    return np.asarray(ids, dtype=np.uint8)


def spread(files: Sequence[FaceFile], count: int) -> Iterator[tuple[int, FaceFile]]:
    """Yield ``count`` faces, evenly spread over all of them, with their numbers."""
    count = min(count, len(files))
    for number in range(count):
        index = number * len(files) // count
        yield index, files[index]
