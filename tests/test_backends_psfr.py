"""PSFR-GAN as a backend: what it recognises and refuses, its condition, and its work scale by scale."""

import numpy as np
import pytest
import torch
from golden import Golden, listed_keys

from facerestore.archs.psfr import PSFRConfig, PSFRGenerator, one_hot
from facerestore.archs.spectral import attach_spectral_norm, fuse, to_official
from facerestore.backends import BACKENDS, backend_class, identify, load_backend
from facerestore.backends.psfr import PSFRRestorer, fit_map
from facerestore.errors import BackendError, CheckpointError
from facerestore.testing.contract import Verdict, check_restorer
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights.checkpoint import save_state_dict

TINY = PSFRConfig(32, 8, (4, 8))
SIDE = TINY.face_size


@pytest.fixture(scope="module")
def official():
    """The checkpoint of a small network that was in training."""
    torch.manual_seed(0)
    network = attach_spectral_norm(PSFRGenerator(TINY))
    with torch.no_grad():
        network(torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 19, SIDE, SIDE))
    return {key: value.detach() for key, value in to_official(network.state_dict()).items()}


@pytest.fixture
def restorer(official):
    return PSFRRestorer.build(official)


def aligned(lq):
    return AlignedFace(
        DetectedFace((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), 1.0), np.eye(2, 3), lq
    )


def example(count=3, side=SIDE, seed=0):
    random = np.random.default_rng(seed)
    faces = [aligned(random.random((side, side, 3), dtype=np.float32)) for _ in range(count)]
    maps = [random.integers(0, 19, (side, side), dtype=np.uint8) for _ in range(count)]
    return faces, maps


def test_the_published_key_set_is_recognised_by_this_backend_alone():
    shapes = listed_keys("psfr_keys")
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert identify(state_dict) == "psfr"
    assert PSFRRestorer.config_from_state_dict(state_dict) == PSFRConfig()


@pytest.mark.parametrize(
    "listing",
    ["psfr_parse_keys", "psfr_disc_keys", "gpen512_keys", "gpen512_disc_keys", "facexlib_bisenet_keys"],
)
def test_other_networks_are_not_taken_for_it(listing):
    assert not PSFRRestorer.detect(dict.fromkeys(listed_keys(listing), torch.zeros(1)))


def test_examples_of_the_other_backends_are_not_taken_for_it():
    for name in BACKENDS:
        state_dict = backend_class(name).example_state_dict()
        assert PSFRRestorer.detect(state_dict) == (name == "psfr")
        assert identify(state_dict) == name


@pytest.mark.parametrize("kind", ["official", "fused"])
def test_saved_checkpoints_load_and_give_the_official_result(tmp_path, kind):
    golden = Golden("psfr_generator")
    state_dict = golden.under("sd.")
    if kind == "fused":
        save_state_dict(tmp_path / "g.safetensors", fuse(state_dict))
        restorer = load_backend(tmp_path / "g.safetensors")
    else:
        torch.save({"module." + key: value for key, value in state_dict.items()}, tmp_path / "g.pth")
        restorer = load_backend(tmp_path / "g.pth")
    assert isinstance(restorer, PSFRRestorer)
    assert restorer.face_size == restorer.input_size == 128
    assert restorer.network.config == PSFRConfig(128, ch_range=(8, 32))
    assert not any(p.requires_grad for p in restorer.network.parameters())
    lq = golden["in.lq"].clamp(-1, 1)
    labels = golden["in.parse_label"]
    with torch.no_grad():
        expected = restorer.network(lq, one_hot(labels))[0].permute(1, 2, 0).numpy()
    (restored,) = restorer.restore([aligned((lq[0].permute(1, 2, 0).numpy() + 1) / 2)], [labels[0].numpy()])
    np.testing.assert_allclose(restored, np.clip((expected + 1) / 2, 0, 1), atol=1e-5)


def test_half_precision_files_are_computed_in_float32(official):
    restorer = PSFRRestorer.build({key: value.half() for key, value in official.items()})
    assert {p.dtype for p in restorer.network.parameters()} == {torch.float32}


def test_every_scale_and_width_is_read_from_the_shapes():
    for config in (PSFRConfig(16, 16, (3, 3)), PSFRConfig(64, 4, (2, 16)), PSFRConfig(128, 16, (32, 64))):
        with torch.device("meta"):
            state_dict = PSFRGenerator(config).state_dict()
        read = PSFRRestorer.config_from_state_dict(state_dict)
        assert (read.sizes, read.widths) == (config.sizes, config.widths)


@pytest.mark.parametrize("with_spectral_norm", [True, False])
def test_the_former_model_is_refused_by_name(official, tmp_path, with_spectral_norm):
    state_dict = official if with_spectral_norm else fuse(official)
    former = {key: value for key, value in state_dict.items() if not key.startswith("img_out")}
    save_state_dict(tmp_path / "latest.safetensors", former | {"to_rgb.0.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"before March 2021.*'to_rgb\.0\.bias'.*psfrgan_epoch15_net_G"):
        load_backend(tmp_path / "latest.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.1.2.conv_1.weight_u"), r"1 missing \(first 'body\.1\.2\.conv_1\.weight_u'\)"),
        (lambda s: s.pop("img_out.bias"), r"1 missing \(first 'img_out\.bias'\)"),
        (lambda s: s.update({"extra.bias": torch.zeros(1)}), r"1 unexpected \(first 'extra\.bias'\)"),
        (
            lambda s: s.update({"head.0.weight_v": torch.zeros(7)}),
            r"1 misshapen \(first 'head\.0\.weight_v' is \(7,\), expected \(72,\)\)",
        ),
        (lambda s: s.pop("body.0.1.bias"), r"key 'body\.0\.1\.bias' is missing"),
        (lambda s: s.update({"const_input": torch.zeros(3)}), "the file is of another network"),
        (
            lambda s: s.update({"const_input": torch.zeros(1, 8, 8, 4)}),
            r"\(first 'const_input' is \(1, 8, 8, 4\)",
        ),
        (lambda s: s.update({"body.0.1.bias": torch.zeros(5)}), "each must have half"),
        (lambda s: s["head.0.weight_u"].zero_(), "give the spectral norm 0; it is corrupt"),
        (lambda s: s["head.0.weight_orig"].fill_(torch.nan), "give the spectral norm nan; it is corrupt"),
    ],
)
def test_files_that_do_not_fit_are_refused(official, tmp_path, change, message):
    state_dict = {key: value.clone() for key, value in official.items()}
    change(state_dict)
    save_state_dict(tmp_path / "g.safetensors", state_dict)
    with pytest.raises(CheckpointError, match=message):
        load_backend(tmp_path / "g.safetensors", name="psfr")


def test_restored_faces_repeat_and_do_not_depend_on_their_batch(restorer):
    faces, maps = example()
    restorer = restorer.redeclared(max_batch=2)
    restored = restorer.restore(faces, maps)
    for first, second, face, parsing_map in zip(
        restored, restorer.restore(faces, maps), faces, maps, strict=True
    ):
        assert first.shape == (SIDE, SIDE, 3)
        assert first.dtype == np.float32
        assert np.array_equal(first, second)
        np.testing.assert_allclose(restorer.restore([face], [parsing_map])[0], first, atol=1e-5)


def test_the_map_reaches_the_network_as_one_hot_planes_after_the_image(restorer):
    seen = []
    network = restorer.network
    network.register_forward_pre_hook(lambda _module, arguments: seen.extend(arguments))
    faces, maps = example(count=1)
    restorer.restore(faces, maps)
    image, planes = seen
    np.testing.assert_allclose(image[0].permute(1, 2, 0), faces[0].lq * 2 - 1, atol=1e-6)
    assert planes.shape == (1, 19, SIDE, SIDE)
    assert torch.equal(planes.sum(dim=1), torch.ones(1, SIDE, SIDE))
    assert np.array_equal(planes.argmax(dim=1)[0], maps[0])
    other = [(maps[0] + 1) % 19]
    assert not np.allclose(restorer.restore(faces, maps)[0], restorer.restore(faces, other)[0], atol=1e-3)


def test_a_map_of_another_size_is_fitted_without_blending(restorer):
    small = np.random.default_rng(0).choice(np.array([2, 18], np.uint8), (SIDE // 2, SIDE // 2))
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(fit_map(small, SIDE), large)
    assert np.array_equal(fit_map(large, SIDE), large)
    assert set(np.unique(fit_map(small, 45))) == {2, 18}
    assert np.array_equal(fit_map(large, SIDE // 2), small)
    faces, _ = example(count=1)
    assert np.array_equal(restorer.restore(faces, [small])[0], restorer.restore(faces, [large])[0])
    faces, _ = example(count=1, side=48)
    assert restorer.restore(faces, [fit_map(small, 48)])[0].shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("parsing_map", "message"),
    [
        (np.zeros((8, 9), np.uint8), r"shape \(8, 9\)"),
        (np.zeros((0, 0), np.uint8), r"shape \(0, 0\)"),
        (np.zeros((8, 8), np.int64), "dtype int64"),
        (np.full((8, 8), 19, np.uint8), "class id 19"),
    ],
)
def test_what_is_no_map_is_refused(restorer, parsing_map, message):
    faces, _ = example(count=1)
    with pytest.raises(BackendError, match=message):
        restorer.restore(faces, [parsing_map])
    with pytest.raises(BackendError, match=message):
        restorer.stages(faces[0], parsing_map)


def test_maps_are_required(restorer):
    faces, maps = example(count=2)
    assert restorer.needs_parsing
    with pytest.raises(BackendError, match="needs a parsing map for each face"):
        restorer.restore(faces)
    with pytest.raises(BackendError, match="1 parsing map for 2 faces"):
        restorer.restore(faces, maps[:1])
    assert restorer.restore([], []) == []


def test_stages_double_in_size_and_end_with_the_restored_face(restorer):
    (face,), (parsing_map,) = example(count=1)
    stages = restorer.stages(face, parsing_map)
    assert [stage.size for stage in stages] == [8, 16, 32]
    for stage in stages:
        for view in (stage.picture, stage.added, stage.features):
            assert view.shape == (stage.size, stage.size, 3)
            assert view.dtype == np.float32
            assert np.isfinite(view).all()
        for view in (stage.picture, stage.features):
            assert view.min() >= 0
            assert view.max() <= 1
        assert stage.added.std() > 0
        assert stage.features.std() > 0.1
    assert np.array_equal(stages[-1].picture, restorer.restore([face], [parsing_map])[0])
    assert all(
        np.array_equal(one.features, other.features)
        for one, other in zip(stages, restorer.stages(face, parsing_map), strict=True)
    )


def test_the_additions_sum_to_the_restored_face(restorer):
    (face,), (parsing_map,) = example(count=1)
    stages = restorer.stages(face, parsing_map)
    with torch.no_grad():
        network, planes = restorer.network, one_hot(torch.from_numpy(parsing_map)[None])
        x = torch.from_numpy(face.lq * 2 - 1).permute(2, 0, 1)[None]
        constant = network.pictures(network.features(x, planes))[0]
        restored = network(x, planes)

    def mean(picture):  # reducing by area keeps it
        return ((picture[0].mean(dim=(1, 2)) + 1) / 2).numpy()

    added = sum(stage.added.mean(axis=(0, 1)) for stage in stages)
    np.testing.assert_allclose(mean(constant) - 0.5 + added, mean(restored) - 0.5, atol=1e-5)


def test_stages_take_crops_of_another_size(restorer):
    (face,), (parsing_map,) = example(count=1, side=50)
    stages = restorer.stages(face, parsing_map)
    assert np.array_equal(stages[-1].picture, restorer.restore([face], [parsing_map])[0])


def test_a_network_that_fails_in_stages_is_a_backend_error(restorer):
    (face,), (parsing_map,) = example(count=1)
    restorer.network.const_input.data = torch.zeros(1, 5, 8, 8)
    with pytest.raises(BackendError, match="failed on cpu with the stages"):
        restorer.stages(face, parsing_map)


def test_the_published_size_is_512():
    (published,) = PSFRRestorer.published()
    assert (published.face_size, published.device.type) == (512, "meta")


def test_the_example_lets_the_face_through():
    faces, maps = example()
    for face, restored in zip(
        faces, PSFRRestorer.build(PSFRRestorer.example_state_dict()).restore(faces, maps), strict=True
    ):
        assert np.corrcoef(face.lq.ravel(), restored.ravel())[0, 1] > 0.95


def test_the_example_keeps_the_contract():
    restorer = PSFRRestorer.build(PSFRRestorer.example_state_dict())
    assert {finding.verdict for finding in check_restorer(restorer)} == {Verdict.PASSED}


@pytest.mark.parametrize(
    ("header", "drawn", "parser"),
    [
        ({"condition": "landmarks"}, True, None),
        ({"condition": "parser", "parser": "parse.clean-256"}, False, "parse.clean-256"),
        ({"condition": "parser"}, False, None),
        ({}, False, None),
    ],
)
def test_a_file_says_whose_maps_it_was_trained_on(official, tmp_path, header, drawn, parser):
    path = tmp_path / "net.safetensors"
    save_state_dict(path, official, metadata=header)
    restorer = load_backend(path)
    assert restorer.needs_parsing
    assert restorer.descriptor.drawn_maps is drawn
    assert restorer.descriptor.parser_weights == parser
