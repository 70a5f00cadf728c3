"""The network that cleans photos: trained, exported, read, tiled, and refused where it is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import drawn_plan, trained

from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.background import TiledUpsampler, holds_upsampler, load_upsampler
from facerestore.background.cleaner import MULTIPLE, OVERLAP_PX, load_cleaner
from facerestore.engines import Place
from facerestore.engines.graph import GRAPH, TORCH
from facerestore.errors import CheckpointError, ConfigError
from facerestore.export.embedding import embed_graph
from facerestore.imaging.pixels import resize_image
from facerestore.pipeline.installed import ChosenWeights
from facerestore.pipeline.load import load_restorer
from facerestore.training.export import export_run
from facerestore.weights.checkpoint import open_weights, read_metadata

BUNDLED = Path(__file__).parents[1] / "weights" / "lite_photo_x1.safetensors"
HEADER = {"backend": "lite", "arch": "lite", "purpose": "background", MULTIPLE: "16"}


def noisy(height, width, *, seed=0):
    rng = np.random.default_rng(seed)
    slope = np.linspace(40, 210, width)[None, :, None] * np.ones((height, 1, 3))
    return np.rint(slope + rng.normal(0, 10, slope.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A file of a small network of random numbers, with its graph."""
    torch.manual_seed(0)
    network = LiteGenerator(LiteConfig(2, (6, 8, 8, 8), (1, 1, 1, 1), (4,), (1,)))
    with torch.no_grad():
        network.fine.draw.weight.normal_(0, 0.1)
        network.head.weight.normal_(0, 0.05)
    path = tmp_path_factory.mktemp("drawn") / "cleaner.safetensors"
    save_file(network.state_dict(), path, metadata=HEADER)
    embed_graph(path)
    return path


def without(path, target, *entries, **others):
    """Write the tensors of a file with another header."""
    header = {key: value for key, value in read_metadata(path).items() if key not in entries}
    save_file(load_file(path), target, metadata=header | others)
    return target


def test_the_graph_gives_what_torch_gives_at_any_size(drawn):
    file = open_weights(drawn)
    for size in ((16, 16), (48, 80), (112, 32)):
        x = np.random.default_rng(1).random((1, 3, *size), dtype=np.float32)
        (ours,), (theirs,) = (
            load_cleaner(file, Place(provider=provider)).engine.run(x) for provider in (None, TORCH)
        )
        assert np.abs(theirs - x).mean() > 0.01
        assert np.abs(ours - theirs).max() < 1e-4
    networks = [load_cleaner(file, Place(provider=provider)) for provider in (None, TORCH)]
    assert [(n.scale, n.multiple, n.overlap_px, n.cleans) for n in networks] == [
        (1, 16, OVERLAP_PX, True)
    ] * 2


def test_a_photo_is_cleaned_at_the_size_of_its_result(drawn):
    upsampler = load_upsampler(drawn, name="mine")
    pixels = noisy(37, 50)
    twice = upsampler.upsample(pixels, (100, 74))
    np.testing.assert_array_equal(twice, upsampler.upsample(resize_image(pixels, 2), (100, 74)))
    assert upsampler.upsample(pixels, (50, 37)).shape == (37, 50, 3)
    assert (upsampler.name, upsampler.scale) == ("mine", 1)
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    assert np.ptp(upsampler.upsample(grey, (50, 37)), axis=2).max() == 0
    deep = upsampler.upsample(pixels.astype(np.uint16) * 257, (50, 37))
    assert np.abs(deep / 257 - upsampler.upsample(pixels, (50, 37))).max() <= 0.51


def test_the_bundled_network_leaves_no_seams():
    pixels = noisy(150, 210)
    whole, tiled = (
        load_upsampler(BUNDLED, tile=tile).upsample(pixels, (210, 150)).astype(int) for tile in (1000, 64)
    )
    assert np.abs(whole - pixels).mean() > 2
    assert np.abs(whole - tiled).max() <= 1


def test_a_trained_network_is_exported_and_cleans(tmp_path):
    run, out = tmp_path / "run", tmp_path / "mine.safetensors"
    trained(drawn_plan("lite", tmp_path, "recipe.task='background'", "recipe.network.blocks=[1, 1]"), run)
    written = export_run(run, out, licence="CC0-1.0", data="drawn")
    assert written.runs_alone
    assert written.installable
    embed_graph(out)
    header = read_metadata(out)
    assert (header["backend"], header["purpose"], header[MULTIPLE]) == ("lite", "background", "8")
    assert GRAPH in header
    assert holds_upsampler(out)
    assert isinstance(load_upsampler(out), TiledUpsampler)


def test_it_is_no_restorer_of_faces(drawn, tmp_path):
    for path in (drawn, without(drawn, tmp_path / "bare.safetensors", GRAPH)):
        for provider in (None, TORCH):
            with pytest.raises(
                ConfigError, match=r"for whole photos, not one for faces; give it with --background"
            ):
                load_restorer(ChosenWeights(name=str(path), source=path), provider=provider)


def test_damaged_files_are_told(drawn, tmp_path):
    for others in ({}, {MULTIPLE: "0"}, {MULTIPLE: "many"}):
        path = without(drawn, tmp_path / "sizeless.safetensors", MULTIPLE, **others)
        with pytest.raises(
            CheckpointError, match=r"sizeless.*does not say what sizes its network takes.*export it"
        ):
            load_upsampler(path)
    save_file({"stem.weight": torch.zeros(1, 12, 3, 3)}, tmp_path / "cut.safetensors", metadata=HEADER)
    with pytest.raises(
        CheckpointError, match=r"cut\.safetensors' cleans no photos: it holds no 'lite' network"
    ):
        load_upsampler(tmp_path / "cut.safetensors")
