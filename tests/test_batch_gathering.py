"""Faces of several threads in one call of the network, and batches that do so where networks run on an accelerator."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerator_fakes import FakeRecorder, FarTransfer
from fakes import FACE_SIZE, Brightener, face_at, flat_face, photo, pipeline

from facerestore.archs.replay import ReplayedNetwork, colours_last
from facerestore.backends import backend_class
from facerestore.backends.engine_restorer import EngineRestorer
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.batch import PhotoJob, Status, run_jobs
from facerestore.batch.gathering import GatheringParser, GatheringRestorer, gathered
from facerestore.batch.workers import on_cpu
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.engines.room import in_halves
from facerestore.errors import BackendError
from facerestore.io import read_image, write_image

FACE = face_at(10, 20)


class Network(Restorer):
    """Answers with what it is given; its first call lasts until it is let go."""

    descriptor = Descriptor(name="network", face_size=FACE_SIZE, fidelity=0.5)

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.refuses = None
        self.inside = threading.Lock()

    def restore(self, faces, parsing_maps=None):
        assert self.inside.acquire(blocking=False)  # one call at a time
        try:
            self.calls.append(len(faces))
            if len(self.calls) == 1:
                self.entered.set()
                self.go_on.wait(20)
            values = [float(face.lq[0, 0, 0]) for face in faces]
            if self.refuses in values:
                raise BackendError(f"cannot restore {self.refuses}")
            return [face.lq for face in faces]
        finally:
            self.inside.release()

    parse = restore


def gather(network, requests, *, maps=None):
    """Return what each thread got: faces, or the error. The first is in the network before the others come."""
    restorer = GatheringRestorer(network)
    results = {}

    def ask(number, faces):
        given = maps and maps[number]
        try:
            results[number] = [float(face[0, 0, 0]) for face in restorer.restore(faces, given)]
        except BackendError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=ask, args=request) for request in enumerate(requests)]
    threads[0].start()
    assert network.entered.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(restorer._gatherer._waiting) < len(threads) - 1:  # until all have arrived
        threading.Event().wait(0.001)
    network.go_on.set()
    for thread in threads:
        thread.join(20)
    return results


def test_faces_that_wait_go_in_one_call_and_come_back_to_their_own_thread():
    network = Network()
    requests = [[flat_face(0.125)], [flat_face(0.25), flat_face(0.375)], [flat_face(0.5)]]
    assert gather(network, requests) == {0: [0.125], 1: [0.25, 0.375], 2: [0.5]}
    assert network.calls == [1, 3]


def test_a_face_that_makes_the_network_fail_fails_alone():
    network = Network()
    network.refuses = 0.25
    results = gather(network, [[flat_face(0.125)], [flat_face(0.25)], [flat_face(0.5)]])
    assert results == {0: [0.125], 1: "cannot restore 0.25", 2: [0.5]}


def test_faces_with_and_without_maps_never_share_a_call():
    network = Network()
    labels = np.zeros((FACE_SIZE, FACE_SIZE), dtype=np.uint8)
    requests = [[flat_face(0.125)], [flat_face(0.25)], [flat_face(0.5)], [flat_face(0.75)]]
    found = gather(network, requests, maps=[None, [labels], None, [labels]])
    assert found == {0: [0.125], 1: [0.25], 2: [0.5], 3: [0.75]}
    assert sorted(network.calls[1:]) == [1, 2]


def test_one_thread_sees_no_difference():
    network = Network()
    network.go_on.set()
    restorer = GatheringRestorer(network)
    assert restorer.restore([]) == []
    assert np.array_equal(restorer.restore([flat_face(0.5)])[0], flat_face(0.5).lq)
    assert restorer.descriptor == network.descriptor
    assert restorer.alone is network
    parser = GatheringParser(network)
    assert len(parser.parse([flat_face(0.5), flat_face(0.25)])) == 2


def test_each_face_keeps_the_number_format_that_it_was_computed_in():
    from facerestore.backends.half import RestoredFaces

    class Mixed(Brightener):
        def restore(self, faces, parsing_maps=None):
            words = ["float32" if face.lq.max() > 0.9 else "fp16" for face in faces]
            return RestoredFaces(super().restore(faces), precisions=words)

    restored = GatheringRestorer(Mixed()).restore([flat_face(1.0), flat_face(0.5)])
    assert restored.precisions == ["float32", "fp16"]
    assert GatheringRestorer(Brightener()).restore([flat_face(1.0)]).precisions is None


class Overlapping(Restorer):
    """Two calls may be under way; the first is held until the second is there too."""

    descriptor = Descriptor(name="overlapping", face_size=FACE_SIZE)
    overlaps = True

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.both = threading.Barrier(2, timeout=20)

    def restore(self, faces, parsing_maps=None):
        self.calls.append(len(faces))
        if len(self.calls) <= 2:
            self.both.wait()
        return [face.lq for face in faces]


def test_a_second_call_is_handed_over_while_the_first_is_under_way_where_the_device_allows():
    network = Overlapping()
    restorer = GatheringRestorer(network)
    results = {}

    def ask(number):
        results[number] = [float(face[0, 0, 0]) for face in restorer.restore([flat_face(number / 8)])]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == {number: [number / 8] for number in range(8)}
    assert sum(network.calls) == 8


def test_threads_that_were_taken_along_are_told_when_the_one_that_serves_them_is_broken_off():
    class Interrupted(Network):
        def restore(self, faces, parsing_maps=None):
            restored = super().restore(faces, parsing_maps)
            if len(self.calls) > 1:
                raise KeyboardInterrupt
            return restored

    errors = []
    monkey = threading.excepthook
    threading.excepthook = lambda args: errors.append(args.exc_type)
    try:
        found = gather(Interrupted(), [[flat_face(0.125)], [flat_face(0.25)], [flat_face(0.5)]])
    finally:
        threading.excepthook = monkey
    assert errors == [KeyboardInterrupt]
    assert found[0] == [0.125]
    assert [value for key, value in found.items() if key] == ["'network' was interrupted; run it again"]


def make_jobs(tmp_path, count):
    jobs = []
    for index in range(count):
        source = write_image(tmp_path / f"{index}.png", photo(96 + index, 120, seed=index))
        jobs.append(PhotoJob(source, tmp_path / "out" / f"{index}.png", source.with_suffix("")))
    return jobs


class Crowded(Brightener):
    """Takes its time, and one call at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def restore(self, faces, parsing_maps=None):
        assert self.lock.acquire(blocking=False), "two threads called the network at once"
        try:
            threading.Event().wait(0.05)  # so that others arrive
            return super().restore(faces, parsing_maps)
        finally:
            self.lock.release()


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "cuda (onnxruntime 1.31)"])
def test_photos_share_the_calls_of_an_accelerators_network(tmp_path, device):
    jobs = make_jobs(tmp_path, 8)
    alone = pipeline(FACE, config=RestoreConfig(force=True))
    assert {own.status for own in run_jobs(jobs, alone, options=OutputConfig(workers=1))} == {Status.DONE}
    pictures = [job.target.read_bytes() for job in jobs]
    shared = pipeline(FACE, config=RestoreConfig(force=True), restorer=Crowded())
    shared = replace(shared, facts=replace(shared.facts, device=device))
    outcomes = list(run_jobs(jobs, shared, options=OutputConfig(workers=4, overwrite=True)))
    assert {own.status for own in outcomes} == {Status.DONE}
    assert [job.target.read_bytes() for job in jobs] == pictures
    assert sum(shared.restorer.calls) == 8
    assert len(shared.restorer.calls) < 8


def test_photos_go_over_transfers_and_recordings_as_on_cuda_and_come_out_alike(tmp_path):
    found = backend_class("gpen")
    jobs = make_jobs(tmp_path, 24)
    state = found.example_state_dict()
    plain = pipeline(FACE, config=RestoreConfig(force=True), restorer=found.build(state))
    list(run_jobs(jobs, plain, options=OutputConfig(workers=1)))
    pictures = [read_image(job.target).pixels.astype(int) for job in jobs]

    restorer = found.build(state)
    recorder = FakeRecorder()
    restorer = restorer.redeclared(max_batch=3)
    restorer._transfer, restorer._layout = FarTransfer(), torch.channels_last
    restorer.network = ReplayedNetwork(colours_last(restorer.network), record=recorder)
    far = pipeline(FACE, config=RestoreConfig(force=True), restorer=restorer)
    far = replace(far, facts=replace(far.facts, device="cuda"))
    outcomes = list(run_jobs(jobs, far, options=OutputConfig(workers=6, overwrite=True)))
    assert {own.status for own in outcomes} == {Status.DONE}
    assert recorder.recordings  # some shape came often enough
    assert restorer.network.failure is None
    for job, picture in zip(jobs, pictures, strict=True):
        assert np.abs(read_image(job.target).pixels - picture).max() <= 1  # of 255, by rounding


def test_on_the_cpu_each_photo_calls_the_network_itself(tmp_path):
    jobs = make_jobs(tmp_path, 4)
    line = pipeline(FACE, config=RestoreConfig(force=True))
    list(run_jobs(jobs, line, options=OutputConfig(workers=2)))
    assert line.restorer.calls == [1] * 4
    assert on_cpu("cpu")
    assert on_cpu("cpu (onnxruntime 1.31)")
    assert not on_cpu("cuda:0")


def test_a_gathered_pipeline_leaves_the_one_it_is_made_of_alone():
    line = pipeline(FACE)
    other = gathered(line)
    assert isinstance(other.restorer, GatheringRestorer)
    assert other.restorer.alone is line.restorer
    assert isinstance(line.restorer, Brightener)


def test_lines_that_are_chosen_face_by_face_gather_too():
    from facerestore.pipeline.build import build_pipeline

    line = build_pipeline(RestoreConfig(device="cpu", offline=True))
    other = gathered(line)
    name = other.restorer.lines.candidates[0].name
    inner = other.restorer.lines.get(name)
    assert isinstance(inner.restorer, GatheringRestorer)
    assert inner.restorer.alone is line.restorer.lines.get(name).restorer
    assert other.restorer.lines.get(name) is inner
    image = photo(256, 256)
    assert np.array_equal(other.run(image).image.pixels, line.run(image).image.pixels)


class Cramped(EngineRestorer):
    """Brightens, by an engine that has room for two faces at a time."""

    def __init__(self, max_batch=8):
        ranges = {"max_batch": max_batch, "network_range": (0.0, 1.0)}
        super().__init__(Descriptor(name="cramped", face_size=FACE_SIZE, **ranges), CrampedEngine())


class CrampedEngine:
    inputs, fixed_batch, place, accelerated = ("float32",), 0, "cuda (fake)", True

    def __init__(self):
        self.calls = []

    def run(self, x):
        self.calls.append(len(x))
        if len(x) > 2:
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        return [np.minimum(x + np.float32(0.25), 1)]


def test_a_batch_of_faces_of_many_photos_is_halved_where_memory_is_full_and_the_run_goes_on(tmp_path):
    jobs = make_jobs(tmp_path, 8)
    faces = (FACE, face_at(40, 30), face_at(60, 40))  # three in a photo: more than there is room for
    alone = pipeline(*faces, config=RestoreConfig(force=True), restorer=Cramped(max_batch=1))
    list(run_jobs(jobs, alone, options=OutputConfig(workers=1)))
    pictures = [job.target.read_bytes() for job in jobs]
    full = pipeline(*faces, config=RestoreConfig(force=True), restorer=Cramped())
    full = replace(full, facts=replace(full.facts, device="cuda"))
    outcomes = list(run_jobs(jobs, full, options=OutputConfig(workers=4, overwrite=True)))
    assert {own.status for own in outcomes} == {Status.DONE}
    assert [job.target.read_bytes() for job in jobs] == pictures
    assert max(full.restorer.engine.calls) > 2


def room_for_one(error, calls):
    """Return what does items one at a time, and raises for more."""

    def run(items):
        calls.append(len(items))
        if len(items) > 1:
            raise error
        return list(items)

    return run


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("MPS backend out of memory"), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")],
)
def test_a_full_memory_makes_calls_smaller(error):
    calls = []
    assert in_halves(room_for_one(error, calls), range(3)) == [0, 1, 2]
    assert calls == [3, 1, 2, 1, 1]


def test_it_is_known_through_the_error_that_it_became():
    error = BackendError("parser failed")
    error.__cause__ = RuntimeError("Failed to allocate memory for requested buffer of size 1")
    assert in_halves(room_for_one(error, []), [7, 8]) == [7, 8]


def test_another_error_is_raised_at_once():
    calls = []
    with pytest.raises(RuntimeError, match="kernel failed"):
        in_halves(room_for_one(RuntimeError("kernel failed"), calls), [1, 2])
    assert calls == [2]
