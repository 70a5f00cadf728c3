import zipfile
from dataclasses import replace

import pytest

from facerestore.config import COLORIZE, INPAINT, SYNTHESIZE, RestoreConfig
from facerestore.errors import ConfigError, WeightsError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import DETECT, ranked
from facerestore.pipeline.load import build_detector
from facerestore.weights import WeightsStore


def install(store, name, content=None):
    path = store.path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")


def test_auto_takes_the_bundled_weights_until_better_ones_are_installed(store):
    bundled = choose("restore", RestoreConfig(), store)
    assert bundled.bundled
    assert bundled.commercial_use == "yes"
    install(store, "gpen.bfr-512")
    chosen = choose("restore", RestoreConfig(), store)
    assert (chosen.name, chosen.backend, chosen.bundled) == ("gpen.bfr-512", "gpen", False)
    pin = store.pin("gpen.bfr-512")
    assert pin is not None
    assert chosen.sha256 == pin.sha256
    assert choose("restore", RestoreConfig(backend="lite"), store) == bundled


def test_weights_of_another_backend_or_purpose_are_refused(store):
    install(store, "gpen.bfr-512")
    for options in (
        {"backend": "lite", "weights": "gpen.bfr-512"},
        {"backend": "gfpnet"},
        {"weights": "landmarks.five-point"},
    ):
        with pytest.raises(ConfigError):
            choose("restore", RestoreConfig(**options), store)


def test_each_task_takes_its_own_weights_and_the_others_name_the_right_command(store):
    assert choose(COLORIZE.purpose, RestoreConfig(), store).name == "lite.colour-128"
    assert choose(INPAINT.purpose, RestoreConfig(), store).name == "lite.inpaint-256"
    for name, task in (
        ("gpen.colorization-1024", COLORIZE),
        ("gpen.inpainting-1024", INPAINT),
        ("gpen.seg2face-512", SYNTHESIZE),
    ):
        if task is SYNTHESIZE:
            with pytest.raises(WeightsError, match=f"to {task.verb} faces .* weights download {name}"):
                choose(task.purpose, RestoreConfig(), store)
        install(store, name)
        assert choose(task.purpose, RestoreConfig(), store).name == name
        assert choose(task.purpose, RestoreConfig(weights=name), store).backend == "gpen"
        with pytest.raises(ConfigError, match=f"give them to 'facerestore {task.command}'"):
            choose("restore", RestoreConfig(weights=name), store)
    with pytest.raises(ConfigError, match="give them to 'facerestore enhance'"):
        choose(COLORIZE.purpose, RestoreConfig(weights="gpen.bfr-512"), store)
    with pytest.raises(ConfigError, match="weights list --purpose inpaint"):
        choose(INPAINT.purpose, RestoreConfig(weights="parsenet.gpen"), store)
    assert choose("restore", RestoreConfig(), store).bundled


def test_a_discriminator_is_never_taken_for_a_restorer(store):
    for name in ("gpen.bfr-512-d", "gpen.bfr-256-d"):
        assert store.entry(name).purpose == "discriminator"
        install(store, name)
        with pytest.raises(ConfigError, match="for the purpose 'discriminator', not 'restore'"):
            choose("restore", RestoreConfig(weights=name), store)
    assert choose("restore", RestoreConfig(backend="gpen"), store).name == "gpen.clean-128"


@pytest.mark.parametrize(
    ("backend", "own"), [("gpen", "gpen.bfr-512"), ("psfr", "psfr.ffhq-512"), ("mmrb", None)]
)
def test_every_backend_of_a_paper_has_bundled_weights_behind_those_that_come(store, backend, own):
    bundled = choose("restore", RestoreConfig(backend=backend), store)
    assert (bundled.name, bundled.bundled, bundled.commercial_use) == (f"{backend}.clean-128", True, "yes")
    assert choose("restore", RestoreConfig(), store).name != bundled.name
    if own is not None:
        install(store, own)
        assert choose("restore", RestoreConfig(backend=backend), store).name == own


def test_a_backend_without_weights_says_why(store):
    bare = replace(store.catalog, entries={}, unpublished={"mmrb": "none are published; train them"})
    with pytest.raises(WeightsError, match="none are published; train them"):
        choose("restore", RestoreConfig(backend="mmrb"), WeightsStore(store.folder, catalog=bare))


def test_weights_that_are_not_here_are_told_with_their_remedy(store, tmp_path):
    for options, remedy in (
        ({"weights": "gpen.bfr-512"}, "weights download gpen.bfr-512"),
        ({"backend": "codeformer"}, "weights download codeformer."),
        ({"weights": str(tmp_path / "none.pth")}, "does not exist"),
    ):
        with pytest.raises(WeightsError, match=remedy):
            choose("restore", RestoreConfig(**options), store)


def test_weights_may_be_a_file_anywhere(store, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"abc")
    chosen = choose("restore", RestoreConfig(backend="gpen", weights=str(path)), store)
    assert (chosen.path, chosen.backend, chosen.bundled) == (path, "gpen", False)
    assert chosen.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_auto_takes_the_best_detector_that_facerestore_can_run(store):
    assert ranked(DETECT, store)[0].name == "finder.five-point"
    assert choose(DETECT, RestoreConfig(), store).name == "embedded"
    install(store, "retinaface.mobile0.25")
    assert ranked(DETECT, store)[0].name == "retinaface.mobile0.25"
    install(store, "yunet.2023mar", b"\x08")
    assert ranked(DETECT, store)[0].name == "yunet.2023mar"
    # A file that no detector of ours takes is no reason to fall back.
    install(store, "retinaface.resnet50-gpen")
    assert ranked(DETECT, store)[0].name == "yunet.2023mar"
    install(store, "retinaface.resnet50")
    assert ranked(DETECT, store)[0].name == "retinaface.resnet50"


def test_an_unknown_or_missing_detector_is_refused(store):
    for name, error, told in (
        ("haar", ConfigError, "haar"),
        ("yunet", WeightsError, "weights download yunet"),
    ):
        config = RestoreConfig(detector=name)
        with pytest.raises(error, match=told):
            build_detector(choose(DETECT, config, store), config, store, "cpu")


def test_an_aligned_pipeline_needs_no_detector(store):
    line = build_pipeline(RestoreConfig(aligned=True, detector="yunet", device="cpu"), store=store)
    assert line.detector is None
    assert "aligned input" in line.description
    assert line.facts.bundled
