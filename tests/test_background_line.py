"""The background on the whole line: pipeline, configuration, library call and command."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from fakes import Brightener, FakeDetector, face_at, photo, trial_photo
from PIL import Image

from facerestore import RestoreConfig, build_pipeline, restore
from facerestore.archs.rrdb import RRDBNet
from facerestore.cli.app import main
from facerestore.cli.terminal import Terminal
from facerestore.config import load_config
from facerestore.errors import ConfigError, WeightsError
from facerestore.imaging.blending import paste_faces
from facerestore.imaging.pixels import resize_image
from facerestore.io import read_mark
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import BACKGROUND
from facerestore.pipeline.load import build_upsampler
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights import WeightsStore
from facerestore.weights import store as stores


class Inverter:
    """An upsampler that cannot be overlooked: the negative, resized by repeating."""

    name = "negative.x2"
    scale = 2

    def upsample(self, pixels, size, *, on_tile=None):
        limit = np.iinfo(pixels.dtype).max
        rows = np.arange(size[1]) * pixels.shape[0] // size[1]
        columns = np.arange(size[0]) * pixels.shape[1] // size[0]
        if on_tile is not None:
            on_tile(1, 1)
        return (limit - pixels)[rows][:, columns]


def line(*faces, restorer=None, background=None, **options):
    return RestorePipeline(
        FakeDetector(*faces),
        restorer or Brightener(),
        config=RestoreConfig(**options),
        facts=PipelineFacts(weights="brightener.test"),
        background=background or Inverter(),
    )


def weights_file(folder, *, scale=2):
    torch.manual_seed(0)
    network = RRDBNet(scale=scale, width=8, blocks=1, growth=4)
    torch.save({"params_ema": network.state_dict()}, folder / "network.pth")
    return folder / "network.pth"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("upscale", [1.0, 2.0])
def test_faces_are_pasted_on_the_background_and_the_rest_is_it_bit_for_bit(dtype, upscale):
    image = photo(dtype=dtype)
    pipeline = line(face_at(40, 30), upscale=upscale, force=True)
    result = pipeline.run(image)
    size = (round(200 * upscale), round(120 * upscale))
    canvas = Inverter().upsample(image.pixels, size)
    assert result.image.pixels.dtype == dtype
    assert result.image.pixels.shape == canvas.shape
    changed = (result.image.pixels != canvas).any(axis=2)
    face = slice(round(30 * upscale), round(94 * upscale)), slice(round(40 * upscale), round(104 * upscale))
    assert changed[face].mean() > 0.2
    changed[face] = False
    assert not changed.any()
    assert result.report["background"] == {
        "name": "negative.x2",
        "scale": 2,
        "note": "pixels outside the restored faces were upsampled by negative.x2",
    }
    assert result.report["stage_seconds"]["background"] >= 0
    assert "background negative.x2" in pipeline.description


def test_kept_faces_and_photos_without_faces_are_the_background_too():
    image = photo()
    canvas = Inverter().upsample(image.pixels, (200, 120))
    for pipeline in (line(), line(face_at(40, 30), strength=0.0), line(face_at(40, 30), faces="9")):
        np.testing.assert_array_equal(pipeline.run(image).image.pixels, canvas)


def test_without_a_background_the_report_says_none_and_the_photo_is_the_very_one():
    image = photo()
    result = RestorePipeline(FakeDetector(), Brightener()).run(image)
    assert result.image is image
    assert result.report["background"] is None


def test_alpha_is_resized_and_the_input_is_left_alone():
    alpha = np.random.default_rng(0).integers(0, 255, (120, 200), dtype=np.uint8)
    image = replace(photo(), alpha=alpha)
    before = image.pixels.copy()
    result = line(face_at(40, 30), upscale=2.0, force=True).run(image)
    np.testing.assert_array_equal(result.image.alpha, resize_image(alpha, 2.0))
    np.testing.assert_array_equal(image.pixels, before)


def test_an_aligned_photo_is_mixed_with_its_background():
    image = photo(64, 64)
    config = {"aligned": True, "upscale": 2.0, "force": True}
    half = line(strength=0.5, **config).run(image).image.pixels.astype(int)
    canvas = Inverter().upsample(image.pixels, (128, 128)).astype(int)
    full = line(**config).run(image).image.pixels.astype(int)
    assert np.abs(half - (canvas + full) / 2).max() <= 1


def test_a_canvas_of_another_size_or_depth_is_refused():
    pixels = photo().pixels
    for canvas in (np.zeros((10, 10, 3), np.uint8), np.zeros((240, 400, 3), np.uint16)):
        with pytest.raises(ConfigError, match=r"the background is uint.*the photo enlarged 2 times is uint8"):
            paste_faces(pixels, [], upscale=2, canvas=canvas)


def test_tiles_are_told_to_who_asks():
    pipeline, told = line(), []
    pipeline.run(photo(), on_progress=told.append)
    stages = ["detect", "judge", "parse", "restore", "background", "background", "blend"]
    assert [each.stage for each in told] == stages
    assert [(each.tile, each.tiles) for each in told if each.tiles] == [(1, 1)]
    assert [each.number for each in told] == [0, 1, 2, 3, 4, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fidelity": 1.5}, "fidelity is 1.5; give a number from 0"),
        ({"fidelity": float("nan")}, "fidelity is nan"),
        ({"tile": 64}, "tile is 64, but nothing is computed in tiles; give a background too"),
        ({"tile": 4, "background": "auto"}, "tile is 4; give 16 pixels or more"),
        ({"photo": True, "background": "auto"}, "short for the background lite.photo-x1, and auto was given"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RestoreConfig(**options)


def test_the_options_stand_in_a_configuration_file(tmp_path):
    (tmp_path / "c.toml").write_text('[restore]\nfidelity = 0.7\nbackground = "realesrnet.x2"\ntile = 128\n')
    config, _ = load_config(tmp_path / "c.toml", restore={"tile": 256})
    assert (config.fidelity, config.background, config.tile) == (0.7, "realesrnet.x2", 256)


def test_photo_is_short_for_the_network_that_ships(tmp_path):
    (tmp_path / "c.toml").write_text("[restore]\nphoto = true\n")
    config, _ = load_config(tmp_path / "c.toml", restore={"tile": 128})
    assert (config.background, config.tile) == ("lite.photo-x1", 128)
    assert RestoreConfig(photo=True, background="lite.photo-x1") == RestoreConfig(photo=True)
    assert RestoreConfig().background is None


def noisy(height=96, width=128):
    levels = np.linspace(60, 180, width)[None, :, None] + np.random.default_rng(0).normal(
        0, 12, (height, width, 3)
    )
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def blocky(pixels):
    """Return pixels as a JPEG of quality 30 keeps them."""
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


def psnr(found, real):
    return 10 * np.log10(255**2 / np.square(found.astype(np.float64) - real).mean())


@pytest.mark.parametrize("upscale", [1, 2])
def test_the_network_that_ships_brings_a_photo_nearer_to_the_real_one(upscale):
    real = cv2.GaussianBlur(trial_photo(), (0, 0), 1)[:192, :256]
    small = cv2.resize(real, (256 // upscale, 192 // upscale), interpolation=cv2.INTER_AREA)
    pixels = blocky(small)
    result = restore(pixels, photo=True, upscale=upscale, strength=0, device="cpu")
    cleaned = result.image.pixels
    assert cleaned.shape == real.shape
    assert psnr(cleaned, real) > psnr(resize_image(pixels, upscale), real) + 1
    assert np.abs(cleaned.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 0.5
    assert result.report["background"] == {
        "name": "lite.photo-x1",
        "scale": 1,
        "note": "pixels outside the restored faces were cleaned by lite.photo-x1",
    }
    mark = read_mark(result.image.metadata.xmp)
    assert (mark.done, mark.background) == (("cleaned" if upscale == 1 else "enlarged",), "lite.photo-x1")
    sha256 = result.report["weights"]["background"]["sha256"]
    assert mark.weights == {"lite.photo-x1": sha256}
    assert sha256 == WeightsStore().entry("lite.photo-x1").sha256


def test_a_photo_without_faces_is_cleaned_by_the_command_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noisy()).save("a.png")
    assert main(["enhance", "a.png", "--photo", "--dry-run", "--device", "cpu"]) == 0
    assert "and clean the background with lite.photo-x1" in capsys.readouterr().out
    assert main(["enhance", "a.png", "--photo", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "about" not in told
    assert "pixels outside the restored faces were cleaned by lite.photo-x1" in told
    with Image.open("a_restored.png") as result:
        assert not np.array_equal(np.asarray(result), noisy())
    assert main(["verify", "a.png", "a_restored.png"]) == 0
    assert "1 area of 100.00% of the pixels" in capsys.readouterr().out
    assert main(["colorize", "a.png", "--background", "lite.photo-x1"]) == 2
    assert main(["enhance", "a.png", "--weights", "lite.photo-x1"]) == 2


def test_a_background_is_chosen_by_file_by_name_or_the_best_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "packaged", lambda file: None)
    store = WeightsStore(tmp_path / "home", offline=True)
    path = weights_file(tmp_path)

    def chosen(name):
        return choose(BACKGROUND, RestoreConfig(background=name), store)

    assert (
        build_upsampler(chosen(str(path)), RestoreConfig(background="auto", tile=32), device="cpu").tile_px
        == 32
    )
    assert chosen("auto").name == "lite.photo-x1"
    with pytest.raises(WeightsError, match=r"'realesrnet.x4' are not installed"):
        chosen("realesrnet.x4")
    with pytest.raises(WeightsError, match=r"file '.*nowhere.pth' does not exist"):
        chosen("nowhere.pth")
    with pytest.raises(
        ConfigError, match=r"'lite.clean-256' are for the purpose 'restore', not 'background'"
    ):
        chosen("lite.clean-256")
    store.import_file("realesrnet.x2", path)
    assert build_upsampler(chosen("auto"), RestoreConfig(), device="cpu").name == "realesrnet.x2"


def test_the_report_says_which_file_the_background_is_from(tmp_path):
    path = weights_file(tmp_path)
    config = RestoreConfig(background=str(path), tile=32, device="cpu")
    facts = build_pipeline(config, store=WeightsStore(tmp_path / "home", offline=True)).facts.background
    assert facts.weights == str(path)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.commercial_use is None
    store = WeightsStore(tmp_path / "home", offline=True)
    store.import_file("realesrnet.x2", path)
    facts = build_pipeline(replace(config, background="auto"), store=store).facts.background
    assert (facts.weights, facts.commercial_use) == ("realesrnet.x2", "no")
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    report = restore(photo(40, 50).pixels, background=str(path), tile=32, device="cpu").report
    assert report["weights"]["background"]["sha256"] == facts.sha256


def test_the_library_call_takes_a_background(tmp_path):
    pixels = photo(40, 50).pixels
    result = restore(pixels, background=str(weights_file(tmp_path)), tile=32, upscale=2, device="cpu")
    assert result.image.pixels.shape == (80, 100, 3)
    assert result.report["background"]["name"].endswith("network.pth")
    plain = restore(pixels, upscale=2, device="cpu").image.pixels
    assert not np.array_equal(result.image.pixels, plain)


def test_a_background_given_as_the_restorer_s_weights_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"network\.pth.*give it with --background"):
        build_pipeline(RestoreConfig(weights=str(weights_file(tmp_path))))


def test_a_backend_without_fidelity_says_so():
    with pytest.raises(ConfigError, match=r"backend 'lite' has no fidelity weight, and 0\.4 was given"):
        build_pipeline(RestoreConfig(backend="lite", fidelity=0.4))


def test_codeformer_s_fidelity_reaches_the_network_and_the_report(tmp_path):
    from facerestore.backends.codeformer import CodeFormerRestorer

    torch.save(CodeFormerRestorer.example_state_dict(), tmp_path / "codeformer.pth")
    reported = []
    for options in ({}, {"fidelity": 0.0}, {"fidelity": 0.9}):
        config = RestoreConfig(
            weights=str(tmp_path / "codeformer.pth"), aligned=True, force=True, guard=False, **options
        )
        result = build_pipeline(config).run(photo(64, 64))
        reported.append((result.report["fidelity"], result.image.pixels))
    assert [value for value, _ in reported] == [0.5, 0.0, 0.9]
    assert not np.array_equal(reported[1][1], reported[2][1])


def test_the_command_enlarges_and_reports_and_plans(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights_file(tmp_path)
    Image.fromarray(photo(40, 50).pixels).save("a.png")
    flags = ["--background", "network.pth", "--upscale", "2", "--device", "cpu"]
    assert main(["enhance", "a.png", *flags, "--dry-run"]) == 0
    assert ", and enlarge the background with network.pth; nothing is written" in capsys.readouterr().out
    assert main(["enhance", "a.png", *flags, "--tile", "16", "-o", "b.png", "--report", "r.json"]) == 0
    assert "background network.pth" in capsys.readouterr().out
    with Image.open("b.png") as result:
        assert result.size == (100, 80)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["photos"][0]["background"]["name"] == "network.pth"
    assert report["config"]["tile"] == 16


def test_the_bar_shows_how_far_a_step_is(monkeypatch):
    from test_cli_terminal import opened

    screen = opened(monkeypatch)
    terminal = Terminal()
    terminal.detail("nothing is shown yet")
    with terminal.steps(1) as begin:
        begin("[a].jpg")
        terminal.detail("background 3/8")
    assert "[a].jpg: background 3/8" in screen.getvalue()
    assert "nothing is shown yet" not in screen.getvalue()
