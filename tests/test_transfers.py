"""Batches on their way to a device and back: what is handed over before what is fetched, and full memories."""

import numpy as np
import pytest
import torch
from accelerator_fakes import FarTransfer
from conftest import REPOSITORY
from fakes import face_at, flat_face

from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.archs.replay import ReplayedNetwork, colours_last
from facerestore.backends import backend_class, backend_names, needs_weights
from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.restorer import Descriptor
from facerestore.detection import create_detector
from facerestore.detection.embedded import EmbeddedDetector
from facerestore.engines import Place
from facerestore.engines.device import DirectTransfer, PinnedTransfer, one_ahead, transfer_to
from facerestore.engines.graph import TORCH
from facerestore.errors import BackendError
from facerestore.io import read_image
from facerestore.parsing.networks import ParseNetParser
from facerestore.testing.drawn_faces import trial_map
from facerestore.types import AlignedFace
from facerestore.weights import WeightsStore

SIZE = 16


class Halver(TensorRestorer):
    """Halves; has room for so many faces at a time, and fails where it is told to."""

    descriptor = Descriptor(name="halver", network_range=(0.0, 1.0))
    room = 99

    detect = config_from_state_dict = build = classmethod(lambda cls, *_, **__: None)

    def forward(self, x, parsing_maps):
        if len(x) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return x / 2


def halver(max_batch=2, room=99):
    restorer = Halver(torch.nn.Identity(), face_size=SIZE, max_batch=max_batch)
    restorer._transfer, restorer.room = FarTransfer(), room
    return restorer


def values(faces):
    return [round(float(face.mean()), 4) for face in faces]


def test_a_batch_is_handed_over_before_the_one_before_it_is_fetched():
    restorer = halver()
    restored = restorer.restore([flat_face(value / 10, SIZE) for value in range(5)])
    assert values(restored) == [0, 0.05, 0.1, 0.15, 0.2]
    assert restorer._transfer.order == ["up 2", "up 2", "down 2", "up 1", "down 2", "down 1"]
    assert all(face.flags.owndata or face.base is None or face.base.size == face.size for face in restored)


def test_a_full_memory_halves_the_batch_with_nothing_else_under_way(monkeypatch):
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    restorer = halver(max_batch=4, room=1)
    assert values(restorer.restore([flat_face(value / 10, SIZE) for value in range(5)])) == [
        0,
        0.05,
        0.1,
        0.15,
        0.2,
    ]
    with pytest.raises(BackendError, match="ran out of memory on cpu with one 16 px face"):
        halver(room=0).restore([flat_face(0.5, SIZE)])


def test_what_fails_while_it_is_fetched_is_told_with_the_number_of_faces():
    restorer = halver()

    def download(y):
        def wait():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        return wait

    restorer._transfer.download = download
    with pytest.raises(
        BackendError, match="failed on cpu with 2 faces: CUDA error: an illegal memory access"
    ):
        restorer.restore([flat_face(0.5, SIZE)] * 3)


def test_the_order_of_beginnings_and_ends():
    order = []

    def begin(batch):
        order.append(f"begin {batch}")
        return None if batch == "c" else batch

    def finish(batch):
        order.append(f"finish {batch}")
        return [batch]

    def otherwise(batch):
        order.append(f"alone {batch}")
        return [batch.upper()]

    assert one_ahead("abcd", begin=begin, finish=finish, otherwise=otherwise) == ["a", "b", "C", "d"]
    assert order == [
        *["begin a", "begin b", "finish a", "begin c", "finish b", "alone c", "begin d", "finish d"]
    ]
    assert one_ahead([], begin=begin, finish=finish, otherwise=otherwise) == []


def test_each_device_has_its_transfer(monkeypatch):
    assert isinstance(transfer_to(torch.device("cpu")), DirectTransfer)
    assert isinstance(transfer_to(torch.device("mps")), DirectTransfer)
    assert transfer_to(torch.device("cpu")) is transfer_to(torch.device("cpu"))
    monkeypatch.setattr("torch.cuda.Stream", lambda device: None)
    assert isinstance(transfer_to.__wrapped__(torch.device("cuda")), PinnedTransfer)


def test_the_transfer_to_cuda_orders_its_streams(monkeypatch):
    order = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            order.append(f"into {self.name}")

        def __exit__(self, *error):
            order.append(f"out of {self.name}")

        def wait_stream(self, other):
            order.append(f"{self.name} waits for {other.name}")

    class Event:
        def record(self, stream):
            order.append(f"mark {stream.name}")

        def synchronize(self):
            order.append("host waits")

    names = iter(("up", "down"))
    monkeypatch.setattr("torch.cuda.Stream", lambda device: Stream(next(names)))
    monkeypatch.setattr("torch.cuda.stream", lambda stream: stream)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: Stream("computing"))
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: x)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda x, stream: order.append(f"kept for {stream.name}")
    )
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, pin_memory, **kwargs: empty(*args, **kwargs))

    transfer = PinnedTransfer(torch.device("cpu"))
    x = torch.arange(4.0)
    there = transfer.upload(x)
    assert order == ["into up", "out of up", "computing waits for up", "kept for computing"]
    order.clear()
    wait = transfer.download(there)
    assert order == ["down waits for computing", "into down", "mark down", "out of down", "kept for down"]
    assert torch.equal(wait(), x)
    assert order[-1] == "host waits"


def test_a_network_on_cuda_lies_colours_last_and_records_itself_where_it_can(monkeypatch):
    found = backend_class("gpen")
    restorer = found.build(found.example_state_dict())
    restorer._prepare_for_cuda()
    assert isinstance(restorer.network, ReplayedNetwork)
    assert restorer.remarks == []
    weight = restorer.network.convs[2].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    restorer.network.failure = "no such stream"
    assert restorer.remarks == [
        "the network of 'gpen' could not be recorded as a CUDA graph, and runs kernel by kernel: no such stream"
    ]


def test_only_networks_that_were_watched_are_prepared_for_cuda():
    watched = {"codeformer", "gpen", "lite", "mmrb", "psfr"}
    others = {name for name in backend_names() if needs_weights(name)} - watched
    assert all(backend_class(name).replayable for name in watched)
    assert not any(getattr(backend_class(name), "replayable", False) for name in others)
    assert not Halver.replayable


@pytest.mark.parametrize("name", ["codeformer", "gpen", "lite", "mmrb", "psfr"])
def test_the_way_over_a_far_lane_gives_the_same_faces(name):
    found = backend_class(name)
    plain, far = (found.build(found.example_state_dict()) for _ in range(2))
    far._transfer, far._layout = FarTransfer(), torch.channels_last
    far.network = colours_last(far.network)
    far = far.redeclared(max_batch=2)
    generator = np.random.default_rng(0)
    faces = [
        AlignedFace(
            face_at(0, 0), np.eye(2, 3), generator.random((plain.face_size,) * 2 + (3,), dtype=np.float32)
        )
        for _ in range(3)
    ]
    maps = [trial_map(plain.face_size)] * 3 if plain.needs_parsing else None
    for one, other in zip(plain.restore(faces, maps), far.restore(faces, maps), strict=True):
        assert np.abs(one - other).max() < 1e-4


def test_the_embedded_detector_goes_to_cuda_and_else_stays_on_the_cpu(monkeypatch):
    placed = []
    monkeypatch.setattr(
        "facerestore.detection.embedded.EmbeddedDetector",
        lambda *_, place, extent: placed.append(place.device),
    )
    for device in ("cuda", torch.device("cuda:1"), "cpu", "mps"):
        create_detector("embedded", weights_for=lambda name: None, device=device)
    assert placed == ["cuda", "cuda:1", "cpu", "cpu"]


def test_faces_are_found_and_labelled_alike_over_a_far_transfer():
    image = read_image(REPOSITORY / "examples" / "astronaut_degraded.jpg").pixels
    store = WeightsStore(offline=True)
    files = (store.require("finder.five-point"), store.require("landmarks.five-point"))
    detector = EmbeddedDetector(*files, place=Place(provider=TORCH))
    plain = detector.detect(image)
    transfer = FarTransfer()
    detector._detector._transfer = detector._landmarks._transfer = transfer
    far = detector.detect(image)
    assert len(plain) == len(far) == 1
    assert np.array_equal(plain[0].landmarks, far[0].landmarks)
    assert transfer.order

    with fixed_randomness():
        parser = ParseNetParser(ParseNet(ParseNetConfig((4, 6, 8), 1, (6, 4))), max_batch=2)
    parser.input_size = 32
    faces = [flat_face(value / 10, SIZE) for value in range(3)]
    maps = parser.parse(faces)
    parser._transfer = FarTransfer()
    for one, other in zip(maps, parser.parse(faces), strict=True):
        assert np.array_equal(one, other)
