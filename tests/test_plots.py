"""Plots: axes that hold the points, names that do not lie on each other, and a picture that shows the lines."""

import numpy as np
import pytest
from PIL import Image

from facerestore.errors import ConfigError, ImageError
from facerestore.pictures.plots import (
    COLOURS,
    PANEL_PX,
    Axis,
    Line,
    Plot,
    plain,
    plots_picture,
    spread_apart,
    write_plots,
)

GROWTH = Plot(
    "seconds by megapixels",
    "megapixels",
    (Line("all", ((1.0, 0.1), (100.0, 10.0))), Line("decode", ((1.0, 0.01), (100.0, 1.0)))),
    log_x=True,
    log_y=True,
)


def near(picture, colour, tolerance=40):
    return (np.abs(picture.astype(int) - colour).max(axis=2) < tolerance).sum()


def test_shares_of_an_axis_are_of_its_length_or_its_factors():
    assert Axis(0, 10).share(5) == 0.5
    assert Axis(1, 100, logarithmic=True).share(10) == pytest.approx(0.5)


def test_logarithmic_ticks_are_powers_of_ten_or_finer_where_these_are_too_few():
    assert Axis(0.5, 200, logarithmic=True).ticks() == [1, 10, 100]
    assert Axis(3, 60, logarithmic=True).ticks() == [5, 10, 20, 50]
    assert Axis(0.005, 0.06, logarithmic=True).fine_ticks()[:3] == [0.005, 0.006, 0.007]
    assert Axis(0, 9).fine_ticks() == []


def test_numbers_are_written_as_people_write_them():
    written = [plain(value) for value in (0, 0.00002, 0.5, 0.1 + 0.2, 12.0, 100, 1000, 1234567.0)]
    assert written == ["0", "0.00002", "0.5", "0.3", "12", "100", "1,000", "1,234,567"]


def test_few_places_are_named_each_as_far_as_there_is_room():
    assert GROWTH.named_places() == [1, 100]
    close = Plot("t", "x", (Line("a", ((1.0, 1.0), (1.1, 1.0), (100.0, 1.0))),))
    assert close.named_places() == [1, 100]
    many = Plot("t", "x", (Line("a", tuple((float(x), 1.0) for x in range(11))),))
    assert many.named_places() == many.axes()[0].ticks()


@pytest.mark.parametrize("bounds", [(1, 1, False), (0, 1, True), (2, 1, False)])
def test_empty_axes_are_refused(bounds):
    with pytest.raises(ConfigError, match="cannot be drawn"):
        Axis(*bounds)


def test_axes_hold_all_points_and_values_begin_at_zero():
    x, y = Plot("memory", "faces", (Line("process", ((1.0, 500.0), (9.0, 700.0))),)).axes()
    assert x.low < 1 < 9 < x.high
    assert y.low == 0
    assert y.high > 700


@pytest.mark.parametrize("point", [(1.0, 3.0), (0.0, 0.0)])
def test_a_single_point_is_drawn(point):
    picture = plots_picture([Plot("one", "x", (Line("a", (point,)),))])
    assert near(picture, COLOURS[0]) > 20


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ConfigError, match="has no points"):
        Plot("empty", "x", (Line("a", ()),))
    with pytest.raises(ConfigError, match="cannot show 0"):
        Plot("zero", "x", (Line("a", ((0.0, 1.0),)),), log_x=True).axes()
    with pytest.raises(ConfigError, match="no plot"):
        plots_picture([])


def test_the_picture_shows_each_line_in_its_colour():
    picture = plots_picture([GROWTH, GROWTH, GROWTH])
    assert picture.shape[0] > 2 * PANEL_PX[1]
    assert picture.shape[1] > 2 * PANEL_PX[0]
    assert near(picture, COLOURS[0]) > 300
    assert near(picture, COLOURS[1]) > 300


def test_names_are_moved_apart_and_others_stay():
    moved = spread_apart([100.0, 11.0, 10.0, 10.0], 8.0)
    assert moved[0] == 100.0
    inner = sorted(moved[1:])
    assert np.diff(inner).min() > 7.9
    assert np.mean(inner) == pytest.approx(np.mean([11, 10, 10]), abs=0.1)


def test_plots_are_written_whole_as_png(tmp_path):
    path = write_plots(tmp_path / "new" / "plots.png", [GROWTH])
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
    assert [found.name for found in path.parent.iterdir()] == ["plots.png"]
    with pytest.raises(ImageError, match="written as PNG"):
        write_plots(tmp_path / "plots.svg", [GROWTH])
