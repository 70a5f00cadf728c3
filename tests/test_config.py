from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import facerestore
from facerestore.cli.enhance import enhance
from facerestore.cli.inpaint import inpaint
from facerestore.config import COLORIZE_MASK, OutputConfig, RestoreConfig, load_config, parse_faces
from facerestore.errors import ConfigError
from facerestore.fields import FieldError, check, documented, make, option


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"strength": 1.5}, "strength is 1.5"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": "much"}, "strength is 'much'; give a number"),
        ({"strength": True}, "strength is True"),
        ({"upscale": 0}, "upscale is 0"),
        ({"upscale": 9}, "upscale is 9"),
        ({"faces": "biggest"}, "faces is 'biggest'"),
        ({"faces": "0,-1"}, "faces is '0,-1'"),
        ({"faces": ""}, "faces is ''"),
        ({"min_face": -1}, "min_face is -1"),
        ({"min_face": float("inf")}, "min_face is inf"),
        ({"threads": -2}, "threads is -2"),
        ({"threads": 1.5}, "threads is 1.5; give a whole number"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"aligned": "yes"}, "aligned is 'yes'; give true or false"),
    ],
)
def test_an_unfit_value_is_named_with_its_range(values, said):
    with pytest.raises(ConfigError, match="give") as caught:
        RestoreConfig(**values)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [{"quality": 0}, {"quality": 101}, {"suffix": "a/b"}, {"overwrite": True, "skip_existing": True}],
)
def test_an_unfit_output_value_is_refused(values):
    with pytest.raises(ConfigError, match="give"):
        OutputConfig(**values)


def test_faces_are_a_word_or_sorted_indices():
    assert parse_faces("largest") is None
    assert parse_faces("2, 0,2") == (0, 2)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "look.toml"
    path.write_text('[restore]\nstrength = 0.5\nfaces = "largest"\nupscale = 2\n[output]\nformat = "png"\n')
    restore, output = load_config(path, restore={"strength": 0.9}, output={"quality": 80})
    assert (restore.strength, restore.faces, restore.upscale, restore.backend) == (0.9, "largest", 2, "auto")
    assert (output.format, output.quality, output.suffix) == ("png", 80, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[restore]\nstrenght = 1\n", "unknown option 'strenght'.*did you mean 'strength'"),
        ("[restore]\nmin-face = 1\n", "did you mean 'min_face'"),
        ("[output]\nzzz = 1\n", "unknown option 'zzz'.*known are format"),
        ("[restor]\n", "unknown table 'restor'.*did you mean 'restore'"),
        ("strength = 1\n", "'strength'.*put it under .restore. or .output."),
        ("restore = 1\n", "make it a table"),
        ("[restore\n", "cannot be read"),
    ],
)
def test_what_a_file_has_wrong_is_named(tmp_path, text, said):
    path = tmp_path / "look.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_a_path_object_is_taken_as_the_text_that_it_stands_for(tmp_path):
    (tmp_path / "a.toml").write_text("[restore]\nstrength = 0.5\n")
    for path in (tmp_path / "a.toml", str(tmp_path / "a.toml")):
        options = load_config(
            path, restore={"weights": Path("nets") / "a.pth", "parser": Path("parse.clean-256")}
        )[0]
        assert (options.strength, options.weights, options.parser) == (0.5, "nets/a.pth", "parse.clean-256")
    assert OutputConfig(save_faces=Path("faces")) == OutputConfig(save_faces="faces")
    with pytest.raises(ConfigError, match=r"strength is .*; give a number"):
        RestoreConfig(strength=Path("a"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")


NAMES = {field.name for field in fields(RestoreConfig)}


def test_the_command_line_has_every_field_of_both_configurations():
    files = {field.name for field in fields(OutputConfig)}
    assert NAMES | files - {"save_damaged"} <= set(signature(enhance).parameters)
    assert "save_damaged" in signature(inpaint).parameters


@pytest.mark.parametrize("name", ["restore", "colorize", "inpaint", "synthesize"])
def test_the_functions_for_one_photo_have_every_field(name):
    parameters = signature(getattr(facerestore, name)).parameters
    own = {
        "source",
        "config",
        "channels",
        "on_progress",
        "cancel",
        *(["damage"] if name == "inpaint" else []),
    }
    assert set(parameters) == NAMES | own
    plain = RestoreConfig(mask=COLORIZE_MASK) if name == "colorize" else RestoreConfig()
    assert {field: parameters[field].default for field in NAMES} == {
        field: getattr(plain, field) for field in NAMES
    }


def test_a_file_may_hold_every_field(tmp_path):
    path, values = tmp_path / "all.toml", [(name, getattr(RestoreConfig(), name)) for name in NAMES]
    lines = [f"{name} = {str(value).lower() if value in (True, False) else repr(value)}" for name, value in values
             if value is not None]  # fmt: skip
    path.write_text("\n".join(["[restore]", *lines]))
    assert load_config(path)[0] == RestoreConfig()


@pytest.mark.parametrize("record", [RestoreConfig, OutputConfig])
def test_every_field_is_documented(record):
    assert set(documented(record)) == {field.name for field in fields(record)}


def test_an_unknown_keyword_names_the_closest_field():
    with pytest.raises(ConfigError, match="unknown option 'strenght'; did you mean 'strength'"):
        facerestore.restore("photo.jpg", strenght=0.5)


def test_keywords_win_over_the_configuration(use_pipeline):
    seen = []

    class Line:
        def run(self, image, *, on_progress, cancel):
            return image

    use_pipeline(lambda config: seen.append(config) or Line())
    pixels = np.zeros((4, 4, 3), np.uint8)
    facerestore.restore(pixels, RestoreConfig(strength=0.5, faces="largest"), strength=0.25)
    facerestore.restore(source=pixels, config=RestoreConfig(provider="cpu"))
    assert seen == [RestoreConfig(strength=0.25, faces="largest"), RestoreConfig(provider="cpu")]


@dataclass(frozen=True)
class Inner:
    sides: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    rate: float = option(1.0, above=0)
    steps: int = option(4, least=4, multiple=4)
    pair: tuple[float, float] = (0.0, 1.0)
    kind: Literal["a", "b"] = "a"
    mix: str = option("x", among=("x", "y"))
    inner: Inner = Inner()
    end: float | None = option(None, below=1)


def test_a_record_is_made_of_what_a_file_can_hold():
    made = make(Outer, {"rate": 2, "steps": 8.0, "pair": [1, 0.5], "inner": {"sides": []}, "end": 0})
    assert made == Outer(2.0, 8, (1.0, 0.5), inner=Inner(()), end=0.0)
    assert [type(value) for value in (made.rate, made.steps, made.end)] == [float, int, float]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "rate is 0.0; give a number, above 0"),
        ({"rate": float("inf")}, "rate is inf; give a number, above 0"),
        ({"steps": 6}, "steps is 6; give a whole number, 4 or more, a multiple of 4"),
        ({"steps": True}, "steps is True; give a whole number"),
        ({"pair": [1]}, r"pair is \[1\]; give a list of 2 numbers"),
        ({"kind": "c"}, "kind is 'c'; choose one of a, b"),
        ({"mix": "z"}, "mix is 'z'; choose one of x, y"),
        ({"end": "now"}, "end is 'now'; give a number"),
        ({"inner": {"side": 3}}, "unknown key 'inner.side'; did you mean 'sides'"),
        ({"inner": {"sides": ["a"]}}, r"inner.sides is \('a',\); give a list of whole numbers"),
        ({"inner": 3}, "inner is 3; give a table with sides"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(values, message):
    with pytest.raises(FieldError, match=message):
        make(Outer, values)


def test_a_record_is_held_to_its_fields():
    check(Outer())
    with pytest.raises(FieldError, match="rate is -1"):
        check(Outer(rate=-1))
