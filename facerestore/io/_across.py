"""What a picture carries, as the format that is written holds it, and words for what has no place there."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from facerestore.io import (
    _bmp,
    _boxes,
    _claims,
    _exif,
    _exif_edit,
    _icc,
    _jpeg_metadata,
    _photoshop,
    _png_metadata,
    _tiff_metadata,
    _webp,
    _xmp,
)
from facerestore.io._formats import FORMATS
from facerestore.io._settle import LEGACY_DIGEST, STRUCTURE, sane_dpi, with_values
from facerestore.io._xmp import Name
from facerestore.types import DecodedImage, Metadata, Part

_PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
_DUBLIN_CORE, _PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
_MEDIA_TYPES = {name: f"image/{name.lower()}".encode() for name in FORMATS}
# Words for more than so many things would fill the screen.
_MOST_WORDS = 12
# Keywords of PNG's texts (11.3.3.2) and the EXIF tags that say the same; EXIF calls the title of a picture its
# description. Of those that would fill one tag, the first named here has it.
_COMMENT = "Comment"
_EXIF_TEXTS = {
    "Author": 0x013B,
    "Copyright": 0x8298,
    "Software": 0x0131,
    "Description": 0x010E,
    "Title": 0x010E,
    _COMMENT: 0x010E,
}
# Parts of which only their own format makes use, or that are said in another way: no words are lost on them.
_SILENT = {
    "PNG": {
        _png_metadata.PROFILE_NAME, _png_metadata.DENSITY, _png_metadata.PALETTE, _png_metadata.BACKGROUND, b"sRGB"
    },
    "JPEG": {_jpeg_metadata.JFIF, _jpeg_metadata.PROGRESSIVE, _jpeg_metadata.TABLES},
    "WEBP": {_webp.LOSSLESS},
    "BMP": {_bmp.COLOUR},
    _boxes.FAMILY: {_boxes.DEPTH, _boxes.CHROMA},
}  # fmt: skip
_COLOURS = {
    "PNG": (*_png_metadata.COLOURS, _png_metadata.PROFILE_NAME),
    "BMP": (_bmp.COLOUR,),
    _boxes.FAMILY: (_boxes.NCLX,),
}
_GAMMA_OF_SRGB = 45455
_FAMILIES = {"AVIF": _boxes.FAMILY}
_WITHOUT_IPTC = ("WEBP", "BMP", "AVIF", "HEIF")
# Formats whose resolution stands in EXIF alone.
_WITHOUT_DENSITY = ("WEBP", "AVIF", "HEIF")


@dataclass(slots=True)
class _Crossing:
    """What is on its way into another format: what it holds, what was found false, and what has no place there."""

    target: str
    metadata: Metadata
    texts: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    no_place: list[str] = field(default_factory=list)


def for_format(image: DecodedImage, target: str) -> tuple[Metadata, str | None]:
    """Return what a picture carries as it goes into a file of a format, and a line on what does not, None for nothing.

    Args:
        image: the picture to be written.
        target: upper-case Pillow name of the format.
    """
    height, width = image.pixels.shape[:2]
    crossing = _Crossing(target, image.metadata, dropped=list(image.metadata.dropped))
    if image.metadata.size not in (None, (width, height)):
        _leave_places(crossing)
    _state_form(crossing, image)
    if image.format not in (None, target):
        _translate_parts(crossing, grey=image.grey)
    _fit_profile(crossing, grey=image.grey)
    _fit_blocks(crossing)
    _tell_depth(crossing, image)
    stored = replace(crossing.metadata, dpi=_own_dpi(crossing.metadata, target, same=image.format == target))
    return stored, _told_line(crossing)


def colours_of(image: DecodedImage) -> Metadata:
    """Return of what a picture carries that which says how its colours look, for another picture cut out of it."""
    stored = image.metadata
    kept = tuple(part for part in stored.parts if part.key in _COLOURS.get(part.format, ()))
    return Metadata(icc=stored.icc, parts=kept)


def _told_line(crossing: _Crossing) -> str | None:
    """Return the line on all that is not carried over."""
    told = _first_words(crossing.dropped)
    if crossing.no_place:
        told.append(f"{', '.join(_first_words(crossing.no_place))}, which {crossing.target} has no place for")
    line = f"not carried over: {'; '.join(told)}" if told else None
    # Keywords and types of chunks are what a file says.
    return None if line is None else "".join(letter if letter.isprintable() else "?" for letter in line)


def _first_words(words: Sequence[str]) -> list[str]:
    """Return words, each once, and of many the first and how many more there are."""
    every = list(dict.fromkeys(words))
    more = len(every) - _MOST_WORDS
    return [*every[:_MOST_WORDS], f"and {more} more"] if more > 0 else every


def _leave_places(crossing: _Crossing) -> None:
    """Take out what is given in pixels of another size."""
    stored = crossing.metadata
    words = crossing.dropped
    exif = _exif_edit.without_subject(stored.exif, words) if stored.exif else None
    photoshop = _photoshop.without_pixel_places(stored.photoshop, words) if stored.photoshop else None
    parts = tuple(
        _tiff_metadata.without_geography(part, words) if part.key == _tiff_metadata.TAGS else part
        for part in stored.parts
    )
    xmp = _without_panorama(stored.xmp, words)
    crossing.metadata = replace(stored, exif=exif, xmp=xmp, photoshop=photoshop, parts=parts)


def _without_panorama(packet: bytes | None, words: list[str]) -> bytes | None:
    """Return a packet without the sides of a panorama, which are in pixels, and add words for them."""

    def change(name: Name, _: bytes) -> bytes | None:
        if name[0] != _PANORAMA or not name[1].endswith("Pixels"):
            return None
        words.append(_claims.PANORAMA)
        return b""

    try:
        return _xmp.edited(packet, change) if packet else None
    except ValueError:
        return packet


def _state_form(crossing: _Crossing, image: DecodedImage) -> None:
    """Let EXIF and XMP, where they state a width, a height, a format and a kind of colours, state these."""
    stored = crossing.metadata
    height, width = image.pixels.shape[:2]
    sides = {"ImageWidth": width, "ImageLength": height, "PixelXDimension": width, "PixelYDimension": height}
    values = {
        (space, name): str(side).encode() for name, side in sides.items() for space in (_xmp.TIFF, _xmp.EXIF)
    }
    values[_DUBLIN_CORE, "format"] = _MEDIA_TYPES[crossing.target]
    values[_PHOTOSHOP, "ColorMode"] = b"1" if image.grey and FORMATS[crossing.target].grey else b"3"
    exif = stored.exif.removeprefix(_exif.PREFIX) if stored.exif else None
    if not _is_stored_so(image, crossing.target):
        exif, values = _exif_edit.without_structure(exif) if exif else None, values | STRUCTURE
    exif = _exif_edit.with_size(exif, width, height) if exif else None
    crossing.metadata = replace(stored, exif=exif, xmp=with_values(stored.xmp, values))


def _is_stored_so(image: DecodedImage, target: str) -> bool:
    """Say whether what EXIF and XMP state of samples and their bits is true of the file that is written."""
    colours = 1 if image.grey and FORMATS[target].grey else 3
    counts, depth = {0, colours, colours + (image.alpha is not None)}, image.pixels.dtype.itemsize * 8
    directory = _exif_edit.opened(image.metadata.exif)
    count, bits = directory.integer(_exif_edit.SAMPLES, 0), directory.integers(_exif_edit.BITS)
    found: dict[Name, bytes] = {}
    with suppress(ValueError):  # a packet that cannot be read stays as it is
        found = _xmp.properties(image.metadata.xmp) if image.metadata.xmp else {}
    number = found.get((_xmp.TIFF, "SamplesPerPixel"), b"0")
    lists = re.findall(rb"(?:^|>)\s*(\d+)", found.get((_xmp.TIFF, "BitsPerSample"), b""))
    stated = {count, int(number) if number.isdigit() else 0}
    return stated <= counts and {*bits, *map(int, lists)} <= {depth}


def _translate_parts(crossing: _Crossing, *, grey: bool) -> None:
    """Say in the target's way what the parts of another format say, as far as it can."""
    stored = crossing.metadata
    family = _FAMILIES.get(crossing.target, crossing.target)
    foreign = [part for part in stored.parts if part.format != family]
    own = [part for part in stored.parts if part.format == family]
    icc, told = _profile_of(foreign, stored.icc, grey=grey)
    left: list[Part] = []
    for part in foreign:
        text = _part_text(part)
        if text is not None:
            crossing.texts.append(text)
        elif part.key not in _SILENT.get(part.format, set()) | told:
            left.append(part)
    crossing.no_place += _part_names(left)
    exif = _exif_edit.without_structure(stored.exif) if stored.exif else None
    xmp = with_values(stored.xmp, STRUCTURE) or None
    crossing.metadata = replace(stored, parts=tuple(own), icc=icc, exif=exif, xmp=xmp)
    order = list(_EXIF_TEXTS)
    crossing.texts.sort(key=lambda item: order.index(item[0]) if item[0] in order else -1)
    _place_texts(crossing)


def _part_text(part: Part) -> tuple[str, str] | None:
    """Return the keyword and the text of a part that is text for people; None for any other."""
    if part.format == "JPEG" and part.key == _jpeg_metadata.COMMENT:
        return _COMMENT, _decoded_text(part.body.rstrip(b"\x00"))
    text = _png_metadata.text_of(part.key, part.body) if part.key in _png_metadata.TEXTS else None
    if text is None:
        return None
    return text.keyword.decode("latin-1"), text.text.decode(text.encoding, "replace")


def _decoded_text(text: bytes) -> str:
    """Return text whose encoding nothing states: UTF-8 where it is that, else Latin-1."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _place_texts(crossing: _Crossing) -> None:
    """Put texts where the target has a place: into its own comments, or into EXIF."""
    stored, target = crossing.metadata, crossing.target
    added: list[Part] = []
    wanted: dict[int, str] = {}
    for keyword, text in crossing.texts:
        tag = _EXIF_TEXTS.get(keyword)
        if target == "PNG":
            added.append(_png_metadata.text_part(keyword, text))
        elif target == "JPEG" and keyword == _COMMENT:
            added += _jpeg_metadata.comments(text)
        elif tag is None or tag in wanted or target == "BMP":
            crossing.no_place.append(f"text '{keyword}'")
        else:
            wanted[tag] = text
    exif, taken = _exif_edit.with_texts(stored.exif, wanted) if wanted else (stored.exif, set())
    crossing.no_place += [
        f"text of EXIF tag {tag:#06x}, which is there already" for tag in wanted if tag not in taken
    ]
    crossing.metadata = replace(stored, exif=exif, parts=(*stored.parts, *added))


def _profile_of(parts: Sequence[Part], icc: bytes | None, *, grey: bool) -> tuple[bytes | None, set[bytes]]:
    """Return the profile for the colours that chunks of a PNG or a box state, and which of them it tells.

    What counts is what PNG lets count (4.3): cICP, then a profile, then sRGB, then gAMA and cHRM.
    """
    found = {part.key: part.body for part in parts if part.format in ("PNG", _boxes.FAMILY)}
    primaries, curve, told = _icc.BT709, _icc.of_curve(_icc.SRGB_CURVE), {b"gAMA", b"cHRM"}
    numbers = _stated_numbers(found)
    if numbers is not None and numbers[0] in _icc.PRIMARIES and (tone := _tone_curve(numbers[1])):
        primaries, curve, told = _icc.PRIMARIES[numbers[0]], tone, {b"cICP", _boxes.NCLX, *told}
        if numbers == (1, _icc.SRGB_CURVE):
            return None, told
    elif icc or b"sRGB" in found:
        return icc, told
    else:
        gamma = int.from_bytes(found.get(b"gAMA", b""), "big")
        if len(chromaticities := found.get(b"cHRM", b"")) == 32:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chromaticities))
        if gamma:
            curve = _icc.of_gamma(100_000 / gamma)
        is_srgb = gamma in (0, _GAMMA_OF_SRGB) and max(
            abs(a - b) for a, b in zip(primaries, _icc.BT709, strict=True)
        ) < 0.001  # fmt: skip
        if is_srgb:
            return None, told
    name = "As the chunks of a PNG state" if numbers is None else "As the numbers of H.273 state"
    made = _icc.grey_profile(name, curve) if grey else _icc.rgb_profile(name, primaries, curve)
    return made or icc, told if made else set()


def _stated_numbers(found: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    """Return the numbers of H.273 of primaries and transfer that parts state; None where they do not."""
    if len(body := found.get(_boxes.NCLX, b"")) == 4:
        return struct.unpack(">HH", body)
    body = found.get(b"cICP", b"")
    return (body[0], body[1]) if len(body) == 4 else None


def _tone_curve(transfer: int) -> bytes | None:
    """Return the tone curve of a transfer characteristic of H.273; None for those of high dynamic range and others."""
    if transfer == _icc.SRGB_CURVE or transfer in _icc.BT709_CURVES:
        return _icc.of_curve(transfer)
    return _icc.of_gamma(_icc.GAMMAS[transfer]) if transfer in _icc.GAMMAS else None


def _part_names(parts: Sequence[Part]) -> list[str]:
    """Return words for parts that have no place in another format."""
    names = []
    for part in parts:
        if part.format == "TIFF":
            names += [f"TIFF tag {tag}" for tag in _tiff_metadata.tags_of(part)]
        elif part.format == "JPEG":
            names.append(f"segment APP{part.key[0] - 0xE0}")
        else:
            names.append(f"chunk {part.key.decode('latin-1').strip()}")
    return names


def _fit_profile(crossing: _Crossing, *, grey: bool) -> None:
    """Keep a profile that is for the channels that are written; one of grey is made one of three equal channels."""
    icc = crossing.metadata.icc
    if icc is None or _icc.space_of(icc) != b"GRAY" or (grey and FORMATS[crossing.target].grey):
        return
    made = _icc.grey_as_rgb(icc)
    crossing.dropped += [] if made else ["colour profile of grey, for the result has colours"]
    crossing.metadata = replace(crossing.metadata, icc=made)


def _fit_blocks(crossing: _Crossing) -> None:
    """Leave out the blocks that the target has no place for."""
    stored, target = crossing.metadata, crossing.target
    if target in _WITHOUT_IPTC and (stored.iptc or stored.photoshop):
        crossing.no_place.append("IPTC and Photoshop's image resources")
        xmp = with_values(stored.xmp, {LEGACY_DIGEST: b""})
        stored = replace(stored, iptc=None, photoshop=None, xmp=xmp or None)
    if target == "BMP" and (stored.exif or stored.xmp):
        crossing.no_place.append(
            " and ".join(n for n, b in (("EXIF", stored.exif), ("XMP", stored.xmp)) if b)
        )
        stored = replace(stored, exif=None, xmp=None)
    if target == "TIFF" and stored.exif and not _exif_edit.opened(stored.exif).start:
        crossing.dropped.append("damaged EXIF")
        stored = replace(stored, exif=None)
    if target == "JPEG":
        stored = replace(stored, photoshop=_photoshop.with_iptc(stored.photoshop, stored.iptc), iptc=None)
        if len(stored.icc or b"") > _jpeg_metadata.MAX_ICC:
            crossing.no_place.append(f"a colour profile of {len(stored.icc or b'')} bytes")
            stored = replace(stored, icc=None)
    if target in _WITHOUT_DENSITY and stored.exif is None and (dpi := sane_dpi(stored.dpi)):
        stored = replace(stored, exif=_exif.pack(_exif.Directory(_exif.resolution_fields(dpi, "<")), "<"))
    crossing.metadata = stored


def _tell_depth(crossing: _Crossing, image: DecodedImage) -> None:
    """Add words for the bits of samples that the target does not hold."""
    if image.pixels.dtype.itemsize == 1:
        return
    stated = _boxes.depth_of(image.metadata, 16)
    bits = _boxes.depth_of(crossing.metadata, FORMATS[crossing.target].bits)
    if bits < stated:
        crossing.dropped.append(f"the last {stated - bits} of {stated} bits of a sample")


def _own_dpi(stored: Metadata, target: str, *, same: bool) -> tuple[float, float] | None:
    """Return the resolution for the target's own field: none where EXIF alone states it, and did so in the source."""
    dpi = sane_dpi(stored.dpi)
    own = {"JPEG": _jpeg_metadata.density_of, "PNG": _png_metadata.density_of}.get(target)
    if (
        same
        and own
        and own(stored) is None
        and stored.exif
        and dpi == sane_dpi(_exif_edit.opened(stored.exif).resolution)
    ):
        return None
    return dpi
