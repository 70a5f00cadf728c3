"""Safe reading, canonical form, strict loading and atomic writing of checkpoints."""

import os
import pickle
import tarfile

import pytest
import torch
from torch import nn

from facerestore.errors import CheckpointError, WeightsError
from facerestore.weights.checkpoint import (
    canonical_state_dict,
    load_state_dict,
    load_strictly,
    read_metadata,
    save_state_dict,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


class Malicious:
    """Runs a command when it is unpickled without restriction."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype
        assert torch.equal(actual[key], value)


@pytest.mark.parametrize("name", ["a.safetensors", "safetensors-by-content.bin"])
def test_safetensors_round_trip(tmp_path, name):
    save_state_dict(tmp_path / "new folder" / name, TENSORS, {"arch": "tiny", "licence": "CC0"})
    assert_same(load_state_dict(tmp_path / "new folder" / name), TENSORS)
    assert read_metadata(tmp_path / "new folder" / name) == {"arch": "tiny", "licence": "CC0"}
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == [name]


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_both_formats_are_read(tmp_path, zipped):
    torch.save(TENSORS, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert_same(load_state_dict(tmp_path / "a.pth"), TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_never_runs(tmp_path, zipped):
    contents = {"a": torch.ones(2), "b": Malicious(tmp_path / "witness")}
    torch.save(contents, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"evil\.pth' was refused.*mkdir"):
        load_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_refused_and_never_runs(tmp_path, protocol):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "witness"), protocol=protocol))
    with pytest.raises(CheckpointError, match=r"evil\.pth'.*refused.*could run code"):
        load_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "witness").exists()


def test_a_tar_that_poses_as_a_pickle_is_refused(tmp_path):
    with tarfile.open(tmp_path / "evil.pth", "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("\x80\x02storages"))
    assert (tmp_path / "evil.pth").read_bytes().startswith(b"\x80\x02")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_state_dict(tmp_path / "evil.pth")


def _write(path, kind):
    if kind == "safetensors":
        save_state_dict(path, {"a": torch.ones(5000)})
    else:
        torch.save({"a": torch.ones(5000)}, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
def test_a_truncated_file_is_named(tmp_path, kind, kept):
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    _write(path, kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(CheckpointError, match=r"cut\.(pth|safetensors)'"):
        load_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n0000", "it starts with"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"w\.pth.*{message}"):
        load_state_dict(tmp_path / "w.pth")


def test_an_absent_file_and_a_folder_are_errors_of_weights(tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(WeightsError, match="is not a file"):
            load_state_dict(path)


def test_a_file_without_named_tensors_is_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list, not a state dict"):
        load_state_dict(tmp_path / "list.pth")


def test_loaded_tensors_do_not_write_through_to_the_file(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    load_state_dict(tmp_path / "a.pth")["a"].fill_(7)
    assert_same(load_state_dict(tmp_path / "a.pth"), TENSORS)


@pytest.mark.parametrize(
    "wrapped",
    [
        TENSORS,
        {"params": {"x": torch.zeros(1)}, "params_ema": TENSORS},
        {"g": {"x": torch.zeros(1)}, "d": {"y": torch.zeros(1)}, "g_ema": TENSORS, "step": 3},
        {"state_dict": TENSORS, "epoch": 15},
        {"generator": TENSORS, "discriminator": {"y": torch.zeros(1)}},
        {f"module.{key}": value for key, value in TENSORS.items()},
        {"params": {f"module.{key}": value for key, value in TENSORS.items()}},
    ],
)
def test_canonical_form_unwraps_averaged_parameters_first(wrapped):
    assert_same(canonical_state_dict(wrapped), TENSORS)


def test_canonical_form_keeps_what_is_the_networks_own():
    nested = {"module.module.a": torch.ones(1)}
    assert list(canonical_state_dict(nested)) == ["module.a"]
    mixed = {"module.a": torch.ones(1), "generator.b": torch.ones(1)}
    assert list(canonical_state_dict(mixed)) == ["module.a", "generator.b"]


def test_canonical_form_takes_the_entry_that_is_named():
    assert_same(canonical_state_dict({"g_ema": {"x": torch.zeros(1)}, "d": TENSORS}, key="d"), TENSORS)
    with pytest.raises(CheckpointError, match=r"no network 'e'; its entries are: 'd'"):
        canonical_state_dict({"d": TENSORS}, key="e")


@pytest.mark.parametrize("contents", [{}, {"epoch": 3}, {"state_dict": {}}, {"a": torch.ones(1), "step": 2}])
def test_contents_without_a_network_are_refused(contents):
    with pytest.raises(CheckpointError, match="holds no network"):
        canonical_state_dict(contents, source="w.pth")


def test_metadata_of_other_files_is_refused(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    (tmp_path / "short").write_bytes(b"ab")
    for name in ("a.pth", "short"):
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            read_metadata(tmp_path / name)
    save_state_dict(tmp_path / "bare.safetensors", TENSORS)
    assert read_metadata(tmp_path / "bare.safetensors") == {}


def test_strict_loading_makes_a_meta_network_real_and_keeps_its_precision():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    source = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    halves = {key: v.half() if v.is_floating_point() else v for key, v in source.state_dict().items()}
    load_strictly(network, halves, name="tiny")
    assert network[0].weight.dtype == torch.float32
    assert network[0].weight.requires_grad
    assert network[1].num_batches_tracked.dtype == torch.int64
    assert torch.equal(network[0].weight, source[0].weight.half().float())


def test_strict_loading_names_what_differs():
    state_dict = {"0.weight": torch.ones(5, 3), "extra.x": torch.ones(1), "extra.y": torch.ones(1)}
    network = nn.Sequential(nn.Linear(3, 2))
    before = network[0].weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_strictly(network, state_dict, name="tiny")
    assert str(caught.value) == (
        "the checkpoint does not fit tiny, 2 keys: 1 missing (first '0.bias');"
        " 2 unexpected (first 'extra.x'); 1 misshapen (first '0.weight' is (5, 3), expected (2, 3))"
    )
    assert torch.equal(network[0].weight, before)


def test_tensors_that_share_memory_are_written(tmp_path):
    whole = torch.arange(6.0)
    save_state_dict(tmp_path / "a.safetensors", {"whole": whole, "part": whole[:2], "same": whole})
    assert_same(
        load_state_dict(tmp_path / "a.safetensors"), {"part": whole[:2], "same": whole, "whole": whole}
    )


def test_a_failed_write_leaves_the_old_file(tmp_path):
    save_state_dict(tmp_path / "a.safetensors", TENSORS)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot write"):
        save_state_dict(tmp_path / "folder.safetensors", TENSORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "folder.safetensors"]
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o044 == 0o044 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
