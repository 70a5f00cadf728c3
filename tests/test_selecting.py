"""Which photos a run takes: lists, patterns, shares, and what earlier runs have written."""

import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import Brightener, face_at, photo, pipeline

from facerestore.batch import Selection, kinds_of, parse_shard, plan_jobs
from facerestore.batch.journal_file import FILE
from facerestore.cli.app import main
from facerestore.config import OutputConfig
from facerestore.errors import ConfigError
from facerestore.io import write_image

PHOTOS = ["a.png", "scans/b.png", "scans/old/c.jpg", "thumbs/d.png", "写真/Ж.png"]


@pytest.fixture
def album(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(PHOTOS):
        write_image(f"in/{name}", photo(seed=seed))
    use_pipeline(lambda config, **_: pipeline(face_at(10, 20), config=config, restorer=Brightener()))
    return tmp_path


def planned(*inputs, output="out", **selection):
    plan = plan_jobs(
        [Path(each) for each in inputs],
        output=Path(output),
        options=OutputConfig(),
        recursive=True,
        selection=Selection(**selection),
    )
    return [job.target.relative_to(output).as_posix() for job in plan.jobs], plan


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ({"include": ("*.png",)}, ["a.png", "scans/b.png", "thumbs/d.png", "写真/Ж.png"]),
        ({"include": ("scans/*",)}, ["scans/b.png", "scans/old/c.jpg"]),
        ({"include": ("*.png",), "exclude": ("thumbs", "写真")}, ["a.png", "scans/b.png"]),
        ({"exclude": ("*.PNG", "s*/old/*")}, ["a.png", "scans/b.png", "thumbs/d.png", "写真/Ж.png"]),
    ],
)
def test_patterns_are_for_names_and_with_a_slash_for_paths(album, patterns, taken):
    found, plan = planned("in", **patterns)
    assert sorted(found) == sorted(taken)
    assert len(plan.not_selected) == len(PHOTOS) - len(taken)


def test_a_photo_that_is_named_is_taken_whatever_the_patterns_say(album):
    assert planned("in/a.png", "in/scans", exclude=("*.png",))[0] == ["a.png", "scans/old/c.jpg"]


def test_shares_are_disjoint_and_together_all_whatever_the_photos_hold(album):
    for number in range(200):
        Path(f"in/{number}.png").write_bytes(b"x")
    whole, _ = planned("in")
    shares = [planned("in", shard=parse_shard(f"{number}/7"))[0] for number in range(1, 8)]
    assert Counter(name for share in shares for name in share) == Counter(whole)
    assert min(map(len, shares)) > 10
    for path in Path("in").glob("*.png"):
        path.write_bytes(b"another")
    assert planned("in", shard=parse_shard("3/7"))[0] == shares[2]


def test_the_share_of_a_name_is_the_same_on_every_machine_and_in_either_form_of_its_accents():
    shards = [parse_shard(f"{number}/16") for number in range(1, 17)]
    assert [shard.number for shard in shards if shard.holds(Path("scans/b"))] == [1]
    for composed, apart in [("é", "é"), ("Й", "Й")]:
        assert [s.holds(Path(composed)) for s in shards] == [s.holds(Path(apart)) for s in shards]


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ConfigError, match=rf"--shard is '{text}'; give K/N with K from 1 to N, such as 3/16"):
        parse_shard(text)


def test_files_that_are_left_out_are_counted_by_kind():
    names = ["a.heic", "b.HEIF", "c.svg", "d.mov", "e.mp4", "f.x3f", "g.txt", "README"]
    found = kinds_of(map(Path, names), lacks=lambda format: "pip it" if format == "HEIF" else None)
    assert found == "2 HEIC (to read them: pip it), 2 videos, 1 SVG, 1 camera raw, 1 .txt, 1 without a suffix"


def test_what_is_left_out_of_a_folder_is_told_by_kind(album, capsys):
    for name in ("x.pdf", "y.PDF", "z.svg"):
        Path("in", name).write_bytes(b"x")
    assert main(["enhance", "in", "-o", "out", "--exclude", "thumbs", "-r"]) == 0
    out = capsys.readouterr().out
    assert "left out: 2 PDF, 1 SVG\n" in out
    assert "left out by --include and --exclude: 1 (d.png)\n" in out


@pytest.mark.parametrize(
    "data", [b"in/a.png\nin/scans\n", b"in/a.png\0in/scans\0", b"\xef\xbb\xbfin/a.png\r\nin/scans"]
)
def test_listed_photos_keep_their_paths_in_the_output(album, monkeypatch, data):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert main(["enhance", "--files-from", "-", "-r", "-o", "out"]) == 0
    results = sorted(
        path.relative_to("out").as_posix() for path in Path("out").rglob("*.*") if path.name != FILE
    )
    assert results == ["in/a.png", "in/scans/b.png", "in/scans/old/c.jpg"]


def test_the_place_of_a_listed_photo_depends_on_no_other(album):
    elsewhere = Path("/somewhere/a.png")
    assert planned(listed=(Path("in/../in/a.png"), Path("in/a.png").absolute(), elsewhere))[0] == [
        "in/a.png",
        "somewhere/a.png",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no photo is given; name photos or directories, or give a list with --files-from"),
        (
            ["--files-from", "none.txt"],
            "--files-from 'none.txt' cannot be read: No such file or directory; give a list",
        ),
        (["--files-from", "empty.txt"], "no photo is given; 'empty.txt' lists none; name photos"),
        (["-", "--files-from", "-"], "standard input cannot be both a photo and --files-from; give a file"),
        (["in", "--sheet", "s.jpg", "--shard", "1/2"], "leave out --shard"),
    ],
)
def test_what_lists_no_photos_is_refused(album, capsys, words, said):
    Path("empty.txt").write_bytes(b"\n\n")
    assert main(["enhance", *words, "-q"]) == 2
    assert said in capsys.readouterr().err


def test_what_an_earlier_run_has_written_is_never_restored_again(album, capsys):
    words = ["-r", "--compare", "--save-faces", "out/faces"]
    assert main(["enhance", "in", "-o", "out", "-q", *words]) == 0
    Path("out/mine.png").write_bytes(Path("in/a.png").read_bytes())
    for inputs in ("out", "out/scans", "."):
        capsys.readouterr()
        assert main(["enhance", inputs, "-o", f"again/{inputs}", "-r", "--dry-run"]) in (0, 1)
        assert "/scans/b.png -> " not in capsys.readouterr().out.replace("in/scans/b.png", "")
    assert main(["enhance", "out", "-o", "again", "-r"]) == 0
    out = capsys.readouterr().out
    assert "left out: 20 results of earlier runs (" in out
    assert "out/mine.png: 1 face" in out
    assert main(["enhance", "out/a.png", "-o", "again"]) == 0  # named, it is meant


def test_a_damaged_journal_among_the_photos_is_told(album, capsys):
    Path("in/scans", FILE).write_bytes(b"no database at all" * 100)
    assert main(["enhance", "in", "-o", "out", "-r"]) == 1
    assert (
        "scans/.facerestore-journal' is damaged (file is not a database); remove it"
        in capsys.readouterr().err
    )
