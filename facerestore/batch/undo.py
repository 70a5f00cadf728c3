"""What takes a restoration back: a file beside the result with the photo itself, and its faces as they were.

The photo is in it byte for byte. Nothing smaller gives it back: of a JPEG, a HEIC or a PNG of another program, no
pixels say how its bytes were packed. The faces are for people and other programs, as PNG without loss. The file is a
ZIP, so that any program opens it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

from facerestore.batch.verify import changed_area
from facerestore.errors import ImageError, refusing
from facerestore.imaging.blending import touched_area
from facerestore.io import Buffer, colours_of, encode_image, write_encoded
from facerestore.types import DecodedImage, RestoredFace

Crop: TypeAlias = tuple[str, bytes]
"""Name and PNG of a face as it was."""

ENDING = ".undo"
_FACTS, _PHOTO = "undo.json", "photo/"
_WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest that ZIP knows: the same photo gives the same file
_VERSION = 1
_LARGEST = 2**32  # bytes of a photo, more than which no format here is read


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A photo as it was.

    Attributes:
        name: of its file.
        data: the file.
        result_sha256: of the result that was made of it.
    """

    name: str
    data: bytes
    result_sha256: str


def undo_path(target: Path) -> Path:
    """Return where the file goes that takes a result back."""
    return target.with_name(target.name + ENDING)


def crops_of(
    image: DecodedImage, after: DecodedImage, faces: Sequence[RestoredFace], *, page: int | None
) -> list[Crop]:
    """Return the faces of a photo that were restored, as they are in it: name and PNG of all pixels that were changed.

    Args:
        image: the photo.
        after: the result; where it is of another size, a face's PNG is all of its square.
        faces: of the photo.
        page: which page it is; None where there is one.
    """
    crops: list[Crop] = []
    for index, face in enumerate(faces):
        if face.restored is None or face.aligned is None:
            continue
        size = face.aligned.lq.shape[0]
        area = touched_area(face.aligned.affine, size, shape=image.pixels.shape, upscale=1)
        if area is not None and after.pixels.shape == image.pixels.shape:
            area = changed_area(image.pixels, after.pixels, area)
        if area is not None:
            left, top, right, bottom = area
            crop = image.pixels[top:bottom, left:right]
            cut = DecodedImage(crop, grey=image.grey, metadata=colours_of(image), format=image.format)
            name = f"face{index}" if page is None else f"page{page}_face{index}"
            crops.append((name, encode_image(cut, format="PNG")))
    return crops


def packed(name: str, photo: bytes, result: Sequence[Buffer], crops: Sequence[Crop]) -> bytes:
    """Return the file that takes a result back.

    Args:
        name: of the photo's file.
        photo: the file.
        result: that of the result, in pieces.
        crops: names and PNGs of faces as they were.
    """
    digest = hashlib.sha256()
    for piece in result:
        digest.update(piece)
    facts = {
        "version": _VERSION,
        "photo": name,
        "photo_sha256": hashlib.sha256(photo).hexdigest(),
        "result_sha256": digest.hexdigest(),
    }
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        _add(archive, _FACTS, json.dumps(facts, indent=1).encode())
        _add(archive, f"{_PHOTO}{name}", photo)
        for crop, body in crops:
            _add(archive, f"faces/{crop}.png", body)
    return stream.getvalue()


def _add(archive: zipfile.ZipFile, name: str, body: bytes) -> None:
    """Put a file into an archive, deflated where that makes it smaller."""
    info = zipfile.ZipInfo(name, _WHEN)
    smaller = len(zlib.compress(body, 6)) < len(body)
    info.compress_type = zipfile.ZIP_DEFLATED if smaller else zipfile.ZIP_STORED
    archive.writestr(info, body, compresslevel=6)


def read_original(path: Path) -> Original:
    """Return the photo that a file holds which takes a result back.

    Raises:
        ImageError: it is missing or damaged, or the photo in it is not what it was.
    """

    def told(why: str) -> ImageError:
        return ImageError(
            f"{path}: cannot be read ({why}); give the file that --keep-originals has written beside the result, with"
            " all of its bytes"
        )

    with refusing(told), zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
        facts = json.loads(archive.read(_FACTS))
        name, digest, result = (str(facts[key]) for key in ("photo", "photo_sha256", "result_sha256"))
        if archive.getinfo(f"{_PHOTO}{name}").file_size > _LARGEST:
            raise told(f"a photo of more than {_LARGEST} bytes")
        data = archive.read(f"{_PHOTO}{name}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ImageError(f"{path}: the photo in it is damaged (its sha256 is another); take it from a backup")
    return Original(Path(name.replace("\\", "/")).name or "photo", data, result)


def undo(result: Path, *, output: Path | None = None, overwrite: bool = False) -> tuple[Path, bool]:
    """Write the photo that a result was made of, byte for byte; return its path, and whether the result is as it was.

    Args:
        result: the result, or the file beside it that ends in ``.undo``.
        output: a file, or a directory that is there; None for the photo's own name beside the result.
        overwrite: replace an existing file.

    Raises:
        ImageError: there is no such file beside the result, or it is damaged, the result is a directory, or the photo
            cannot be written.
    """
    aside = result if result.suffix == ENDING else undo_path(result)
    if result.is_dir():
        raise ImageError(
            f"{result}: no file in this directory ends in '{ENDING}'; give results, where they are, or -r for its"
            " subdirectories"
        )
    if not aside.is_file():
        raise ImageError(
            f"{result}: there is no '{aside.name}' beside it; it is written with --keep-originals, where a face was"
            " restored (else the result is the photo itself)"
        )
    original = read_original(aside)
    target = aside.with_name(original.name) if output is None else output
    if target.is_dir():
        target /= original.name
    made = aside.with_name(aside.name.removesuffix(ENDING))
    same = made.is_file() and hashlib.sha256(made.read_bytes()).hexdigest() == original.result_sha256
    return write_encoded(target, original.data, overwrite=overwrite), same
