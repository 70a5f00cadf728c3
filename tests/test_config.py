import pytest

from facerestore.config import OutputConfig, RestoreConfig, load_config, parse_faces
from facerestore.errors import ConfigError


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")
