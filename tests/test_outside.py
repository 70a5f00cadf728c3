"""What comes from outside is read within bounds, and whatever its readers raise is one error of our tree."""

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from facerestore.backends.exported import ExportedFile, read_record
from facerestore.cli.app import main
from facerestore.config import RestoreConfig, load_config
from facerestore.engines.device import resolve_device
from facerestore.errors import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_INTEGER,
    CheckpointError,
    ConfigError,
    FaceRestoreError,
    MalformedError,
    WeightsError,
    parse_json,
    parse_json_object,
    parse_toml,
    parse_whole,
    read_text,
    refusing,
)
from facerestore.evaluation.groups import GroupWish, _manifest_rows
from facerestore.fields import FieldError, make
from facerestore.training.data.shards import expand_braces, shard_faces
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import merged, read_settings
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, read_metadata
from facerestore.weights.files import unlike_weights
from facerestore.weights.records import Pin, pin_path, read_pin, stamp_path, stamped_sha256
from facerestore.weights.weights_file import MOST_HEADER_BYTES, look_at


def header_file(path, header):
    """Write a safetensors file with this header and eight bytes of numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * (MOST_DEPTH + 2) + "]" * (MOST_DEPTH + 2), f"more than {MOST_DEPTH} deep"),
        ("1" * 5000, "Exceeds the limit"),
        (str(MOST_INTEGER + 1), "beyond 64 bits"),
        (str(-MOST_INTEGER - 2), "beyond 64 bits"),
        ('"\\ud800"', "surrogate"),
        ('{"\\ud800": 1}', "surrogate"),
        ('["\\u0000"]', r"U\+0000"),
        ("{", "Expecting property name"),
        (b"\xff\xfe{", "decode"),
    ],
)
def test_json_beyond_the_bounds_is_malformed(text, said):
    with pytest.raises(MalformedError, match=said):
        parse_json(text)


def test_json_within_the_bounds_is_what_it_says():
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(deep)
    assert parse_json('{"a": ["\\ud83d\\ude00", 9223372036854775807, -1.5]}') == {
        "a": ["😀", MOST_INTEGER, -1.5]
    }
    with pytest.raises(MalformedError, match="no JSON object"):
        parse_json_object("[]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=" + "[" * 5000, "nested too deeply"),
        ("a=" + "[" * 70 + "]" * 70, "deep"),
        ("a=" + "{b=" * 5000, "nested too deeply"),
        (".".join(["a"] * 100_000) + "=1", "more than 64 parts"),
        ("[" + ".".join(['"a"'] * 50_000) + "]", "more than 64 parts"),
        ("a=" + "1" * 5000, "Exceeds the limit"),
        ("a=" + "1" * 30, "beyond 64 bits"),
        ('a="\\u0000"', r"U\+0000"),
        ("a", "Expected '='"),
    ],
)
def test_toml_beyond_the_bounds_is_malformed(text, said):
    with pytest.raises(MalformedError, match=said):
        parse_toml(text)


def test_toml_that_only_looks_like_a_long_key_is_read():
    dots = ".".join(["0"] * 200)
    numbers = ",".join(f"0.{n}" for n in range(200))
    assert parse_toml(f"a=[{numbers}]\n# {'.' * 200}")["a"][1] == 0.1
    with pytest.raises(MalformedError, match="parts"):
        parse_toml(f'a="{dots}"')


@pytest.mark.parametrize(
    "text", ["", " 1", "+1", "-1", "1_0", "²", "٣", "1" * 6000, str(MOST_INTEGER + 1), "0x1"]
)
def test_numbers_of_other_scripts_and_forms_are_none(text):
    with pytest.raises(MalformedError, match="no whole number"):
        parse_whole(text)


def test_whole_numbers_are_read():
    assert [parse_whole(text) for text in ("0", "007", str(MOST_INTEGER))] == [0, 7, MOST_INTEGER]
    with pytest.raises(MalformedError, match="from 0 to 16"):
        parse_whole("17", most=16)


def test_a_text_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(MalformedError, match="larger than"):
        read_text(path)
    assert len(read_text(path, most_bytes=MOST_BYTES + 1)) == MOST_BYTES + 1


def test_whatever_a_reader_raises_is_refused_with_its_reason():
    for error, said in (
        (AssertionError(), "AssertionError"),
        (KeyError("a"), "'a' is missing"),
        (struct.error("unpack"), "error: unpack"),
        (zipfile.BadZipFile("bad"), "BadZipFile: bad"),
        (RecursionError("deep"), "nested too deeply"),
        (MemoryError(), "more memory than there is"),
        (FileNotFoundError(2, "No such file"), "No such file"),
        (ValueError("\ud800\nx"), "x"),
    ):
        with pytest.raises(ConfigError, match=said) as caught, refusing(ConfigError):
            raise error
        assert caught.value.__cause__ is error
        str(caught.value).encode()
    with pytest.raises(CheckpointError, match="own"), refusing(ConfigError):
        raise CheckpointError("own")
    with pytest.raises(KeyboardInterrupt), refusing(ConfigError):
        raise KeyboardInterrupt


def test_records_have_the_types_that_they_state():
    values = {"sha256": "a", "origin": "b", "pinned_at": "c"}
    assert make(Pin, values) == Pin("a", "b", "c")
    for wrong in ([], {**values, "origin": 3}, {**values, "origin": None}):
        with pytest.raises(FieldError, match=r"origin|no table"):
            make(Pin, wrong)
    with pytest.raises(FieldError, match="more"):
        make(Pin, {**values, "more": 1})


# --- files of people --------------------------------------------------------------------------------------------------


def test_a_configuration_of_nested_brackets_is_a_usage_error(tmp_path, capsys):
    path = tmp_path / "deep.toml"
    path.write_text("a=" + "[" * 5000, encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"deep\.toml' cannot be read: it is nested too deeply; check path and file"
    ):
        load_config(path)
    assert main(["enhance", "x.jpg", "--config", str(path)]) == 2
    assert "nested too deeply" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_settings(path)


@pytest.mark.parametrize("value", ["1" * 5000, "1" * 400, "[" * 9000])
def test_settings_of_flags_have_the_same_bounds(value):
    assert merged({}, [f"engine.steps={value}"]) == {"engine": {"steps": value}}
    with pytest.raises(ConfigError, match="more than 64 parts"):
        merged({}, [".".join(["a"] * 5000) + "=1"])


def test_numbers_of_five_thousand_digits_in_options_are_usage_errors():
    long = "1" * 5000
    with pytest.raises(ConfigError, match="faces is"):
        RestoreConfig(faces=long)
    with pytest.raises(ConfigError, match="faces is"):
        RestoreConfig(faces="²")
    with pytest.raises(ConfigError, match="unknown device"):
        resolve_device(f"cuda:{long}")
    for braces in (f"{{0..{long}}}.tar", "{0..99999999999}.tar"):
        with pytest.raises(ConfigError, match="names no shards"):
            expand_braces(Path(braces))


# --- headers and archives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"[]",
        b"null",
        {"__metadata__": 3, "a": TENSOR},
        {"__metadata__": {"face_size": 5}, "a": TENSOR},
        {"a": None},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": ["0", "8"]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**30]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, -8]}},
        {"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
    ],
)
def test_a_header_that_lies_is_an_error_that_names_the_file(tmp_path, header):
    path = header_file(tmp_path / "w.safetensors", header)
    with pytest.raises(CheckpointError, match=r"w\.safetensors' is truncated or corrupt"):
        load_state_dict(path)
    assert isinstance(look_at(path).metadata, dict)
    assert unlike_weights(path, "w.safetensors") is None or "header" in unlike_weights(path, "w.safetensors")


def test_a_header_without_metadata_may_say_so_by_null(tmp_path):
    path = header_file(tmp_path / "w.safetensors", {"__metadata__": None, "a": TENSOR})
    assert read_metadata(path) == look_at(path).metadata == {}
    assert unlike_weights(path, "w.safetensors") is None
    assert list(load_state_dict(path)) == ["a"]


@pytest.mark.parametrize("length", [0x3C20, 0x3C0A])
def test_a_header_whose_length_looks_like_a_web_page_is_none(tmp_path, length):
    text = json.dumps({"a": TENSOR}).encode().ljust(length)
    path = header_file(tmp_path / "w.safetensors", text)
    assert path.read_bytes().lstrip()[:1] == b"<"
    assert unlike_weights(path, "w.safetensors") is None
    assert list(load_state_dict(path)) == ["a"]


def test_a_header_larger_than_any_network_needs_is_not_read(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes((MOST_HEADER_BYTES + 1).to_bytes(8, "little"))
    assert f"header of {MOST_HEADER_BYTES + 1} bytes" in str(look_at(path).fault)


def test_a_face_size_of_five_thousand_digits_is_refused(tmp_path):
    header = {"backend": "lite", "purpose": "restore", "face_size": "1" * 5000}
    path = header_file(tmp_path / "w.safetensors", {"__metadata__": header, "a": TENSOR})
    with pytest.raises(WeightsError, match=r"w\.safetensors.*face_size is no side"):
        WeightsStore(tmp_path / "home").import_file("lite.mine", path)
    assert not (tmp_path / "home" / "own").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(1 << 20, 1 << 20),
        torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (3,), check_invariants=False),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, device="meta"),
    ],
    ids=["expanded", "sparse", "complex", "meta"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path, tensor):
    torch.save({"a": tensor, "b": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        load_state_dict(tmp_path / "w.pth")


def test_a_text_that_claims_gigabytes_is_given_no_room(tmp_path):
    """Found by atheris: a pickle of some hundred bytes stated 4 GB, and a buffer was made for them."""
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\xff\xffcpu"))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"w\.pth"):
            load_state_dict(tmp_path / "w.pth")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_mapping_that_holds_itself_is_refused(tmp_path):
    contents = {"epoch": 3}
    contents["inner"] = contents
    torch.save(contents, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds no network"):
        load_state_dict(tmp_path / "w.pth")


def tar_with_size(size):
    """Return a tar file whose one member claims ``size`` bytes, an octal number or base 256."""
    header = bytearray(512)
    header[:5] = b"a.png"
    header[100:108], header[257:265] = b"0000644\0", b"ustar\x0000"
    header[124:136] = size
    header[156] = ord("0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + bytes(1024)


@pytest.mark.parametrize(
    "size",
    [
        b"77777777777\0",
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"\x80" + bytes(7) + b"\xff" * 4,
        b"-0000000001\0",
    ],
)
def test_a_shard_whose_sizes_lie_is_an_error_that_names_it(tmp_path, size):
    path = tmp_path / "000000.tar"
    path.write_bytes(tar_with_size(size))
    with pytest.raises(ConfigError, match=r"000000\.tar' cannot be read"):
        shard_faces(path)


def test_an_exported_file_that_lies_is_an_error_that_names_it(tmp_path):
    def refused(runtime, name, content, said):
        path = tmp_path / name
        path.write_bytes(content)
        path.with_suffix(".bin").write_bytes(b"x")
        with pytest.raises(FaceRestoreError, match=said):
            read_record(ExportedFile(runtime, path))

    nested = b"<net>" + b"<a>" * 100_000
    refused("openvino", "n.xml", nested, "deep")
    refused("openvino", "n.xml", b"<net><rt_info><facerestore value='[[[['/></rt_info></net>", "damaged")
    bomb = (
        b'<!DOCTYPE a [<!ENTITY b "'
        + b"c" * 9000
        + b'"><!ENTITY d "'
        + b"&b;" * 9000
        + b'">]><net>&d;&d;&d;</net>'
    )
    refused("openvino", "n.xml", bomb, "no OpenVINO file")
    refused("onnx", "n.onnx", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "cut short")
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("n/code/a.py", "")
        archive.writestr("n/extra/facerestore.json", "[" * 100_000)
    refused("torchscript", "n.ts", (tmp_path / "z").read_bytes(), "damaged")
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("n/code/a.py", "")
        archive.writestr("n/extra/facerestore.json", " " * (1 << 21))
    refused("torchscript", "n.ts", (tmp_path / "z").read_bytes(), "larger than")
    for stated in (
        "face_size = 512\nvalue_range = [-inf, inf]",
        f"face_size = {2**40}\nvalue_range = [0, 1]",
    ):
        (tmp_path / "p.onnx.toml").write_text(stated, encoding="utf-8")
        refused("onnx", "p.onnx", b"\x3a\x00", "mend the file")


# --- records of our own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[]", '{"sha256": 5}', "{}", '{"sha256": "' + "g" * 64 + '"}']
)
def test_a_damaged_record_of_the_store_is_named_with_the_remedy(tmp_path, content):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    stat = weights.stat()
    pin = pin_path(tmp_path, "a.b")
    pin.parent.mkdir()
    pin.write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"a\.b\.json.*delete it and try again"):
        read_pin(tmp_path, "a.b")
    stated = content.replace(
        "}", f'{"" if content == "{}" else ","}"size_bytes": 1, "mtime_ns": {stat.st_mtime_ns}}}'
    )
    stamp_path(weights).write_text(stated, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"verified\.json.*delete it and try again"):
        stamped_sha256(weights)


def test_the_log_of_a_run_says_what_is_wrong_with_it(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "psnr": 3}\n{"step": 2, "ps', encoding="utf-8")
    assert RunFolder(tmp_path).records() == [{"step": 1, "psnr": 3}]
    for line in ("[" * 9000, '{"psnr": 3}', '{"step": 1, "psnr": []}', "3"):
        log.write_text(f"{line}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"log\.jsonl' cannot be read"):
            RunFolder(tmp_path).records()


def test_a_manifest_with_ragged_rows_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("name,yaw\na\nb,1,2,3\n", encoding="utf-8")
    assert _manifest_rows(path, [GroupWish("yaw")]) == [{"name": "a", "yaw": ""}, {"name": "b", "yaw": "1"}]
    path.write_bytes(b"name,yaw\n\xff")
    with pytest.raises(ConfigError, match=r"m\.csv' cannot be read"):
        _manifest_rows(path, [GroupWish("yaw")])
