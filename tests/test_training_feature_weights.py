"""Comparing networks: found, loaded strictly, and missed loudly."""

import pytest
import torch

from facerestore.archs.vgg import PSFR_TAPS, VGG19
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.training.losses.feature_weights import (
    FEATURES,
    IDENTITY,
    check_same,
    find_features,
    load_vgg19,
)
from facerestore.weights import WeightsStore, parse_catalog
from facerestore.weights.checkpoint import save_state_dict

CATALOG = """
schema = 1
[licences.MIT]
name = "MIT"
url = "https://spdx.org/licenses/MIT.html"
notice = "free"
[weights."vgg19.test"]
file = "vgg.safetensors"
licence = "MIT"
commercial_use = "yes"
training_data = "none"
source = "https://example.org"
paper = "none"
purpose = "features"
quality_rank = 1
"""


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "home", catalog=parse_catalog(CATALOG, folder=tmp_path))


def install(store, state_dict):
    store.folder.mkdir(parents=True, exist_ok=True)
    save_state_dict(store.folder / "vgg.safetensors", state_dict)


def test_vgg_is_loaded_without_its_classifier(store):
    expected = VGG19()
    classifier = {f"classifier.{place}.weight": torch.zeros(2, 2) for place in (0, 3, 6)}
    install(store, {**expected.state_dict(), **classifier})
    found = find_features(FEATURES, instead="nothing is compared", store=store)
    network = load_vgg19(found.name, taps=PSFR_TAPS, store=store)
    assert found.note == "VGG19: weights 'vgg19.test'"
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    x = torch.rand(1, 3, 32, 32)
    network.least_size = expected.least_size = 0
    with torch.no_grad():
        for ours, theirs in zip(network(x), expected(x), strict=True):
            assert torch.equal(ours, theirs)


def test_other_keys_are_refused(store):
    install(store, {**VGG19().state_dict(), "features.99.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"VGG19.*features\.99\.weight"):
        load_vgg19("vgg19.test", store=store)


def test_missing_weights_are_said_with_the_remedy():
    vgg19 = find_features(FEATURES, instead="discriminators stand in")
    assert vgg19.name is None
    assert "discriminators stand in" in vgg19.note
    assert "facerestore weights download vgg19.imagenet" in vgg19.note
    arcface = find_features(IDENTITY, instead="the identity loss is left out")
    assert arcface.name is None
    assert "facerestore weights download arcface.ir-se50" in arcface.note


def test_a_wish_is_kept_or_refused(store):
    with pytest.raises(WeightsError, match=r"VGG19 is asked for.*download"):
        find_features(FEATURES, instead="", wish="yes", store=store)
    install(store, {"features.0.bias": torch.zeros(1)})
    assert find_features(FEATURES, instead="", wish="yes", store=store).name == "vgg19.test"
    switched_off = find_features(FEATURES, instead="it is dropped", wish="no", store=store)
    assert switched_off.name is None
    assert switched_off.note == "VGG19 is switched off: it is dropped"


def test_a_run_goes_on_with_what_it_began_with():
    check_same("vgg19.imagenet", "vgg19.imagenet", what="VGG19")
    check_same(None, None, what="VGG19")
    with pytest.raises(ConfigError, match=r"began with VGG19 'vgg19.imagenet'.*VGG19 without weights"):
        check_same("vgg19.imagenet", None, what="VGG19")
