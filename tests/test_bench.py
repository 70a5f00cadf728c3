"""Measuring: statistics, the words of sides, turns, memory, and who else is on the machine."""

import mmap
import os
import sys
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
from bench_fakes import Clock, FakeRunner

from facerestore.bench import machine, memory
from facerestore.bench.machine import OthersWatch, busy_words, describe_machine, product_rate
from facerestore.bench.pairs import compare, measure, others_share
from facerestore.bench.runner import TimedRun
from facerestore.bench.sides import Side, parse_against
from facerestore.bench.spawn import TUNING, Remote, as_published, as_shipped, spawned, waiting_words
from facerestore.bench.standstill import TRIES, StandstillWatch, undisturbed
from facerestore.bench.statistics import LEAST_PAIRS, Timing, paired_ratio, relative_error
from facerestore.engines.device import SHORT_SPIN
from facerestore.errors import BackendError, ConfigError

SIDE = Side(network="gpen", random=True, size=32)


def test_a_timing_has_a_median_a_least_run_and_a_spread():
    timing = Timing((4.0, 2.0, 3.0, 5.0, 100.0))
    assert (timing.median, timing.least) == (4.0, 2.0)
    assert timing.spread == pytest.approx((5 - 3) / 2 / 4)
    assert Timing((2.0,)).spread == 0
    with pytest.raises(ConfigError, match="at least one repeat"):
        Timing(())


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians():
    ratio = paired_ratio([2.0, 20.0, 6.0], [1.0, 5.0, 2.0])
    assert (ratio.median, ratio.pairs) == (3.0, 3)
    assert ratio.low is None  # of so few no interval holds


def test_the_interval_holds_the_median_and_repeats():
    first = np.random.default_rng(0).uniform(1.8, 2.2, 40).tolist()
    ratio = paired_ratio(first, [1.0] * 40)
    assert 1.8 < ratio.low < ratio.median < ratio.high < 2.2
    assert ratio == paired_ratio(first, [1.0] * 40)
    assert paired_ratio([2.0] * LEAST_PAIRS, [1.0] * LEAST_PAIRS).high == 2.0


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_what_is_no_pair_is_refused(first, second):
    with pytest.raises(ConfigError):
        paired_ratio(first, second)


def test_an_error_is_related_to_the_deviation_of_what_was_expected():
    expected = np.array([0.0, 2.0], dtype=np.float32)
    assert relative_error(np.array([0.0, 2.5], dtype=np.float32), expected) == pytest.approx(0.5)
    with pytest.raises(ConfigError, match="constant"):
        relative_error(np.zeros(2, np.float32), np.zeros(2, np.float32))
    with pytest.raises(ConfigError, match="cannot be compared"):
        relative_error(np.zeros(3, np.float32), expected)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("reference", {"form": "reference"}),
        ("eager,threads=2", {"form": "eager", "threads": 2}),
        ("lite", {"network": "lite", "size": None}),
        ("lite,size=256", {"network": "lite", "size": 256}),
        ("device=cpu, precision=bf16", {"device": "cpu", "precision": "bf16"}),
        ("batch=4", {"batch": 4}),
        ("provider=openvino", {"provider": "openvino"}),
        ("installed", {"random": False}),
    ],
)
def test_the_words_of_against_change_one_thing_each(words, changes):
    from dataclasses import replace

    assert parse_against(words, SIDE) == replace(SIDE, **changes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "empty word"),
        ("reference,", "empty word"),
        ("shipped", "changes nothing"),
        ("reference,eager", "says twice what 'form' is"),
        ("colour=red", "'colour' is no setting"),
        ("threads=two", "threads is 'two'; give a whole number"),
        ("batch=0", "batch is 0"),
        ("precision=int1", "precision is 'int1'; give one of float32"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        parse_against(words, SIDE)


def test_a_side_says_what_sets_it_apart():
    assert SIDE.label == "gpen 32 px, random"
    other = parse_against("reference,threads=1,precision=fp16,batch=2,device=cpu", SIDE)
    assert other.label == "gpen 32 px, random, reference, 1 thread, cpu, fp16, batch 2"
    assert Side(network="psfr+parsenet").words == ["psfr", "parsenet"]
    assert Side(network="onnx:a+b.onnx").words == ["onnx:a+b.onnx"]


def test_two_sides_run_in_turns_after_a_warm_up():
    diary: list[str] = []
    sides = [SIDE, parse_against("reference,batch=2", SIDE)]
    times = {"shipped": [99, 1, 1, 2], "reference": [99, 4, 6, 16]}
    pair = compare(*sides, repeats=3, open_runner=lambda side: FakeRunner(side.form, times[side.form], diary))
    turns = ["shipped", "reference"] * 4
    assert diary == ["open shipped", "open reference", *turns, "close shipped", "close reference"]
    assert pair.one.timing.seconds == (1, 1, 2)
    assert pair.other.timing.seconds == (4, 6, 16)
    assert pair.ratio.median == 3  # for one face: 2, 3, 8 over 1, 1, 2
    assert pair.other.seconds_per_face == 3
    assert pair.errors == {}  # batches differ, and so do outputs
    assert pair.one.rate == 3.0
    assert pair.one.share_of_peak == 0.5


def test_outputs_are_compared_where_the_maths_is_the_same():
    outputs = {"shipped": np.array([0, 3], np.float32), "reference": np.array([0, 2], np.float32)}
    pair = compare(
        SIDE,
        parse_against("reference,threads=1", SIDE),
        repeats=1,
        open_runner=lambda side: FakeRunner(side.form, [1, 1], [], output=outputs[side.form]),
    )
    assert pair.errors == {"net": 1.0}


def test_runners_are_closed_whatever_happens():
    diary: list[str] = []
    with pytest.raises(RuntimeError):
        measure(SIDE, repeats=1, open_runner=lambda side: FakeRunner("one", [], diary, fails=True))
    assert diary == ["open one", "close one"]
    with pytest.raises(ConfigError, match="repeats is 0"):
        measure(SIDE, repeats=0, open_runner=lambda side: FakeRunner("one", [], diary))


def test_each_run_is_told():
    told: list[str] = []
    measure(SIDE, repeats=2, open_runner=lambda side: FakeRunner("one", [1, 1, 1], []), tell=told.append)
    assert told == [f"{SIDE.label}: {words}" for words in ("warm-up", "run 1 of 2", "run 2 of 2")]


def test_what_cannot_be_counted_has_no_rate():
    result = measure(SIDE, repeats=1, open_runner=lambda side: FakeRunner("one", [1, 1], [], gflop=None))
    assert result.rate is None
    assert result.share_of_peak is None


def test_the_share_of_others_weighs_long_runs_more():
    assert others_share([TimedRun(1.0, 0.0), TimedRun(3.0, 0.4), TimedRun(9.0, None)]) == pytest.approx(0.3)
    assert others_share([TimedRun(1.0, None)]) is None


def test_others_are_what_is_busy_and_not_us(monkeypatch):
    monkeypatch.setattr(machine, "all_processors", lambda: 4)
    busy, own, clock = iter([100.0, 109.0]), iter([50.0, 52.0]), iter([0.0, 10.0])
    watch = OthersWatch(busy=lambda: next(busy), own=lambda: next(own), clock=lambda: next(clock))
    assert watch.share() == pytest.approx((9 - 2) / 10 / 4)


def test_busy_time_leaves_out_idle_and_waiting_processors_and_guests(monkeypatch):
    times = namedtuple("times", "user nice system idle iowait irq softirq steal guest guest_nice")
    told = SimpleNamespace(cpu_times=lambda: times(1.0, 0.1, 0.2, 99.99, 0.05, 0.01, 0.02, 0.07, 0.03, 0.0))
    monkeypatch.setitem(sys.modules, "psutil", told)
    assert machine.busy_seconds() == pytest.approx(1.40)


def test_without_psutil_the_remedy_is_told_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ConfigError, match=r'psutil.*pip install "facerestore\[bench\]"'):
        describe_machine()


def test_a_busy_machine_is_warned_of(monkeypatch):
    monkeypatch.setattr(machine, "all_processors", lambda: 2)
    assert busy_words(0.1, 0.02) is None
    assert busy_words(1.9, 0.02) is None  # by ourselves, just before
    assert busy_words(None, None) is None
    assert "the load was 1.50 on 2 processors" in busy_words(1.5, None)
    assert "others took up to 30% of the processors" in busy_words(None, 0.3)


def test_the_rate_of_products_is_that_of_the_best_run(monkeypatch):
    import torch

    monkeypatch.setattr(machine, "PRODUCT_SIDES", (8, 32))
    cpu = torch.device("cpu")
    assert product_rate(cpu, clock=Clock(1e-3)) == pytest.approx(
        2 * 32**3 / 1e-3 / 1e9
    )  # as large as is allowed
    assert product_rate(cpu, clock=Clock(0.1)) == pytest.approx(2 * 8**3 / 0.1 / 1e9)  # long enough at once


def test_the_peak_of_the_process_is_told():
    reset = memory.reset_peak()
    before = memory.peak(reset=reset)
    with mmap.mmap(-1, 2**24) as held:  # not from the allocator, which may have as much left from before
        held.write(b"x" * len(held))
        after = memory.peak(reset=reset)
    assert after.bytes - before.bytes > 0.8 * 2**24
    assert after.of.startswith("resident memory of the process")


def test_without_proc_the_peak_is_asked_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "absent")
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "absent" / "too")
    assert not memory.reset_peak()
    found = memory.peak(reset=False)
    assert found.bytes > 2**20
    assert "since the process began" in found.of


class Counter:
    """Is made and asked in another process."""

    def __init__(self, start):
        self.count = start

    def more(self):
        self.count += 1
        return self.count

    def fail(self):
        raise ConfigError("no such thing")

    def break_down(self):
        raise ValueError("unforeseen")

    def vanish(self):
        import os

        os._exit(7)


def watch_of(late):
    """Return a watch whose first nap takes so many seconds longer."""
    clock = Clock(0.0)

    def nap(seconds):
        clock.now += seconds + late.pop(0) if late else seconds
        return not late

    return StandstillWatch(clock=clock, nap=nap)


def test_what_is_timed_while_the_machine_stands_still_is_timed_again():
    waits = [[0.01], [60.0], [0.5, 2.0], [0.2]]
    results = iter("abcd")
    assert undisturbed(lambda: next(results), watch=lambda: watch_of(waits.pop(0))) == "a"
    assert undisturbed(lambda: next(results), watch=lambda: watch_of(waits.pop(0))) == "d"


def test_measuring_ends_on_a_machine_that_stands_still_all_the_time():
    calls = []
    undisturbed(lambda: calls.append(1), watch=lambda: watch_of([60.0]))
    assert len(calls) == TRIES


def test_a_quiet_machine_is_not_taken_for_one_that_stands_still():
    with StandstillWatch() as watch:
        pass
    assert not watch.stood_still or watch.longest > 1


class Surroundings:
    """Tells what a process finds."""

    def variables(self):
        import os
        import sys

        return {name: os.environ.get(name) for name in TUNING}, "torch" in sys.modules


@pytest.mark.parametrize("command", [True, False])
def test_processes_begin_as_the_command_or_as_published_programs_do(monkeypatch, command):
    for name in TUNING:
        monkeypatch.delenv(name, raising=False)
    if command:  # which has set it before anything was measured
        monkeypatch.setenv("GOMP_SPINCOUNT", SHORT_SPIN)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    found = {}
    for name, environment in {"shipped": as_shipped(), "published": as_published()}.items():
        remote = Remote(Surroundings, label=name, environment=environment)
        try:
            found[name], imported = remote.ask("variables")
        finally:
            remote.close()
        assert not imported  # OpenMP reads them when torch is imported
    assert found["shipped"]["GOMP_SPINCOUNT"] == SHORT_SPIN
    assert not any(found["published"].values())
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "1000000"
    assert os.environ.get("GOMP_SPINCOUNT") == (SHORT_SPIN if command else None)


def test_what_the_user_says_of_waiting_is_kept(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert as_shipped() == {}
    assert waiting_words() == "OMP_WAIT_POLICY=active"


def test_touched_pages_are_counted():
    before = memory.page_faults()
    with mmap.mmap(-1, 2**22) as held:
        held.write(b"x" * len(held))
    assert memory.page_faults() > before


def test_an_object_lives_in_a_process_of_its_own():
    remote = Remote(Counter, (3,), label="counting")
    try:
        assert [remote.ask("more"), remote.ask("more")] == [4, 5]
        with pytest.raises(ConfigError, match="no such thing"):
            remote.ask("fail")
        with pytest.raises(BackendError, match="ValueError: unforeseen"):
            remote.ask("break_down")
        with pytest.raises(BackendError, match="process of 'counting' ended with code 7"):
            remote.ask("vanish")
    finally:
        remote.close()
        remote.close()


def test_a_call_in_another_process_gives_what_it_returns_or_raises():
    assert spawned(max, 1, 2) == 2
    with pytest.raises(BackendError, match="TypeError"):
        spawned(len, 1)
