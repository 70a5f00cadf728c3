"""``facerestore bench`` on the command line."""

import json

import pytest

from facerestore.cli.app import main
from facerestore.cli.bench import WIDTH, listed, parse_sizes
from facerestore.errors import ConfigError

TINY = ["--random", "--backend", "gpen", "--size", "32", "--repeats", "1"]


pytestmark = pytest.mark.usefixtures("here")


def test_tables_fit_a_hundred_columns_and_json_has_all(capsys, tmp_path):
    target = tmp_path / "bench.json"
    assert main(["bench", *TINY, "--megapixels", "0.03", "--faces", "1", "--json", str(target)]) == 0
    out, _ = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= WIDTH
    for word in (
        "drawn photo, 200 x 150 px, 1 face",
        "decode",
        "encode",
        "gpen, random",
        "of peak",
    ):
        assert word in out
    facts = json.loads(target.read_text())
    assert facts["networks"][0]["label"] == "gpen 32 px, random"
    assert facts["lines"][0]["faces"] == 1


def test_a_pair_prints_its_ratio_and_difference(capsys):
    assert main(["bench", *TINY, "--against", "reference"]) == 0
    out, _ = capsys.readouterr()
    assert "In turns, 1 pair: the first is" in out
    assert "gpen: the outputs differ by at most" in out
    assert "The line" not in out


def test_quiet_prints_no_table(capsys):
    assert main(["bench", "networks", *TINY, "-q"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["everything"], 2, "everything"),
        (["--repeats", "0"], 2, "repeats is 0"),
        (["--size", "32"], 2, "add --random"),
        (["--random", "--size", "small"], 2, "--size is 'small'"),
        (["--against", "colour=red"], 2, "'colour' is no setting"),
        (["networks", "--backend", "nothing"], 4, "nothing"),
        (["line", "--against", "reference"], 2, "leave out 'line'"),
        (["line", "--megapixels", "-1", "--random"], 2, "megapixels is -1"),
        (["networks", *TINY, "--device", "abacus"], 2, "unknown device 'abacus'"),
        (["networks", *TINY, "--json", "report.txt"], 2, "ends in .json"),
        (["line", "--photo", "absent.jpg"], 1, "no such file"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(capsys, arguments, code, said):
    assert main(["bench", *arguments]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_lists_are_read_word_by_word():
    assert listed(None) == ()
    assert listed("gpen, lite") == ("gpen", "lite")
    assert (parse_sizes(None), parse_sizes("all"), parse_sizes("256,512")) == (None, (), (256, 512))
    with pytest.raises(ConfigError, match="--size is '0'"):
        parse_sizes("0")


def test_the_help_explains_what_against_takes(capsys):
    assert main(["bench", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for word in ("reference:", "eager:", "threads=N", "precision=float32|bf16|fp16|tf32"):
        assert word in out
