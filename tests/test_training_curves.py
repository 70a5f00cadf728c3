"""The curves of a run: what gets a panel, and a picture that shows the values."""

import json

import numpy as np
import pytest
from PIL import Image, ImageColor
from test_plots import near

from facerestore.errors import ConfigError, ImageError
from facerestore.pictures.plots import write_figure
from facerestore.training.engine.curves import (
    BASELINE_COLOUR,
    METRIC_COLOUR,
    PANEL_INCHES,
    TERM_COLOUR,
    curves_figure,
    panels_of,
    plot_run,
    running_mean,
)

RECORDS = [
    {"step": 2, "rate": 1.0, "seconds": 1.0, "pixel": 0.5, "r1": 80.0, "gradient_norm/g": 3.0},
    {"step": 4, "rate": 0.5, "seconds": 2.0, "pixel": float("nan")},
    {"step": 4, "psnr_input": 20.0, "psnr": 21.0},
    {"step": 6, "rate": 0.1, "seconds": 3.0, "pixel": 0.1, "r1": 0.1},
    {"step": 6, "psnr_input": 20.0, "psnr": 23.0},
]


def test_metrics_come_first_and_stand_beside_the_inputs():
    psnr, pixel, r1 = panels_of(RECORDS)
    assert (psnr.title, pixel.title, r1.title) == ("psnr", "pixel", "r1")
    assert psnr.curve.values.tolist() == [21, 23]
    assert psnr.baseline.values.tolist() == [20, 20]
    assert pixel.curve.steps.tolist() == [2, 6]  # what is no number is left out


def test_an_input_metric_alone_is_a_metric():
    (only,) = panels_of([{"step": 1, "psnr_input": 20.0}])
    assert only.title == "psnr_input"


def pixels(panels, path):
    with Image.open(write_figure(path / "curves.png", curves_figure(panels))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_picture_shows_each_line_in_its_colour(tmp_path):
    picture = pixels(panels_of(RECORDS), tmp_path)
    assert picture.shape[1] >= 3 * 100 * PANEL_INCHES[0]
    for colour in (METRIC_COLOUR, TERM_COLOUR, BASELINE_COLOUR):
        assert near(picture, ImageColor.getrgb(colour)) > 100
    assert pixels(panels_of(RECORDS[:1]), tmp_path).shape[1] < picture.shape[1]


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9, 1e12])
def test_one_value_or_equal_values_are_drawn(value, tmp_path):
    records = [{"step": step, "rate": 1.0, "term": value} for step in (1, 2)]
    for several in (records, records[:1]):
        assert near(pixels(panels_of(several), tmp_path), ImageColor.getrgb(TERM_COLOUR)) > 0


def test_a_running_mean_keeps_a_line_and_smooths_a_zigzag():
    line = np.linspace(0, 1, 200)
    assert np.allclose(running_mean(line), line)
    zigzag = np.resize([0.0, 1.0], 400)
    assert np.abs(running_mean(zigzag)[20:-20] - 0.5).max() < 0.1


def test_a_run_is_drawn_to_a_file(tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    out = plot_run(tmp_path, tmp_path / "pictures" / "curves.png")
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    with pytest.raises(ImageError, match=r"written as PNG; give a name such as .*curves.png"):
        plot_run(tmp_path, tmp_path / "curves.svg")
    with pytest.raises(ConfigError, match="has no log of any step"):
        plot_run(tmp_path / "elsewhere", tmp_path / "curves.png")
    assert not (tmp_path / "elsewhere").exists()
