"""HEIC and other HEIF files, through pillow-heif, which the extra ``heif`` installs: libheif, libde265 and x265."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np

from facerestore.io import _boxes, _claims, _exif, _exif_edit
from facerestore.io._formats import needed
from facerestore.io._settle import settled
from facerestore.io._source import Decoded, Samples, Source, divided_by_alpha, finish, tripled
from facerestore.types import DecodedImage, Metadata, Part

_USUAL_BITS = 10  # what phones have, and what they read
# x265's own steps between speed and size: twice as fast as what libheif takes unless told, files 3% larger.
_PRESET = "fast"
_FULL_CHROMA = b"444"
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode(source: Source) -> DecodedImage:
    """Return the decoded picture, the primary one of several unless a page is asked for; 10 and 12 bits become 16.

    Raises:
        ImageError: damaged, over the limit on pixels, of another codec than HEVC, or pillow-heif is not installed.
    """
    library = needed("HEIF", name=source.name)
    stated = _boxes.read_boxes(source)
    try:
        file = library.open_heif(BytesIO(source.data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
        chosen = file.primary_index if source.page is None else source.choose(len(file), "picture")
        picture = file[chosen]
        source.check_size(*picture.size)
        decoded = _pixels(picture)
    except RuntimeError as error:
        raise source.damaged(error) from error
    dropped = [*stated.dropped, *([_claims.OTHER_PICTURES] if len(file) > 1 else [])]
    metadata = _metadata(picture.info, stated, dropped)
    # The library has turned the pixels as properties say, which count before EXIF: that tells how what else is carried
    # has to turn. Where no property turns them, they are upright whatever EXIF says.
    exif = (metadata.exif or b"").removeprefix(_exif.PREFIX)
    turn = (_exif_edit.opened(exif).orientation or 1) if stated.turned else 1
    return finish(decoded, settled(metadata, turn, converted=False)[0], "HEIF", orientation=1)


def _pixels(picture: Any) -> Decoded:
    """Return the pixels and the alpha of a picture of the library."""
    samples: Samples = np.array(picture)
    mode = picture.mode.partition(";")[0]
    if samples.dtype == np.uint16:
        samples = _boxes.widened(samples, picture.info["bit_depth"])
    if mode in ("L", "I"):
        return Decoded(tripled(samples.reshape(samples.shape[:2])), grey=True)
    if len(mode) == 3:
        return Decoded(samples)
    colour, alpha = (np.ascontiguousarray(part) for part in (samples[..., :-1], samples[..., -1]))
    colour = colour if mode.endswith("A") else divided_by_alpha(colour, alpha)
    return (
        Decoded(tripled(colour[..., 0].copy()), alpha, grey=True)
        if len(mode) == 2
        else Decoded(colour, alpha)
    )


def _metadata(info: dict[str, Any], stated: _boxes.Stated, dropped: list[str]) -> Metadata:
    """Return what a picture carries."""
    icc = info.get("icc_profile") or None
    others = [one["content_type"] or one["type"] for one in info["metadata"]]
    dropped += [
        f"metadata of the kind '{kind}'" for kind in others if kind not in ("Exif", "application/rdf+xml")
    ]
    chroma = str(info.get("chroma")).encode()
    full = (Part(_boxes.FAMILY, _boxes.CHROMA, chroma),) if chroma == _FULL_CHROMA else ()
    return Metadata(
        exif=info.get("exif"),
        xmp=info.get("xmp"),
        icc=icc,
        parts=(*stated.parts(icc), *full),
        dropped=tuple(dict.fromkeys(dropped)),
    )


def encode(samples: Samples, metadata: Metadata, quality: int | None, *, default_quality: int) -> bytes:
    """Return a HEIC; colour has half the resolution, which is what phones read, unless the source had all of it.

    Args:
        samples: (H, W, C) uint8 or uint16 of 1 to 4 channels; of 16 bits the first 10 are kept, or as many as the
            source had.
        metadata: as `_across` made them fit.
        quality: 1 to 100; None for the default.
        default_quality: that one.

    Raises:
        ImageError: pillow-heif is not installed.
        ValueError: it cannot encode them.
    """
    library = needed("HEIF", name="the result")
    height, width, count = samples.shape
    bits = 8 if samples.dtype == np.uint8 else _boxes.depth_of(metadata, _USUAL_BITS)
    stored = samples if bits == 8 else _boxes.narrowed(samples, bits)
    mode = _MODES[count] if bits == 8 else f"{_MODES[count]};{bits}"
    chroma = 444 if metadata.body_of(_boxes.CHROMA) else 420
    options: dict[str, Any] = {"chroma": chroma, "bit_depth": bits, "enc_params": {"preset": _PRESET}}
    options |= {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    if colours := metadata.body_of(_boxes.NCLX):
        options |= dict(
            zip(("color_primaries", "transfer_characteristic"), struct.unpack(">HH", colours), strict=True)
        )
    stream = BytesIO()
    try:
        file = library.from_bytes(mode, (width, height), np.ascontiguousarray(stored).tobytes())
        file.save(stream, quality=quality or default_quality, **options)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return stream.getvalue()
