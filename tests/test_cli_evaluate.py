"""The command: three ways to give faces, what is printed and written, exit codes, and no download ever."""

import json

import numpy as np
import pytest
from evaluation_fakes import face, fill, save

from facerestore.cli.app import main
from facerestore.io import read_image

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "hq")
    fill(tmp_path / "lq", size=32)
    fill(tmp_path / "theirs")
    return tmp_path


QUICK = ["--face-size", "64", "--metrics", "psnr", "--restored", "theirs"]


def run(capsys, *words):
    code = main(["evaluate", *words])
    return code, *capsys.readouterr()


def test_pairs_are_measured_and_the_table_goes_to_standard_output(folder, capsys):
    code, out, err = run(capsys, "--lq", "lq", "--hq", "hq", *QUICK)
    assert code == 0
    assert "| method | PSNR dB ↑ |" in out
    for row in ("| input |", "| bicubic |", "| theirs |", "## Gain over input", "## Protocol"):
        assert row in out
    assert err == ""


def test_the_bundled_restorer_is_taken_unless_something_is_named(folder, capsys):
    code, out, err = run(
        capsys,
        "--hq",
        "hq",
        "--degradation",
        "gfpgan",
        "--face-size",
        "64",
        "--metrics",
        "psnr",
        "--limit",
        "2",
    )
    assert code == 0
    assert "| lite.clean-256 |" in out
    assert "2 faces of 2 sets, 64 px, degraded by the preset 'gfpgan', seed 7" in out
    assert "evaluating lite.clean-256 (bundled)" in err


def test_a_folder_takes_all_results_and_they_are_not_replaced_unasked(folder, capsys):
    words = ["--lq", "lq", "--hq", "hq", *QUICK, "-o", "out"]
    assert run(capsys, *words)[0] == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "cases_theirs.png",
        "evaluation.json",
        "evaluation.md",
    ]
    content = json.loads((folder / "out" / "evaluation.json").read_text())
    assert len(content["faces"]) == 6
    assert set(content["faces"][0]["values"]) == {"input", "bicubic", "theirs"}
    assert read_image(folder / "out" / "cases_theirs.png").pixels.shape[1] > 700
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "")
    assert "already exists" in err
    assert run(capsys, *words, "--overwrite")[0] == 0


def test_bad_pictures_are_named_and_the_rest_is_measured(folder, capsys):
    (folder / "lq" / "a" / "0.png").write_bytes(b"no picture")
    (folder / "lq" / "b" / "1.png").unlink()
    code, out, err = run(capsys, "--lq", "lq", "--hq", "hq", *QUICK, "--json")
    assert code == 3
    assert "error: a/0: " in err
    assert "without a partner: b/1 (only in hq)" in err
    assert len(json.loads(out)["faces"]) == 4


def test_groups_have_tables(folder, capsys):
    (folder / "m.csv").write_text(
        "set,name,yaw\n" + "".join(f"{s},{k},{k}\n" for s in "ab" for k in range(3))
    )
    code, out, _ = run(
        capsys, "--lq", "lq", "--hq", "hq", *QUICK, "--manifest", "m.csv", "--group", "yaw=1,2"
    )
    assert code == 0
    assert "## By yaw" in out
    assert "| 1 to 2 | 2 | theirs |" in out


def test_two_results_are_compared_or_refused(folder, capsys):
    run(capsys, "--lq", "lq", "--hq", "hq", *QUICK, "-o", "one")
    run(capsys, "--lq", "lq", "--hq", "hq", *QUICK[:4], "--restored", "rival=hq", "-o", "two")
    files = ["one/evaluation.json", "two/evaluation.json"]
    code, out, _ = run(capsys, "compare", *files, "--against", "theirs", "-o", "both")
    assert code == 0
    assert "| rival |" in out
    assert "## Gain over theirs" in out
    assert (folder / "both" / "evaluation.json").is_file()
    run(capsys, "--lq", "lq", "--hq", "hq", "--face-size", "32", *QUICK[2:], "-o", "three")
    code, out, err = run(capsys, "compare", files[0], "three/evaluation.json")
    assert (code, out) == (2, "")
    assert "not measured alike" in err
    assert "face size: 64 and 32" in err
    assert run(capsys, "compare", files[0])[0] == 2
    code, _, err = run(capsys, "compare", *files, "--against", "nobody")
    assert code == 2
    assert "the methods are input, bicubic, theirs, rival" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--hq", "hq"], 2, "one of three ways"),
        (["--lq", "lq", "--hq", "hq", "--faces", "lq"], 2, "one of three ways"),
        (["--hq", "hq", "--degradation", "gfpgon"], 2, "unknown degradation"),
        (["--hq", "absent", "--degradation", "gfpgan"], 1, "no such folder"),
        (["--lq", "lq", "--hq", "hq", "--metrics", "nonsense"], 2, "unknown metric"),
        (["--lq", "lq", "--hq", "hq", "--metrics", "lpips", "--face-size", "64"], 4, "alexnet.imagenet"),
        (["--lq", "lq", "--hq", "hq", "--weights", "gpen.bfr-512"], 4, "weights download gpen.bfr-512"),
        (["--lq", "lq", "--hq", "hq", "--backend", "nobody"], 2, "is no backend, weights or file"),
        (["--lq", "lq", "--hq", "hq", "--group", "yaw"], 2, "need both --manifest"),
        (["--lq", "lq", "--hq", "hq", "--restored", "absent"], 1, "no such folder"),
        (["--lq", "lq", "--hq", "hq", "--restored", "theirs", "--face-size", "0"], 2, "--face-size is 0"),
        (["--lq", "lq", "--hq", "hq", "--restored", "theirs", "--face-size", "15"], 2, "give 16 px or more"),
        (["--hq", "hq", "--degradation", "gfpgan", "--seed", "-1"], 2, "--seed"),
        (["--lq", "lq", "--hq", "hq", "--restored", "theirs", "--limit", "0"], 2, "limit is 0"),
        (["--faces", "theirs", "--face-size", "64"], 2, "nothing can be measured"),
    ],
)
def test_bad_input_gives_one_line_and_an_exit_code(folder, capsys, words, code, message):
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("facerestore: error")]) == 1


def test_all_pictures_bad_is_a_failure(folder, capsys):
    for path in (folder / "lq").rglob("*.png"):
        path.write_bytes(b"no picture")
    code, _, err = run(capsys, "--lq", "lq", "--hq", "hq", *QUICK)
    assert code == 1
    assert "no face could be measured; 6 failed" in err


def test_the_classical_baseline_is_a_row(folder, capsys):
    rng = np.random.default_rng(0)
    for k in range(3):
        save(folder / "hq" / "a" / f"{k}.png", face(k), overwrite=True)
        noisy = np.clip(face(k) + rng.normal(0, 9, (96, 96, 3)), 0, 255).astype(np.uint8)
        save(folder / "lq" / "a" / f"{k}.png", noisy, overwrite=True)
    code, out, _ = run(capsys, "--lq", "lq", "--hq", "hq", *QUICK, "--classical")
    assert code == 0
    assert "| NLM + unsharp |" in out
    assert "tuned on 3 faces" in out


def test_a_blind_sheet_names_nobody_and_its_key_names_both(folder, capsys):
    fill(folder / "rival")
    words = ["--hq", "hq", "--lq", "lq", *QUICK, "--restored", "rival", "--blind", "4"]
    code, _, err = run(capsys, *words, "-o", "out")
    assert (code, "blind" in err) == (0, False)
    lines = (folder / "out" / "blind_key.csv").read_text().splitlines()
    assert lines[0] == "pair,face,left,right"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert sorted(line.split(",")[2] for line in lines[1:]) == ["rival", "rival", "theirs", "theirs"]
    assert all({*line.split(",")[2:]} == {"rival", "theirs"} for line in lines[1:])
    assert read_image(folder / "out" / "blind_1.png").pixels.shape[1] > 3 * 512


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out"], "compares two methods, and here there are: theirs; give two"),
        ([], "--blind 4 draws pages; give a directory for them with -o"),
    ],
)
def test_a_blind_sheet_needs_two_methods_and_a_place(folder, capsys, words, message):
    code, _, err = run(capsys, "--hq", "hq", "--lq", "lq", *QUICK, "--blind", "4", *words)
    assert code == 2
    assert message in err
