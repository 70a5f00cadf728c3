"""Measured quality: fixed pairs, honest baselines, numbers that agree with their definition."""

import numpy as np
import pytest

from facerestore.degradation import preset
from facerestore.errors import ConfigError, ImageError
from facerestore.evaluation.__main__ import method_of
from facerestore.evaluation.faces import face_pairs, load_faces
from facerestore.evaluation.restoration import BASELINES, markdown_table, score
from facerestore.io import write_image
from facerestore.types import DecodedImage


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    for set_name in ("a", "b"):
        for k in range(2):
            coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            pixels = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
            write_image(tmp_path / set_name / f"{k}.png", DecodedImage(pixels))
    return tmp_path


def pairs_of(folder, seed=3):
    return face_pairs(folder, 64, degradation=preset("gfpgan"), seed=seed)


def test_pairs_are_fixed_by_the_seed(folder):
    first, again, other = pairs_of(folder), pairs_of(folder), pairs_of(folder, seed=4)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.lq, b.lq)
        assert a.drawn == b.drawn
        assert a.drawn != c.drawn


def test_psnr_agrees_with_its_definition_and_a_perfect_method_wins(folder):
    pairs = pairs_of(folder)
    rows = {(r.method, r.set_name): r for r in score(pairs, {**BASELINES, "truth": lambda pair: pair.hq})}
    expected = np.mean([10 * np.log10(255**2 / ((p.lq.astype(float) - p.hq) ** 2).mean()) for p in pairs])
    assert rows["input", "all"].psnr_db == pytest.approx(expected)
    assert rows["truth", "all"].ssim == pytest.approx(1)
    assert all(rows["truth", "all"].ssim > rows[name, "all"].ssim for name in BASELINES)
    assert rows["input", "a"].count == 2


def test_table_has_a_row_for_every_method_and_set(folder):
    table = markdown_table(score(pairs_of(folder), BASELINES))
    assert len(table.splitlines()) == 2 + len(BASELINES) * 3


def test_a_restorer_sees_what_the_pair_holds(folder):
    class Same:
        name, face_size, needs_parsing = "same", 64, False

        def restore(self, faces, parsing_maps=None):
            return [face.lq for face in faces]

    pair = pairs_of(folder)[0]
    assert np.array_equal(method_of(Same())(pair), pair.lq)


def test_an_empty_folder_and_a_small_or_oblong_face_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no pictures"):
        load_faces(tmp_path, 64)
    write_image(tmp_path / "a" / "x.png", DecodedImage(np.zeros((40, 40, 3), np.uint8)))
    with pytest.raises(ImageError, match="40 x 40"):
        load_faces(tmp_path, 64)
    write_image(tmp_path / "a" / "x.png", DecodedImage(np.zeros((80, 70, 3), np.uint8)), overwrite=True)
    with pytest.raises(ImageError, match="70 x 80"):
        load_faces(tmp_path, 64)
