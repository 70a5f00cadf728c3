"""The background's upsampler: no seams, no shift, no change of colour, any size, and networks of every layout."""

import sys

import cv2
import numpy as np
import pytest
import torch
from golden import Golden, assert_near
from PIL import Image
from torch import nn
from torch.nn import functional

from facerestore.archs.rrdb import RRDBNet
from facerestore.background import Network, TiledUpsampler, is_upsampler, load_upsampler
from facerestore.background.tiles import OVERLAP_PX
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import BackendError, CheckpointError, ConfigError

TINY = {"width": 8, "blocks": 1, "growth": 4}


def photo(height, width, *, dtype=np.uint8, seed=0):
    limit = np.iinfo(dtype).max
    coarse = np.random.default_rng(seed).uniform(0.1, 0.9, (height // 6 + 2, width // 6 + 2, 3))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint(np.clip(smooth, 0, 1) * limit).astype(dtype)


class Repeat(nn.Module):
    """Enlarges by repeating pixels: nothing is lost, and any shift would show."""

    def __init__(self, scale, multiple=1):
        super().__init__()
        self.scale, self.multiple, self.seen = scale, multiple, []

    def forward(self, x):
        assert x.shape[-1] % self.multiple == x.shape[-2] % self.multiple == 0
        assert x.shape[0] == 1
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        self.seen.append(tuple(x.shape[-2:]))
        return functional.interpolate(x, scale_factor=self.scale, mode="nearest")


def upsampler(module, *, scale=None, multiple=1, tile=None, overlap=OVERLAP_PX):
    network = Network(TorchEngine(module), scale or module.scale, multiple, overlap)
    return TiledUpsampler(network, name="test", tile=tile)


def random_rrdb(scale, *, seed=0, **shape):
    """An RRDBNet whose result is of the order of its input, and which changes its input a good deal."""
    torch.manual_seed(seed)
    network = RRDBNet(scale=scale, **(shape or TINY))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, 0.2)
        probe = network(torch.rand(1, 3, 16, 16))
        network.conv_last.weight.mul_(0.15 / probe.std())
        network.conv_last.bias.fill_(0.5)
    return network


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("scale", "tile"), [(1, 16), (2, 16), (3, 20), (4, 33), (4, None)])
def test_reducing_what_was_repeated_gives_back_the_photo_bit_for_bit(scale, tile, dtype):
    pixels = photo(53, 71, dtype=dtype)
    restored = upsampler(Repeat(scale), tile=tile).upsample(pixels, (71, 53))
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, pixels)


@pytest.mark.parametrize(
    "size", [(142, 106), (213, 159), (100, 75), (95, 80), (284, 212), (400, 301), (73, 54)]
)
@pytest.mark.parametrize("tile", [16, 24, 1000])
def test_any_size_is_that_of_the_whole_enlarged_photo_resized(size, tile):
    pixels = photo(53, 71)
    whole = np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1).astype(np.float32)
    given = upsampler(Repeat(4), tile=tile).upsample(pixels, size)
    assert given.shape == (size[1], size[0], 3)
    if size[0] < 284:
        expected = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    else:
        bands = [Image.fromarray(whole[..., c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
        expected = np.stack([np.asarray(band) for band in bands], axis=2)
    inner = (slice(2, -2), slice(2, -2))  # at the edges Pillow takes fewer pixels where we repeat the last
    np.testing.assert_allclose(given[inner], np.clip(expected, 0, 255)[inner], atol=0.51)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("height", [64, 67])
def test_tiles_leave_no_seams(scale, height):
    network = random_rrdb(scale)
    pixels = photo(height, 101, dtype=np.uint16)
    size = (101 * scale, height * scale)
    # One block sees 3 * 5 pixels of the folded photo, and the other convolutions a few more.
    overlap = 20 * network.fold
    whole, tiled = (
        upsampler(network, multiple=network.fold, tile=tile, overlap=overlap)
        .upsample(pixels, size)
        .astype(int)
        for tile in (1000, 24)
    )
    assert np.ptp(whole) > 20000
    assert np.abs(whole - tiled).max() <= 2


def test_the_depth_of_published_networks_leaves_no_seams_either():
    network = random_rrdb(2, width=8, blocks=23, growth=4)
    pixels = photo(40, 120)
    whole, tiled = (
        upsampler(network, multiple=2, tile=tile).upsample(pixels, (240, 80)).astype(int)
        for tile in (1000, 24)
    )
    assert np.ptp(whole) > 100
    assert np.abs(whole - tiled).max() <= 1


def test_windows_are_bounded_begin_at_multiples_and_end_in_a_mirror():
    module = Repeat(2, multiple=4)
    upsampler(module, multiple=4, tile=40).upsample(photo(97, 150), (300, 194))
    assert max(max(size) for size in module.seen) <= 40 + 2 * OVERLAP_PX + 12
    assert len(module.seen) == 3 * 4
    seen = []
    shy = upsampler(module, multiple=4)
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = photo(5, 6)
    shy.upsample(pixels, (12, 10))
    mirrored = np.pad(pixels, ((12, 15), (12, 14), (0, 0)), mode="reflect").astype(np.float32) / 255
    np.testing.assert_array_equal(seen[0][0].permute(1, 2, 0).numpy(), mirrored)


def smoothing_rrdb(scale):
    """An RRDBNet that is plain smooth enlarging: its blocks add nothing, its convolutions average and pass on."""
    network = RRDBNet(scale=scale, width=48, blocks=1, growth=4)
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for c in range(3):
            network.conv_first.weight[c, c * network.fold**2 : (c + 1) * network.fold**2, 1, 1] = (
                1 / network.fold**2
            )
            for conv in (network.conv_up1, network.conv_up2):
                conv.weight[c, c] = torch.outer(kernel, kernel)
            for conv in (network.conv_hr, network.conv_last):
                conv.weight[c, c, 1, 1] = 1
    return network


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("upscale", [1, 1.5, 2])
def test_nothing_is_shifted_darkened_or_tinted_up_to_the_edges(scale, upscale):
    across, down = np.meshgrid(np.linspace(0.1, 0.7, 61), np.linspace(0.2, 0.5, 45))
    slopes = np.stack([across, down, across + down - 0.2], axis=2)
    pixels = np.rint(slopes * 65535).astype(np.uint16)
    network = smoothing_rrdb(scale)
    size = (round(61 * upscale), round(45 * upscale))
    result = upsampler(network, multiple=network.fold, tile=24).upsample(pixels, size) / 65535
    expected = cv2.resize(slopes, size, interpolation=cv2.INTER_LINEAR)
    inner = (slice(12, -12), slice(12, -12))
    # A shift by half a photo pixel would be 0.005 on the steepest slope.
    np.testing.assert_allclose(result[inner], expected[inner], atol=1e-3)
    assert np.abs((result - expected)[inner].mean((0, 1))).max() < 5e-5
    np.testing.assert_allclose(result, expected, atol=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (17, 1)])
def test_tiny_photos_are_enlarged_too(shape):
    pixels = photo(*shape)
    given = upsampler(Repeat(2, multiple=4), multiple=4).upsample(pixels, (shape[1] * 2, shape[0] * 2))
    np.testing.assert_array_equal(given, pixels.repeat(2, axis=0).repeat(2, axis=1))


def test_grey_stays_grey_and_colour_does_not_become_so():
    network = random_rrdb(2)
    pixels = photo(40, 50)
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    result = upsampler(network, multiple=2).upsample(grey, (100, 80))
    assert np.array_equal(result[..., 0], result[..., 1])
    assert np.array_equal(result[..., 0], result[..., 2])
    assert np.ptp(result) > 20
    assert np.ptp(upsampler(network, multiple=2).upsample(pixels, (100, 80)), axis=2).max() > 5


def test_tiles_are_counted():
    told = []
    upsampler(Repeat(2), tile=16).upsample(
        photo(20, 40), (80, 40), on_tile=lambda done, of: told.append((done, of))
    )
    assert told == [(i, 6) for i in range(1, 7)]


class Bounded(Repeat):
    """Has memory for so many pixels and no more."""

    def __init__(self, limit, error):
        super().__init__(2)
        self.limit, self.error = limit, error

    def forward(self, x):
        if x.shape[-1] * x.shape[-2] > self.limit:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")]
)
def test_a_full_memory_halves_the_tiles(error):
    pixels = photo(150, 150)
    module = Bounded(100**2, error)
    given = upsampler(module, tile=128).upsample(pixels, (300, 300))
    np.testing.assert_array_equal(given, pixels.repeat(2, axis=0).repeat(2, axis=1))
    assert 60**2 < max(h * w for h, w in module.seen) <= 100**2


def test_a_memory_that_holds_nothing_is_an_error_with_the_remedy():
    with pytest.raises(
        BackendError,
        match=r"'test' ran out of memory on cpu \(torch .*\) with the smallest tiles.*--device cpu",
    ):
        upsampler(Bounded(8, torch.cuda.OutOfMemoryError("full"))).upsample(photo(30, 30), (60, 60))


def test_other_failures_and_values_that_are_none_are_told():
    with pytest.raises(BackendError, match=r"'test' failed on cpu \(torch .*\): boom"):
        upsampler(Bounded(8, RuntimeError("boom"))).upsample(photo(30, 30), (60, 60))
    broken = Repeat(2)
    broken.forward = lambda x: x.repeat(1, 1, 2, 2) * float("nan")
    with pytest.raises(BackendError, match="not finite"):
        upsampler(broken).upsample(photo(30, 30), (60, 60))
    with pytest.raises(ConfigError, match="tile is 8; give 16 pixels or more"):
        upsampler(Repeat(2), tile=8)


# Networks from files.

OLD_NAMES = {
    "conv_first": "model.0", "conv_body": "model.1.sub.1", "conv_up1": "model.3", "conv_up2": "model.6",
    "conv_hr": "model.8", "conv_last": "model.10",
}  # fmt: skip
SECOND_NAMES = {
    "conv_body": "trunk_conv", "conv_up1": "upconv1", "conv_up2": "upconv2", "conv_hr": "HRconv",
}  # fmt: skip


def renamed(state_dict, names, block):
    result = {}
    for key, value in state_dict.items():
        layer, _, kind = key.rpartition(".")
        if layer.startswith("body."):
            _, i, dense, conv = layer.split(".")
            layer = block.format(i=i, j=dense[-1], k=conv[-1])
        result[f"{names.get(layer, layer)}.{kind}"] = value
    return result


LAYOUTS = {
    "basicsr": lambda sd: {"params_ema": sd},
    "plain": lambda sd: sd,
    "first": lambda sd: renamed(sd, OLD_NAMES, "model.1.sub.{i}.RDB{j}.conv{k}.0"),
    "second": lambda sd: {"params": renamed(sd, SECOND_NAMES, "RRDB_trunk.{i}.RDB{j}.conv{k}")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_every_layout_of_rrdbnet_is_read_without_spandrel(layout, scale, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    network = random_rrdb(scale)
    contents = LAYOUTS[layout](network.state_dict())
    torch.save(contents, tmp_path / "network.pth")
    assert is_upsampler(contents.get("params_ema", contents.get("params", contents)))
    loaded = load_upsampler(tmp_path / "network.pth", name="mine")
    assert (loaded.name, loaded.scale) == ("mine", scale)
    pixels = photo(11, 14)
    size = (14 * scale, 11 * scale)
    expected = upsampler(network, multiple=network.fold, overlap=64).upsample(pixels, size)
    np.testing.assert_array_equal(loaded.upsample(pixels, size), expected)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_gpen_s_golden_networks_give_their_golden_result(scale, tmp_path):
    golden = Golden(f"gpen_rrdb_x{scale}")
    torch.save({"params_ema": golden.under("sd.")}, tmp_path / "realesrnet.pth")
    loaded = load_upsampler(tmp_path / "realesrnet.pth")
    (found,) = loaded._network.engine.run(golden["in"].numpy())
    assert_near(torch.from_numpy(found), golden["out"], 2e-5)


def test_our_rrdbnet_is_spandrel_s():
    spandrel = pytest.importorskip("spandrel")
    for scale in (1, 2, 4):
        network = random_rrdb(
            scale, width=8, blocks=2, growth=32
        )  # the growth that spandrel takes for granted
        theirs = spandrel.MAIN_REGISTRY.load(network.state_dict())
        x = torch.rand(1, 3, 16, 20)
        with torch.no_grad():
            assert_near(network(x).clamp(0, 1), theirs(x), 1e-5)


def compact(scale=2):
    pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    return Compact(num_feat=8, num_conv=2, upscale=scale).state_dict()


def test_any_super_resolution_network_of_spandrel_s_serves(tmp_path):
    state_dict = compact()
    assert is_upsampler(state_dict)
    torch.save({"params": state_dict}, tmp_path / "compact.pth")
    loaded = load_upsampler(tmp_path / "compact.pth", tile=16)
    assert (loaded.scale, loaded.tile_px) == (2, 16)
    import spandrel

    pixels = photo(37, 44)
    mirrored = np.pad(pixels, ((10, 10), (10, 10), (0, 0)), mode="reflect").astype(np.float32) / 255
    x = torch.from_numpy(mirrored).permute(2, 0, 1)[None]
    expected = spandrel.MAIN_REGISTRY.load(state_dict)(x)[0].permute(1, 2, 0).numpy()[20:-20, 20:-20] * 255
    np.testing.assert_allclose(loaded.upsample(pixels, (88, 74)), expected, atol=0.51)


def test_without_the_extra_the_remedy_is_named(tmp_path, monkeypatch):
    torch.save(compact(), tmp_path / "compact.pth")
    for name in [name for name in sys.modules if name.partition(".")[0] == "spandrel"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendError, match=r"compact.pth' needs the package spandrel.*facerestore\[extra-backends\]"
    ):
        load_upsampler(tmp_path / "compact.pth")


def test_a_network_for_faces_is_no_background(tmp_path):
    from facerestore.archs.lite import LiteConfig, LiteGenerator

    torch.save(LiteGenerator(LiteConfig(4, (4, 6), (1, 1))).state_dict(), tmp_path / "face.pth")
    with pytest.raises(ConfigError, match=r"a network for faces \(backend 'lite'\).*--weights"):
        load_upsampler(tmp_path / "face.pth")


def test_files_that_hold_no_such_network_are_told(tmp_path):
    pytest.importorskip("spandrel")
    torch.save({"a": torch.zeros(1), "b": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"other.pth': no super-resolution network has its 2 keys \(first 'a'\)"
    ):
        load_upsampler(tmp_path / "other.pth")
    assert not is_upsampler({"a": torch.zeros(1)})
    cut = random_rrdb(2).state_dict()
    del cut["conv_hr.bias"]
    torch.save(cut, tmp_path / "cut.pth")
    with pytest.raises(
        CheckpointError, match=r"does not fit RRDBNet x2, .*1 missing \(first 'conv_hr.bias'\)"
    ):
        load_upsampler(tmp_path / "cut.pth")
    torch.save(
        {key: value for key, value in compact().items() if key != "body.2.bias"}, tmp_path / "cut2.pth"
    )
    with pytest.raises(CheckpointError, match=r"cut2.pth': the checkpoint does not fit: .*body\.2\.bias"):
        load_upsampler(tmp_path / "cut2.pth")
    grey = {"body.0.weight": torch.zeros(8, 1, 3, 3)}
    torch.save(
        {**compact(), **grey, "body.6.weight": torch.zeros(4, 8, 3, 3), "body.6.bias": torch.zeros(4)},
        tmp_path / "grey.pth",
    )
    with pytest.raises(ConfigError, match=r"from 1 to 1 channels .*from RGB to RGB"):
        load_upsampler(tmp_path / "grey.pth")
