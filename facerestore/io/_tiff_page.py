"""The pages of a TIFF, and what each states of how its pixels are stored. Source: TIFF 6.0 and its technical notes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from facerestore.errors import ImageError
from facerestore.io import _exif
from facerestore.io._exif import Directory, Layout
from facerestore.io._source import Source

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 266, 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
# Tags of one number, which damaged files may give many of.
SINGLE = (
    *(WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR, PREDICTOR),
    *(TILE_WIDTH, TILE_HEIGHT),
)

NONE, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS, LZMA, ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIE_LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4
BYTEWISE = (NONE, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS, LZMA, ZSTD)
"""Compressions that treat samples as bytes."""

COMPRESSIONS: Mapping[int, str] = MappingProxyType(
    {
        NONE: "none", 2: "CCITT RLE", 3: "CCITT fax 3", 4: "CCITT fax 4", LZW: "LZW", 6: "old JPEG", 7: "JPEG",
        DEFLATE: "ZIP", 9: "JBIG", 10: "JBIG", 32766: "NeXT", 32767: "Sony ARW", 32769: "packed raw",
        32770: "Samsung SRW", 32771: "CCITT RLEW", PACK_BITS: "PackBits", 32809: "ThunderScan", 32867: "Kodak KDC",
        OLD_DEFLATE: "ZIP", 33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34676: "SGI LogLuv",
        34677: "SGI LogLuv 24", 34712: "JPEG 2000", 34713: "Nikon NEF", 34715: "JBIG2", 34887: "LERC",
        34892: "lossy JPEG of DNG", LZMA: "LZMA", ZSTD: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
        52546: "JPEG XL",
    }
)  # fmt: skip
_COLOURS = MappingProxyType(
    {
        WHITE_IS_ZERO: "grey", BLACK_IS_ZERO: "grey", RGB: "RGB", PALETTE: "palette", 4: "mask", CMYK: "CMYK",
        YCBCR: "YCbCr", CIE_LAB: "CIELAB", ICC_LAB: "ICC LAB", 10: "ITU LAB", 32803: "colour filter array",
        32844: "CIE Log L", 32845: "CIE LogLuv", 34892: "linear raw",
    }
)  # fmt: skip
# Those that Pillow reads with the libtiff that it brings, beside those that are bytewise.
_OTHER_COMPRESSIONS = frozenset((2, 3, 4, 6, 7, 32771, 32809, 50001))
_HANDLED_COLOURS = frozenset((WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIE_LAB, ICC_LAB))
_FORMATS = MappingProxyType({SIGNED: "signed ", FLOAT: "float ", 5: "complex ", 6: "complex float "})
_REDUCED = 1
_MOST_PAGES = 2**15  # the longest book that a scanner has made one file of has some thousands
_RAW_REMEDY = (
    "the first picture in this TIFF is a thumbnail, and no other is what a camera's sensor gave; save it as a plain"
    " TIFF or JPEG"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a TIFF: its directory, and what that states of the pixels."""

    directory: Directory

    def integer(self, tag: int, default: int) -> int:
        """Return the first integer of a tag, or the default."""
        return self.directory.integer(tag, default)

    @property
    def order(self) -> str:
        """Byte order of the file."""
        return self.directory.layout.order

    @property
    def tiled(self) -> bool:
        """Whether the pixels are in tiles, not in strips."""
        return TILE_OFFSETS in self.directory.fields

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.integer(WIDTH, 0), self.integer(HEIGHT, 0)

    @property
    def channels(self) -> int:
        """Samples of a pixel."""
        return self.integer(SAMPLES, 1)

    @property
    def compression(self) -> int:
        """Number of the compression."""
        return self.integer(COMPRESSION, NONE)

    @property
    def colour(self) -> int:
        """Number of the photometric interpretation; black is zero where a page has none, as most readers have it."""
        return self.integer(PHOTOMETRIC, BLACK_IS_ZERO)

    @property
    def bits(self) -> set[int]:
        """Bits of a sample; more than one number where channels differ."""
        return set(self.directory.integers(BITS, self.channels) or (1,))

    @property
    def sample_formats(self) -> set[int]:
        """What samples are: numbers without or with a sign, or with a floating point."""
        found = set(self.directory.integers(SAMPLE_FORMAT, self.channels) or (UNSIGNED,))
        return {UNSIGNED if number == VOID else number for number in found}

    @property
    def words(self) -> str:
        """What people call such a page: ``a 16-bit CMYK TIFF of 4 channels, compression 5 (LZW)``."""
        bits = " and ".join(str(number) for number in sorted(self.bits))
        form = "".join(_FORMATS.get(number, "") for number in sorted(self.sample_formats))
        colour = _COLOURS.get(self.colour, f"photometric {self.colour}")
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        article = "an" if bits.startswith(("8", "11")) else "a"
        return (
            f"{article} {bits}-bit {form}{colour} TIFF of {channels}, compression {self.compression_words},"
        )

    @property
    def compression_words(self) -> str:
        """Number and name of the compression."""
        number = self.compression
        return f"{number} ({COMPRESSIONS.get(number, 'of no known name')})"


def page_offsets(source: Source) -> tuple[Layout, list[int]]:
    """Return the layout of a TIFF, and the places of the directories of its pages; reduced copies are none.

    Raises:
        ImageError: the first page is a thumbnail, or directories overlap.
        ValueError: the first directory lies outside of the file.
    """
    layout, first = _exif.read_layout(source.data)
    offsets, spent = [], 0
    for offset, kind, size in _directory_chain(source.data, first, layout):
        spent += size
        if spent > len(source.data):
            raise source.damaged("the directories of its pages overlap")
        if not kind & _REDUCED:
            offsets.append(offset)
            if len(offsets) > _MOST_PAGES:
                raise source.excessive("pages", _MOST_PAGES)
        elif offset == first:
            raise ImageError(f"{source.name}: {_RAW_REMEDY}")
    return layout, offsets


def has_copy(source: Source, page: Page) -> bool:
    """Say whether the directory after a page is that of a reduced copy of it."""
    following = next(_directory_chain(source.data, page.directory.next_offset, page.directory.layout), None)
    return following is not None and following[1] & _REDUCED > 0


def _directory_chain(data: bytes, offset: int, layout: Layout) -> Iterator[tuple[int, int, int]]:
    """Yield place, kind of page and size of each directory of the chain; one that lies outside of the file ends it."""
    count_code, entry_size, word = layout.codes
    tag_type, head, seen = np.dtype(layout.order + "u2"), struct.calcsize(count_code), set[int]()
    while offset and offset not in seen and offset + head <= len(data):
        count = struct.unpack_from(count_code, data, offset)[0]
        end = offset + head + count * entry_size
        if end > len(data):
            return
        entries = np.frombuffer(data, np.uint8, count * entry_size, offset + head).reshape(count, entry_size)
        tags = np.ascontiguousarray(entries[:, :2]).view(tag_type)[:, 0] if count else np.empty(0, np.uint16)
        places = np.flatnonzero(tags == NEW_SUBFILE_TYPE)
        value = offset + head + int(places[0]) * entry_size + 4 + struct.calcsize(word) if len(places) else 0
        yield offset, struct.unpack_from(layout.order + "I", data, value)[0] if value else 0, end - offset
        seen.add(offset)
        following = end + struct.calcsize(word) <= len(data)
        offset = struct.unpack_from(word, data, end)[0] if following else 0


def read_page(source: Source) -> Page:
    """Return the page that is asked for, which is one that can be read.

    Raises:
        ImageError: several pages and none is chosen, no such page, or a kind that is not handled.
        ValueError: its directory cannot be read.
    """
    layout, offsets = page_offsets(source)
    chosen = source.choose(len(offsets), "page") if offsets else 0
    offset = offsets[chosen] if offsets else _exif.read_layout(source.data)[1]
    page = Page(_exif.read_directory(source.data, offset, layout))
    source.check_size(*page.size)
    check_handled(source, page)
    return page


def check_handled(source: Source, page: Page) -> None:
    """Raise ImageError for a page that is whole and that nothing here reads."""
    number = page.compression
    if number not in BYTEWISE and number not in _OTHER_COMPRESSIONS:
        raise unhandled_compression(source, page)
    formats, bits = page.sample_formats, page.bits
    lab = page.colour in (CIE_LAB, ICC_LAB)
    handled = (
        page.colour in _HANDLED_COLOURS
        and len(bits) == 1
        and (formats in ({UNSIGNED}, {SIGNED}, {FLOAT}) or (lab and FLOAT not in formats))
        and _bits_handled(page, max(bits), formats)
    )
    if not handled:
        raise source.unhandled(page.words, "RGB or grey TIFF of 8 or 16 bits, with LZW or ZIP")


def unhandled_compression(source: Source, page: Page) -> ImageError:
    """Return the error for a compression that is not read."""
    return ImageError(
        f"{source.name}: TIFF compression {page.compression_words} is not handled; save it with LZW or ZIP"
    )


def _bits_handled(page: Page, bits: int, formats: set[int]) -> bool:
    """Say whether samples of so many bits are read."""
    if FLOAT in formats:
        return bits in (16, 32, 64)
    if SIGNED in formats or page.colour in (CIE_LAB, ICC_LAB):
        return bits in (8, 16, 32)
    return 1 <= bits <= 16 or bits == 32
