"""Plots: what cannot be drawn is refused, and a picture that shows the lines."""

import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.plots import PANEL_INCHES, Line, Plot, write_plots
from facerestore.errors import ConfigError, ImageError
from facerestore.pictures.plots import DOTS_PER_INCH

GROWTH = Plot(
    "seconds by megapixels",
    "megapixels",
    (Line("all", ((1.0, 0.1), (100.0, 10.0))), Line("decode", ((1.0, 0.01), (100.0, 1.0)))),
    log_x=True,
    log_y=True,
)
FIRST_COLOURS = (31, 119, 180), (255, 127, 14)
"""matplotlib's own."""


def near(picture, colour, tolerance=40):
    return (np.abs(picture.astype(int) - colour).max(axis=2) < tolerance).sum()


def drawn(path, plots):
    with Image.open(write_plots(path / "plots.png", plots)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("point", [(1.0, 3.0), (0.0, 0.0)])
def test_a_single_point_is_drawn(point, tmp_path):
    picture = drawn(tmp_path, [Plot("one", "x", (Line("a", (point,)),))])
    assert near(picture, FIRST_COLOURS[0]) > 20


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'empty' has no points"):
        Plot("empty", "x", (Line("a", ()),))
    with pytest.raises(ConfigError, match="cannot show 0"):
        Plot("zero", "x", (Line("a", ((0.0, 1.0),)),), log_x=True)
    with pytest.raises(ConfigError, match="no plot"):
        write_plots(tmp_path / "plots.png", [])


def test_the_picture_shows_each_line_in_its_colour(tmp_path):
    picture = drawn(tmp_path, [GROWTH, GROWTH, GROWTH])
    assert picture.shape[:2] == tuple(round(2 * side * DOTS_PER_INCH) for side in reversed(PANEL_INCHES))
    for colour in FIRST_COLOURS:
        assert near(picture, colour) > 300


def test_plots_are_written_whole_as_png(tmp_path):
    path = write_plots(tmp_path / "new" / "plots.png", [GROWTH])
    assert [found.name for found in path.parent.iterdir()] == ["plots.png"]
    assert write_plots(tmp_path / "again.png", [GROWTH]).read_bytes() == path.read_bytes()
    with pytest.raises(ImageError, match=r"plots\.png"):
        write_plots(tmp_path / "plots.svg", [GROWTH])


def test_without_matplotlib_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r'matplotlib.*pip install "facerestore\[train\]"'):
        write_plots(tmp_path / "plots.png", [GROWTH])
