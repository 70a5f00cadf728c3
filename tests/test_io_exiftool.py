"""Every tag that ExifTool finds in a file before and after it is written again: the same, but for what is stated.

ExifTool is Debian's libimage-exiftool-perl; without it the tests skip.
"""

import fnmatch
import shutil
import struct
import subprocess
import zlib
from hashlib import md5

import numpy as np
import pytest
from carried_files import (
    CAPTION,
    ICC,
    RATING,
    THUMBNAIL,
    TITLE,
    blob,
    bmp,
    doubles,
    extended_xmp,
    in_segments,
    iptc,
    jfif,
    jpeg,
    mpf,
    numbers,
    photo_exif,
    photoshop,
    png,
    ratios,
    raw_profile,
    scene,
    small_jpeg,
    text,
    text_chunk,
    tiff,
    webp,
    with_digest,
    xmp,
)

from facerestore.io import FORMATS, decode_image, encode_image, left_out

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"

# What says of each format how its pixels are packed.
PACKING = {
    "JPEG": ["File YCbCrSubSampling"],  # colour is written at full resolution
    "PNG": [],
    "WEBP": [],
    "BMP": [],
    "TIFF": [
        f"IFD0 {tag}"
        for tag in (
            "Compression",
            "StripOffsets",
            "StripByteCounts",
            "PlanarConfiguration",
            "Predictor",
            "Orientation",
        )
    ]
    + ["IFD0 SubfileType"],
}


def full_png():
    sixteen = struct.pack(">8H2I", 34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450, 10_000_000, 50)
    chromaticities = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    return png(
        scene(),
        (b"cICP", bytes((12, 13, 0, 1))),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", chromaticities),
        (b"sBIT", bytes((5, 6, 5))),
        (b"mDCV", sixteen),
        (b"cLLI", struct.pack(">II", 10_000_000, 5_000_000)),
        (b"bKGD", struct.pack(">3H", 1, 2, 3)),
        (b"pHYs", struct.pack(">IIB", 3000, 4000, 1)),
        (b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5)),
        (b"oFFs", struct.pack(">iiB", 1, 2, 1)),
        (b"vpAg", struct.pack(">IIB", 64, 48, 0)),
        text_chunk(b"tEXt", "Comment", b"a comment"),
        text_chunk(b"zTXt", "Description", b"compressed text " * 20),
        text_chunk(b"iTXt", "Title", "Grüße".encode()),
        text_chunk(b"iTXz", "Author", "Jörg".encode()),
        text_chunk(b"tEXt", "parameters", b"Steps: 20"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(RATING, TITLE))),
        (b"eXIf", photo_exif()),
        text_chunk(b"zTXt", "Raw profile type iptc", raw_profile("iptc", with_digest(iptc(*CAPTION)))),
    )


def full_jpeg(orientation=1, **options):
    ducky = b"Ducky" + struct.pack(">HHI", 2, 10, 3) + "abc".encode("utf-16-be") + bytes(4)
    return jpeg(
        scene(),
        jfif(2, 100, 200),
        (0xE1, b"Exif\0\0" + photo_exif(orientation, thumbnail=THUMBNAIL)),
        (0xE1, XMP_PREFIX + xmp(RATING, TITLE)),
        (0xED, b"Photoshop 3.0\0" + with_digest(iptc(*CAPTION))),
        *in_segments(ICC),
        (0xE2, b"FPXR\0\0\1\0\1" + bytes(20)),
        (0xE5, b"RMETA\0\0"),
        (0xEC, ducky),
        (0xFE, b"first"),
        (0xFE, "zweiter Grüß".encode("latin-1")),
        **options,
    )


def full_tiff(order="<"):
    entries = {
        270: text("A description"),
        271: text("Maker"),
        282: ratios(100, order=order),
        283: ratios(200, order=order),
        286: ratios(1.5, order=order),
        296: numbers(3, 3, order=order),
        297: numbers(3, 2, 5, order=order),
        305: text("Program"),
        315: text("Someone"),
        316: text("A host"),
        318: ratios(0.313, 0.329, order=order),
        319: ratios(0.64, 0.33, 0.3, 0.6, 0.15, 0.06, order=order),
        700: (1, xmp(RATING, TITLE)),
        33550: doubles(1, 1, 0, order=order),
        33723: blob(iptc(*CAPTION)),
        33922: doubles(0, 0, 0, 5, 6, 0, order=order),
        34377: (1, photoshop((0x040B, b"http://a.example"))),
        34675: blob(ICC),
        34735: numbers(3, 1, 1, 0, 1, 1024, 0, 1, 2, order=order),
        42112: text("<GDALMetadata/>"),
        42113: text("-9999"),
        65000: numbers(4, 77, order=order),
    }
    camera = {
        0x9003: text("2020:01:02 03:04:05"),
        0xA002: numbers(3, 64, order=order),
        0xA434: text("A lens"),
    }
    place = {1: text("N"), 2: ratios(1, 2, 3, order=order)}
    pixels = scene(dtype=np.uint16 if order == ">" else np.uint8)
    return tiff(pixels, entries, order=order, camera=camera, place=place)


def gain_map_jpeg():
    directory = (
        "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>"
        '<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li></rdf:Seq></Container:Directory>'
    )
    packet = xmp('hdrgm:Version="1.0" ' + RATING, TITLE + directory)
    iso = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4))
    second = small_jpeg()
    return jpeg(scene(), jfif(), (0xE1, XMP_PREFIX + packet), mpf(len(second)), iso, trailer=second)


def long_xmp_jpeg():
    extension = xmp(elements=f"<dc:source>{'y' * 90_000}</dc:source>", wrapper=False)
    name = md5(extension).hexdigest().upper()
    packet = xmp(f'{RATING} xmpNote:HasExtendedXMP="{name}"', TITLE)
    return jpeg(scene(), jfif(), (0xE1, XMP_PREFIX + packet), *extended_xmp(extension))


def motion_jpeg():
    packet = xmp(
        f'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MicroVideoOffset="99" {RATING}'
    )
    return jpeg(scene(), jfif(), (0xE1, XMP_PREFIX + packet), trailer=b"\0\0\0\x18ftypmp42" + bytes(99))


PALETTE = (b"PLTE", bytes(range(48)))
# Each file, and what differs beside the packing of its pixels.
CORPUS = {
    "full.png": (full_png, []),
    "profile.png": (
        lambda: png(
            scene(),
            (b"iCCP", b"My profile\0\0" + zlib.compress(ICC)),
            (b"pHYs", struct.pack(">IIB", 3, 4, 0)),
            (b"eXIf", photo_exif(order=">")),
        ),
        [],
    ),
    "deep.png": (
        lambda: png(
            scene(channels=4, dtype=np.uint16), (b"gAMA", bytes((0, 1, 0, 0))), (b"sBIT", b"\x0c\x0c\x0c\x09")
        ),
        [],
    ),
    "grey.png": (  # of 2 bits, which become 8
        lambda: png(scene(channels=1) >> 6, (b"sBIT", b"\2"), (b"bKGD", b"\0\2"), depth=2),
        ["PNG BitDepth", "PNG BackgroundColor"],
    ),
    "palette.png": (  # which becomes RGB
        lambda: png(
            scene(channels=1) >> 4,
            (b"gAMA", bytes((0, 0, 195, 80))),
            PALETTE,
            (b"bKGD", b"\2"),
            colour_type=3,
        ),
        ["PNG BackgroundColor", "PNG ColorType", "PNG Palette"],
    ),
    "full.jpg": (full_jpeg, ["IFD1 *"]),  # the thumbnail
    "progressive.jpg": (lambda: jpeg(scene(), jfif(0, 1, 2), progressive=True), []),
    "grey.jpg": (lambda: jpeg(scene(channels=1), jfif(1, 300, 300)), []),
    "long.jpg": (long_xmp_jpeg, ["XMP-xmpNote HasExtendedXMP"]),  # the name of the new extension
    "gain.jpg": (gain_map_jpeg, ["MPF0 *", "MPImage* *", "XMP-Container *", "XMP-hdrgm *"]),
    "motion.jpg": (motion_jpeg, ["XMP-GCamera *"]),
    "full.tif": (full_tiff, []),
    "motorola.tif": (lambda: full_tiff(">"), []),
    "full.webp": (
        lambda: webp(
            scene(),
            (b"ICCP", ICC),
            (b"EXIF", photo_exif()),
            (b"XMP ", xmp(RATING, TITLE)),
        ),
        [],
    ),
    "lossy.webp": (
        lambda: webp(scene(channels=4), (b"EXIF", b"Exif\0\0" + photo_exif(order=">")), lossless=False),
        [],
    ),
    "transparent.bmp": (lambda: bmp(scene(channels=4)), []),
    "profile.bmp": (lambda: bmp(scene(), space=b"DEBM", icc=ICC), []),
    "calibrated.bmp": (  # of version 4, which becomes 5 with an intent
        lambda: bmp(scene(), space=bytes(4), ends=struct.pack("<12I", *range(1, 13)), size=108),
        ["File BMPVersion", "File RenderingIntent"],
    ),
}


def tags_of(folder):
    """Return for each file of a folder the sorted (group and tag, value) that ExifTool finds."""
    tool = shutil.which("exiftool")
    if tool is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    arguments = ["-a", "-u", "-G1", "-s", "-s", "-n", "-r", "-f", str(folder)]
    done = subprocess.run([tool, *arguments], capture_output=True, check=True)
    found, name = {}, ""
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("======== "):
            name = line.rsplit("/", 1)[-1]
            found[name] = []
        elif line.startswith("["):
            group, _, rest = line[1:].partition("]")
            tag, _, value = rest.strip().partition(": ")
            if group not in ("System", "ExifTool"):
                found[name].append((f"{group} {tag}", value))
    return {key: sorted(value) for key, value in found.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the tags of every file of the corpus before and after."""
    before, after = tmp_path_factory.mktemp("before"), tmp_path_factory.mktemp("after")
    for name, (make, _) in CORPUS.items():
        data = make()
        (before / name).write_bytes(data)
        image = decode_image(data, name=name)
        (after / name).write_bytes(encode_image(image, format=image.format))
    return tags_of(before), tags_of(after)


@pytest.mark.parametrize("name", CORPUS)
def test_every_tag_is_the_same_but_for_what_is_stated(name, written):
    before, after = (tags[name] for tags in written)
    assert len(before) > 10
    changed = {tag for tag, value in set(before) ^ set(after)}
    if len(before) != len(after):  # one of several of a name may be gone
        changed |= {tag for tag, _ in before + after if before.count(tag) != after.count(tag)}
    suffix = name.rsplit(".", 1)[1].upper()
    packing = PACKING[{"JPG": "JPEG", "TIF": "TIFF"}.get(suffix, suffix)]
    stated = CORPUS[name][1]
    unstated = {tag for tag in changed if not any(fnmatch.fnmatch(tag, p) for p in [*stated, *packing])}
    assert unstated == set()
    # Nothing is stated that does not happen.
    assert [p for p in stated if not fnmatch.filter(changed, p)] == []


# What of the tags of a full file comes into another format: by group, and what of it does not.
CROSSINGS = {
    ("full.jpg", "PNG"): [],
    ("full.jpg", "TIFF"): [],
    ("full.jpg", "WEBP"): ["IPTC *", "Photoshop *"],
    ("full.png", "JPEG"): ["IPTC *"],
    ("full.tif", "JPEG"): [],
    ("full.tif", "PNG"): [],
    ("full.webp", "PNG"): [],
    ("full.webp", "JPEG"): [],
    ("full.webp", "TIFF"): [],
}
GROUPS = ("IFD0", "ExifIFD", "GPS", "XMP-*", "IPTC", "Photoshop", "ICC_Profile*", "ICC-*")
# How TIFF stores pixels, and its own tags; where EXIF says how large a pixel is, formats have fields for it, too.
OF_TIFF = [
    "IFD0 " + tag
    for tag in (
        *(
            "Resolution*",
            "[XY]Resolution",
            "Image*",
            "Bits*",
            "Photo*",
            "Samples*",
            "Rows*",
            "Strip*",
            "Planar*",
        ),
        *("Predictor", "Compression", "SubfileType", "Host*", "Page*", "XPosition", "WhitePoint", "Primary*"),
        *("PixelScale", "ModelTiePoint", "Orientation", "GeoTiff*", "GDAL*", "OwnerName"),
    )
]


@pytest.mark.parametrize(("name", "target"), CROSSINGS)
def test_what_another_format_holds_comes_across(name, target, tmp_path):
    data = CORPUS[name][0]()
    image = decode_image(data)
    (tmp_path / name).write_bytes(data)
    result = f"result{FORMATS[target].suffix}"
    (tmp_path / result).write_bytes(encode_image(image, format=target))
    tags = tags_of(tmp_path)
    before = [
        (tag, value)
        for tag, value in tags[name]
        if any(fnmatch.fnmatch(tag.split()[0], group) for group in GROUPS)
        and not (any(fnmatch.fnmatch(tag, p) for p in OF_TIFF))
    ]
    lost = {tag for tag, value in before if (tag, value) not in tags[result]}
    stated = CROSSINGS[name, target]
    assert {tag for tag in lost if not any(fnmatch.fnmatch(tag, p) for p in stated)} == set()
    if stated:
        assert "has no place for" in left_out(image, format=target)
