"""Faces of several threads in one call of the network."""

import threading

import numpy as np
import pytest
from fakes import FACE_SIZE, face_at

from facerestore.backends.gathering import GatheringRestorer
from facerestore.errors import BackendError
from facerestore.types import AlignedFace


def aligned(value: float) -> AlignedFace:
    lq = np.full((FACE_SIZE, FACE_SIZE, 3), value, dtype=np.float32)
    return AlignedFace(detected=face_at(0, 0), affine=np.eye(2, 3), lq=lq)


class Network:
    """Answers with what it is given; its first call lasts until it is let go."""

    name = "network"
    face_size = FACE_SIZE
    needs_parsing = False
    fidelity = 0.5

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.refuses = None

    def restore(self, faces, parsing_maps=None):
        self.calls.append(len(faces))
        if len(self.calls) == 1:
            self.entered.set()
            self.go_on.wait(20)
        values = [float(face.lq[0, 0, 0]) for face in faces]
        if self.refuses in values:
            raise BackendError(f"cannot restore {self.refuses}")
        return [face.lq for face in faces]


def gather(network, requests):
    """Return what each thread got: faces, or the error. The first is in the network before the others come."""
    restorer = GatheringRestorer(network)
    results = {}

    def ask(number, faces):
        try:
            results[number] = [float(face[0, 0, 0]) for face in restorer.restore(faces)]
        except BackendError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=ask, args=request) for request in enumerate(requests)]
    threads[0].start()
    assert network.entered.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(restorer._waiting) < len(threads) - 1:  # until all have arrived
        threading.Event().wait(0.001)
    network.go_on.set()
    for thread in threads:
        thread.join(20)
    return results


def test_faces_that_wait_go_in_one_call_and_come_back_to_their_own_thread():
    network = Network()
    requests = [[aligned(0.125)], [aligned(0.25), aligned(0.375)], [aligned(0.5)]]
    results = gather(network, requests)
    assert results == {0: [0.125], 1: [0.25, 0.375], 2: [0.5]}
    assert network.calls == [1, 3]


def test_a_face_that_makes_the_network_fail_fails_alone():
    network = Network()
    network.refuses = 0.25
    results = gather(network, [[aligned(0.125)], [aligned(0.25)], [aligned(0.5)]])
    assert results == {0: [0.125], 1: "cannot restore 0.25", 2: [0.5]}


def test_one_thread_sees_no_difference():
    network = Network()
    network.go_on.set()
    restorer = GatheringRestorer(network)
    assert restorer.restore([]) == []
    assert np.array_equal(restorer.restore([aligned(0.5)])[0], aligned(0.5).lq)
    assert restorer.fidelity == 0.5
    with pytest.raises(AttributeError):
        restorer.nothing  # noqa: B018
