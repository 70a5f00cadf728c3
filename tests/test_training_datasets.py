"""Training samples: pure, balanced, and steadfast where pictures are bad."""

import logging
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from facerestore.errors import ConfigError, ImageError
from facerestore.training.data import streams
from facerestore.training.data.augmentation import Augmentation, augment, mirrored
from facerestore.training.data.datasets import (
    DataSettings,
    PairDataset,
    PositionsOnly,
    face_files,
    validation_batch,
)
from facerestore.training.data.drawn import drawn_face, write_drawn_faces
from facerestore.training.data.face_files import FaceFile, read_face, read_parsing_map
from facerestore.training.data.shards import ShardSample, expand_braces, shard_faces, write_shards
from facerestore.training.engine.settings import make_settings
from facerestore.training.plan import make_plan, preview, run_plan, samples_of

SIZE = 32

STREAMS = {name: number for name, number in vars(streams).items() if name.isupper()}

UNVARIED = Augmentation(flip_probability=0, jitter_probability=0, gamma_probability=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with faces of two sets, and their parsing maps."""
    root = tmp_path_factory.mktemp("data")
    for set_name, count in (("a", 6), ("b", 2)):
        for place in ("faces", "maps"):
            (root / place / set_name).mkdir(parents=True)
        for number in range(count):
            face, labels = drawn_face(SIZE + 8, np.random.default_rng([ord(set_name), number]))
            Image.fromarray(face).save(root / "faces" / set_name / f"{number}.png")
            Image.fromarray(labels).save(root / "maps" / set_name / f"{number}.png")
    return root


def dataset(folder, **settings):
    values = {"face_size": SIZE, "seed": 5, **settings}
    return PairDataset(face_files(folder / "faces"), make_settings(DataSettings, values))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


MIX = {"gfpgan": 0.4, "old-photo": 0.3, "psfr": 0.1, "clean": 0.2}


@pytest.mark.parametrize("place", ["worker", "device"])
def test_a_sample_depends_on_seed_and_position_alone(folder, place):
    first, again = (dataset(folder, mix=MIX, degrade_on=place) for _ in range(2))
    forwards = [first[position] for position in range(12)]
    backwards = [again[position] for position in reversed(range(12))][::-1]
    assert all(same(one, other) for one, other in zip(forwards, backwards, strict=True))
    # The next epoch shows other pictures, and so does another seed.
    assert not same(first[0], first[len(first)])
    assert not same(first[0], dataset(folder, mix=MIX, degrade_on=place, seed=6)[0])


def test_workers_never_change_a_batch(folder):
    samples = dataset(folder, mix=MIX, parsing=str(folder / "maps"))
    positions = [[0, 1, 2], [3, 4, 5], [100, 7, 50]]
    alone = list(DataLoader(samples, batch_sampler=positions))
    helped = list(
        DataLoader(samples, batch_sampler=positions, num_workers=2, multiprocessing_context="spawn")
    )
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))
    assert set(alone[0]) == {"lq", "hq", "parsing"}
    assert alone[0]["lq"].shape == (3, 3, SIZE, SIZE)
    assert alone[0]["parsing"].dtype == torch.uint8


def collated(samples, positions):
    return next(iter(DataLoader(samples, batch_sampler=[positions])))


def test_the_device_degrades_with_the_parameters_of_the_workers(folder):
    mix = {"sr-x4": 0.6, "clean": 0.4}  # without a field of noise, which alone differs
    here, there = dataset(folder, mix=mix), dataset(folder, mix=mix, degrade_on="device")
    positions = list(range(20, 32))
    expected = collated(here, positions)
    batch = there.prepare(collated(there, positions), torch.device("cpu"))
    assert torch.equal(batch["hq"], expected["hq"])
    assert (batch["lq"] - expected["lq"]).abs().max() <= 1.01 / 255
    mixed = dataset(folder, mix=MIX), dataset(folder, mix=MIX, degrade_on="device")
    for position in positions:
        assert mixed[0].degradation(position)[0] == mixed[1].degradation(position)[0]


def test_a_sample_degraded_on_the_device_does_not_depend_on_its_batch(folder):
    samples = dataset(folder, mix=MIX, degrade_on="device", parsing=str(folder / "maps"))
    device = torch.device("cpu")
    whole = samples.prepare(collated(samples, [0, 1, 2, 3]), device)
    assert set(whole) == {"lq", "hq", "parsing"}
    for first in (0, 2):
        half = samples.prepare(collated(samples, [first, first + 1]), device)
        for name in ("lq", "hq"):
            assert (half[name] - whole[name][first : first + 2]).abs().max() <= 1.01 / 255


def test_a_crop_is_the_same_part_of_the_degraded_face_the_real_one_and_the_map(folder):
    settings = {"mix": MIX, "parsing": str(folder / "maps")}
    whole, cut = dataset(folder, **settings), dataset(folder, **settings, crop_size=20)
    places = set()
    for position in range(12):
        sample, face = cut[position], whole[position]
        assert sample["lq"].shape == (3, 20, 20)
        found = [
            (top, left)
            for top in range(SIZE - 19)
            for left in range(SIZE - 19)
            if torch.equal(face["hq"][:, top : top + 20, left : left + 20], sample["hq"])
        ]
        ((top, left),) = found
        window = slice(top, top + 20), slice(left, left + 20)
        assert torch.equal(face["lq"][:, *window], sample["lq"])
        assert torch.equal(face["parsing"][window], sample["parsing"])
        places.add((top, left))
    assert len(places) > 6


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"crop_size": 40}, "crop_size is 40 px, larger than the faces of 32 px"),
        ({"crop_size": 16, "degrade_on": "device"}, "set data.degrade_on=worker"),
    ],
)
def test_crops_that_cannot_be_are_refused(folder, settings, fault):
    with pytest.raises(ConfigError, match=fault):
        dataset(folder, **settings)


def shapeless(folder, *sizes):
    """Write photographs of these sizes, (W, H), of which each pixel says where it is."""
    folder.mkdir()
    for number, (width, height) in enumerate(sizes):
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack([across, down, np.full_like(across, number)], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_windows_of_photographs_are_reduced_squares_from_anywhere(tmp_path):
    files = face_files(shapeless(tmp_path / "photos", (150, 90), (64, 200)))
    settings = make_settings(
        DataSettings,
        {"face_size": SIZE, "max_reduction": 2.5, "mix": {"clean": 1.0}, "augmentation": UNVARIED},
    )
    samples, again = PairDataset(files, settings), PairDataset(files, settings)
    steps, places = [], set()
    for position in range(40):
        face, _ = samples.face(position)
        assert np.array_equal(again.face(position)[0], face)
        assert face.shape == (SIZE, SIZE, 3)
        # Pixels lie as far apart both ways: nothing is stretched.
        step = (face[0, -1, 0] - face[0, 0, 0]) / (SIZE - 1)
        assert abs((int(face[-1, 0, 1]) - int(face[0, 0, 1])) / (SIZE - 1) - step) < 0.07
        steps.append(step)
        places.add((face[0, 0, 0], face[0, 0, 1]))
    assert 0.97 <= min(steps) < 1.2
    assert 2.0 < max(steps) <= 2.53
    assert len(places) > 25
    held = validation_batch(files, settings, degradation="sr-x4", seed=3)
    assert held["lq"].shape == (2, 3, SIZE, SIZE)
    assert same(held, validation_batch(files, settings, degradation="sr-x4", seed=3))


def test_samples_may_stay_as_small_as_they_were_reduced(folder):
    # Reduced by four and no more: what is enlarged again differs, what stays is the picture itself.
    settings = {"mix": {"sr-x4": 1.0}, "augmentation": UNVARIED, "crop_size": SIZE // 4}
    small, large = dataset(folder, **settings, reduced_share=1.0), dataset(folder, **settings)
    for position in range(6):
        lq, hq, _ = small.pair(position)
        assert lq.shape == hq.shape == (SIZE // 4, SIZE // 4, 3)
        face, _ = small.face(position)
        assert np.abs(hq.astype(int) - cv2.resize(face, (8, 8), interpolation=cv2.INTER_AREA)).max() == 0
        enlarged = np.asarray(Image.fromarray(lq).resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(enlarged - large.pair(position)[0]).max() <= 1
        assert small[position]["lq"].shape == (3, SIZE // 4, SIZE // 4)
    half = dataset(folder, **settings, reduced_share=0.5)
    sizes = [len(half.pair(position)[0]) for position in range(40)]
    assert 10 <= sizes.count(SIZE // 4) <= 30
    assert sizes.count(SIZE // 4) + sizes.count(SIZE) == 40
    # Where no crop would fit in, all are enlarged.
    tight = dataset(folder, **settings | {"crop_size": SIZE // 4 + 1}, reduced_share=1.0)
    assert len(tight.pair(0)[0]) == SIZE


def test_a_photograph_smaller_than_a_window_is_left_out(tmp_path, caplog):
    files = face_files(shapeless(tmp_path / "photos", (150, 90), (150, SIZE - 1)))
    samples = PairDataset(files, make_settings(DataSettings, {"face_size": SIZE, "max_reduction": 1.0}))
    assert {int(samples.face(position)[0].mean(axis=(0, 1))[2].round()) for position in range(8)} <= {0}
    assert "is 150 x 31; both sides are to be at least 32 px" in caplog.text


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"max_reduction": 0.5}, r"max_reduction is 0\.5, and photographs are never enlarged"),
        ({"max_reduction": 2.0, "parsing": "maps"}, "parsing maps are of whole aligned faces"),
        (
            {"reduced_share": 0.5, "crop_size": 8, "parsing": "maps"},
            "parsing maps are of whole aligned faces",
        ),
        ({"reduced_share": 0.5}, r"reduced_share is 0\.5, and samples are to be of one size"),
    ],
)
def test_windows_that_cannot_be_are_refused(folder, settings, fault):
    with pytest.raises(ConfigError, match=fault):
        dataset(folder, **settings)


def test_sets_are_drawn_by_their_weights(folder):
    samples = dataset(folder, set_weights={"b": 0.75, "a": 0.25}, augmentation=UNVARIED)
    of_b = [read_face(file, SIZE).tobytes() for file in face_files(folder / "faces") if file.set_name == "b"]
    drawn = [samples.face(position)[0].tobytes() in of_b for position in range(200)]
    assert 0.62 < np.mean(drawn) < 0.88
    alike = dataset(folder, augmentation=UNVARIED)
    assert 0.13 < np.mean([alike.face(p)[0].tobytes() in of_b for p in range(200)]) < 0.37


def test_some_samples_are_clean(folder):
    samples = dataset(folder, mix={"gfpgan": 0.7, "clean": 0.3})
    pairs = [samples.pair(position) for position in range(60)]
    assert 0.12 < np.mean([np.array_equal(lq, hq) for lq, hq, _ in pairs]) < 0.5


def test_a_bad_picture_is_named_once_and_the_run_goes_on(folder, tmp_path, caplog):
    for number in range(12):
        face, _ = drawn_face(SIZE, np.random.default_rng(number))
        Image.fromarray(face).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "05.png").write_bytes(b"no picture at all")
    samples = PairDataset(face_files(tmp_path), make_settings(DataSettings, {"face_size": SIZE}))
    with caplog.at_level(logging.WARNING):
        drawn = [samples[position] for position in range(60)]
    assert len(drawn) == 60
    told = [record.message for record in caplog.records if "05.png" in record.message]
    assert len(told) == 1
    assert "left out" in told[0]


def test_a_folder_of_bad_pictures_is_refused(tmp_path):
    settings = make_settings(DataSettings, {"face_size": SIZE})
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    samples = PairDataset(face_files(tmp_path), settings)
    with pytest.raises(ImageError, match="2 of 3 pictures cannot be used; the last: "):
        samples[0]
    only = PairDataset(face_files(tmp_path)[:1], settings)
    with pytest.raises(ImageError, match="1 of 1 pictures cannot be used"):
        only[0]
    with pytest.raises(ImageError, match="1 of 1 pictures cannot be used"):
        validation_batch(face_files(tmp_path)[:1], settings, degradation="gfpgan", seed=0)


def test_a_set_without_a_single_good_picture_does_not_hang(folder, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    files = [
        *face_files(folder / "faces"),
        *face_files(folder / "faces"),
        FaceFile("c", tmp_path / "bad.png"),
    ]
    settings = make_settings(DataSettings, {"face_size": SIZE, "set_weights": {"c": 1.0}})
    with pytest.raises(ImageError, match="no picture of set 'c' can be used"):
        PairDataset(files, settings)[0]


@pytest.mark.parametrize(
    ("shape", "message"),
    [((40, 50, 3), "is 50 x 40; an aligned face is square"), ((24, 24, 3), "at least 32 px")],
)
def test_oblong_and_small_faces_are_refused(tmp_path, shape, message):
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "face.png")
    with pytest.raises(ImageError, match=message):
        read_face(FaceFile("a", tmp_path / "face.png"), SIZE)


def test_a_16_bit_face_is_read_in_8(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "face.png"), np.full((SIZE, SIZE, 3), 257 * 100, np.uint16))
    assert (read_face(FaceFile("a", tmp_path / "face.png"), SIZE) == 100).all()


def test_bad_parsing_maps_are_refused(tmp_path):
    face = FaceFile("a", tmp_path / "0.png")
    path = tmp_path / "maps" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    with pytest.raises(ImageError, match="cannot be read"):
        read_parsing_map(face, tmp_path / "maps", SIZE)
    for pixels, message in (
        (np.full((8, 8), 19, np.uint8), "class 19; the classes are 0 to 18"),
        (np.zeros((8, 8, 3), np.uint8), "mode RGB; give an 8-bit PNG of class ids"),
        (np.zeros((8, 9), np.uint8), "is 9 x 8; a face's map is square"),
    ):
        Image.fromarray(pixels).save(path)
        with pytest.raises(ImageError, match=message):
            read_parsing_map(face, tmp_path / "maps", SIZE)
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(path)
    assert read_parsing_map(face, tmp_path / "maps", 8).max() == 15
    path.rename(tmp_path / "maps" / "0.png")  # maps need no folders of sets
    assert read_parsing_map(face, tmp_path / "maps", 8).max() == 15


def test_no_faces_and_no_maps_say_what_to_do(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no pictures in .*facerestore data prepare"):
        face_files(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        face_files(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="maps 'nowhere' is not there"):
        dataset(folder, parsing="nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": {"gfp": 1.0}}, "unknown degradation 'gfp'"),
        ({"mix": {}}, "give presets with shares"),
        ({"mix": {"gfpgan": -1.0}}, "give presets with shares"),
        ({"set_weights": {"c": 1.0}}, r"set 'c' has a weight but no faces; found \['a', 'b'\]"),
        ({"set_weights": {"a": 0.0}}, "not all 0"),
        ({"degrade_on": "gpu"}, "'degrade_on' is 'gpu'"),
    ],
)
def test_unfit_settings_are_refused(folder, settings, message):
    with pytest.raises(ConfigError, match=message):
        dataset(folder, **settings)


def test_pixels_of_unknown_label_are_read_as_such(folder, tmp_path):
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[:4] = 255
    Image.fromarray(labels).save(tmp_path / "face.png")
    found = read_parsing_map(FaceFile("", Path("face.png")), tmp_path, SIZE)
    assert (found == labels).all()


def test_labels_swap_sides_when_a_face_is_flipped():
    labels = np.zeros((4, 4), np.uint8)
    labels[0] = (4, 6, 8, 1)
    assert mirrored(labels)[0].tolist() == [1, 9, 7, 5]
    assert np.array_equal(mirrored(mirrored(labels)), labels)
    flip = Augmentation(flip_probability=1, jitter_probability=0, gamma_probability=0)
    face, labels = drawn_face(64, np.random.default_rng(0))
    flipped, moved = augment(face, labels, flip, np.random.default_rng(0))
    assert np.array_equal(flipped, face[:, ::-1])
    assert np.array_equal(moved, mirrored(labels))


def test_maps_move_with_their_faces():
    shift = Augmentation(flip_probability=0.5, jitter_probability=1, gamma_probability=0, max_shift=0.2)
    for seed in range(6):
        labels = np.zeros((64, 64), np.uint8)
        labels[24:44, 20:40] = 1
        face = np.repeat(labels[..., None] * 255, 3, axis=2)
        moved_face, moved = augment(face, labels, shift, np.random.default_rng(seed))
        assert ((moved_face[..., 0] > 127) == (moved == 1)).mean() > 0.99
        assert set(np.unique(moved)) <= {0, 1}


def test_validation_pairs_are_fixed(folder):
    files = face_files(folder / "faces")
    settings = make_settings(DataSettings, {"face_size": SIZE, "parsing": str(folder / "maps")})
    one, other = (validation_batch(files, settings, degradation="psfr", seed=3) for _ in range(2))
    assert same(one, other)
    assert one["lq"].shape == (8, 3, SIZE, SIZE)
    assert one["parsing"].shape == (8, SIZE, SIZE)
    fewer = validation_batch(files[:3], settings, degradation="psfr", seed=3)
    assert torch.equal(fewer["lq"], one["lq"][:3])


def to_shards(folder, target, **limits):
    samples = [
        ShardSample(
            file.set_name,
            file.name,
            {
                "png": file.path.read_bytes(),
                "parsing.png": (folder / "maps" / file.set_name / f"{file.name}.png").read_bytes(),
                "json": b"{}",
            },
        )
        for file in face_files(folder / "faces")
    ]
    return list(write_shards(samples, target, **limits))


def test_faces_from_shards_are_those_from_folders(folder, tmp_path):
    written = to_shards(folder, tmp_path, max_bytes=40_000)
    assert len(written) > 1
    assert [path.name for path in written] == [f"{k:06d}.tar" for k in range(len(written))]
    settings = make_settings(DataSettings, {"face_size": SIZE, "parsing": "shards", "seed": 5})
    samples = PairDataset(face_files(tmp_path), settings)
    loose = dataset(folder, parsing=str(folder / "maps"))
    for position in (0, 3, 40):
        assert same(samples[position], loose[position])
    last = len(written) - 1
    braces = tmp_path / f"{{000000..{last:06d}}}.tar"
    assert face_files(braces) == face_files(tmp_path)
    assert {file.set_name for file in face_files(written[0])} == {"a"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_shards_are_webdatasets(folder, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    written = to_shards(folder, tmp_path, max_bytes=10**9)
    stream = webdataset.WebDataset([str(path) for path in written], shardshuffle=False)
    samples = list(stream)
    assert [sample["__key__"] for sample in samples] == [
        f"{file.set_name}/{file.name}" for file in face_files(folder / "faces")
    ]
    assert {"png", "parsing.png", "json"} <= samples[0].keys()


def test_a_shard_that_cannot_be_written_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match=r"000000\.tar: cannot be written"):
        to_shards(folder, tmp_path / "file", max_bytes=10**9)


def test_shards_number_on_and_bad_ones_are_refused(folder, tmp_path):
    assert to_shards(folder, tmp_path, max_bytes=10**9)[0].name == "000000.tar"
    assert to_shards(folder, tmp_path, max_bytes=10**9)[0].name == "000001.tar"
    (tmp_path / "000002.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ConfigError, match=r"shard '.*000002.tar' cannot be read"):
        face_files(tmp_path)
    with pytest.raises(ConfigError, match=r"shard '.*000009.tar' cannot be read"):
        face_files(tmp_path / "000009.tar")
    file = FaceFile("a", tmp_path / "000000.tar", shard_faces(tmp_path / "000000.tar")[0])
    assert read_face(file, SIZE).shape == (SIZE, SIZE, 3)
    (tmp_path / "000000.tar").write_bytes(b"")
    with pytest.raises(ImageError, match="ends early"):
        read_face(file, SIZE)


def test_a_face_without_a_map_in_its_shard_is_named(folder, tmp_path):
    face = face_files(folder / "faces")[0]
    list(write_shards([ShardSample("a", "x.y", {"png": face.path.read_bytes()})], tmp_path, max_bytes=10**6))
    with tarfile.open(tmp_path / "000000.tar") as archive:
        assert archive.getnames() == ["a/x_y.png"]
    with pytest.raises(ImageError, match=r"000000.tar:a/x_y' has no parsing map"):
        read_parsing_map(face_files(tmp_path)[0], None, SIZE)


def test_braces_count():
    assert [str(path) for path in expand_braces(Path("s/{08..11}.tar"))] == [
        "s/08.tar",
        "s/09.tar",
        "s/10.tar",
        "s/11.tar",
    ]


@pytest.mark.parametrize("place", ["worker", "device"])
def test_a_plan_degrades_where_it_is_told(folder, place):
    plan = make_plan(
        "lite",
        faces=folder / "faces",
        assignments=[f"data.degrade_on={place}", f"data.face_size={SIZE}"],
        smoke=True,
    )
    rows = preview(plan).rows
    assert len(rows) == 2
    assert rows[0].shape == rows[1].shape == (plan.engine.batch_size, 3, SIZE, SIZE)
    assert not torch.equal(rows[0], rows[1])


def test_a_run_degrades_on_its_device(folder, tmp_path):
    orders = [f"data.face_size={SIZE}", "data.degrade_on=device", "engine.steps=2", "data.mix={old-photo=1}"]
    plan = make_plan("lite", faces=folder / "faces", assignments=orders, smoke=True)
    last = run_plan(plan, tmp_path / "run", device=torch.device("cpu"))
    assert last.name == "step_00000002"


def test_batches_of_other_samples_are_only_moved():
    batch = {"position": torch.arange(3)}
    assert same(PositionsOnly().prepare(batch, torch.device("cpu")), batch)


def test_every_stream_of_random_numbers_stands_in_one_place_under_a_number_of_its_own():
    shared = {"EYES": "SIZE", "PRESET": "CROP"}  # never drawn for one sample
    own = {name: number for name, number in STREAMS.items() if name not in shared}
    assert len({0, *own.values()}) == 1 + len(own)
    assert all(STREAMS[name] == STREAMS[other] for name, other in shared.items())
    for path in Path(streams.__file__).parent.glob("*.py"):
        assert "_STREAM" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("recipe", ["eyes", "damage", "inpaint"])
def test_samples_of_whole_faces_never_draw_the_stream_of_their_size(tmp_path, recipe):
    faces, maps = write_drawn_faces(tmp_path, count=1, face_size=64)
    given = [f"data.parsing={str(maps)!r}"] if recipe == "eyes" else []
    for asked in (["data.reduced_share=0.5"], ["data.reduced_share=0.5", "data.crop_size=32"]):
        with pytest.raises(ConfigError):
            samples_of(make_plan(recipe, faces=faces, assignments=[*given, *asked], smoke=True))
