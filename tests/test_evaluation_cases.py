"""Where faces come from: pairs by name, fixed degradations, groups of a manifest, and what is refused."""

import numpy as np
import pytest
from evaluation_fakes import face, fill, save

from facerestore.degradation import preset
from facerestore.errors import ConfigError, ImageError
from facerestore.evaluation.cases import (
    degraded_source,
    pair_source,
    spread_over,
    unpaired_source,
)
from facerestore.evaluation.groups import UNKNOWN, group_faces, parse_group


def loaded(source, size=64):
    return [source.load(files, size) for files in source.files]


def test_the_seed_and_the_position_fix_a_degradation(tmp_path):
    root = fill(tmp_path)
    first, again, other = (
        loaded(degraded_source(root, degradation=preset("gfpgan"), seed=seed)) for seed in (3, 3, 4)
    )
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.lq, b.lq)
        assert (a.sha256, a.drawn) == (b.sha256, b.drawn)
        assert a.sha256 != c.sha256


def test_a_quick_look_degrades_its_faces_as_the_whole_run_does(tmp_path):
    source = degraded_source(fill(tmp_path), degradation=preset("gfpgan"), seed=3)
    chosen = spread_over(source.files, 2)
    assert [files.name for files in chosen] == ["a/0", "b/2"]
    assert source.load(chosen[1], 64).sha256 == loaded(source)[-1].sha256


def test_pairs_match_by_path_without_suffix_and_the_rest_is_named(tmp_path):
    fill(tmp_path / "hq", count=2)
    fill(tmp_path / "lq", count=2, size=24, ending=".jpg")
    (tmp_path / "lq" / "a" / "0.jpg").rename(tmp_path / "lq" / "a" / "7.jpg")
    source = pair_source(tmp_path / "lq", tmp_path / "hq")
    assert [files.name for files in source.files] == ["a/1", "b/0", "b/1"]
    assert [files.set_name for files in source.files] == ["a", "b", "b"]
    assert len(source.unmatched) == 2
    assert "a/7 (only in" in source.unmatched[0]
    case = loaded(source)[0]
    assert (case.lq.shape, case.hq.shape, case.given_px) == ((24, 24, 3), (64, 64, 3), 24)


def test_pairs_without_any_common_name_are_refused(tmp_path):
    fill(tmp_path / "hq", sets=("a",))
    fill(tmp_path / "lq", sets=("b",))
    with pytest.raises(ConfigError, match=r"'b/0', .*'a/0'.*without its suffix"):
        pair_source(tmp_path / "lq", tmp_path / "hq")


def test_two_pictures_of_one_name_and_empty_or_absent_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no pictures"):
        unpaired_source(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        unpaired_source(tmp_path / "absent")
    save(tmp_path / "0.png", face(0))
    save(tmp_path / "0.jpg", face(0))
    with pytest.raises(ConfigError, match="have one name"):
        unpaired_source(tmp_path)


def test_a_reference_is_never_enlarged_and_must_be_square(tmp_path):
    save(tmp_path / "small.png", face(0, 48))
    save(tmp_path / "wide.png", face(0)[:80])
    wrong = degraded_source(tmp_path, degradation=preset("gfpgan"), seed=1)
    with pytest.raises(ImageError, match=r"48 px.*--face-size"):
        wrong.load(wrong.files[0], 64)
    with pytest.raises(ImageError, match="96 x 80; an aligned face is square"):
        wrong.load(wrong.files[1], 64)


def test_sixteen_bits_become_eight(tmp_path):
    save(tmp_path / "x.png", face(0).astype(np.uint16) * 257)
    assert np.array_equal(loaded(unpaired_source(tmp_path))[0].lq, face(0))


def test_a_limit_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="limit is 0"):
        spread_over(unpaired_source(fill(tmp_path)).files, 0)


MANIFEST = (
    "set,name,yaw,eyes,who\na,0,0.01,90,x\na,1,0.05,110,y\na,2,0.30,150,x\nb,0,0.04,200,y\nb,1,,100,x\n"
)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def files(tmp_path):
    return unpaired_source(fill(tmp_path / "faces")).files


def test_numbers_fall_into_bins_words_stand_for_themselves_and_the_rest_is_said_to_be_unknown(
    files, manifest
):
    groups = group_faces(files, manifest, [parse_group("yaw=0.05,0.1"), parse_group("who")])
    assert [groups[each.name]["yaw"] for each in files] == [
        "below 0.05",
        "0.05 to 0.1",
        "0.1 and more",
        "below 0.05",
        UNKNOWN,
        UNKNOWN,
    ]
    assert groups["b/1"]["who"] == "x"
    assert groups["b/2"]["who"] == UNKNOWN


def test_without_edges_a_number_is_cut_into_thirds(files, manifest):
    groups = group_faces(files, manifest, [parse_group("eyes")])
    labels = [groups[each.name]["eyes"] for each in files[:5]]
    assert len(set(labels)) == 3
    assert labels[0].startswith("below")
    assert labels[3].endswith("and more")


@pytest.mark.parametrize("text", ["yaw=x", "yaw=2,1", "yaw=1,1", "=1"])
def test_edges_are_ascending_numbers(text):
    with pytest.raises(ConfigError, match="--group is"):
        parse_group(text)


@pytest.mark.parametrize(
    ("wish", "content", "message"),
    [
        ("age", MANIFEST, "no column 'age'; its columns are set, name, yaw"),
        ("who=1", MANIFEST, "holds words"),
        ("yaw", MANIFEST.replace("a,", "c,").replace("b,", "d,"), "no row .* is of one of the faces"),
        ("yaw", "", "no column 'name'"),
    ],
)
def test_an_unfit_manifest_is_refused(files, manifest, wish, content, message):
    manifest.write_text(content)
    with pytest.raises(ConfigError, match=message):
        group_faces(files, manifest, [parse_group(wish)])


def test_an_absent_manifest_is_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        group_faces(files, tmp_path / "absent.csv", [parse_group("yaw")])
