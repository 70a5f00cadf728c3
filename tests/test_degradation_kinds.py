"""The presets `web`, `print`, `damage` and `phone`: what each does can be measured, and none moves the face."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from facerestore.degradation import apply, damage_masks, damaged, preset
from facerestore.degradation.ageing import Damage
from facerestore.degradation.camera import Sensor, Smear
from facerestore.degradation.kernels import pillow_lanczos
from facerestore.degradation.screens import (
    ChromaBlur,
    Combing,
    Halftone,
    Moire,
    PaperTexture,
    ScanLines,
    plane_wave,
)
from facerestore.degradation.steps import CroppedJpeg, DamageStep, Jpeg, Resize, Sharpen
from facerestore.degradation.tearing import (
    Cracks,
    Creases,
    Dust,
    MissingPieces,
    Scratches,
    Tears,
    WaterStains,
)
from facerestore.imaging.pixels import whole_levels
from facerestore.training.data.drawn import drawn_face

NAMES = ("web", "print", "damage", "phone")
KINDS = (WaterStains, Creases, Cracks, Scratches, Tears, MissingPieces, Dust)
SIZE = 128


@pytest.fixture(scope="module")
def faces():
    return [drawn_face(SIZE, np.random.default_rng(seed))[0] for seed in range(3)]


def flat(level, size=SIZE):
    return np.full((size, size, 3), level, np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


VALIDATION = {
    "web": "blur 0.4 px|128 px bicubic|sharpened 1.8, 0.8 px|JPEG 61 at 6, 8|111 px bicubic"
    "|JPEG 32 at 14, 5|256 px cubic",
    "print": "grey|blur 0.4 px|lines 40%, 2.3 px|blur 0.3 px|184 px area|JPEG 89 at 3, 7|256 px cubic",
    "damage": "blur 1.2 px|183 px area|JPEG 75|256 px cubic|creases x 2|cracks x 1|dust x 26",
    "phone": "blur 2.0 px|183 px area|sensor 0.5/1000, 0.1%|smeared 46, 2.3 px|sharpened 0.7, 0.8 px"
    "|JPEG 82 at 10, 7|256 px cubic",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_draws_of_the_validation_faces_never_change(name):
    """What ``evaluate --seed 7`` draws for the second face: figures are compared between versions."""
    assert preset(name).draw(256, rng([7, 1])).text.replace("\n", "|") == VALIDATION[name]


def shift_of(picture, reference):
    """Return (x, y) in px by which a picture lies beside another, by phase correlation of their smoothed luma."""
    lumas = [cv2.GaussianBlur(p.mean(axis=2).astype(np.float64), (0, 0), 4) for p in (reference, picture)]
    window = cv2.createHanningWindow(lumas[0].shape[::-1], cv2.CV_64F)
    return cv2.phaseCorrelate(*(luma - luma.mean() for luma in lumas), window)[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_degraded_face_lies_where_the_real_one_does(name):
    """In the median within a twentieth of a pixel, and no draw further than half a pixel, which noise can do.

    Of ``damage``, what lies below the damage.
    """
    faces = [drawn_face(256, rng(seed))[0] for seed in range(3)]
    shifts = []
    for seed in range(24):
        drawn = preset(name).draw(256, rng([7, seed]))
        result = damaged(faces[seed % 3], drawn, rng(seed))
        shifts.append(shift_of(result.undamaged, result.hq))
    assert np.abs(np.median(shifts, axis=0)).max() < 0.05
    assert np.abs(shifts).max() < 0.5
    # The measure sees a shift, though it understates one of such smooth pictures.
    assert 0.6 < shift_of(np.roll(faces[0], 1, axis=1), faces[0])[0] < 1.2


@pytest.mark.parametrize("name", NAMES)
def test_strengths_begin_mild_and_leave_a_face(faces, name):
    """Of ``damage``, the face below it is what must be left, and most of it must be seen."""
    errors, covered = [], []
    for seed in range(60):
        face = faces[seed % 3]
        result = damaged(face, preset(name).draw(SIZE, rng(seed)), rng(seed))
        small = [cv2.resize(p, (12, 12), interpolation=cv2.INTER_AREA) for p in (result.undamaged, result.hq)]
        assert np.corrcoef(*(p.ravel() for p in small))[0, 1] > 0.75
        errors.append(np.abs(result.lq.astype(int) - result.hq).mean())
        covered.append((result.mask > 0.3).mean())
    assert min(errors) < 5
    assert max(errors) > 2 * min(errors)
    assert np.median(covered) < 0.1
    assert max(covered) < 0.5


def test_sharpening_leaves_halos():
    edge = flat(80)
    edge[:, SIZE // 2 :] = 160
    sharp = Sharpen(1.0, 1.0).apply(edge, rng())
    row = sharp[SIZE // 2, :, 0]
    # The overshoot of a step by an unsharp mask: amount * height * (1 - Phi(0.5 / sigma)).
    assert row.max() - 160 == pytest.approx(0.309 * 80, rel=0.05)
    assert 80 - row.min() == pytest.approx(0.309 * 80, rel=0.05)
    assert np.allclose(row[:50], 80, atol=1e-3)
    assert Sharpen(9.0, 1.0).apply(edge, rng()).max() == 255


def test_web_leaves_halos_beside_edges():
    edge = np.full((SIZE, SIZE, 3), 80, np.uint8)
    edge[:, SIZE // 2 :] = 160
    draws = [preset("web").draw(SIZE, rng(seed)) for seed in range(40)]
    sharpened = [d for d in draws if any(isinstance(s, Sharpen) and s.amount > 0.8 for s in d.steps)]
    assert 4 < len(sharpened) < 36
    for drawn in sharpened:
        lq, _ = apply(edge, drawn, rng())
        assert np.median(lq.mean(axis=2).max(axis=1)) > 166


def test_the_grid_of_a_cropped_jpeg_begins_elsewhere(faces):
    """Steps at the borders of blocks are higher than within them, and lie where the crop says."""
    noisy = faces[0] + rng().normal(0, 6, faces[0].shape).astype(np.float32)
    for left, top in ((0, 0), (3, 5), (13, 2)):
        luma = CroppedJpeg(20, left, top).apply(noisy.astype(np.float32), rng()).mean(axis=2)
        across = np.abs(np.diff(luma, axis=1)).mean(axis=0)
        down = np.abs(np.diff(luma, axis=0)).mean(axis=1)
        for steps, offset in ((across, left), (down, top)):
            by_place = [steps[k::8].mean() for k in range(8)]
            assert np.argmax(by_place) == (7 - offset) % 8
    plain = Jpeg(20).apply(noisy.astype(np.float32), rng())
    assert np.array_equal(CroppedJpeg(20, 0, 0).apply(noisy.astype(np.float32), rng()), plain)


def test_web_covers_its_ranges():
    draws = [preset("web").draw(512, rng(seed)) for seed in range(400)]
    steps = [step for drawn in draws for step in drawn.steps]
    qualities = {step.quality for step in steps if isinstance(step, CroppedJpeg)}
    assert (min(qualities), max(qualities)) == (30, 92)
    files = [sum(isinstance(step, CroppedJpeg) for step in drawn.steps) for drawn in draws]
    assert set(files) == {1, 2}
    first = {next(s.interpolation for s in drawn.steps if isinstance(s, Resize)) for drawn in draws}
    assert first == {"area", "bicubic", "lanczos"}
    offsets = {(step.left_px, step.top_px) for step in steps if isinstance(step, CroppedJpeg)}
    assert len(offsets) > 100


@pytest.mark.parametrize(("old", "new"), [(128, 50), (50, 128), (64, 64)])
def test_lanczos_is_pillows(faces, old, new):
    face = cv2.resize(faces[0], (old, old), interpolation=cv2.INTER_AREA)
    found = whole_levels(Resize(new, "lanczos").apply(face.astype(np.float32), rng()))
    expected = np.asarray(Image.fromarray(face).resize((new, new), Image.Resampling.LANCZOS))
    assert np.abs(found.astype(int) - expected).max() <= 12  # Pillow rounds and clips between its two passes
    assert np.abs(found.astype(int) - expected).mean() < 0.5
    assert np.allclose(pillow_lanczos(old, new).sum(axis=1), 1, atol=1e-6)


def peak(pattern):
    """Return cycles a pixel, (down, across), and the share of the spectrum's power of its highest peak."""
    power = np.abs(np.fft.rfft2(pattern - pattern.mean())) ** 2
    place = np.unravel_index(power.argmax(), power.shape)
    return (
        np.abs(np.fft.fftfreq(len(pattern))[place[0]]),
        place[1] / pattern.shape[1],
        power.max() / power.sum(),
    )


def test_a_plane_wave_has_its_period_and_angle():
    down, across, share = peak(plane_wave(SIZE, 8.0, 0.0, 0.3))
    assert (down, across) == (0, 0.125)
    assert share > 0.9
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    expected = np.cos(2 * np.pi / 5 * (x * np.cos(0.7) + y * np.sin(0.7)) + 1)
    assert np.allclose(plane_wave(16, 5.0, 0.7, 1.0), expected, atol=1e-5)


@pytest.mark.parametrize("period", [2.3, 4.0, 8.0])
@pytest.mark.parametrize("level", [30, 128, 220])
def test_dots_have_their_period_and_print_the_tone(period, level):
    """Black alone lies at 45 degrees; the page is turned back, so that its screen runs along both axes."""
    dots = Halftone(period, -np.pi / 4, False, 1.0, 0.0, 0.7, 3)
    printed = dots.apply(flat(level), rng())
    assert printed.mean() == pytest.approx(level, abs=3)
    down, across, _ = peak(printed[..., 0])
    assert max(down, across) == pytest.approx(1 / period, abs=1.5 / SIZE)
    assert min(down, across) == 0
    darker = replace(dots, gain=0.1).apply(flat(128), rng())
    assert dots.apply(flat(128), rng()).mean() - darker.mean() == pytest.approx(25.5, abs=4)


@pytest.mark.parametrize("black_share", [0.0, 0.5, 1.0])
def test_four_inks_print_the_colour_on_screens_of_their_own(black_share):
    colour = np.array([200, 140, 90], np.float32)
    printed = Halftone(4.0, 0.1, True, black_share, 0.0, 0.7, 3).apply(flat(1) * colour, rng())
    assert np.allclose(printed.mean(axis=(0, 1)), colour, atol=5)
    places = {tuple(np.round(peak(printed[..., k])[:2], 2)) for k in range(3)}
    assert len(places) == 3


def test_patterns_lie_where_they_say():
    linen = PaperTexture("linen", 8.0, 0.0, 20.0, 1).apply(flat(128), rng())[..., 0]
    assert np.allclose(peak(linen)[:2], (0.125, 0.125), atol=0.01)
    silk = PaperTexture("silk", 8.0, 0.0, 20.0, 1).apply(flat(128), rng())[..., 0]
    for pattern in (linen, silk):
        assert 4 < pattern.std() < 20
        assert pattern.mean() == pytest.approx(128, abs=1.5)
    lines = ScanLines(4.0, 0.5, 6.0, 0.3, 0.2).apply(flat(128), rng())
    assert peak(lines.mean(axis=2))[:2] == (0.25, 0)
    assert lines.mean() == pytest.approx(128, abs=1)
    assert (lines.mean(axis=0).argmax(axis=1)[:6].tolist()) != [0] * 6
    bands = Moire(0.1, 32.0, 0.0, 0.0, 1.0, 0.0).apply(flat(128), rng())
    assert peak(bands[..., 0])[:2] == (0, 4 / SIZE)
    assert np.ptp(bands, axis=2).max() > 10


def test_combing_moves_each_field_by_half(faces):
    face = faces[0].astype(np.float32)
    combed = Combing(4.0).apply(face, rng())
    assert np.allclose(combed[::2, 2:-4], face[::2, 4:-2], atol=1e-3)
    assert np.allclose(combed[1::2, 4:-2], face[1::2, 2:-4], atol=1e-3)


def test_running_colours_keep_luma():
    picture = rng().uniform(0, 255, (32, 32, 3)).astype(np.float32)
    blurred = ChromaBlur(2.0).apply(picture, rng())
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    assert np.allclose(blurred @ weights, picture @ weights, atol=0.01)
    assert np.ptp(blurred, axis=2).mean() < 0.6 * np.ptp(picture, axis=2).mean()


@pytest.mark.parametrize("edge_aware", [False, True])
def test_a_sensor_without_noise_keeps_a_flat_colour(edge_aware):
    colour = np.array([200, 120, 60], np.float32)
    seen = Sensor(0.0, 0.0, 2.0, 1.6, edge_aware).apply(flat(1, 33) * colour, rng())
    assert seen.shape == (33, 33, 3)
    assert np.allclose(seen, colour, atol=1)


def test_noise_of_a_sensor_grows_with_light_and_its_neighbours_are_alike():
    def light(levels):
        return np.where(levels <= 10.31, levels / 255 / 12.92, ((levels / 255 + 0.055) / 1.055) ** 2.4)

    sensor = Sensor(4e-3, 2e-3, 1.0, 1.0, False)
    for level in (90, 180):
        seen = light(sensor.apply(flat(level, 256), rng()).astype(float))[..., 0][::2, ::2]
        expected = np.sqrt(
            4e-3 * light(np.array(float(level))) + 4e-6
        )  # at the pixels that are red in the mosaic
        assert seen.std() == pytest.approx(expected, rel=0.05)
    noise = sensor.apply(flat(128, 256), rng())[..., 2] - 128
    assert np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1] > 0.3


def test_a_smear_takes_faint_structure_and_keeps_edges():
    picture = flat(90)
    picture[:, SIZE // 2 :] = 190
    noisy = picture + rng().normal(0, 5, picture.shape).astype(np.float32)
    smooth = Smear(30.0, 2.0, 2.0, 0.0).apply(noisy, rng())
    assert smooth[:, 8:56].std() < 0.5 * noisy[:, 8:56].std()
    luma = smooth.mean(axis=2)
    assert np.diff(luma, axis=1).mean(axis=0).max() > 60
    kept = Smear(30.0, 2.0, 0.0, 1.0).apply(noisy, rng())
    assert np.abs(kept - whole_levels(noisy)).mean() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_damage_has_a_mask_of_all_that_it_changes(kind):
    for seed in range(6):
        step = kind(8 if kind is Dust else 2, 2.0, 0.6, (1.0, 0.95, 0.85), seed)
        picture = flat(120)
        after, mask = step.apply(picture, rng()), step.mask(SIZE)
        assert mask.dtype == np.float32
        assert mask.shape == (SIZE, SIZE)
        assert 0 <= mask.min() <= mask.max() <= 1
        assert np.array_equal(after[mask == 0], picture[mask == 0])
        assert 0 < (mask > 0).mean() < 0.7
        assert np.abs(after - picture).max(axis=2)[mask == mask.max()].mean() > 5
        assert -1 <= after.min() <= after.max() <= 256
        assert np.array_equal(mask, step.mask(SIZE))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_lies_at_the_same_places_at_every_size(kind):
    large = kind(6, 4.0, 1.2, (1.0, 1.0, 1.0), 5).mask(256)
    small = kind(6, 2.0, 0.6, (1.0, 1.0, 1.0), 5).mask(128)
    reduced = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), reduced.ravel())[0, 1] > 0.8


def test_pixels_outside_the_masks_are_those_without_damage(faces):
    seen = set()
    for seed in range(30):
        face = faces[seed % 3]
        drawn = preset("damage").draw(SIZE, rng(seed))
        result = damaged(face, drawn, rng(seed))
        lq, hq = apply(face, drawn, rng(seed))
        assert np.array_equal(result.lq, lq)
        assert np.array_equal(result.hq, hq)
        outside = result.mask == 0
        assert np.array_equal(result.lq[outside], result.undamaged[outside])
        assert not np.array_equal(result.lq, result.undamaged)
        assert (result.mask == np.max(list(result.masks.values()), axis=0)).all()
        assert result.masks.keys() == {step.word for step in drawn.steps if isinstance(step, DamageStep)}
        seen |= result.masks.keys()
    assert seen == {kind.word for kind in KINDS}


def test_masks_follow_a_later_size_and_noise_stays_the_same(faces):
    drawn = preset("old-photo").draw(SIZE, rng(1))
    steps = (Resize(64, "area"), Damage(3, 2, 20, 2.0, 4), Resize(SIZE, "cubic"))
    scaled = damage_masks(replace(drawn, steps=steps))["damage"]
    assert scaled.shape == (SIZE, SIZE)
    assert scaled.max() > 0.5
    # A JPEG would carry the difference to the ends of its blocks.
    raw = replace(drawn, steps=tuple(step for step in drawn.steps if not isinstance(step, Jpeg)))
    result = damaged(faces[0], raw, rng(2))
    assert result.mask.max() > 0.5
    far = cv2.dilate(result.mask, np.ones((31, 31))) == 0
    assert np.array_equal(result.lq[far], result.undamaged[far])
    assert damage_masks(preset("web").draw(SIZE, rng())) == {}
    clean = damaged(faces[0], preset("web").draw(SIZE, rng()), rng())
    assert clean.mask.max() == 0
    assert np.array_equal(clean.lq, clean.undamaged)
