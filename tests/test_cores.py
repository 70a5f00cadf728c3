"""How photos share the processors, and the faces of one."""

import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from fakes import trial_photo

from facerestore import RestoreConfig, build_pipeline
from facerestore.engines.cores import (
    MOST_SIDE_BY_SIDE,
    allow,
    available_cores,
    cores_shared,
    share_of_cores,
    side_by_side,
)
from facerestore.types import DecodedImage
from facerestore.weights import WeightsStore


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr("facerestore.engines.cores.available_cores", lambda: 4)


def at_a_time(count):
    """Return how many of some things were worked on at a time at most."""
    lock, now, most = threading.Lock(), set(), []
    met = threading.Barrier(count)

    def work(item):
        with lock:
            now.add(item)
            most.append(len(now))
        with suppress(threading.BrokenBarrierError):
            met.wait(0.3)
        with lock:
            now.remove(item)
        return item * 10

    assert side_by_side(work, range(6)) == [0, 10, 20, 30, 40, 50]
    return max(most)


def test_photos_share_the_cores():
    assert share_of_cores() == 0
    with cores_shared(available_cores()):
        assert share_of_cores() == 1
    assert share_of_cores() == 0


def test_the_things_of_a_photo_are_done_side_by_side_on_the_cores_that_it_has(four_cores):
    assert at_a_time(4) == MOST_SIDE_BY_SIDE
    with cores_shared(2):
        assert at_a_time(2) == 2
    with cores_shared(4):
        assert at_a_time(2) == 1
    try:
        allow(1)
        assert at_a_time(2) == 1
    finally:
        allow(0)


def test_what_fails_first_by_order_is_raised(four_cores):
    def work(item):
        raise ValueError(str(item))

    with pytest.raises(ValueError, match="0"):
        side_by_side(work, range(3))


def test_faces_side_by_side_come_out_as_one_after_the_other(four_cores, tmp_path):
    face = trial_photo()
    height, width = face.shape[:2]
    noise = np.random.default_rng(0).normal(0, 9, (height, 3 * width, 3))
    photo = DecodedImage(np.clip(np.tile(face, (1, 3, 1)) + noise, 0, 255).astype(np.uint8))
    line = build_pipeline(RestoreConfig(force=True, device="cpu"), store=WeightsStore(tmp_path))
    together = line.run(photo)
    assert together.report["restored"] == 3
    with cores_shared(4):
        alone = line.run(photo)
    assert np.array_equal(together.image.pixels, alone.image.pixels)
    smooth = replace(line, grain=None).run(photo)
    assert not np.array_equal(smooth.image.pixels, alone.image.pixels)  # so there was grain to be given
