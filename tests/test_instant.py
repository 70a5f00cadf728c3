"""What ships runs without torch: the graphs in the weights files, and the commands that use them."""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import trial_photo

from facerestore import RestoreConfig, build_pipeline
from facerestore.backends import load_backend
from facerestore.backends.graph_restorer import GraphRestorer
from facerestore.detection.embedded import open_cells, open_points
from facerestore.engines import Place
from facerestore.engines.graph import GRAPH, TAKEN, TORCH, open_graph, packed_graph, unpacked_graph
from facerestore.errors import BackendError, CheckpointError, ConfigError, MalformedError
from facerestore.parsing import load_parser
from facerestore.parsing.damage import load_damage_finder
from facerestore.parsing.network_parser import GraphParser
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.weights.checkpoint import load_state_dict, open_weights, save_state_dict

BLOCKED = ("torch", "torchvision", "scipy", "facexlib", "matplotlib", "basicsr")
"""Packages that nothing which ships may import on its way."""

UNUSED = (
    "PIL",
    "pydantic",
    "http.client",
    "ssl",
    "tarfile",
    "xml.etree",
    "numpy.ma",
    "facerestore.pipeline.official",
)
"""What other photos and commands need, and what would cost a tenth of a second where it is imported for nothing."""

RUN = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
sys.argv[0] = "facerestore"
from facerestore.__main__ import main
main()
"""

RESTORERS = ("lite_clean_256", "gpen_clean_128", "psfr_clean_128", "mmrb_clean_128", "lite_colour_128")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "drawn.png"
    cv2.imwrite(str(path), cv2.GaussianBlur(trial_photo(), (0, 0), 9))
    return path


def run_without_torch(*arguments, cwd):
    found = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


WEIGHTS = Path(__file__).parents[1] / "weights"


# --- without torch -------------------------------------------------------------------------------------------------


def test_photos_are_restored_without_torch(photo, tmp_path):
    found = run_without_torch(
        "enhance", photo, "-o", "out", "--workers", "2", "--report", "report.json", cwd=tmp_path
    )
    assert "0 kept" in found
    (record,) = json.loads((tmp_path / "report.json").read_text())["photos"]
    assert record["faces"][0]["decision"] == "restored"


@pytest.mark.parametrize("backend", ["gpen", "psfr", "mmrb"])
def test_every_bundled_restorer_needs_no_torch(backend, photo, tmp_path):
    assert "0 kept" in run_without_torch(
        "enhance", photo, "-o", "out.png", "--backend", backend, cwd=tmp_path
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("detect", "{photo}", "-o", "boxes.png"),
        ("parse", "{photo}", "-o", "parts.png"),
        ("colorize", "{photo}", "-o", "coloured.png"),
        ("inpaint", "{photo}", "-o", "filled.png"),
        ("enhance", "{photo}", "-o", "out.png", "--repair"),
        ("enhance", "{photo}", "-o", "out.png", "--dry-run"),
        ("enhance", "{photo}", "--region", "eyes=0.5", "--sheet", "sheet.png"),
        ("enhance", "{photo}", "--photo", "-o", "out.png"),
        ("weights", "list"),
        ("weights", "verify"),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_command_needs_no_torch(arguments, photo, tmp_path):
    run_without_torch(*(word.format(photo=photo) for word in arguments), cwd=tmp_path)


# --- the same network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTORERS)
def test_a_graph_gives_what_torch_gives(name):
    path = WEIGHTS / f"{name}.safetensors"
    graph, torch_form = load_backend(path, place=Place()), load_backend(path)
    assert isinstance(graph, GraphRestorer)
    faces = trial_faces(graph.face_size)
    maps = [trial_map(graph.face_size)] * len(faces) if graph.needs_parsing else None
    for ours, theirs in zip(graph.restore(faces, maps), torch_form.restore(faces, maps), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


def test_the_detector_gives_what_torch_gives():
    draw = np.random.default_rng(5)
    picture = draw.integers(0, 256, (1, 128, 192, 3), dtype=np.uint8)
    crops = draw.random((3, 64, 64), dtype=np.float32)
    for opened, given, file in ((open_cells, picture, "finder"), (open_points, crops, "landmarks")):
        path = WEIGHTS / f"{file}_five_point.safetensors"
        ours, theirs = (opened(path, Place(provider=provider)).run(given) for provider in (None, TORCH))
        for one, other in zip(ours, theirs, strict=True):
            assert np.abs(one - other).max() < 1e-4 * other.std()


def test_the_parser_gives_what_torch_gives():
    path, faces = WEIGHTS / "parse_clean_256.safetensors", trial_faces(256)
    graph, in_torch = load_parser(path, place=Place()), load_parser(path, place=Place(provider=TORCH))
    assert isinstance(graph, GraphParser)
    assert graph.input_size == in_torch.input_size == 256
    for ours, theirs in zip(graph.parse(faces), in_torch.parse(faces), strict=True):
        assert np.mean(ours != theirs) < 1e-3, "ties of the last bit may fall either way"


def test_the_finder_of_damage_gives_what_torch_gives():
    path, (face, *_) = WEIGHTS / "damage_clean_256.safetensors", trial_faces(256)
    (ours,), (theirs,) = (
        load_damage_finder(path, place=Place(provider=provider)).find([face.lq]) for provider in (None, TORCH)
    )
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ("eyes_clean_256", "it lacks 'label.weight'"),
        ("lite_detail_512", "it lacks 'label.weight'"),
        ("parse_clean_256", "it tells 19 classes apart"),
    ],
)
@pytest.mark.parametrize("place", [None, Place(provider=TORCH)])
def test_what_finds_no_damage_is_no_finder_though_it_holds_a_graph(weights, why, place):
    with pytest.raises(CheckpointError, match=f"finds no damage: {why}"):
        load_damage_finder(WEIGHTS / f"{weights}.safetensors", place=place)


def test_a_graph_that_fails_is_told():
    class Overflowing:
        place, accelerated, inputs, fixed_batch = "cpu", False, ("float32",), 0

        def run(self, crops):
            if not crops.any():
                raise RuntimeError("no room\nfor more")
            return [np.zeros(crops.shape[:3], np.uint8), np.array([np.nan], np.float32)]

    parser, (face, *_) = GraphParser("parse", Overflowing(), input_size=64), trial_faces(64)
    with pytest.raises(BackendError, match="not finite; verify its weights"):
        parser.parse([face])
    with pytest.raises(BackendError, match="failed on cpu with 1 face: no room; see 'facerestore doctor'"):
        parser.parse([replace(face, lq=np.zeros_like(face.lq))])


@pytest.mark.parametrize("name", RESTORERS)
def test_threads_and_repeats_change_no_bit(name):
    found = []
    for threads in (1, 2, 2):
        restorer = load_backend(WEIGHTS / f"{name}.safetensors", place=Place(threads=threads))
        face, *_ = trial_faces(restorer.face_size)
        found += restorer.restore([face], [trial_map(restorer.face_size)] if restorer.needs_parsing else None)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_a_batch_gives_what_single_faces_give():
    restorer = load_backend(WEIGHTS / "lite_clean_256.safetensors", place=Place())
    faces = trial_faces(256)
    alone = [restorer.restore([face])[0] for face in faces]
    assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(restorer.restore(faces), alone, strict=True))


# --- what only torch does ------------------------------------------------------------------------------------------


def test_torch_does_what_the_graph_cannot():
    graph = load_backend(WEIGHTS / "psfr_clean_128.safetensors", place=Place())
    assert graph.descriptor.parser_weights == "parse.clean-256"
    assert graph.with_precision("float32") is graph
    face = trial_faces(128)[0]
    assert len(graph.stages(face, trial_map(128))) > 1
    with pytest.raises(ConfigError, match="and not inpaint them"):
        graph.for_task("inpaint")


def test_the_provider_torch_is_torch():
    path = WEIGHTS / "lite_clean_256.safetensors"
    assert not isinstance(load_backend(path, place=Place(provider=TORCH)), GraphRestorer)
    pipeline = build_pipeline(RestoreConfig(backend="lite", provider=TORCH))
    assert not isinstance(pipeline.restorer, GraphRestorer)


# --- files ---------------------------------------------------------------------------------------------------------


def rewritten(tmp_path, **changes):
    """Return a copy of the smallest restorer with other entries in its header."""
    path = tmp_path / "copy.safetensors"
    source = WEIGHTS / "mmrb_clean_128.safetensors"
    header = {**open_weights(source).metadata, **changes}
    save_state_dict(path, load_state_dict(source), {k: v for k, v in header.items() if v is not None})
    return path


def test_graphs_are_packed_and_unpacked():
    assert unpacked_graph(packed_graph(b"model" * 999)) == b"model" * 999


@pytest.mark.parametrize("text", ["", "%", "AAAA", packed_graph(b"model")[:-4]])
def test_a_damaged_graph_is_told(text):
    with pytest.raises(MalformedError, match="graph"):
        unpacked_graph(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({GRAPH: "AAAA"}, "is damaged: its graph cannot be unpacked"),
        ({TAKEN: "{}"}, "is no list of names"),
        ({TAKEN: '["nothing"]'}, "nothing"),
        ({"network": None}, "does not say how faces are given to it; export it again"),
        ({"network": "[]"}, "export it again"),
    ],
)
def test_a_file_whose_graph_cannot_be_run_is_told(tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message):
        load_backend(rewritten(tmp_path, **changes), place=Place())


def test_tensors_of_a_kind_that_no_graph_takes_are_told(tmp_path):
    path, source = tmp_path / "bf16.safetensors", WEIGHTS / "lite_colour_128.safetensors"
    state = {key: value.bfloat16() for key, value in load_state_dict(source).items()}
    save_state_dict(path, state, metadata=dict(open_weights(source).metadata))
    with pytest.raises(
        CheckpointError, match=r"'stem\.weight' is of the kind BF16, and its graph takes F32, F16"
    ):
        load_backend(path, place=Place())


def test_a_provider_that_is_none_is_told_with_torch_among_those_that_are():
    with pytest.raises(
        ConfigError, match=r"unknown provider 'nix'.* openvino, torch \(available here: .*, torch\)"
    ):
        build_pipeline(RestoreConfig(provider="nix", device="cpu"))


def test_a_provider_needs_a_graph(tmp_path):
    path = rewritten(tmp_path, **{GRAPH: None})
    assert not isinstance(load_backend(path, place=Place()), GraphRestorer)
    with pytest.raises(ConfigError, match="'cpu' is for networks with a graph"):
        load_backend(path, place=Place(provider="cpu"))


def test_torch_reads_only_its_own_tensors():
    names = load_state_dict(WEIGHTS / "psfr_clean_128.safetensors")
    assert not any(name.startswith("onnx.") for name in names)


def test_a_graph_is_run_with_the_tensors_of_its_own_file():
    file = open_weights(WEIGHTS / "lite_clean_256.safetensors")
    x = np.full((1, 3, 64, 64), 0.5, np.float32)
    with pytest.raises(Exception, match="256"):  # the size of faces is part of the graph
        open_graph(file).run(x)


def test_enhance_imports_nothing_that_it_has_no_use_for(photo, tmp_path):
    code = RUN.replace("main()", f"main(); print([name for name in {UNUSED!r} if name in sys.modules])")
    found = subprocess.run(
        [sys.executable, "-c", code, "enhance", str(photo), "-q", "--strength", "0.5", "-o", "out.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == "[]", found.stderr


# --- a small install -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["enhance", "drawn.png", "--provider", "torch"], "lite_clean_256.safetensors', which is not run by"),
        (["enhance", "drawn.png", "--device", "cuda"], "device 'cuda'"),
        (["export", "lite.clean-256", "-o", "out.onnx"], "this"),
    ],
)
def test_what_needs_torch_says_so_and_how_to_get_it(words, what, photo, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", RUN.replace("main()", "sys.exit(main())"), *words],
        cwd=photo.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert re.search(f"{re.escape(what)}.* needs the package torch, .*; run: pip install torch", found.stderr)


def test_a_small_install_asks_for_all_but_torch_and_facexlib():
    with (WEIGHTS.parent / "pyproject.toml").open("rb") as stream:
        asked = tomllib.load(stream)["project"]["dependencies"]
    lines = (WEIGHTS.parent / "docs" / "small-install.txt").read_text().splitlines()
    small = [line.replace("-headless", "") for line in lines if line and not line.startswith("#")]
    assert sorted(small) == sorted(each for each in asked if not each.startswith(("torch", "facexlib")))


def test_the_number_of_threads_reaches_each_network_of_the_choice():
    pipeline = build_pipeline(RestoreConfig(threads=1))
    name = pipeline.restorer.lines.candidates[0].name
    assert pipeline.restorer.lines.get(name).config.threads == 1
