"""Parser networks: recognition, strict loading, class order, ranges and sizes."""

import numpy as np
import pytest
import torch
from golden import Golden, listed_keys
from safetensors.torch import save_file
from test_parsing import aligned

from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.errors import BackendError, CheckpointError
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import template
from facerestore.parsing import BiSeNetParser, ParseNetParser, load_parser
from facerestore.parsing.network_parser import INPUT_SIZE, likeliest
from facerestore.parsing.networks import (
    BISENET_CLASSES,
    bisenet_config,
    parsenet_config,
)
from facerestore.types import AlignedFace

PARSENET = ParseNetConfig(encoder=(4, 4, 6, 6, 6), body_blocks=1, decoder=(6, 6, 4, 4))
BISENET = BiSeNetConfig(stages=(4, 6, 8, 10), context=6, head=4, squeeze=3)
PARTS = PartsConfig(widths=(4, 6), blocks=(1, 2))
NETWORKS = {"parse": (PartsNet, PARTS), "parsenet": (ParseNet, PARSENET), "bisenet": (BiSeNet, BISENET)}


class Fixed(torch.nn.Module):
    """Gives the same labels for every face, and remembers what it was fed."""

    def __init__(self, labels):
        super().__init__()
        self.labels = torch.as_tensor(labels)
        self.seen = []

    def logits(self, x):
        self.seen.append(x)
        one_hot = torch.nn.functional.one_hot(self.labels.long(), 19).permute(2, 0, 1).float()
        return one_hot.expand(len(x), -1, -1, -1)


def face(size=64, seed=0):
    lq = np.random.default_rng(seed).random((size, size, 3), dtype=np.float32)
    plain = aligned(template(size), size)
    return AlignedFace(plain.detected, plain.affine, lq)


def saved(path, network):
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(params=NETWORKS)
def file(request, tmp_path):
    torch.manual_seed(3)
    arch, config = NETWORKS[request.param]
    return request.param, config, saved(tmp_path / f"{request.param}.safetensors", arch(config))


def test_a_file_is_recognised_and_loaded_with_its_own_widths(file):
    name, config, path = file
    parser = load_parser(path)
    assert parser.name == name
    assert parser.network.config == config
    maps = parser.parse([face(64), face(96, seed=1)])
    assert [m.shape for m in maps] == [(64, 64), (96, 96)]
    assert all(m.dtype == np.uint8 and m.max() < 19 for m in maps)


def test_a_batch_equals_single_faces_and_repeats(file):
    parser = load_parser(file[2])
    faces = [face(seed=seed) for seed in range(3)]
    single = [parser.parse([one])[0] for one in faces]
    parser.max_batch = 2
    for together in (parser.parse(faces), parser.parse(faces)):
        for own, alone in zip(together, single, strict=True):
            assert np.mean(own == alone) > 0.999  # ties of the last bit may fall either way
    assert parser.parse([]) == []


@pytest.mark.parametrize(
    ("listing", "read", "published"),
    [
        ("psfr_parse_keys", parsenet_config, ParseNetConfig()),
        ("facexlib_parsenet_keys", parsenet_config, ParseNetConfig()),
        ("facexlib_bisenet_keys", bisenet_config, BiSeNetConfig()),
    ],
)
def test_published_key_listings_give_the_published_widths(listing, read, published):
    keys = listed_keys(listing)
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    assert read(state_dict) == published
    claims = [parser.name for parser in (ParseNetParser, BiSeNetParser) if parser.detect(state_dict)]
    assert claims == ["bisenet" if "bisenet" in listing else "parsenet"]


def test_the_official_parsenet_is_read_from_its_file(tmp_path):
    golden = Golden("psfr_parsenet")
    torch.save(golden.under("sd."), tmp_path / "official.pth")
    parser = load_parser(tmp_path / "official.pth")
    assert parser.network.config == ParseNetConfig(encoder=(8, 16, 16), body_blocks=2, decoder=(16, 8))
    with torch.no_grad():
        assert torch.equal(parser.network.logits(golden["in"]).argmax(1), golden["out.argmax"].long())


def broken(state_dict, change):
    state_dict = dict(state_dict)
    first, last = list(state_dict)[4], list(state_dict)[-1]
    if change == "missing":
        del state_dict[last]
    elif change == "unexpected":
        state_dict["extra.weight"] = torch.zeros(1)
    elif change == "misshapen":
        state_dict[last] = torch.zeros(7)
    return state_dict, {"missing": last, "unexpected": "extra.weight", "misshapen": last}[change], first


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_a_file_that_does_not_fit_names_what_is_wrong(file, tmp_path, change):
    name, config, _ = file
    state_dict, key, _ = broken(NETWORKS[name][0](config).state_dict(), change)
    save_file(state_dict, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=rf"wrong.safetensors.*1 {change} \(first '{key}'"):
        load_parser(tmp_path / "wrong.safetensors")


def test_a_truncated_state_dict_is_compared_with_the_published_network(tmp_path):
    state_dict = ParseNet(PARSENET).state_dict()
    del state_dict["encoder.0.conv2d.weight"]
    save_file(state_dict, tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \(first 'encoder.0.conv2d.weight'\).*misshapen"):
        load_parser(tmp_path / "cut.safetensors")


def test_foreign_files_are_refused_with_their_keys(tmp_path):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"'conv.weight'.*no face parser.*parsenet and bisenet"):
        load_parser(tmp_path / "foreign.safetensors")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="web page"):
        load_parser(tmp_path / "page.pth")


def test_another_number_of_classes_is_refused(tmp_path):
    network = ParseNet(ParseNetConfig(encoder=(4, 4), body_blocks=1, decoder=(4,), classes=11))
    with pytest.raises(CheckpointError, match="tells 11 classes apart"):
        load_parser(saved(tmp_path / "eleven.safetensors", network))


def test_of_equal_logits_the_first_class_is_taken():
    torch.manual_seed(1)
    logits = torch.randint(0, 3, (2, 19, 8, 8)).float()
    assert np.array_equal(likeliest(logits).numpy(), logits.numpy().argmax(axis=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    parser = BiSeNetParser(Fixed(torch.zeros(64, 64)))
    parser.network.logits = lambda x: torch.full((len(x), 19, 64, 64), 0.0).index_fill_(
        1, torch.tensor([3]), value
    )
    with pytest.raises(BackendError, match="not finite"):
        parser.parse([face()])


def test_bisenet_has_its_own_order_of_classes_and_answers_in_ours():
    assert sorted(BISENET_CLASSES) == sorted(CLASS_NAMES)
    assert (BISENET_CLASSES.index("hair"), BISENET_CLASSES.index("nose")) == (17, 10)
    labels = np.arange(INPUT_SIZE * INPUT_SIZE).reshape(INPUT_SIZE, INPUT_SIZE) % 19
    parsed = BiSeNetParser(Fixed(labels)).parse([face(INPUT_SIZE)])[0]
    for own, name in enumerate(BISENET_CLASSES):
        assert (parsed[labels == own] == CLASS_NAMES.index(name)).all()
    assert (ParseNetParser(Fixed(labels)).parse([face(INPUT_SIZE)])[0] == labels).all()


@pytest.mark.parametrize(
    ("parser", "white", "black"),
    [
        (ParseNetParser, (1, 1, 1), (-1, -1, -1)),
        (BiSeNetParser, (2.2489, 2.4286, 2.6400), (-2.1179, -2.0357, -1.8044)),
    ],
)
def test_networks_are_fed_rgb_in_their_own_range(parser, white, black):
    network = Fixed(np.zeros((INPUT_SIZE, INPUT_SIZE)))
    lq = np.zeros((INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    lq[:10] = 1
    lq[-10:, :, 0] = 1  # red
    plain = face(INPUT_SIZE)
    parser(network).parse([AlignedFace(plain.detected, plain.affine, lq)])
    x = network.seen[0][0]
    assert x[:, 0, 0].tolist() == pytest.approx(white, abs=1e-3)
    assert x[:, 200, 0].tolist() == pytest.approx(black, abs=1e-3)
    assert x[:, -1, 0].tolist() == pytest.approx((white[0], black[1], black[2]), abs=1e-3)


@pytest.mark.parametrize("size", [128, 300, 1024])
def test_labels_keep_their_place_at_any_size_and_are_never_blended(size):
    labels = np.zeros((INPUT_SIZE, INPUT_SIZE), np.uint8)
    labels[INPUT_SIZE // 2 :, : INPUT_SIZE // 4] = 18
    parsed = ParseNetParser(Fixed(labels)).parse([face(size)])[0]
    assert parsed.shape == (size, size)
    assert set(np.unique(parsed)) == {0, 18}
    y, x = np.nonzero(parsed)
    assert (y.min(), x.max()) == (size // 2, size // 4 - 1)


def test_networks_that_fail_say_so():
    class Failing(torch.nn.Module):
        def logits(self, x):
            raise RuntimeError("no kernel")

    class Overflowing(Fixed):
        def logits(self, x):
            return super().logits(x) * float("inf")

    with pytest.raises(BackendError, match="parser 'parsenet' failed on cpu with 1 face: no kernel"):
        ParseNetParser(Failing()).parse([face()])
    with pytest.raises(BackendError, match="not finite"):
        ParseNetParser(Overflowing(np.zeros((INPUT_SIZE, INPUT_SIZE)))).parse([face()])
    with pytest.raises(BackendError, match="max_batch is 0"):
        ParseNetParser(Failing(), max_batch=0)


@pytest.mark.parametrize("lq", [np.zeros((8, 9, 3), np.float32), np.zeros((8, 8, 3), np.uint8)])
def test_crops_that_are_none_are_refused(lq):
    plain = face()
    with pytest.raises(BackendError, match="square float32"):
        ParseNetParser(Fixed(np.zeros((8, 8)))).parse([AlignedFace(plain.detected, plain.affine, lq)])
