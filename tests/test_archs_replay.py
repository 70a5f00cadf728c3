"""Networks that record themselves: when, with what, for whom, and what happens where that fails. No GPU is needed."""

import threading

import pytest
import torch
from accelerator_fakes import FakeRecorder
from torch import Tensor, nn

from facerestore.archs import replay as replay_module
from facerestore.archs.replay import CALLS_BEFORE, MOST_GRAPHS, CudaRecorder, ReplayedNetwork


class Doubler(nn.Module):
    """Doubles, times a number; counts its calls."""

    config = "its own"

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        self.calls += 1
        return 2 * factor * x


@pytest.fixture
def recorder():
    return FakeRecorder()


def call(network, value, batch=1, factor=1.0):
    return network(torch.full((batch, 3, 4, 4), value), factor)


def test_a_shape_is_recorded_once_it_comes_often_and_each_caller_has_a_tensor_of_its_own(recorder):
    inner = Doubler()
    network = ReplayedNetwork(inner, record=recorder)
    results = [call(network, float(value)) for value in range(CALLS_BEFORE + 4)]
    assert len(recorder.recordings) == 1
    for value, result in enumerate(results):
        assert torch.equal(result, torch.full((1, 3, 4, 4), 2.0 * value))
    assert inner.calls == CALLS_BEFORE + 1 + 4  # as it is, to record, and as the fake replays


def test_shapes_numbers_layouts_and_formats_are_recorded_apart(recorder):
    network = ReplayedNetwork(Doubler(), record=recorder)
    for _ in range(CALLS_BEFORE + 1):
        call(network, 1.0)
        call(network, 1.0, batch=2)
        call(network, 1.0, factor=0.5)
        network(torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            call(network, 1.0)
    assert len(recorder.recordings) == 5
    assert float(call(network, 3.0, factor=0.5).mean()) == 3.0
    assert float(call(network, 3.0, batch=2).mean()) == 6.0


def test_no_more_shapes_than_there_is_room_for_are_recorded(recorder):
    network = ReplayedNetwork(Doubler(), record=recorder)
    for batch in range(1, MOST_GRAPHS + 3):
        for _ in range(CALLS_BEFORE + 2):
            assert float(call(network, 2.0, batch=batch).mean()) == 4.0
    assert len(recorder.recordings) == MOST_GRAPHS


def test_a_recording_that_fails_is_told_and_the_network_runs_as_it_is():
    recorder = FakeRecorder(fails=True)
    network = ReplayedNetwork(Doubler(), record=recorder)
    for _ in range(CALLS_BEFORE + 3):
        assert float(call(network, 2.0).mean()) == 4.0
    assert network.failure == "operation not permitted when stream is capturing"
    assert len(recorder.recordings) == 1  # it is not tried again


def test_threads_get_their_own_results(recorder):
    network = ReplayedNetwork(Doubler(), record=recorder)
    found: dict[int, set[float]] = {}

    def ask(number: int) -> None:
        found[number] = {float(call(network, float(number)).mean()) for _ in range(30)}

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {number: {2.0 * number} for number in range(4)}


def test_what_else_the_network_has_is_there(recorder):
    network = ReplayedNetwork(Doubler(), record=recorder)
    assert network.config == "its own"
    assert isinstance(network.network, Doubler)
    with pytest.raises(AttributeError):
        network.nothing  # noqa: B018
    assert network.eval() is network


class FakeCuda:
    """Notes in which order torch.cuda is asked for what."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def __getattr__(self, name):
        def noted(*args, **kwargs):
            self.order.append(name)
            return FakeContext(self, name)

        return noted


class FakeContext:
    def __init__(self, cuda, name):
        self.cuda, self.name = cuda, name

    def __enter__(self):
        self.cuda.order.append(f"into {self.name}")

    def __exit__(self, *error):
        self.cuda.order.append(f"out of {self.name}")

    def wait_stream(self, other):
        self.cuda.order.append(f"{self.name} waits for {other.name}")

    def replay(self):
        self.cuda.order.append("replay")


def test_cuda_records_after_warm_runs_on_another_stream(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setattr(replay_module.torch, "cuda", cuda)
    inner = Doubler()
    replay = CudaRecorder()(inner, [torch.ones(1, 3, 4, 4), 1.0])
    assert inner.calls == replay_module.WARM_UPS + 1
    order = [word for word in cuda.order if " " in word]
    assert order == [
        "into device",
        "Stream waits for current_stream",
        "into stream",
        "out of stream",
        "current_stream waits for Stream",
        "into graph",
        "out of graph",
        "out of device",
    ]
    replay(torch.zeros(1, 3, 4, 4), 1.0)
    assert cuda.order[-1] == "out of device"
    assert "replay" in cuda.order
