"""Degradations on a device: the same steps as on the CPU, the same distribution, and no face depends on another."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from facerestore.degradation import PRESETS, DegradationDraw, apply, apply_steps, preset
from facerestore.degradation.ageing import Damage, Fading, Grain, Stains
from facerestore.degradation.batched import correlate, degrade_batch
from facerestore.degradation.screens import Combing
from facerestore.degradation.steps import (
    BoxBlur,
    GaussianBlur,
    Grey,
    Jpeg,
    MedianBlur,
    MotionBlur,
    Noise,
    Resize,
    Sharpen,
    Toning,
    WholeLevels,
)
from facerestore.degradation.tearing import Tears
from facerestore.degradation.torch_jpeg import quantisation_tables
from facerestore.errors import ConfigError
from facerestore.training.data.drawn import drawn_face

SIZE, COUNT = 64, 16


@pytest.fixture(scope="module")
def faces():
    return [drawn_face(SIZE, np.random.default_rng(seed))[0] for seed in range(COUNT)]


def to_batch(faces):
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 255


def to_faces(batch):
    return (batch * 255).round().byte().permute(0, 2, 3, 1).numpy().astype(int)


def both(faces, lists):
    """Return the faces after their steps, on the CPU and batched."""
    rng = np.random.default_rng(0)
    single = np.stack([apply_steps(face, steps, rng) for face, steps in zip(faces, lists, strict=True)])
    draws = [DegradationDraw("x", SIZE, (), tuple(steps)) for steps in lists]
    lq, _ = degrade_batch(to_batch(faces), draws, range(len(faces)))
    return single.astype(int), to_faces(lq)


def resized(method, sides):
    return [[Resize(side, method), WholeLevels(), Resize(SIZE, "linear")] for side in sides]


EXACT = {
    "grey": [[Grey()]] * 3,
    "toning": [[Grey(), Toning(0.8, 1.0, 1.5)], [Toning(0.9, 1.05, 1.2)], [Toning(1.0, 1.0, 1.0)]],
    "gaussian": [
        [GaussianBlur(21, 3.0, 1.0, 0.7)],
        [GaussianBlur(5, 0.7, 0.7)],
        [GaussianBlur(61, 9.0, 9.0)],
    ],
    "box and motion": [[BoxBlur(4.4)], [MotionBlur(9.3, 1.1, 0.6)], [MotionBlur(5.0, 4.0, -1.0)]],
    "median": [[MedianBlur(3)], [MedianBlur(7)], [MedianBlur(1)]],
    "fading": [[Fading((40.0, 30.0, 20.0), (200.0, 190.0, 160.0))]] * 3,
    "stains": [[Stains(20.0, 5)], [Stains(0.0, 5)], [Stains(9.0, 6)]],
    "damage": [[Damage(3, 2, 9, 1.5, 8)], [Damage(0, 0, 0, 1.0, 8)], [Damage(0, 1, 0, 0.4, 9)]],
    "nearest": resized("nearest", (17, 40, 63)),
    "linear": resized("linear", (17, 32, 80)),
    "area": resized("area", (17, 32, 63)),
    "cubic": resized("cubic", (9, 32, 61)),
    "bicubic": resized("bicubic", (4, 16, 33)),
    "lanczos": resized("lanczos", (6, 16, 80)),
    "done on the host": [[Sharpen(1.0, 1.0)], [Combing(3.0), Tears(2, 2.0, 0.6, (1.0, 1.0, 0.9), 3)], []],
    "others in between": [[], [Resize(20, "area"), Resize(SIZE, "cubic")], [GaussianBlur(5, 1.0, 1.0)]],
}


@pytest.mark.parametrize("lists", EXACT.values(), ids=EXACT)
def test_steps_without_chance_are_those_of_the_cpu(faces, lists):
    single, batched = both(faces[:3], lists)
    assert np.abs(single - batched).max() <= 1
    assert (single != batched).mean() < 0.01


@pytest.mark.parametrize("side", [16, 37, 50, 64, 77])
def test_jpeg_is_libjpegs(faces, side):
    qualities = (30, 60, 85, 95, 100)
    pictures = [cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC) for face in faces[:5]]
    rng = np.random.default_rng(0)
    single = np.stack([apply_steps(p, [Jpeg(q)], rng) for p, q in zip(pictures, qualities, strict=True)])
    draws = [DegradationDraw("x", side, (), (Jpeg(quality),)) for quality in qualities]
    batched = to_faces(degrade_batch(to_batch(pictures), draws, range(5))[0])
    difference = np.abs(single.astype(int) - batched)
    # A coefficient that lies between two steps may fall to the other one, which changes its whole block.
    assert difference.mean() < 1
    assert (difference > 3).mean() < 0.08
    errors = [
        np.mean((found - np.stack(pictures).astype(float)) ** 2, axis=(1, 2, 3))
        for found in (single, batched)
    ]
    assert np.allclose(*errors, rtol=0.15)


def test_quality_scales_the_tables_of_the_standard():
    luma, chroma = quantisation_tables(50)
    assert (luma[0, 0], luma[7, 7], chroma[0, 0], chroma[7, 7]) == (16, 99, 17, 99)
    assert quantisation_tables(100)[0].max() == 1
    assert quantisation_tables(75)[0][0, 0] == 8
    assert quantisation_tables(10)[0][0, 0] == 80


def test_noise_is_as_strong_and_as_coloured_as_it_says(faces):
    flat = [np.full((SIZE, SIZE, 3), 128, np.uint8)] * 3
    lists = [[Noise(12.0, coloured=True)], [Noise(12.0, coloured=False)], [Grain(12.0, 1.2)]]
    single, batched = both(flat, lists)
    for pictures in (single, batched):
        assert pictures[0].std() == pytest.approx(12, rel=0.06)
        assert pictures[1].std() == pytest.approx(12, rel=0.06)
        assert pictures[2].std() == pytest.approx(12, rel=0.12)
        assert np.ptp(pictures[0], axis=2).mean() > 10
        assert np.ptp(pictures[1:], axis=3).max() == 0

        def neighbours(noise):
            return np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]

        assert abs(neighbours(pictures[1][..., 0])) < 0.05
        assert neighbours(pictures[2][..., 0]) == pytest.approx(np.exp(-1 / (4 * 1.2**2)), abs=0.06)


def band_power(pictures):
    """Return the power of luma in four octaves."""
    spectrum = np.abs(np.fft.fft2(pictures.mean(axis=3) - 128)) ** 2
    axis = np.abs(np.fft.fftfreq(SIZE))
    radius = np.maximum(axis[:, None], axis[None])
    edges = (0.01, 0.0625, 0.125, 0.25, 0.51)
    return np.array([spectrum[:, (radius >= low) & (radius < high)].mean() for low, high in pairwise(edges)])


def psnr(lq, hq):
    return np.mean(
        [10 * np.log10(255**2 / max(np.mean((a - b) ** 2.0), 0.1)) for a, b in zip(lq, hq, strict=True)]
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_one_distribution_on_cpu_and_device(faces, name):
    """With the same parameters: mean within 0.5 levels, deviation 2%, octaves of the spectrum 10%, PSNR 0.25 dB."""
    pictures = [faces[k % COUNT] for k in range(48)]
    draws, pairs = [], []
    for index, face in enumerate(pictures):
        rng = np.random.default_rng([2, index])
        draws.append(preset(name).draw(SIZE, rng))
        pairs.append(apply(face, draws[-1], rng))
    lq, hq = (np.stack([pair[k] for pair in pairs]).astype(int) for k in (0, 1))
    batched_lq, batched_hq = (to_faces(x) for x in degrade_batch(to_batch(pictures), draws, range(48)))
    assert np.abs(hq - batched_hq).max() <= 1
    assert batched_lq.mean() == pytest.approx(lq.mean(), abs=0.5)
    assert batched_lq.std() == pytest.approx(lq.std(), rel=0.02)
    assert np.allclose(band_power(batched_lq), band_power(lq), rtol=0.1)
    assert psnr(batched_lq, batched_hq) == pytest.approx(psnr(lq, hq), abs=0.25)


def test_a_face_does_not_depend_on_its_neighbours(faces):
    names = list(PRESETS)
    draws = [
        preset(names[k % len(names)]).draw(SIZE, np.random.default_rng(k)) if k % 5 else None
        for k in range(COUNT)
    ]
    seeds = [100 + k for k in range(COUNT)]
    batch = to_batch(faces)
    whole, _ = degrade_batch(batch, draws, seeds)
    for first, last in ((0, 1), (3, 4), (5, 12)):
        part, _ = degrade_batch(batch[first:last], draws[first:last], seeds[first:last])
        # Sums may be taken in another order in a batch of another size: a level at most, and hardly anywhere.
        assert (part - whole[first:last]).abs().max() <= 1.01 / 255
        assert ((part - whole[first:last]) != 0).float().mean() < 1e-3
    again, _ = degrade_batch(batch, draws, seeds)
    assert torch.equal(whole, again)
    other, _ = degrade_batch(batch, draws, [seed + 1 for seed in seeds])
    assert not torch.equal(whole, other)
    assert torch.equal(whole[0], batch[0])


def test_results_are_whole_levels_in_range(faces):
    draws = [preset("old-photo").draw(SIZE, np.random.default_rng(k)) for k in range(4)]
    for x in degrade_batch(to_batch(faces[:4]), draws, range(4)):
        assert x.dtype == torch.float32
        assert 0 <= x.min() <= x.max() <= 1
        assert torch.allclose(x * 255, (x * 255).round(), atol=1e-3)


def test_a_kernel_wider_than_the_face_is_mirrored_again_and_again():
    picture = np.random.default_rng(0).uniform(0, 255, (9, 9, 3)).astype(np.float32)
    step = GaussianBlur(31, 6.0, 4.0, 0.3)
    expected = cv2.filter2D(picture, -1, step.kernel(), borderType=cv2.BORDER_REFLECT_101)
    found = correlate(torch.from_numpy(picture).permute(2, 0, 1)[None], [9], [step.kernel()])
    assert np.allclose(found[0].permute(1, 2, 0).numpy(), expected, atol=1e-2)


def test_unfit_numbers_are_refused(faces):
    drawn = preset("gfpgan").draw(32, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="2 faces, 1 draws"):
        degrade_batch(to_batch(faces[:2]), [None], [1, 2])
    with pytest.raises(ConfigError, match="the faces are 64 px, and parameters are for 32 px"):
        degrade_batch(to_batch(faces[:1]), [drawn], [1])
