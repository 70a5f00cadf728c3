"""Which parser is taken: the best that is here, never in silence another than was asked for."""

import pytest
import torch
from fakes import Brightener

from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.config import RestoreConfig
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.parsing.network_parser import GraphParser
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import LANDMARKS, NONE, PARSE, ranked
from facerestore.pipeline.load import build_parser

TINY_PARSENET = ParseNetConfig(encoder=(2, 2, 2, 2, 2), body_blocks=1, decoder=(2, 2, 2, 2))
TINY_BISENET = BiSeNetConfig(stages=(2, 2, 2, 2), context=2, head=2, squeeze=2)


def install(store, name):
    """Put tiny weights under a catalog name; of those that the catalog has a hash of, the file alone."""
    network = BiSeNet(TINY_BISENET) if name.startswith("bisenet") else ParseNet(TINY_PARSENET)
    path = store.path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


def chosen(store, **options):
    needed_by = options.pop("needed_by", None)
    preferred = options.pop("preferred", None)
    return choose(PARSE, RestoreConfig(**options), store, needed_by=needed_by, preferred=preferred)


def test_without_another_network_auto_takes_the_bundled_one(store):
    assert chosen(store).name == "parse.clean-256"
    assert isinstance(build_parser(chosen(store)), GraphParser)
    assert chosen(store, region="eyes=0.3", mask="whole").name == "parse.clean-256"
    for nothing_made in ({"mask": "whole"}, {"aligned": True}):
        assert chosen(store, **nothing_made).name == "none"
    assert chosen(store, mask="face,hair", aligned=True).name == "parse.clean-256"


def test_auto_takes_the_best_that_is_installed(store):
    install(store, "bisenet.facexlib")
    assert ranked(PARSE, store)[0].name == "bisenet.facexlib"
    install(store, "parsenet.gpen")
    assert ranked(PARSE, store)[0].name == "parsenet.gpen"
    install(store, "parsenet.psfr-90000")
    found = chosen(store)
    assert found.name == "parsenet.psfr-90000"
    assert found.commercial_use == "no"
    assert found.sha256 == store.pin(found.name).sha256
    assert chosen(store, preferred="parsenet.gpen").name == "parsenet.gpen"
    assert chosen(store, preferred="parsenet.facexlib").name == "parsenet.psfr-90000"


def test_nothing_is_loaded_where_no_map_is_used(store):
    install(store, "parsenet.psfr-90000")
    assert chosen(store, mask="whole").name == NONE
    assert chosen(store, mask="whole", needed_by="backend 'psfr'").name == "parsenet.psfr-90000"
    assert chosen(store, mask="whole", parser="parsenet.psfr-90000").name == "parsenet.psfr-90000"


def test_a_network_that_needs_maps_takes_a_parsenet_or_names_the_download(store):
    install(store, "bisenet.facexlib")
    with pytest.raises(
        WeightsError, match=r"backend 'psfr' needs a face parser.*download parsenet\.psfr-90000"
    ):
        chosen(store, needed_by="backend 'psfr'")
    with pytest.raises(WeightsError, match=r"download parsenet\.gpen'"):
        chosen(store, needed_by="the official gpen test pipeline", preferred="parsenet.gpen")
    with pytest.raises(ConfigError, match="leave out the parser 'none'"):
        chosen(store, needed_by="backend 'psfr'", parser="none")
    assert chosen(store, needed_by="backend 'psfr'", parser="landmarks").path is None
    install(store, "parsenet.gpen")
    assert chosen(store, needed_by="backend 'psfr'").name == "parsenet.gpen"


def test_a_network_of_drawn_maps_takes_the_landmarks_whatever_is_installed(store):
    asked = {"needed_by": "backend 'psfr'", "preferred": LANDMARKS}
    assert choose(PARSE, RestoreConfig(), store, **asked).name == "landmarks"
    install(store, "parsenet.psfr-90000")
    assert choose(PARSE, RestoreConfig(), store, **asked).name == "landmarks"
    named = choose(PARSE, RestoreConfig(parser="parsenet.psfr-90000"), store, **asked)
    assert named.name == "parsenet.psfr-90000"
    with pytest.raises(ConfigError, match="needs a face parser"):
        choose(PARSE, RestoreConfig(parser="none"), store, **asked)


def test_the_parser_that_a_network_was_trained_with_comes_before_every_parsenet(store):
    install(store, "parsenet.psfr-90000")
    asked = {"needed_by": "backend 'psfr'", "preferred": "parse.clean-256"}
    assert choose(PARSE, RestoreConfig(), store, **asked).name == "parse.clean-256"


def test_names_and_files_that_are_no_parser_are_refused(store, tmp_path):
    with pytest.raises(WeightsError, match=r"not installed.*download parsenet\.facexlib"):
        chosen(store, parser="parsenet.facexlib")
    with pytest.raises(ConfigError, match="for the purpose 'restore'"):
        chosen(store, parser="gpen.bfr-512")
    with pytest.raises(WeightsError, match="did you mean"):
        chosen(store, parser="parsenet.facexli")
    with pytest.raises(WeightsError, match=r"gone\.pth' does not exist"):
        chosen(store, parser="gone.pth")
    torch.save(Brightener().calls, tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"list\.pth"):
        build_parser(chosen(store, parser=str(tmp_path / "list.pth")))


def test_a_file_is_taken_by_its_path(store, tmp_path):
    torch.save(ParseNet(TINY_PARSENET).state_dict(), tmp_path / "mine.pth")
    found = chosen(store, parser=str(tmp_path / "mine.pth"))
    assert found.path == tmp_path / "mine.pth"
    assert found.commercial_use is None
    assert len(found.sha256) == 64
    assert build_parser(found).name == "parsenet"


def test_the_pipeline_says_which_parser_it_took(store):
    install(store, "parsenet.psfr-90000")
    line = build_pipeline(RestoreConfig(device="cpu"), store=store)
    assert line.parser.name == "parsenet"
    assert line.description.endswith("parser parsenet.psfr-90000")
    assert (line.facts.parser.weights, line.facts.parser.commercial_use) == ("parsenet.psfr-90000", "no")
    plain = build_pipeline(RestoreConfig(device="cpu", parser="none"), store=store)
    assert plain.parser is None
    assert plain.facts.parser is None
    with pytest.raises(ConfigError, match="needs a face parser"):
        build_pipeline(RestoreConfig(device="cpu", parser="none", mask="face,hair"), store=store)
