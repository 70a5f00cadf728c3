"""Colouring, inpainting and synthesizing: what is kept, what changes, and what is refused."""

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, photo
from PIL import Image as PillowImage

import facerestore
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.backends import load_backend
from facerestore.backends.gpen import TASK_RANGES
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.config import TASKS, RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError, WeightsError
from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES
from facerestore.io import _icc, decode_image, encode_image, read_image, write_image
from facerestore.parsing import PALETTE, LandmarkParser
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.build import (
    MaskFile,
    MaskPicture,
    Strokes,
    build_colorizer,
    build_inpainter,
    build_synthesizer,
)
from facerestore.pipeline.tasks.colorize import COLORIZING, keep_luma, with_luma
from facerestore.pipeline.tasks.damage import find_mask, stroke
from facerestore.pipeline.tasks.inpaint import inpainting, soft_damage
from facerestore.pipeline.tasks.parsing_pictures import decode_map, read_ids
from facerestore.pipeline.tasks.synthesize import SYNTHESIZING
from facerestore.types import DecodedImage, Metadata, Outcome
from facerestore.weights.checkpoint import save_state_dict

LUMA = np.array([0.299, 0.587, 0.114])
FACE = face_at(20, 24, size=96)


class Painter(Restorer):
    """Gives each face one colour, whatever it sees, and remembers what it saw."""

    def __init__(self, colour=(0.8, 0.5, 0.3), face_size=64):
        self.colour = colour
        self.descriptor = Descriptor(name="painter", face_size=face_size)
        self.seen = []

    def restore(self, faces, parsing_maps=None):
        self.seen += [face.lq for face in faces]
        shape = (self.face_size, self.face_size, 3)
        return [np.broadcast_to(np.float32(self.colour), shape).copy() for _ in faces]


class Mirror(Painter):
    """Gives back what it sees."""

    def restore(self, faces, parsing_maps=None):
        self.seen += [face.lq for face in faces]
        return [face.lq.copy() for face in faces]


def luma(pixels):
    return pixels @ LUMA


def grey(image):
    values = np.rint(luma(image.pixels)).astype(image.pixels.dtype)
    return replace(image, pixels=np.repeat(values[..., None], 3, axis=2), grey=True)


def colorizer(*faces, restorer=None, **options):
    config = RestoreConfig(**{"mask": "whole", "colour_match": False, **options})
    detector = FakeDetector(*faces)
    return RestorePipeline(detector, restorer or Painter(), config=config, procedure=COLORIZING)


def inpainter(damage, *faces, restorer=None, **options):
    config = RestoreConfig(**{"mask": "whole", **options})
    detector, procedure = FakeDetector(*faces), inpainting(damage)
    return RestorePipeline(detector, restorer or Painter(), config=config, procedure=procedure)


def synthesizer(restorer=None):
    config = RestoreConfig(aligned=True, mask="whole")
    return RestorePipeline(None, restorer or Mirror(), config=config, procedure=SYNTHESIZING)


# --- colorize


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("colour", [(0.9, 0.4, 0.2), (0.0, 0.0, 1.0)])
def test_colours_keep_the_luma_of_the_photo(dtype, upscale, colour):
    image = grey(photo(140, 160, dtype=dtype))
    result = colorizer(FACE, restorer=Painter(colour), upscale=upscale).run(image)
    canvas = image.pixels
    if upscale != 1:
        canvas = cv2.resize(canvas, None, fx=upscale, fy=upscale, interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(luma(result.image.pixels) - luma(canvas)).max() <= 0.51
    assert result.image.pixels.dtype == dtype
    spread = np.ptp(result.image.pixels.astype(int), axis=2)
    assert spread.max() > 0.1 * np.iinfo(dtype).max
    if dtype == np.uint8:
        before, after = (cv2.cvtColor(p, cv2.COLOR_RGB2YUV)[..., 0] for p in (canvas, result.image.pixels))
        assert np.abs(before.astype(int) - after).max() <= 1


def test_luma_is_kept_in_a_crop_of_the_networks_own_size_too():
    image = grey(photo(64, 64))
    result = colorizer(aligned=True).run(image)
    assert np.abs(luma(result.image.pixels) - luma(image.pixels)).max() <= 0.51
    assert (np.ptp(result.image.pixels.astype(int), axis=2) > 10).all()


def test_the_network_sees_no_colour():
    painter = Painter()
    colorizer(FACE, restorer=painter).run(photo(140, 160))
    (seen,) = painter.seen
    assert np.array_equal(seen[..., 0], seen[..., 1])
    assert np.array_equal(seen[..., 0], seen[..., 2])


def test_chroma_is_that_of_the_network_and_strength_its_saturation():
    image = DecodedImage(np.full((140, 160, 3), 128, np.uint8), grey=True)
    full = colorizer(FACE).run(image).image.pixels[72, 68].astype(float)
    half = colorizer(FACE, strength=0.5).run(image).image.pixels[72, 68].astype(float)
    colour = np.array(Painter().colour) * 255
    np.testing.assert_allclose(full - luma(full), colour - luma(colour), atol=1)
    np.testing.assert_allclose(half - luma(half), (colour - luma(colour)) / 2, atol=1)


def test_chroma_shrinks_and_keeps_its_hue_where_there_is_no_room_for_it():
    colours = np.float32([[1, 0, 0], [0, 0, 1], [0.2, 0.9, 0.1], [0.5, 0.5, 0.5]])
    wanted = np.float32([0.95, 0.02, 0, 1])
    result = with_luma(colours, wanted)
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(result @ LUMA, wanted, atol=1e-6)
    chroma, before = (c - (c @ LUMA)[:, None] for c in (result, colours))
    np.testing.assert_allclose(np.cross(chroma, before), 0, atol=1e-6)


def test_pixels_outside_the_crop_stay_and_equal_pixels_stay_equal():
    image = photo(140, 160)
    result = colorizer(FACE).run(image).image.pixels
    assert np.array_equal(result[:, 120:], image.pixels[:, 120:])
    assert np.array_equal(keep_luma(image.pixels, image.pixels), image.pixels)


def test_a_grey_file_becomes_a_colour_file_with_a_profile_of_the_same_tones():
    profile = _icc.grey_profile("grey", _icc.of_gamma(1.8))
    image = replace(grey(photo(140, 160)), metadata=Metadata(exif=b"Exif\0\0", icc=profile))
    result = colorizer(FACE).run(image).image
    assert not result.grey
    assert result.metadata.exif == b"Exif\0\0"
    assert _icc.space_of(decode_image(encode_image(result, format="PNG")).metadata.icc) == b"RGB "


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"faces": "7"}, {"min_face": 500.0}])
def test_without_a_face_to_colour_the_photo_stays_the_very_same(options):
    image = grey(photo(140, 160))
    assert colorizer(FACE, **options).run(image).image is image
    assert colorizer().run(image).image is image


def test_sharp_faces_are_coloured_too_and_small_ones_only_when_forced():
    sharp = grey(
        DecodedImage(np.kron(np.eye(20, dtype=np.uint8)[..., None] * 99 + 80, np.ones((8, 8, 3), np.uint8)))
    )
    result = colorizer(FACE).run(sharp)
    assert result.faces[0].decision.outcome is Outcome.RESTORED
    assert result.report["task"] == "colorize"
    small = face_at(20, 20, size=24)
    assert colorizer(small).run(sharp).faces[0].decision.code == "too-small"
    assert "forced" in colorizer(small, force=True).run(sharp).faces[0].decision.reason


def test_a_photo_that_has_colours_is_coloured_anew_and_told_so():
    rng = np.random.default_rng(0)
    blobs = cv2.resize(rng.integers(40, 200, (7, 8, 3), dtype=np.uint8), (160, 140))
    assert "colours already" in colorizer(FACE).run(DecodedImage(blobs)).report["notes"][0]
    plain = grey(DecodedImage(blobs))
    assert colorizer(FACE).run(plain).report["notes"] == []
    sepia = np.rint(plain.pixels * np.array([1.0, 0.85, 0.65])).astype(np.uint8)
    assert colorizer(FACE).run(DecodedImage(sepia)).report["notes"] == []


# --- inpaint


def holes_picture(shape, *boxes):
    mask = np.zeros((*shape, 3), np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 255
    return DecodedImage(mask)


def distance_to(holes):
    return cv2.distanceTransform((~holes).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [40, 96, 300])
def test_only_the_damage_comes_from_the_network(dtype, size):
    image = photo(340, 340, dtype=dtype)
    x = 20 + size // 2
    mask = holes_picture((340, 340), (x - 5, x - 3, x + 5, x + 4))
    colour = (0.25, 0.5, 1.0)
    line = inpainter(
        MaskPicture(mask), face_at(20, 20, size=size), restorer=Painter(colour), colour_match=False
    )
    result = line.run(image)
    holes = mask.pixels[..., 0] > 0
    limit = np.iinfo(dtype).max
    expected = np.rint(np.float32(colour) * limit).astype(int)
    assert np.abs(result.image.pixels[holes].astype(int) - expected).max() <= 1
    # Twice a crop's pixel around the damage, and the feather.
    reach = 2 + 4 * size / 64
    assert np.array_equal(
        result.image.pixels[distance_to(holes) > reach], image.pixels[distance_to(holes) > reach]
    )
    assert result.report["filled"]["share_left"] == 0
    assert np.array_equal(result.before.pixels[holes], np.full((holes.sum(), 3), limit))
    assert np.array_equal(result.before.pixels[~holes], image.pixels[~holes])


def test_the_network_sees_the_damage_white_and_the_detector_does_not():
    image = photo(140, 160)
    painter, looked_at = Painter(), []

    class Detector(FakeDetector):
        def detect(self, pixels):
            looked_at.append(pixels)
            return super().detect(pixels)

    procedure = inpainting(MaskPicture(holes_picture((140, 160), (60, 60, 80, 80))))
    RestorePipeline(Detector(FACE), painter, config=RestoreConfig(mask="whole"), procedure=procedure).run(
        image
    )
    assert looked_at[0] is image.pixels
    assert painter.seen[0][30:34, 30:34].min() > 0.99
    assert painter.seen[0][:20].max() < 0.6


def test_an_aligned_crop_is_filled_to_its_border():
    mask = holes_picture((64, 64), (0, 0, 5, 64))
    result = inpainter(MaskPicture(mask), aligned=True, colour_match=False, restorer=Painter((0, 1, 0))).run(
        photo(64, 64)
    )
    assert np.array_equal(result.image.pixels[:, :5], np.broadcast_to([0, 255, 0], (64, 5, 3)))
    assert result.report["filled"]["share_left"] == 0


def test_colours_of_the_fill_are_matched_to_what_is_sound_around_it():
    image = DecodedImage(np.full((140, 160, 3), (120, 90, 60), np.uint8))
    mask = MaskPicture(holes_picture((140, 160), (64, 66, 72, 74)))
    filled = inpainter(mask, FACE, restorer=Painter((0.2, 0.8, 0.9))).run(image).image.pixels
    assert np.abs(filled.astype(int) - image.pixels).max() <= 2
    loud = (
        inpainter(mask, FACE, restorer=Painter((0.2, 0.8, 0.9)), colour_match=False).run(image).image.pixels
    )
    assert np.abs(loud[70, 68].astype(int) - (51, 204, 230)).max() <= 1


def test_a_grey_photo_stays_grey():
    image = grey(photo(140, 160))
    result = inpainter(MaskPicture(holes_picture((140, 160), (60, 60, 80, 80))), FACE).run(image).image
    assert result.grey
    assert np.array_equal(result.pixels[..., 0], result.pixels[..., 2])
    assert not np.array_equal(result.pixels, image.pixels)


def test_damage_outside_the_faces_stays_and_is_told():
    image = photo(140, 160)
    mask = MaskPicture(holes_picture((140, 160), (60, 60, 80, 80), (140, 0, 160, 20)))
    result = inpainter(mask, FACE).run(image)
    assert np.array_equal(result.image.pixels[:20, 140:], image.pixels[:20, 140:])
    assert result.report["filled"]["share_left"] == 0.5
    assert result.report["notes"] == ["50% of the damage lies outside the restored faces, and stays"]


def painted(shape, colour):
    """A mask of that colour on black, with 100 pixels of it within the face."""
    picture = holes_picture(shape, (60, 60, 70, 70))
    return replace(picture, pixels=(picture.pixels // 255) * np.array(colour, np.uint8))


@pytest.mark.parametrize("boxes", [[], [(150, 0, 160, 10)]])
def test_without_damage_in_a_face_the_photo_stays_the_very_same(boxes):
    image = photo(140, 160)
    result = inpainter(MaskPicture(holes_picture((140, 160), *boxes)), FACE).run(image)
    assert result.image is image
    assert result.faces[0].decision.code == "undamaged"
    assert (result.before is None) == (not boxes)


def test_strength_0_and_faces_that_are_not_chosen_change_nothing():
    image = photo(140, 160)
    for options in ({"strength": 0.0}, {"faces": "3"}):
        for damage in (MaskPicture(holes_picture((140, 160), (60, 60, 80, 80))), Strokes()):
            assert inpainter(damage, FACE, **options).run(image).image is image


def test_masks_of_another_size_and_pictures_that_are_no_masks_are_refused():
    for picture, message in (
        (holes_picture((140, 161)), "161 x 140 pixels, the photo 160 x 140"),
        (photo(140, 160), "neither black nor white"),
        (painted((140, 160), (255, 0, 0)), "100 pixels in colours or greys that are too dark .* and 0 that"),
        (painted((140, 160), (0, 0, 255)), "paint what is damaged white"),
        (painted((140, 160), (100, 100, 100)), "paint what is damaged white"),
    ):
        with pytest.raises(ImageError, match=message):
            inpainter(MaskPicture(picture), FACE).run(photo(140, 160))


def test_a_mask_painted_with_a_soft_brush_is_taken():
    y, x = np.mgrid[:140, :160] - 70.0
    brush = np.rint(255 * np.exp(-(x**2 + y**2) / 300)).astype(np.uint8)
    line = inpainter(MaskPicture(DecodedImage(np.repeat(brush[..., None], 3, axis=2))), FACE)
    assert line.run(photo(140, 160)).report["filled"]["share"] > 0


def test_what_is_transparent_in_a_mask_is_sound():
    mask = holes_picture((140, 160), (0, 0, 160, 140))
    alpha = np.zeros((140, 160), np.uint8)
    alpha[60:70, 60:70] = 255
    line = inpainter(MaskPicture(replace(mask, alpha=alpha)), FACE)
    assert line.run(photo(140, 160)).report["filled"]["share"] == round(100 / (140 * 160), 6)


def test_the_size_stays_and_parts_are_not_chosen():
    with pytest.raises(ConfigError, match="keeps the size"):
        inpainter(Strokes(), FACE, upscale=2.0).run(photo(140, 160))
    parts = RestoreConfig(mask="whole", region="eyes=1")
    line = replace(inpainter(Strokes(), FACE), config=parts, parser=LandmarkParser())
    with pytest.raises(ConfigError, match="whatever it lies on"):
        line.run(photo(140, 160))


def test_strokes_repeat_with_their_seed_and_differ_by_seed_and_name():
    image = photo(140, 160)

    def drawn(seed, name):
        result = inpainter(Strokes(seed), FACE).run(image, source=Path("some") / name)
        return result.before.pixels.tobytes()

    assert drawn(1, "a.png") == drawn(1, "a.png")
    assert len({drawn(1, "a.png"), drawn(2, "a.png"), drawn(1, "b.png")}) == 3


@pytest.mark.parametrize("aligned", [False, True])
def test_strokes_lie_within_the_face_and_all_of_them_is_filled(aligned):
    image = photo(96, 96) if aligned else photo(140, 160)
    for seed in range(8):
        result = inpainter(Strokes(seed), FACE, aligned=aligned, colour_match=False).run(image)
        holes = (result.before.pixels == 255).all(axis=2)
        assert 0 < holes.mean() < 0.7
        assert result.report["filled"]["share_left"] == 0
        np.testing.assert_allclose(
            result.image.pixels[holes] / 255, [Painter().colour] * holes.sum(), atol=0.01
        )
    assert result.report["filled"]["source"] == "random strokes, seed 7"


def test_strokes_have_the_published_shape():
    rng = np.random.default_rng(0)
    drawn = [stroke(1024, margin_px=20, rng=rng) for _ in range(200)]
    assert {len(points) - 1 for points in drawn} <= set(range(8, 28))
    steps = np.concatenate([np.hypot(*np.diff(points, axis=0).T) for points in drawn])
    assert steps.max() <= 2 * 1024 * 2**0.5 / 8 + 1e-6
    inside = np.concatenate(drawn)
    assert inside.min() > 0.02 * 1024
    assert inside.max() < 0.98 * 1024


def test_soft_damage_covers_every_damaged_pixel_after_the_way_back():
    rng = np.random.default_rng(3)
    holes = rng.random((200, 200)) < 0.01
    for scale in (0.2, 0.5, 1.0, 2.3, 7.0):
        turn = scale * np.array([[0.8, -0.6], [0.6, 0.8]])
        affine = np.column_stack([turn, 63.7 - turn @ (100, 100)])
        mask = soft_damage(holes, affine, 128)
        back = cv2.warpAffine(mask, affine, (200, 200), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        y, x = np.nonzero(holes)
        at = affine @ np.stack([x, y, np.ones_like(x)])
        inside = ((at > 2) & (at < 125)).all(axis=0)
        assert inside.any()
        assert (back[y[inside], x[inside]] > 0.999).all()


def test_masks_of_a_folder_have_the_names_of_their_photos(tmp_path):
    for name in (
        "masks/a.png",
        "masks/sub/b.png",
        "masks/c.png",
        "masks/c.jpg",
        "album/a.jpg",
        "album/sub/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    masks, album = tmp_path / "masks", tmp_path / "album"
    assert find_mask(masks, album / "a.jpg") == masks / "a.png"
    assert find_mask(masks, album / "sub/b.jpg") == masks / "sub/b.png"
    assert MaskFile(masks).for_photo(album / "a.jpg").path == masks / "a.png"
    assert MaskFile(masks / "a.png").for_photo(album / "z.jpg").path == masks / "a.png"
    with pytest.raises(ImageError, match=r"no mask in .* 'z\.png', white"):
        find_mask(masks, album / "z.jpg")
    with pytest.raises(ImageError, match=r"several masks .*'c.jpg'.*'c.png'"):
        find_mask(masks, album / "c.tif")
    with pytest.raises(ImageError, match="no mask"):
        find_mask(album, album / "a.jpg")


# --- synthesize


def map_of(size=64):
    """Return ids with every class: skin, with small squares of the others on it."""
    ids = np.ones((size, size), np.uint8)
    for index in range(len(CLASS_NAMES)):
        row, column = divmod(index, 5)
        ids[row * 12 : row * 12 + 8, column * 12 : column * 12 + 8] = index
    return ids


def indexed(ids, palette):
    picture = PillowImage.fromarray(ids, mode=None).convert("L")
    picture = PillowImage.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([int(v) for colour in palette for v in colour])
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    return encoded.getvalue()


FOREIGN = [(i * 12, 255 - i * 12, 7) for i in range(19)]
GREY_STEPS = [(i * 13,) * 3 for i in range(19)]


@pytest.mark.parametrize(
    "encoded",
    [
        encode_image(DecodedImage(PALETTE[map_of()]), format="PNG"),
        encode_image(DecodedImage(PALETTE[map_of()].astype(np.uint16) * 257), format="PNG"),
        encode_image(DecodedImage(np.repeat(map_of()[..., None], 3, 2), grey=True), format="PNG"),
        encode_image(DecodedImage(np.repeat(map_of()[..., None], 3, 2)), format="BMP"),
        encode_image(
            DecodedImage(np.repeat(map_of()[..., None].astype(np.uint16), 3, 2), grey=True), format="PNG"
        ),
        indexed(map_of(), CLASS_COLOURS),
        indexed(18 - map_of(), CLASS_COLOURS[::-1]),
        indexed(map_of(), FOREIGN),
        indexed(map_of(), GREY_STEPS),
    ],
    ids=[
        "colours",
        "colours16",
        "grey",
        "rgb-grey",
        "grey16",
        "indexed",
        "indexed-backwards",
        "indexed-foreign",
        "indexed-greys",
    ],
)
def test_maps_are_read_by_colour_by_grey_value_or_by_index(encoded):
    ids = read_ids(decode_map(encoded).pixels)
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, map_of())


def test_what_no_class_has_is_refused_with_the_nearest_class():
    colours = PALETTE[map_of()].copy()
    colours[:2, :3] = (200, 5, 0)
    colours[9, 9] = (1, 2, 3)
    with pytest.raises(
        ImageError,
        match=r"\(200, 5, 0\), which is no class, at 6 pixels.*2 such colours in all.*skin \(204, 0, 0\).*--legend",
    ):
        read_ids(colours)
    with pytest.raises(ImageError, match=r"1 pixels hold values up to 19; ids run from 0 to 18"):
        read_ids(
            np.repeat(
                np.where(np.arange(64 * 64).reshape(64, 64) == 5, 19, map_of())[..., None], 3, 2
            ).astype(np.uint8)
        )
    with pytest.raises(ImageError, match="nothing but background"):
        read_ids(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ImageError, match="square"):
        synthesizer().run(DecodedImage(PALETTE[map_of()][:50]))


@pytest.mark.parametrize("size", [32, 64, 200])
def test_the_network_sees_whole_labels_in_colour_whatever_the_size_of_the_map(size):
    mirror = Mirror()
    ids = cv2.resize(map_of(), (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    result = synthesizer(mirror).run(DecodedImage(np.repeat(ids[..., None], 3, 2), grey=True, format="PNG"))
    seen = np.rint(mirror.seen[0] * 255).astype(np.uint8)
    assert seen.shape == (64, 64, 3)
    np.testing.assert_allclose(mirror.seen[0] * 255, seen, atol=1e-4)
    shown = {tuple(int(v) for v in colour) for colour in seen.reshape(-1, 3)}
    assert shown == {CLASS_COLOURS[i] for i in np.unique(ids)}
    assert np.array_equal(result.image.pixels, seen)
    assert not result.image.grey
    assert np.array_equal(result.before.pixels, PALETTE[ids])
    assert synthesizer(mirror).run(DecodedImage(PALETTE[ids])).before is None
    assert result.report["result_size"] == [64, 64]
    assert "skin" in result.faces[0].decision.reason
    if size == 64:
        assert np.array_equal(result.faces[0].parsing_map, map_of())


# --- networks


@pytest.fixture
def tiny(tmp_path):
    """Return a weights file of a tiny GPEN with the official key names, which serves every task."""
    torch.manual_seed(0)
    network = GPENGenerator(GPENConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.5)
    save_state_dict(tmp_path / "tiny.safetensors", network.state_dict())
    return tmp_path / "tiny.safetensors"


def test_every_task_has_a_value_range_and_the_network_gets_it(tiny):
    assert set(TASK_RANGES) == set(TASKS)
    restorer = load_backend(tiny)
    drawing = restorer.for_task("synthesize")
    assert (drawing.network_range, restorer.network_range) == ((0.0, 1.0), (-1.0, 1.0))
    assert (
        restorer.for_task("colorize").network_range
        == restorer.for_task("inpaint").network_range
        == (-1.0, 1.0)
    )
    assert drawing.network is restorer.network
    seen = []
    drawing.network.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    synthesizer(drawing).run(DecodedImage(PALETTE[map_of(32)]))
    assert seen[0].min() == 0
    assert seen[0].max() == 1
    seen.clear()
    colorizer(FACE, restorer=restorer.for_task("colorize")).run(
        DecodedImage(np.zeros((140, 160, 3), np.uint8))
    )
    assert seen[0].max() == -1
    with pytest.raises(ConfigError, match="no task 'dream'"):
        restorer.for_task("dream")


def test_tasks_run_with_a_file_of_the_official_format(tiny, tmp_path):
    weights = str(tiny)
    crop = photo(64, 64)
    coloured = facerestore.colorize(crop.pixels, weights=weights, aligned=True, device="cpu")
    assert np.abs(luma(coloured.image.pixels) - luma(crop.pixels)).max() <= 0.51
    assert coloured.report["weights"]["weights"] == weights
    filled = facerestore.inpaint(crop.pixels, Strokes(2), weights=weights, aligned=True, device="cpu")
    holes = (filled.before.pixels == 255).all(axis=2)
    far = distance_to(holes) > 10
    assert np.array_equal(filled.image.pixels[far], crop.pixels[far])
    mask = PillowImage.fromarray((holes * 255).astype(np.uint8))
    again = facerestore.inpaint(crop.pixels, mask, weights=weights, aligned=True, device="cpu")
    assert np.array_equal(again.image.pixels, filled.image.pixels)
    drawn = [
        facerestore.synthesize(source, weights=weights, device="cpu").image.pixels
        for source in (
            map_of(),
            PALETTE[map_of()],
            indexed(map_of(), FOREIGN),
            PillowImage.open(io.BytesIO(indexed(map_of(), FOREIGN))),
        )
    ]
    assert drawn[0].shape == (32, 32, 3)
    assert all(np.array_equal(one, drawn[0]) for one in drawn)
    write_image(tmp_path / "map.png", DecodedImage(PALETTE[map_of()]))
    assert np.array_equal(
        facerestore.synthesize(tmp_path / "map.png", weights=weights).image.pixels, drawn[0]
    )


def test_builders_settle_what_a_task_has_to_have(tiny):
    config = RestoreConfig(
        weights=str(tiny), device="cpu", detector="embedded", mask="face", strength=0.5, upscale=2
    )
    settled = replace(config, colour_match=False, guard=False, grain=False)
    assert build_colorizer(config).config == settled
    assert (
        build_colorizer(RestoreConfig(weights=str(tiny), aligned=True, mask="whole")).config.mask == "whole"
    )
    drawn = build_inpainter(Strokes(3), replace(config, aligned=True, upscale=1.0)).run(photo(64, 64))
    assert drawn.report["filled"]["source"] == "random strokes, seed 3"
    line = build_synthesizer(config)
    assert (line.config.strength, line.config.upscale, line.detector) == (1.0, 1.0, None)
    assert "from parsing maps" in line.description


def test_only_backends_that_do_the_task_are_taken(tmp_path):
    bundled = facerestore.pipeline.choose.choose(
        "restore", RestoreConfig(), facerestore.weights.WeightsStore()
    ).path
    for name in ("colorize", "inpaint", "synthesize"):
        with pytest.raises(
            ConfigError, match=f"'lite' with these weights can restore faces, and not {name} them"
        ):
            load_backend(bundled).for_task(name)
    with pytest.raises(WeightsError, match=r"weights download gpen\.seg2face-512"):
        facerestore.synthesize(np.zeros((512, 512), np.uint8))


def test_grey_heads_get_colours_without_a_download_and_keep_their_luma():
    grey = read_image(Path(__file__).parent.parent / "examples/astronaut_degraded.jpg").pixels @ LUMA
    grey = np.rint(np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)
    result = facerestore.colorize(grey)
    (face,) = result.faces
    left, top, right, bottom = (round(value) for value in face.detected.box)
    middle = result.image.pixels[(top + bottom) // 2, (left + right) // 2].astype(int)
    assert middle[0] > middle[1] > middle[2], "skin is redder than it is blue, whatever its tone"
    assert np.array_equal(result.image.pixels[-1], grey[-1]), "what is no head stays grey"
    assert np.abs(result.image.pixels @ LUMA - grey[..., 0]).max() <= 0.5 + 1e-3


def test_a_failing_network_fails_the_task():
    class Failing(Painter):
        def restore(self, faces, parsing_maps=None):
            raise BackendError("backend 'painter' failed")

    for line, image in (
        (colorizer(FACE, restorer=Failing()), photo(140, 160)),
        (inpainter(Strokes(), FACE, restorer=Failing()), photo(140, 160)),
        (synthesizer(Failing()), DecodedImage(PALETTE[map_of()])),
    ):
        with pytest.raises(BackendError):
            line.run(image)


def test_a_network_that_enlarges_draws_at_its_own_sizes(tmp_path):
    torch.manual_seed(0)
    network = GPENGenerator(GPENConfig(32, input_size=16, style_dim=8, mapping_layers=2, narrow=1 / 64))
    save_state_dict(tmp_path / "enlarging.safetensors", network.state_dict())
    restorer = load_backend(tmp_path / "enlarging.safetensors").for_task("synthesize")
    seen = []
    restorer.network.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    result = synthesizer(restorer).run(DecodedImage(PALETTE[map_of()]))
    assert seen[0].shape == (1, 3, 16, 16)
    shown = {tuple(np.rint(v).astype(int)) for v in seen[0][0].permute(1, 2, 0).reshape(-1, 3).numpy() * 255}
    assert shown <= set(CLASS_COLOURS)
    assert result.image.pixels.shape == (32, 32, 3)
