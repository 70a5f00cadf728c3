"""The rule by which a face gets its network, and what it says."""

import pytest

from facerestore.pipeline.routing import (
    Candidate,
    contenders,
    harm,
    heavy_edge_px,
    judged_size,
    route,
    summary,
)
from facerestore.quality.judge import FaceQuality


def network(name, face_size, character, *, bundled=False, commercial_use="no"):
    return Candidate(name, name.partition(".")[0], face_size, character, bundled, commercial_use)


LITE = network("lite.clean-256", 256, "careful", bundled=True, commercial_use="yes")
GPEN_512 = network("gpen.bfr-512", 512, "generative")
GPEN_1024 = network("gpen.bfr-1024", 1024, "generative")
GPEN_256 = network("gpen.bfr-256", 256, "generative")
PSFR = network("psfr.ffhq-512", 512, "generative")
WIDE_LITE = network("lite.clean-512", 512, "careful", bundled=True, commercial_use="yes")

DETAIL = network("lite.detail-256", 256, "detailed", bundled=True, commercial_use="yes")

SLIGHT, LIGHT, HEAVY = 0.5, 0.8, 1.6
"""Blur, of the width at which it is heavy."""


def quality(blur_px, *, noise=1.0, blockiness=1.0):
    return FaceQuality(60.0, 1.0, blur_px, noise, blockiness, 1.0, sharp=False)


def served(candidates, crop_px, blur, *, upscale=1.0):
    size = judged_size(candidates, crop_px=crop_px, upscale=upscale)
    return route(candidates, quality(blur * heavy_edge_px(size)), crop_px=crop_px, upscale=upscale)


@pytest.mark.parametrize(
    ("candidates", "crop_px", "blur", "upscale", "weights", "code"),
    [
        # With one network there is nothing to choose, but what it cannot do is told.
        ([LITE], 80, LIGHT, 1, LITE, "light"),
        ([LITE], 80, HEAVY, 1, LITE, "no-prior"),
        ([LITE], 900, HEAVY, 1, LITE, "too-large"),
        # Lightly degraded faces go to the careful network, heavily degraded ones to a prior.
        ([GPEN_512, LITE], 80, LIGHT, 1, LITE, "light"),
        ([GPEN_512, LITE], 80, HEAVY, 1, GPEN_512, "heavy"),
        # A small face gains nothing from a large network; a large one is not reduced to a small one's pixels.
        ([GPEN_512, GPEN_1024, LITE], 80, HEAVY, 1, GPEN_512, "heavy"),
        ([GPEN_512, GPEN_1024, LITE], 700, HEAVY, 1, GPEN_1024, "heavy"),
        ([GPEN_512, GPEN_1024, LITE], 700, LIGHT, 1, GPEN_1024, "light"),
        ([GPEN_512, LITE], 5000, LIGHT, 1, GPEN_512, "too-large"),
        ([GPEN_512, LITE], 321, LIGHT, 1, GPEN_512, "light"),
        ([GPEN_512, LITE], 320, LIGHT, 1, LITE, "light"),
        # A tiny face is heavily degraded, whatever its edges.
        ([GPEN_512, LITE], 64, LIGHT, 1, GPEN_512, "heavy"),
        ([GPEN_512, LITE], 65, LIGHT, 1, LITE, "light"),
        # Enlarging the photo asks for more pixels, and a face is only too large by those that the photo holds.
        ([GPEN_512, LITE], 200, LIGHT, 2, GPEN_512, "light"),
        ([LITE], 200, LIGHT, 4, LITE, "light"),
        # Of one size and character the first of the order; the smallest size before a better rank.
        ([GPEN_512, PSFR], 300, HEAVY, 1, GPEN_512, "heavy"),
        ([PSFR, GPEN_512], 300, HEAVY, 1, PSFR, "heavy"),
        ([GPEN_512, GPEN_256, LITE], 100, HEAVY, 1, GPEN_256, "heavy"),
        # A face that is not nearly sharp goes to the network that draws what the photo hints at.
        ([LITE, DETAIL], 200, SLIGHT, 1, LITE, "light"),
        ([LITE, DETAIL], 200, LIGHT, 1, DETAIL, "light"),
        ([LITE, DETAIL], 200, HEAVY, 1, DETAIL, "heavy"),
        ([GPEN_512, LITE, DETAIL], 200, HEAVY, 1, GPEN_512, "heavy"),
        ([DETAIL], 200, SLIGHT, 1, DETAIL, "light"),
        # Without a network of the wanted character the other serves.
        ([GPEN_512], 80, LIGHT, 1, GPEN_512, "light"),
        ([WIDE_LITE, LITE], 500, HEAVY, 1, WIDE_LITE, "no-prior"),
        ([WIDE_LITE, GPEN_512, LITE], 500, LIGHT, 1, WIDE_LITE, "light"),
    ],
)
def test_the_rule(candidates, crop_px, blur, upscale, weights, code):
    choice = served(candidates, crop_px, blur, upscale=upscale)
    assert (choice.weights, choice.code) == (weights.name, code)
    assert (choice.backend, choice.face_size) == (weights.backend, weights.face_size)
    assert f"{choice.face_size} px for a face of {crop_px * upscale} px" in choice.reason
    degree = "lightly degraded" if blur == LIGHT else "nearly sharp"
    assert ("heavily degraded" if blur > 1 or crop_px <= 64 else degree) in choice.reason


def test_a_noisy_or_blocky_face_is_not_nearly_sharp_whatever_its_edges():
    for worse in (quality(1.4, noise=5), quality(1.4, blockiness=1.4)):
        assert route([LITE, DETAIL], worse, crop_px=200).weights == DETAIL.name
    assert route([LITE, DETAIL], quality(1.4), crop_px=200).weights == LITE.name


def test_the_reason_tells_what_is_lost_or_lacking():
    assert "the face stays soft" in served([LITE], 80, HEAVY).reason
    assert "detail finer than that goes" in served([LITE], 900, HEAVY).reason
    assert "no network here has more" in served([LITE], 200, LIGHT, upscale=4).reason
    assert "no careful network here is large enough" in served([GPEN_512, LITE], 400, LIGHT).reason


def test_the_width_of_heavy_blur_follows_the_crop_but_not_below_that_of_clean_edges():
    assert heavy_edge_px(256) == pytest.approx(2.5, abs=0.01)
    assert heavy_edge_px(512) < 2 * heavy_edge_px(256)
    assert heavy_edge_px(64) > 1.18


def test_a_nearly_sharp_face_that_no_network_can_hold_is_kept_and_no_other():
    sharp, double = quality(1.55), 512.0
    kept = harm([LITE], sharp, crop_px=double)
    assert kept.code == "would-lose-detail"
    assert "512 px" in kept.reason
    assert harm([LITE], sharp, crop_px=double - 1) is None
    assert harm([GPEN_512, LITE], sharp, crop_px=double) is None
    for worse in (quality(1.7), quality(1.4, noise=5), quality(1.4, blockiness=1.4)):
        assert harm([LITE], worse, crop_px=double) is None


def test_who_could_never_be_chosen_is_no_contender():
    assert contenders([GPEN_512, PSFR, LITE, WIDE_LITE]) == (GPEN_512, LITE, WIDE_LITE)


def test_the_summary_says_who_serves_whom():
    assert summary([LITE]) == "lite.clean-256 for every face, the only one here that it may take"
    assert summary([GPEN_512, LITE]) == (
        "for nearly sharp or lightly degraded faces lite.clean-256 up to 320 px, gpen.bfr-512 above;"
        " for heavily degraded faces gpen.bfr-512"
    )
    assert summary([GPEN_512, GPEN_1024]) == (
        "gpen.bfr-512 up to 640 px, gpen.bfr-1024 above, however degraded"
    )
    assert summary([LITE, DETAIL]) == (
        "for nearly sharp faces lite.clean-256; for lightly degraded or heavily degraded faces lite.detail-256"
    )
    three = summary([GPEN_512, GPEN_1024, LITE])
    assert "lite.clean-256 up to 320 px, gpen.bfr-512 up to 640 px, gpen.bfr-1024 above" in three


@pytest.mark.parametrize(
    ("crop_px", "upscale", "side"),
    [(80, 1, 256), (320, 1, 256), (330, 1, 330), (700, 1, 512), (3000, 1, 512), (200, 2, 256), (300, 2, 300)],
)
def test_a_large_face_is_judged_at_its_own_size_and_none_is_enlarged_further_than_the_smallest_network_asks(
    crop_px, upscale, side
):
    assert judged_size([DETAIL, WIDE_LITE], crop_px=crop_px, upscale=upscale) == side
