"""The altered files of benchmarks/fuzz, some hundred of them in this process, and the program that runs many."""

import sys

import pytest

from benchmarks.fuzz import __main__ as fuzz
from benchmarks.fuzz.corpus import RECORDS
from benchmarks.fuzz.mutation import mutant
from benchmarks.fuzz.worker import corpus, outcome

PICTURES = (".jpg", ".png", ".tif", ".bmp", ".webp")


@pytest.fixture(scope="module")
def pictures():
    return corpus(PICTURES)


def test_every_picture_of_the_corpus_is_read(pictures):
    assert len(pictures) > 40
    assert {name: outcome(name, data) for name, data in pictures} == {name: "read" for name, _ in pictures}


def test_altered_pictures_are_read_or_refused_in_silence(pictures, capfd):
    contents = [data for _, data in pictures]
    for number in range(400):
        index, data = mutant(contents, 3, number)
        found = outcome(pictures[index][0], data)
        assert found in ("read", "refused"), (number, pictures[index][0], found)
    assert capfd.readouterr() == ("", "")


def test_a_mutant_is_made_again_from_its_number(pictures):
    contents = [data for _, data in pictures]
    made = [mutant(contents, 1, number) for number in range(20)]
    assert made == [mutant(contents, 1, number) for number in range(20)]
    assert made != [mutant(contents, 2, number) for number in range(20)]


def test_what_leaves_the_tree_is_named_with_its_place(monkeypatch):
    def fail(_):
        raise AssertionError("not so")

    monkeypatch.setattr("benchmarks.fuzz.worker.TARGETS", {".png": fail})
    assert outcome("a.png", b"").startswith("AssertionError at test_fuzz.py:")


def test_totals_tell_what_was_found_and_fail(capsys):
    totals = fuzz.Totals()
    totals.add(0, "a.png", 0.5, "read")
    assert fuzz.tell(totals) == 0
    totals.add(1, "b.png", 5.0, "KeyError at x")
    assert fuzz.tell(totals) == 1
    assert "KeyError at x  (first: 1, of b.png)" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory and processor time as Linux does")
def test_the_program_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--mutants", "30", "--only", ".bmp"])
    assert fuzz.main() == 0
    assert "30 mutants" in capsys.readouterr().out


@pytest.fixture(scope="module")
def records():
    return corpus([f".{name}" for name in RECORDS])


def test_every_record_of_the_corpus_is_read_but_weights_of_a_wrong_size_and_runs_without_checkpoints(records):
    refused = {name for name, data in records if outcome(name, data) == "refused"}
    assert {outcome(name, data) for name, data in records} == {"read", "refused"}
    assert refused == {f"example.{name}" for name in ("settled", "settings", "weights", "zip", "legacy")}


@pytest.mark.parametrize("name", RECORDS)
def test_altered_records_are_read_or_refused(records, name):
    example = next(data for own, data in records if own == f"example.{name}")
    for number in range(30):
        found = outcome(f"x.{name}", mutant([example], 5, number)[1])
        assert found in ("read", "refused"), (number, found)
