import pytest
import torch

from facerestore.engines.device import (
    autocast_dtype,
    keep_freed_memory,
    one_heap,
    resolve_device,
    return_freed_memory,
    set_threads,
    wait_asleep,
)
from facerestore.errors import ConfigError


def test_a_device_is_found_by_its_name():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    "name", ["gpu", "cpu:", "cpu:1", "mps:0", "cuda:", "cuda:x", "cuda:²", "cuda:-1", ""]
)
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match="unknown device"):
        resolve_device(name)


def test_an_absent_device_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert resolve_device("auto") in ("cpu", "mps")
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ConfigError, match="not available here"):
            resolve_device(name)


def test_a_cuda_device_beyond_the_last_is_absent(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match="cuda:2"):
        resolve_device("cuda:2")


def test_threads_are_set_where_asked_and_else_left():
    before = torch.get_num_threads()
    try:
        set_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        set_threads(0)
        assert torch.get_num_threads() == before + 1
    finally:
        set_threads(before)
    with pytest.raises(ConfigError, match="-1"):
        set_threads(-1)


def test_a_format_without_arithmetic_for_it_is_refused_where_it_would_crawl(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    cpu = torch.device("cpu")
    assert autocast_dtype("float32", cpu) is None
    for precision in ("bf16", "fp16"):
        with pytest.raises(ConfigError, match=f"no arithmetic for {precision}.*--precision float32"):
            autocast_dtype(precision, cpu)
    with pytest.raises(ConfigError, match="unknown precision 'half'; choose one of float32, bf16, fp16"):
        autocast_dtype("half", cpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert autocast_dtype("bf16", cpu) is torch.bfloat16
    assert autocast_dtype("fp16", torch.device("cuda")) is torch.float16


def test_threads_are_told_to_sleep_only_before_torch_comes_and_unless_the_user_says_otherwise():
    assert not wait_asleep({})  # torch and numpy are here already
    for name, value in (("GOMP_SPINCOUNT", "10"), ("OMP_WAIT_POLICY", "active")):
        environ = {name: value}
        assert wait_asleep(environ, modules=()) == ["OPENBLAS_THREAD_TIMEOUT"]
        assert environ == {name: value, "OPENBLAS_THREAD_TIMEOUT": "15"}
    for name in ("OPENBLAS_THREAD_TIMEOUT", "OPENBLAS_NUM_THREADS"):
        environ = {name: "4"}
        assert wait_asleep(environ, modules=("os",)) == ["GOMP_SPINCOUNT"]
        assert environ == {name: "4", "GOMP_SPINCOUNT": "10000"}
    environ = {}
    wait_asleep(environ, modules=("numpy",))
    assert environ == {"GOMP_SPINCOUNT": "10000"}


def test_memory_is_kept_and_given_back_only_where_there_may_be_glibc(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed_memory()
    assert not one_heap()
    assert not return_freed_memory()
