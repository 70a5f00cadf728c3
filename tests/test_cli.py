import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from fakes import Brightener, FakeDetector, Stopped, face_at, photo, pipeline
from typer.testing import CliRunner
from written import names

from facerestore.cli.app import app, main
from facerestore.cli.commands import COMMANDS, COMPLETION, add_called
from facerestore.cli.telling import TELLING, choice_lines
from facerestore.errors import WeightsError
from facerestore.io import decode_image, encode_image, read_image, write_image

PORTRAIT = Path(__file__).parents[1] / "examples" / "astronaut_degraded.jpg"
LEFT, RIGHT = face_at(10, 20), face_at(120, 30)


@pytest.fixture
def line(use_pipeline, use_detector):
    """Put a pipeline of fakes in place of the real one; its ``restorer`` may be exchanged."""
    made = SimpleNamespace(restorer=Brightener(), bundled=True, configs=[])

    def build(config, *, store=None):
        made.configs.append(config)
        return pipeline(LEFT, RIGHT, config=config, restorer=made.restorer, bundled=made.bundled)

    use_pipeline(build)
    use_detector(FakeDetector(RIGHT, LEFT))
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image("a.png", photo(seed=1))
    write_image("b.png", photo(seed=2))
    return tmp_path


def test_enhance_writes_beside_the_photo_and_tells_what_it_did(line, folder, capsys):
    assert main(["enhance", "a.png", "--faces", "0"]) == 0
    out, err = capsys.readouterr()
    assert names(folder) == ["a.png", "a_restored.png", "b.png"]
    assert "a.png: 2 faces, 1 restored, 1 kept" in out
    assert "-> a_restored.png" in out
    assert "face 1 kept: not selected" in out
    assert "1 photo: 2 faces, 1 restored, 1 kept (1 not selected), 0 failed" in out
    assert "brightener.test (bundled)" in out
    assert "facerestore weights download" in out
    assert "non-commercial" in out
    assert err == ""


def test_better_weights_are_not_praised_to_those_who_have_them(line, folder, capsys):
    line.bundled = False
    assert main(["enhance", "a.png"]) == 0
    assert "weights download" not in capsys.readouterr().out


def test_quiet_says_nothing_and_verbose_tells_each_face(line, folder, capsys):
    assert main(["enhance", "a.png", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["enhance", "a.png", "-v", "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"face 0 restored \(\d+\.\d levels\): ", out)
    assert "seconds: detect" in out


def test_flags_reach_the_configuration_and_win_over_the_file(line, folder):
    (folder / "c.toml").write_text('[restore]\nstrength = 0.4\nfaces = "largest"\n[output]\nsuffix = "-x"\n')
    flags = "--strength 0.5 --upscale 2 --min-face 5 --force --device cpu --threads 1 --offline --max-pixels 900000"
    assert main(["enhance", "a.png", "--config", "c.toml", *flags.split(), "--no-colour-match"]) == 0
    config = line.configs[0]
    assert (config.strength, config.upscale, config.min_face, config.faces) == (0.5, 2, 5, "largest")
    assert (config.force, config.device, config.threads, config.offline) == (True, "cpu", 1, True)
    assert (config.max_pixels, config.colour_match, config.aligned) == (900000, False, False)
    assert read_image("a-x.png").pixels.shape == (240, 400, 3)


def test_strength_0_gives_the_same_pixels(line, folder):
    assert main(["enhance", "a.png", "--strength", "0"]) == 0
    assert np.array_equal(read_image("a_restored.png").pixels, read_image("a.png").pixels)


def test_no_face_is_a_normal_result(line, folder, capsys):
    write_image("small.png", photo(30, 30))
    assert main(["enhance", "small.png"]) == 0
    assert "small.png: no face" in capsys.readouterr().out
    assert np.array_equal(read_image("small_restored.png").pixels, read_image("small.png").pixels)


def test_a_directory_goes_through_with_a_bad_file_in_it_and_exit_code_3(line, folder, capsys):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    assert main(["enhance", ".", "-o", "out", "--report", "r.json", "--compare"]) == 3
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith("facerestore: error: ")
    assert "bad.jpg" in err
    assert "3 photos: 4 faces, 4 restored, 0 kept, 1 failed" in out
    assert sorted(p.name for p in (folder / "out").glob("[!.]*")) == [
        "a.png",
        "a_compare.jpg",
        "b.png",
        "b_compare.jpg",
    ]
    report = json.loads((folder / "r.json").read_text())
    assert [p["status"] for p in report["photos"]] == ["done", "done", "failed"]


def test_a_second_run_over_a_directory_does_not_restore_results(line, folder, capsys):
    assert main(["enhance", "."]) == 0
    assert main(["enhance", ".", "--skip-existing"]) == 0
    assert "left out: 2 results of earlier runs" in capsys.readouterr().out
    assert names(folder) == ["a.png", "a_restored.png", "b.png", "b_restored.png"]


def test_an_existing_result_or_the_input_is_never_lost_without_leave(line, folder, capsys):
    before = (folder / "a.png").read_bytes()
    assert main(["enhance", "a.png", "-o", "a.png"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["enhance", "a.png", "-o", ".", "--overwrite"]) == 0
    assert (folder / "a.png").read_bytes() == before
    assert main(["enhance", "a.png", "-o", "a.png", "--overwrite"]) == 0
    assert (folder / "a.png").read_bytes() != before


def test_photos_are_logged_as_json_one_a_line_in_place_of_text(line, folder, capsys):
    (folder / "bad.jpg").write_bytes(b"no picture")
    assert main(["enhance", ".", "-o", "out", "--log-json", "--workers", "1", "gone.png"]) == 3
    out, err = capsys.readouterr()
    rows = [json.loads(text) for text in out.splitlines()]
    assert [(row["input"], row["status"]) for row in rows] == [
        ("gone.png", "failed"),
        ("a.png", "done"),
        ("b.png", "done"),
        ("bad.jpg", "failed"),
    ]
    assert rows[1]["restored"] == 2
    assert "4 photos: 4 faces" in err
    assert "error:" not in err
    assert main(["enhance", "a.png", "--log-json", "--json"]) == 2
    assert (
        "cannot carry --json and --log-json; write the report with --report FILE.json"
        in capsys.readouterr().err
    )


def test_a_dry_run_writes_nothing_and_builds_nothing(line, folder, capsys):
    before = names(folder)
    assert main(["enhance", ".", "-o", "out", "--compare", "--report", "r.json", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would restore with auto: for nearly sharp faces lite.clean-256" in out
    assert "a.png -> " in out
    assert main(["enhance", ".", "--dry-run", "--json"]) == 0
    assert [row["input"] for row in json.loads(capsys.readouterr().out)["jobs"]] == ["a.png", "b.png"]
    assert names(folder) == before
    assert line.configs == []


def test_a_verbose_dry_run_says_what_each_face_would_get(line, folder, capsys):
    (folder / "bad.jpg").write_bytes(b"no picture")
    assert main(["enhance", "a.png", "bad.jpg", "--faces", "0", "--dry-run", "-v"]) == 0
    out = capsys.readouterr().out
    assert "face 0 would be restored: " in out
    assert "face 1 would be kept: not selected" in out
    assert "bad.jpg" in out.partition("would fail")[0]
    assert line.restorer.calls == []
    assert names(folder) == ["a.png", "b.png", "bad.jpg"]
    assert main(["enhance", "a.png", "--dry-run", "-v", "--json"]) == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert [face["decision"] for face in job["faces"]] == ["restored", "restored"]


def test_the_network_of_each_face_is_told_where_there_is_a_choice(line, folder, capsys, monkeypatch):
    def face(index, weights, choice, **facts):
        return {"index": index, "weights": weights, "choice": choice, "why": f"why {index}", **facts}

    two = [{"name": "a.x", "commercial_use": "yes"}, {"name": "b.x", "commercial_use": "no"}]
    faces = [face(0, "a.x", "light"), face(1, "b.x", "heavy"), face(2, None, None)]
    assert choice_lines({"faces": faces, "auto": {"candidates": two}}, 0) == [
        "face 0 by a.x: why 0",
        "face 1 by b.x (non-commercial): why 1",
    ]
    alone = {"faces": [face(0, "a.x", "light"), face(1, "a.x", "too-large")], "auto": {"candidates": two[:1]}}
    assert choice_lines(alone, 0) == [f"1 face {TELLING['too-large']}"]
    assert len(choice_lines(alone, 1)) == 2
    free = [{**candidate, "commercial_use": "yes"} for candidate in two]
    assert choice_lines({"faces": faces, "auto": {"candidates": free}}, 0) == []
    crowd = {"faces": [face(i, "a.x", "light") for i in range(9)], "auto": {"candidates": two}}
    assert choice_lines(crowd, 0)[-1] == "and 3 more by their networks; -v or --report tells all"
    assert choice_lines({"faces": [face(0, "a.x", None)]}, 0) == []


def test_a_network_that_is_passed_over_is_a_warning(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "home"))
    installed = tmp_path / "home" / "weights" / "psfrgan_epoch15_net_G.pth"
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"PK")
    assert main(["enhance", "a.png", "--device", "cpu"]) == 0
    err = capsys.readouterr().err
    assert "warning: auto passes over psfr.ffhq-512: backend 'psfr' needs a face parser" in err
    assert "weights download parsenet.psfr-90000" in err


def test_a_dry_run_says_which_photos_are_missing(line, folder, capsys):
    assert main(["enhance", "a.png", "nowhere.png", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "nowhere.png -> nowhere_restored.png (there is no such photo: would fail)" in out
    assert out.count("would fail") == 1


def test_json_is_all_that_standard_output_carries(line, folder, capsys):
    assert main(["enhance", "a.png", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["photos"][0]["found"] == 2
    assert report["photos"][0]["output"] == "a_restored.png"
    assert report["config"]["strength"] == 1.0
    assert "a.png: 2 faces" in err


def test_a_report_that_cannot_be_written_loses_nothing_else(line, folder, capsys):
    (folder / "taken").write_bytes(b"x")
    assert main(["enhance", "a.png", "--json", "--report", "taken/r.json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["photos"][0]["found"] == 2
    assert "1 photo: 2 faces" in err
    assert "r.json: cannot be written" in err
    assert names(folder) == ["a.png", "a_restored.png", "b.png", "taken"]


def test_a_picture_goes_through_standard_input_and_output(line, folder, capfdbinary, monkeypatch):
    image = photo(seed=5)
    data = encode_image(image, format="PNG")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    assert main(["enhance", "-", "-o", "-", "--format", "tiff"]) == 0
    out, err = capfdbinary.readouterr()
    result = decode_image(out, name="out")
    assert result.format == "TIFF"
    assert not np.array_equal(result.pixels, image.pixels)
    assert np.array_equal(result.pixels[:15], image.pixels[:15])
    assert b"standard input: 2 faces" in err
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    assert main(["detect", "-", "-o", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert decode_image(out, name="out").format == "PNG"
    assert b"standard input: 2 faces -> standard output" in err
    assert names(folder) == ["a.png", "b.png"]


@pytest.mark.parametrize("arguments", [["enhance", "a.png", "-o", "-"], ["parse", "a.png", "-o", "-"]])
def test_a_picture_for_a_closed_standard_output_is_refused(line, folder, capsys, monkeypatch, arguments):
    monkeypatch.setattr("sys.stdout", None)
    assert main(arguments) == 2
    assert (
        "standard output is closed, and the picture would go there; give -o FILE" in capsys.readouterr().err
    )


def test_who_cannot_be_asked_has_accepted_nothing(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setenv("FACERESTORE_MIRROR", "https://mirror.invalid")
    assert main(["weights", "download", "gpen.bfr-512"]) == 4
    assert "--accept-license" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["enhance"],
        ["enhance", "a.png", "--bogus"],
        ["enhance", "a.png", "--strength", "2"],
        ["enhance", "a.png", "--strength", "much"],
        ["enhance", "a.png", "--faces", "biggest"],
        ["enhance", "a.png", "--format", "gif"],
        ["enhance", "a.png", "--report", "a.png"],
        ["enhance", "a.png", "--config", "none.toml"],
        ["enhance", "a.png", "-o", "-", "--json"],
        ["enhance", "a.png", "-o", "-", "--compare"],
        ["enhance", "a.png", "b.png", "-o", "c.png"],
        ["enhance", "a.png", "--overwrite", "--skip-existing"],
        ["enhnce", "a.png"],
        ["detect", "a.png", "-o", "-", "--json"],
    ],
)
def test_wrong_use_is_exit_code_2_with_one_clear_line(line, folder, capsys, arguments):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    if len(arguments) > 1:
        assert err.startswith("facerestore: error: ")
        assert err.count("\n") == 1
    assert names(folder) == ["a.png", "b.png"]


def test_a_failed_network_is_exit_code_1_and_writes_nothing(line, folder, capsys):
    line.restorer = Brightener(fails=True)
    assert main(["enhance", "a.png"]) == 1
    assert "failed on cpu" in capsys.readouterr().err
    write_image("small.png", photo(30, 30))
    assert main(["enhance", "a.png", "small.png"]) == 1
    assert names(folder) == ["a.png", "b.png", "small.png", "small_restored.png"]


def test_missing_weights_are_exit_code_4(folder, capsys, use_pipeline):
    assert main(["enhance", "a.png", "--weights", "gpen.bfr-512", "--device", "cpu"]) == 4
    assert "facerestore weights download gpen.bfr-512" in capsys.readouterr().err

    def corrupt(*_, **__):
        raise WeightsError("weights are corrupt; fetch them again")

    use_pipeline(corrupt)
    assert main(["enhance", "a.png"]) == 4


def test_an_interrupted_run_is_exit_code_130_and_leaves_whole_files(line, folder, capsys):
    line.restorer = Stopped()
    assert main(["enhance", "a.png", "b.png", "--report", "r.json", "--workers", "1"]) == 130
    assert "interrupted after 1 of 2 photos" in capsys.readouterr().err
    assert names(folder) == ["a.png", "a_restored.png", "b.png", "r.json"]
    assert json.loads((folder / "r.json").read_text())["interrupted"] is True


def test_a_fault_of_ours_is_one_line_and_a_trace_when_asked(line, folder, capsys, monkeypatch, use_pipeline):
    def broken(*_, **__):
        raise KeyError("eyes")

    use_pipeline(broken)
    assert main(["enhance", "a.png"]) == 1
    assert (
        capsys.readouterr().err == "facerestore: error: KeyError: 'eyes' (FACERESTORE_DEBUG=1 shows where)\n"
    )
    assert main(["enhance", "a.png", "-v", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FACERESTORE_DEBUG", "1")
    assert main(["enhance", "a.png"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_plain_pipe_gets_no_escape_codes(line, folder, capsys):
    assert main(["enhance", "a.png", "b.png"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\r" not in out + err


def test_many_kept_faces_are_counted_after_the_first_few(line, folder, capsys, use_pipeline):
    crowd = [face_at(12 * i, 5, size=16) for i in range(9)]
    use_pipeline(lambda config: pipeline(*crowd, config=config))
    assert main(["enhance", "a.png"]) == 0
    out = capsys.readouterr().out
    assert out.count(" kept: ") == 6
    assert "and 3 more kept" in out


def test_detect_lists_left_to_right_and_draws(line, folder, capsys):
    assert main(["detect", "a.png", "-o", "found.png"]) == 0
    out = capsys.readouterr().out
    assert "a.png: 2 faces -> found.png" in out
    drawn = read_image("found.png").pixels
    assert drawn.shape == (120, 200, 3)
    assert not np.array_equal(drawn, read_image("a.png").pixels)
    assert main(["detect", ".", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["photos"]
    assert [len(row["faces"]) for row in rows] == [2, 2, 2]
    assert [face["index"] for face in rows[0]["faces"]] == [0, 1]
    assert rows[0]["faces"][0]["box"][0] < rows[0]["faces"][1]["box"][0]


def test_detect_writes_nothing_unless_asked_and_tells_bad_files(line, folder, capsys):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    assert main(["detect", "bad.jpg", "a.png"]) == 3
    assert main(["detect", "bad.jpg"]) == 1
    assert names(folder) == ["a.png", "b.png", "bad.jpg"]


def test_detect_draws_by_content_where_the_name_says_no_format(line, folder, capsys):
    (folder / "a.png").rename(folder / "a.photo")
    assert main(["detect", "a.photo", "-o", "out"]) == 0
    assert read_image("out/a_faces.photo").format == "PNG"


def test_a_fault_in_one_photo_does_not_stop_detection(line, folder, capsys, use_detector):
    class Faulty(FakeDetector):
        def detect(self, image):
            if image[0, 0, 0] == read_image("a.png").pixels[0, 0, 0]:
                raise MemoryError("no room")
            return super().detect(image)

    use_detector(Faulty(LEFT))
    assert main(["detect", "a.png", "b.png"]) == 3
    out, err = capsys.readouterr()
    assert "MemoryError: no room" in err
    assert "b.png: 1 face" in out


@pytest.mark.parametrize("command", ["enhance", "detect"])
def test_a_name_that_the_terminal_cannot_show_ends_nothing(line, folder, monkeypatch, command):
    name = "\u6f22.png"
    (folder / "a.png").rename(folder / name)
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", narrow)
    assert main([command, name]) == 0
    assert main([command, name, "--json", *(["--overwrite"] if command == "enhance" else [])]) == 0
    narrow.flush()
    text, _, rows = narrow.buffer.getvalue().decode("cp1252").partition("\n{\n")
    assert "\\u6f22.png: 2 faces" in text
    assert json.loads("{" + rows)["photos"][0]["input"] == name


def test_doctor_prints_marks_and_its_exit_code_follows(capsys, monkeypatch):
    from facerestore.testing.doctor import Check, State

    checks = [Check("program", "python", State.OK, "3"), Check("line", "restore", State.OK, "works")]
    monkeypatch.setattr("facerestore.testing.doctor.diagnose", lambda config: checks)
    assert main(["doctor"]) == 0
    assert "ok  restore  works" in capsys.readouterr().out
    checks.append(Check("weights", "w", State.BROKEN, "corrupt"))
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def imported_by(*arguments):
    """Return the modules that a process has imported once it has answered a command line."""
    code = (
        "import sys, facerestore.cli.app as c; code = c.main(sys.argv[1:]); "
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["enhance", "--help"], ["weights", "--help"]])
def test_help_and_version_answer_without_heavy_imports(words):
    loaded = imported_by(*words)
    heavy = {"torch", "cv2", "numpy", "PIL", "facexlib", "scipy", "multiprocessing", "asyncio"}
    assert sorted(heavy & loaded) == []
    commands = {name for name in COMMANDS if f"facerestore.cli.{name}" in loaded}
    assert commands == {word for word in words if word in COMMANDS}


def test_enhance_imports_nothing_that_it_does_not_need(tmp_path):
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    loaded = imported_by("enhance", str(tmp_path / "photo.jpg"), "--json")
    unneeded = {"torch", "torchvision", "facexlib", "scipy", "spandrel", "basicsr", "matplotlib"}
    assert sorted(unneeded & loaded) == []
    assert not {
        name for name in loaded if name.startswith(("facerestore.training", "facerestore.evaluation"))
    }


def test_the_list_of_commands_is_that_of_the_commands_themselves(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    whole = CliRunner().invoke(app, ["--help"], prog_name="facerestore").output
    assert listed.split() == whole.split()
    assert all(name in listed for name in COMMANDS)


def test_completion_knows_all_options(monkeypatch):
    monkeypatch.setenv(COMPLETION, "complete_bash")
    program = typer.Typer()
    add_called(program, [])
    assert set(typer.main.get_command(program).commands) == set(COMMANDS)
    assert typer.main.get_command(program).commands["enhance"].params


def test_a_command_that_does_not_exist_is_told_with_the_one_that_was_meant(capsys):
    assert main(["enhanc", "photo.jpg"]) == 2
    assert "No such command 'enhanc'" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_ends_with_its_code_after_all_that_is_due_at_its_end(code, tmp_path):
    program = (
        "import atexit, sys, threading; from facerestore.cli.commands import QuickEnd; end = QuickEnd(); "
        "atexit.register(lambda: print('at exit')); "
        "threading.Timer(0.1, lambda: print('thread')).start(); "
        "sys.stdout.write('said '); "
        f"end.code = {code}; sys.exit(end.code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.split() == ["said", "thread", "at", "exit"]


def test_a_process_that_fails_before_its_code_is_known_ends_as_any_other():
    program = (
        "from facerestore.cli.commands import QuickEnd; end = QuickEnd(); raise RuntimeError('unforeseen')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unforeseen" in done.stderr


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "facerestore", "enhance", "--help"], capture_output=True, text=True, check=True
    )
    flags = """
        --aligned --backend --compare --config --detector --device --dry-run --faces --force --format --json
        --max-pixels --min-face --no-progress --offline --output --overwrite --quality --quiet --recursive
        --report --save-faces --skip-existing --strength --suffix --threads --upscale --verbose --weights
    """
    for flag in flags.split():
        assert flag in done.stdout


def test_what_the_parser_says_is_a_whole_sentence(capsys):
    assert main(["enhance", "a.png", "--upscale", "much"]) == 2
    err = capsys.readouterr().err
    assert "--upscale" in err
    assert err.endswith(". See 'facerestore enhance --help'.\n")


@pytest.mark.parametrize(
    "words", [["--strength", "0.5"], ["-o", "out.png"], ["--upscale", "2", "-v", "-v"], []]
)
def test_options_are_what_typer_makes_of_them(words):
    """Words, paths and switches go past typer's own way, for speed."""
    program = typer.Typer()
    add_called(program, ["enhance"])
    program.callback()(lambda: None)
    ours, theirs = (typer.main.get_command(each).commands["enhance"] for each in (app, program))
    given = [each.make_context("enhance", [str(PORTRAIT), *words]).params for each in (ours, theirs)]
    assert given[0] == given[1]
