"""The contract of every backend, and what the adapters recognise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import listed_keys
from torch import nn

from facerestore.archs.gpen import GPENConfig, GPENDiscriminator, GPENGenerator
from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.archs.mmrb import MMRBConfig, MMRBGenerator
from facerestore.backends import identify, load_backend
from facerestore.backends.base import TensorRestorer
from facerestore.backends.gpen import GPENRestorer
from facerestore.backends.restorer import Descriptor
from facerestore.errors import BackendError, CheckpointError, ConfigError
from facerestore.imaging.pixels import resize_face
from facerestore.testing.contract import LIKENESS, Verdict, check_restorer
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights.checkpoint import save_state_dict

TINY = {"style_dim": 8, "mapping_layers": 2, "narrow": 1 / 64}


def gpen_network(config):
    network = GPENGenerator(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise.weight"):  # starts at zero, which would hide the encoder
                parameter.fill_(0.5)
            if "to_rgb" in name and name.endswith("conv.weight"):  # keep most pixels off the clamp
                parameter.mul_(0.2)
    return network


NETWORKS = {
    "gpen": lambda: gpen_network(GPENConfig(32, **TINY)),
    "gpen-add": lambda: gpen_network(GPENConfig(32, noise_mode="add", **TINY)),
    "gpen-enlarging": lambda: gpen_network(GPENConfig(32, input_size=16, **TINY)),
    "lite": lambda: LiteGenerator(LiteConfig(unshuffle=4, widths=(4, 6), blocks=(1, 1))),
    "mmrb": lambda: MMRBGenerator(MMRBConfig(32, style_dim=8, narrow=1 / 64, block_counts=(1,) * 4)),
}


@pytest.fixture(params=NETWORKS)
def variant(request):
    return request.param


@pytest.fixture
def restorer(variant, tmp_path):
    torch.manual_seed(0)
    save_state_dict(tmp_path / "tiny.safetensors", NETWORKS[variant]().state_dict())
    return load_backend(tmp_path / "tiny.safetensors")


def aligned(lq):
    landmarks = np.zeros((5, 2), np.float32)
    return AlignedFace(DetectedFace((0.0, 0.0, 1.0, 1.0), landmarks, 1.0), np.eye(2, 3), lq)


def noise_faces(size, count=3, seed=0):
    """Faces of 8-bit noise, the worst input there is."""
    values = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [aligned(face.astype(np.float32) / np.float32(255)) for face in values]


def flat_face(size, colour):
    return aligned(np.full((size, size, 3), colour, np.float32))


class Recorder(nn.Module):
    """Stands in for a network: keeps its input and gives what it is told to."""

    def __init__(self, result=lambda x: x):
        super().__init__()
        self.result = result
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.result(x)


def with_network(restorer, result=lambda x: x):
    """Put a recorder in the place of the network, one that keeps the size."""
    restorer.network = Recorder(result)
    restorer.descriptor = replace(restorer.descriptor, input_size=restorer.face_size)
    return restorer.network


def test_every_backend_keeps_the_contract(restorer):
    restorer = restorer.redeclared(max_batch=2)
    found = check_restorer(restorer, random_weights=True)
    assert [finding for finding in found if finding.verdict is Verdict.FAILED] == []
    unclear = {finding.name for finding in found if finding.verdict is Verdict.UNCLEAR}
    assert unclear <= LIKENESS  # what random weights draw may be anything
    assert restorer.restore(noise_faces(restorer.input_size))[0].std() > 0.01


def test_a_batch_changes_roundings_at_most(restorer):
    faces = noise_faces(restorer.input_size)
    restorer = restorer.redeclared(max_batch=2)
    for batched, face in zip(restorer.restore(faces), faces, strict=True):
        (alone,) = restorer.restore([face])
        np.testing.assert_allclose(batched, alone, atol=1e-5)


@pytest.mark.parametrize("size", [20, 48, 300])
def test_crops_of_another_size_are_resized(restorer, size):
    (restored,) = restorer.restore([flat_face(size, (0.2, 0.5, 0.8))])
    (expected,) = restorer.restore([flat_face(restorer.input_size, (0.2, 0.5, 0.8))])
    np.testing.assert_allclose(restored, expected, atol=1e-5)


def test_colours_keep_their_order_and_range_both_ways(restorer):
    network = with_network(restorer)
    low, high = restorer.network_range
    (restored,) = restorer.restore([flat_face(restorer.face_size, (1.0, 0.5, 0.0))])
    (seen,) = network.seen
    assert seen.shape == (1, 3, restorer.face_size, restorer.face_size)
    for channel, value in enumerate((high, (low + high) / 2, low)):
        assert torch.allclose(seen[0, channel], torch.tensor(value), atol=1e-6)
    np.testing.assert_allclose(restored, np.broadcast_to([1.0, 0.5, 0.0], restored.shape), atol=1e-6)


def test_pixels_stay_in_place(restorer):
    with_network(restorer)
    (face,) = noise_faces(restorer.face_size, count=1)
    np.testing.assert_allclose(restorer.restore([face])[0], face.lq, atol=1e-6)


def test_results_beyond_the_range_are_clamped(restorer):
    with_network(restorer, lambda x: x * 10 - 4)
    (restored,) = restorer.restore(noise_faces(restorer.face_size, count=1))
    assert (restored.min(), restored.max()) == (0.0, 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_not_finite_is_an_error(restorer, value):
    with_network(restorer, lambda x: torch.where(x == x.max(), value, x))
    with pytest.raises(BackendError, match=r"not finite; verify the weights"):
        restorer.restore(noise_faces(restorer.face_size, count=1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), "lq has dtype uint8; convert it to float32"),
        (np.zeros((8, 8, 3), np.float64), "lq has dtype float64"),
        (np.full((8, 8, 3), 200, np.float32), "lq has values from 200 to 200"),
        (np.full((8, 8, 3), np.nan, np.float32), "lq has values from nan"),
        (np.zeros((8, 9, 3), np.float32), r"lq has shape \(8, 9, 3\)"),
        (np.zeros((8, 8), np.float32), r"lq has shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.float32), r"lq has shape \(8, 8, 4\)"),
        (np.zeros((0, 0, 3), np.float32), r"lq has shape \(0, 0, 3\)"),
        ([[[0.0] * 3]], "AlignedFace records, got AlignedFace"),
    ],
)
def test_wrong_crops_are_refused(restorer, wrong, message):
    with pytest.raises(BackendError, match=message):
        restorer.restore([aligned(wrong)])


def test_a_bare_array_is_refused(restorer):
    with pytest.raises(BackendError, match="restores AlignedFace records, got ndarray; align first"):
        restorer.restore([np.zeros((8, 8, 3), np.float32)])


def test_parsing_maps_are_checked(restorer):
    faces = noise_faces(restorer.input_size, count=2)
    with pytest.raises(BackendError, match="1 parsing map for 2 faces"):
        restorer.restore(faces, [np.zeros((8, 8), np.uint8)])


def test_the_state_dict_is_recognised_by_one_backend(variant):
    assert identify(NETWORKS[variant]().state_dict()) == variant.partition("-")[0]


@pytest.mark.parametrize("wrapper", ["params_ema", "g_ema", "state_dict"])
def test_wrapped_torch_files_in_half_precision_load(variant, tmp_path, wrapper):
    network = NETWORKS[variant]()
    halves = {f"module.{key}": value.half() for key, value in network.state_dict().items()}
    torch.save({wrapper: halves, "iteration": 3}, tmp_path / "w.pth")
    loaded = load_backend(tmp_path / "w.pth").network
    numbers = [*loaded.parameters(), *loaded.buffers()]
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in numbers)
    assert not loaded.training


def test_files_that_do_not_fit_are_refused_by_name(variant, tmp_path):
    state_dict = NETWORKS[variant]().state_dict()
    dropped = next(key for key in reversed(state_dict) if key.endswith("bias"))
    save_state_dict(tmp_path / "cut.safetensors", {k: v for k, v in state_dict.items() if k != dropped})
    with pytest.raises(CheckpointError, match=r"cut\.safetensors'"):
        load_backend(tmp_path / "cut.safetensors")
    save_state_dict(tmp_path / "more.safetensors", {**state_dict, "zzz.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(first 'zzz\.weight'\)"):
        load_backend(tmp_path / "more.safetensors")


def test_the_named_backend_must_recognise_the_file(tmp_path):
    save_state_dict(tmp_path / "lite.safetensors", NETWORKS["lite"]().state_dict())
    assert load_backend(tmp_path / "lite.safetensors", name="lite").name == "lite"
    with pytest.raises(CheckpointError, match="not those of backend 'gpen'"):
        load_backend(tmp_path / "lite.safetensors", name="gpen")
    with pytest.raises(
        ConfigError, match="unknown backend 'gfpnet'; choose one of codeformer, gfpgan, gpen, lite"
    ):
        load_backend(tmp_path / "lite.safetensors", name="gfpnet")


def test_unknown_keys_are_shown():
    keys = {f"layer{index}.weight": torch.ones(1) for index in range(9)}
    with pytest.raises(
        CheckpointError, match=r"no backend recognises these 9 keys \('layer0\.weight', 'layer1"
    ):
        identify(keys)


def test_the_discriminator_is_no_restorer():
    with pytest.raises(CheckpointError, match="no backend recognises"):
        identify(GPENDiscriminator(16, narrow=1 / 64).state_dict())


class IdentityRestorer(TensorRestorer):
    """The smallest backend: gives faces back."""

    descriptor = Descriptor(name="identity", network_range=(-1.0, 1.0))

    @classmethod
    def detect(cls, state_dict):
        return not state_dict

    @classmethod
    def config_from_state_dict(cls, state_dict):
        return None

    @classmethod
    def build(cls, state_dict, *, device="cpu"):
        return cls(nn.Identity(), face_size=8, device=device)


@pytest.mark.parametrize("fits", [1, 2])
def test_a_batch_that_does_not_fit_is_halved(fits):
    def result(x):
        if len(x) > fits:
            raise torch.cuda.OutOfMemoryError("full")
        return x

    restorer = IdentityRestorer(Recorder(result), face_size=8, max_batch=8)
    faces = noise_faces(8, count=5)
    for restored, face in zip(restorer.restore(faces), faces, strict=True):
        np.testing.assert_allclose(restored, face.lq, atol=1e-6)


def test_a_face_that_does_not_fit_alone_is_an_error():
    def result(x):
        raise torch.cuda.OutOfMemoryError("full")

    restorer = IdentityRestorer(Recorder(result), face_size=8, max_batch=8)
    with pytest.raises(BackendError, match=r"ran out of memory on cpu with one 8 px face"):
        restorer.restore(noise_faces(8, count=3))


def test_a_failing_network_is_an_error_of_its_backend():
    def result(x):
        raise RuntimeError("kernel failed")

    with pytest.raises(BackendError, match="backend 'identity' failed on cpu with 2 faces: kernel failed"):
        IdentityRestorer(Recorder(result), face_size=8).restore(noise_faces(8, count=2))


def test_a_result_of_the_wrong_shape_is_an_error():
    restorer = IdentityRestorer(Recorder(lambda x: x[:, :, ::2]), face_size=8)
    with pytest.raises(BackendError, match=r"gave shape \(1, 3, 4, 8\), expected \(1, 3, 8, 8\)"):
        restorer.restore(noise_faces(8, count=1))


def test_batches_are_no_larger_than_asked():
    restorer = IdentityRestorer(Recorder(), face_size=8, max_batch=2)
    restorer.restore(noise_faces(8, count=5))
    assert [len(x) for x in restorer.network.seen] == [2, 2, 1]
    with pytest.raises(BackendError, match="max_batch is 0"):
        IdentityRestorer(Recorder(), face_size=8, max_batch=0)


def test_a_network_that_needs_parsing_maps_gets_those_of_its_batch():
    class Parsing(IdentityRestorer):
        descriptor = replace(IdentityRestorer.descriptor, needs_parsing=True)

        def forward(self, x, parsing_maps):
            return torch.stack(
                [torch.full_like(face, float(m[0, 0])) for face, m in zip(x, parsing_maps, strict=True)]
            )

    restorer = Parsing(nn.Identity(), face_size=8, max_batch=2)
    maps = [np.full((8, 8), value, np.uint8) for value in (0, 1, 0)]
    restored = restorer.restore(noise_faces(8, count=3), maps)
    assert [float(face.mean()) for face in restored] == [0.5, 1.0, 0.5]
    with pytest.raises(BackendError, match="needs a parsing map for each face"):
        restorer.restore(noise_faces(8, count=1))


def test_crops_are_reduced_by_area():
    stripes = np.zeros((8, 8, 3), np.float32)
    stripes[:, ::2] = 1
    np.testing.assert_allclose(resize_face(stripes, 4), np.full((4, 4, 3), 0.5))


OFFICIAL = {
    "gpen256": GPENConfig(256, channel_multiplier=1, narrow=0.5),
    "gpen512": GPENConfig(512),
    "gpen1024": GPENConfig(1024),
    "gpen2048": GPENConfig(2048),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_key_listings_give_the_official_configuration(name):
    listing = listed_keys(f"{name}_keys")
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in listing.items()}
    assert identify(state_dict) == "gpen"
    assert GPENRestorer.config_from_state_dict(state_dict) == OFFICIAL[name]
    restorer = GPENRestorer.build(state_dict, device="meta")
    assert restorer.face_size == restorer.input_size == OFFICIAL[name].face_size


@pytest.mark.parametrize(
    "config",
    [
        GPENConfig(64, style_dim=64, mapping_layers=8, channel_multiplier=1, narrow=0.125),
        GPENConfig(64, style_dim=32, mapping_layers=4, narrow=0.125, noise_mode="add"),
        GPENConfig(64, input_size=32, style_dim=32, mapping_layers=4, narrow=0.0625),
        GPENConfig(32, input_size=64, channel_multiplier=1, narrow=0.25),
        GPENConfig(16, input_size=128, mapping_layers=1),
        GPENConfig(8),
        GPENConfig(256, channel_multiplier=3, narrow=50 / 512),
    ],
)
def test_configuration_is_read_from_tensor_shapes(config):
    with torch.device("meta"):
        network = GPENGenerator(config)
    assert GPENRestorer.config_from_state_dict(network.state_dict()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator.style.1.weight": None}, "key 'generator.style.1.weight' is missing"),
        ({"ecd1.0.1.weight": None}, "no GPEN generator"),
        ({"generator.conv1.activate.bias": (7,)}, "has 7 values for 8 channels"),
        ({"generator.input.input": ()}, "no GPEN generator"),
        ({"generator.convs.2.conv.weight": (1, 5, 16, 3, 3)}, "5 channels at 16 px, .* call for 8"),
    ],
)
def test_shapes_that_fit_no_gpen_are_refused(change, message):
    state_dict = NETWORKS["gpen"]().state_dict()
    for key, shape in change.items():
        if shape is None:
            del state_dict[key]
        else:
            state_dict[key] = torch.ones(shape)
    with pytest.raises(CheckpointError, match=message):
        GPENRestorer.config_from_state_dict(state_dict)


@pytest.mark.parametrize("name", ["lite", "gpen", "mmrb"])
def test_loading_leaves_the_random_numbers_of_the_program_alone(tmp_path, name):
    save_state_dict(tmp_path / "net.safetensors", NETWORKS[name]().state_dict())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_backend(tmp_path / "net.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
