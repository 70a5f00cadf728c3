"""What the documentation shows is run and compared with what it says; what it names is there."""

import os
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import typer
from doc_blocks import blocks_of, run_page

import facerestore
from facerestore.cli.app import app
from facerestore.cli.commands import COMMANDS
from facerestore.extensions import forget_registered

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"
DOCS = REPOSITORY / "docs"
PAGES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")), *sorted(DOCS.glob("*.md"))]
RUN = [page for page in PAGES if any(block.language in ("console", "python") for block in blocks_of(page))]
LEFT_OUT = [(page.name, block.reason) for page in PAGES for block in blocks_of(page) if block.reason]


@pytest.fixture(autouse=True)
def _unregistered():
    yield
    forget_registered()


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_page_prints_what_it_says(page, tmp_path, monkeypatch):
    shutil.copy(EXAMPLES / "astronaut_degraded.jpg", tmp_path / "photo.jpg")
    shutil.copy(DOCS / "pictures" / "small_faces.jpg", tmp_path / "group.jpg")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "88")
    wrong = run_page(page, write="FACERESTORE_WRITE_DOCS" in os.environ)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(("page", "reason"), LEFT_OUT)
def test_block_that_is_not_run(page, reason):
    pytest.skip(f"an example of {page} is not run: {reason}")


def _commands_of(text):
    """Return the words of each command line and of each command in running text, without its comment."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    texts = [*lines, *re.findall(r"`(facerestore [^`]+)`", text)]
    parts = [part.strip() for line in texts for part in re.split(r"&&|\|", line.split("  #")[0])]
    return [part.split()[1:] for part in parts if re.match(r"facerestore [a-z-]", part)]


def _leaf(words):
    """Return the command that a command line calls; its names are taken from ``words``."""
    command = typer.main.get_command(app)
    while words and words[0].strip(",") in getattr(command, "commands", {}):
        command = command.commands[words.pop(0).strip(",")]
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_a_page_names_exist(page):
    for words in _commands_of(page.read_text(encoding="utf-8")):
        command = _leaf(words)
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, words


def test_guide_shows_every_command():
    shown = (DOCS / "guide.md").read_text(encoding="utf-8")
    whole = typer.main.get_command(app)
    for name in COMMANDS:
        for part in getattr(whole.commands[name], "commands", None) or [""]:
            assert f"facerestore {name} {part}".rstrip() in shown or name == "train", (name, part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_names_that_a_page_points_to_exist(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        assert "://" in link or (page.parent / link).exists(), link
    for path in re.findall(r"`([a-z]\w*/[\w./]*\w)`", prose):
        assert (REPOSITORY / path).exists() or (REPOSITORY / "facerestore" / path).exists(), path
    for name in re.findall(r"`(facerestore(?:\.\w+)+)`", prose):
        _import(name)


def test_reference_has_every_public_name():
    shown = re.findall(
        r"^::: facerestore\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(shown) == sorted(name for name in facerestore.__all__ if name != "__version__")


def _import(name):
    """Import what a dotted name points to, a module or something in one."""
    module, _, last = name.rpartition(".")
    try:
        import_module(name)
    except ModuleNotFoundError:
        assert hasattr(import_module(module), last), name


def test_two_commands_of_the_readme_name_the_example_and_the_tests():
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert "pip install . && facerestore enhance examples/astronaut_degraded.jpg" in lines
    assert 'pip install ".[test]" && pytest -n logical --dist loadfile' in lines
