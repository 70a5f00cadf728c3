"""The commands colorize, inpaint and synthesize, with a tiny network of random weights in the official format."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, photo
from PIL import Image as PillowImage
from written import names

from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.cli.app import main
from facerestore.config import COLORIZE_MASK
from facerestore.face_parts import CLASS_COLOURS
from facerestore.io import read_image, write_image
from facerestore.parsing import PALETTE
from facerestore.parsing.damage import DamageFinder
from facerestore.pipeline.installed import ChosenWeights
from facerestore.pipeline.tasks.damage import FoundDamage
from facerestore.types import DecodedImage
from facerestore.weights.checkpoint import save_state_dict

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_state_dict(
        path.with_suffix(".safetensors"),
        GPENGenerator(GPENConfig(64, style_dim=8, mapping_layers=2, narrow=1 / 64)).state_dict(),
    )
    return str(path.with_suffix(".safetensors"))


@pytest.fixture
def folder(tmp_path, monkeypatch, use_detector):
    """Work in a folder with two grey photos, each with a face at a known place."""
    monkeypatch.chdir(tmp_path)
    use_detector(FakeDetector(face_at(20, 24, size=96)))
    for seed, name in enumerate(("a.png", "b.png")):
        values = photo(140, 160, seed=seed).pixels[..., 0]
        write_image(name, DecodedImage(np.repeat(values[..., None], 3, axis=2), grey=True))
    return tmp_path


def write_mask(path, *, shape=(140, 160), box=(60, 60, 75, 70)):
    mask = np.zeros((*shape, 3), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(exist_ok=True)
    write_image(path, DecodedImage(mask))


def test_colorize_writes_a_colour_file_with_the_luma_of_the_photo(folder, tiny, capsys):
    assert main(["colorize", "a.png", "--weights", tiny, "--compare", "--save-faces", "faces"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "colouring with" in out
    assert "a.png: 1 face, 1 coloured, 0 kept" in out
    assert "1 photo: 1 face, 1 coloured, 0 kept, 0 failed" in out
    assert names(folder) == [
        "a.png",
        "a_colorized.png",
        "a_colorized_compare.jpg",
        "b.png",
        "faces/a_colorized_face0_after.png",
        "faces/a_colorized_face0_before.png",
    ]
    before, after = read_image("a.png"), read_image("a_colorized.png")
    assert (before.grey, after.grey) == (True, False)
    assert np.abs(after.pixels @ LUMA - before.pixels @ LUMA).max() <= 0.51
    assert np.ptp(after.pixels.astype(int), axis=2).max() > 20


def test_flags_and_the_file_reach_the_colouring(folder, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr("facerestore.cli.photos.execute", lambda request: seen.append(request) or 0)
    (folder / "c.toml").write_text('[restore]\nmask = "face"\nstrength = 0.3\n[output]\nquality = 50\n')
    assert main(["colorize", "a.png", "--weights", tiny]) == 0
    assert (
        main(["colorize", "a.png", "--config", "c.toml", "--strength", "0", "--threads", "0", "--force"]) == 0
    )
    assert main(["colorize", "a.png", "--config", "c.toml", "--mask", "face,hair", "--offline", "-q"]) == 0
    assert main(["inpaint", "a.png", "--strokes", "--no-colour-match", "--save-damaged", "d", "-vv"]) == 0
    first, second, third, fourth = seen
    assert (first.restore.mask, first.restore.strength, first.restore.weights) == (COLORIZE_MASK, 1.0, tiny)
    assert (second.restore.mask, second.restore.strength, second.restore.force) == ("face", 0.0, True)
    assert second.files.quality == 50
    assert (third.restore.mask, third.restore.offline, third.verbosity) == ("face,hair", True, -1)
    assert (fourth.restore.colour_match, fourth.files.save_damaged, fourth.verbosity) == (False, "d", 2)


def test_each_command_says_which_weights_it_needs(folder, capsys):
    for command, weights in ((["synthesize", "a.png"], "gpen.seg2face-512"),):
        assert main(command) == 4
        assert f"facerestore weights download {weights}" in capsys.readouterr().err
        assert main([*command, "--dry-run"]) == 4
        assert main(["enhance", "a.png", "--weights", weights]) == 2
        assert f"'facerestore {command[0]}'" in capsys.readouterr().err
        assert main([command[0], "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"facerestore weights download {weights}" in shown
        assert "not for commercial use" in shown
        assert "Examples:" in shown


def test_inpaint_takes_a_mask_or_a_folder_of_masks(folder, tiny, capsys):
    write_mask(folder / "masks/a.png")
    assert main(["inpaint", "a.png", "--mask", "masks/a.png", "--weights", tiny, "--report", "r.json"]) == 0
    out = capsys.readouterr().out
    assert "filling with" in out
    assert "1 face, 1 filled, 0 kept" in out
    before, after = read_image("a.png").pixels, read_image("a_inpainted.png").pixels
    changed = (before != after).any(axis=2)
    assert changed[60:70, 60:75].mean() > 0.8
    assert not changed[:50].any()
    assert not changed[:, 90:].any()
    (row,) = json.loads((folder / "r.json").read_text())["photos"]
    assert (row["task"], row["filled"]["share_left"]) == ("inpaint", 0.0)
    assert main(["inpaint", "a.png", "b.png", "--mask", "masks", "-o", "out", "--weights", tiny]) == 3
    out, err = capsys.readouterr()
    assert "'b.png' has no mask in 'masks'" in err
    assert (folder / "out/a.png").read_bytes() == (folder / "a_inpainted.png").read_bytes()
    assert not (folder / "out/b.png").exists()
    assert main(["inpaint", "a.png", "b.png", "--mask", "masks", "--weights", tiny, "--dry-run"]) == 0
    assert "b.png -> b_inpainted.png (would fail: 'b.png' has no mask" in capsys.readouterr().out


def test_an_empty_mask_leaves_the_file_byte_for_byte(folder, tiny, capsys):
    write_mask(folder / "mask.png", box=(0, 0, 0, 0))
    assert main(["inpaint", "a.png", "--mask", "mask.png", "--weights", tiny]) == 0
    assert (folder / "a_inpainted.png").read_bytes() == (folder / "a.png").read_bytes()
    assert "nothing in this face is damaged" in capsys.readouterr().out


def test_strokes_repeat_and_can_be_looked_at(folder, tiny):
    def run(target, *flags):
        assert (
            main(["inpaint", "a.png", "b.png", "-o", target, "--strokes", "--weights", tiny, "-q", *flags])
            == 0
        )
        return [(folder / target / name).read_bytes() for name in ("a.png", "b.png")]

    first = run("one", "--seed", "4", "--save-damaged", "damaged", "--compare")
    assert run("two", "--seed", "4") == first
    assert run("three")[0] != first[0]
    damaged, photo_a = read_image("damaged/a_damaged.png").pixels, read_image("a.png").pixels
    white = (damaged == 255).all(axis=2)
    assert white.any()
    assert np.array_equal(damaged[~white], photo_a[~white])
    other = (read_image("damaged/b_damaged.png").pixels == 255).all(axis=2)
    assert not np.array_equal(white, other)
    assert (folder / "one/a_compare.jpg").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mask", "m.png", "--strokes"], "exclude each other"),
        (["--mask", "m.png", "--seed", "1"], "--seed is for --strokes"),
        (["--mask", "none.png"], "'none.png' does not exist"),
    ],
)
def test_inpaint_is_told_one_thing_of_what_is_damaged(folder, tiny, capsys, flags, message):
    write_mask(folder / "m.png")
    assert main(["inpaint", "a.png", "--weights", tiny, *flags]) == 2
    assert message in capsys.readouterr().err
    assert "_inpainted" not in "".join(names(folder))


@pytest.fixture
def white_is_damage(monkeypatch):
    """Let what is white in a face be found as its damage."""

    class WhiteFinder:
        place, accelerated, inputs, fixed_batch = "here", False, ("float32",), 0

        def run(self, faces):
            return [(faces.min(axis=-1) > 0.95).astype(np.float32)]

    found = FoundDamage(DamageFinder(WhiteFinder(), face_size=64), "white.test")
    monkeypatch.setattr("facerestore.pipeline.choose._damage_finder", lambda config, store: ChosenWeights())
    for room in ("facerestore.pipeline.build", "facerestore.pipeline.tasks.build"):
        monkeypatch.setattr(f"{room}.build_damage_finder", lambda *given, **options: found)


def scratched(path):
    """Draw a white scratch into the face of a photo; return where it is."""
    image = read_image(path)
    pixels = image.pixels.copy()
    pixels[60:64, 55:80] = 255
    write_image(path, DecodedImage(pixels), overwrite=True)
    return (pixels == 255).all(axis=2)


@pytest.mark.usefixtures("white_is_damage")
def test_inpaint_finds_what_is_damaged_and_fills_it_offline(folder, capsys):
    sound, holes = (folder / "b.png").read_bytes(), scratched(folder / "a.png")
    flags = ["--weights", "telea", "-o", "out", "--save-damaged", "found", "--json"]
    assert main(["inpaint", "a.png", "b.png", *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    one, other = report["photos"]
    assert (one["backend"], one["filled"]["source"], one["restored"]) == ("telea", "found by white.test", 1)
    assert (read_image("out/a.png").pixels[holes] == 255).all(axis=1).mean() < 0.1
    assert (read_image("found/a_damaged.png").pixels[holes] == 255).all()
    assert other["kept"] == {"undamaged": 1}
    assert (folder / "out/b.png").read_bytes() == sound
    assert not (folder / "found/b_damaged.png").exists()


@pytest.mark.usefixtures("white_is_damage")
def test_enhance_repairs_first_where_it_is_asked_to(folder, capsys):
    holes = scratched(folder / "a.png")
    flags = ["--repair", "--save-damaged", "found", "--report", "r.json", "--strength", "0"]
    assert main(["enhance", "a.png", "-o", "repaired.png", *flags]) == 0
    assert "face 0: damage in" in capsys.readouterr().out
    assert (read_image("repaired.png").pixels[holes] == 255).all(axis=1).mean() < 0.1
    assert (read_image("found/a_damaged.png").pixels[holes] == 255).all()
    (row,) = json.loads((folder / "r.json").read_text())["photos"]
    assert (row["restored"], row["repair"]["faces"], row["faces"][0]["repaired"] > 0) == (0, 1, True)
    assert main(["enhance", "a.png", "-o", "again.png", "--save-damaged", "found"]) == 2
    assert "--save-damaged shows what --repair finds" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["inpaint", "a.png"], ["enhance", "a.png", "--repair"]])
def test_without_a_network_that_finds_damage_it_is_said_what_to_do(folder, capsys, monkeypatch, command):
    assert main([*command, "--damage-finder", "none.safetensors"]) == 4
    assert "none.safetensors" in capsys.readouterr().err
    assert main([*command, "--damage-finder", "lite.clean-256"]) == 2
    assert "not 'damage'" in capsys.readouterr().err
    monkeypatch.setattr("facerestore.pipeline.choose.best", lambda *given, **options: ChosenWeights())
    assert main(command) == 4
    assert "facerestore train damage" in capsys.readouterr().err


def test_a_mask_of_another_size_fails_its_photo(folder, tiny, capsys):
    write_mask(folder / "m.png", shape=(140, 150))
    assert main(["inpaint", "a.png", "--mask", "m.png", "--weights", tiny]) == 1
    assert "150 x 140 pixels, the photo 160 x 140" in capsys.readouterr().err


def test_synthesize_draws_a_face_from_every_kind_of_map(folder, tiny, capsys):
    ids = np.ones((100, 100), np.uint8)
    ids[:30] = 13
    write_image("colours.png", DecodedImage(PALETTE[ids]))
    write_image("ids.png", DecodedImage(np.repeat(ids[..., None], 3, axis=2), grey=True))
    picture = PillowImage.frombytes("P", (100, 100), ids.tobytes())
    picture.putpalette([value for index in range(19) for value in (index, 200, index)])
    picture.save("indexed.png")
    maps = ["colours.png", "ids.png", "indexed.png"]
    assert main(["synthesize", *maps, "-o", "faces", "--weights", tiny, "--compare"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "ids.png: 1 face, 1 synthesized, 0 kept" in out
    drawn = [read_image(folder / "faces" / name) for name in maps]
    assert [image.grey for image in drawn] == [False] * 3
    assert drawn[0].pixels.shape == (64, 64, 3)
    assert all(np.array_equal(image.pixels, drawn[0].pixels) for image in drawn)
    assert main(["synthesize", "colours.png", "--weights", tiny]) == 0
    assert (folder / "colours_synthesized.png").exists()


def test_masks_and_saved_pictures_among_the_photos_are_no_photos(folder, tiny, capsys):
    for name in ("a", "b"):
        write_mask(folder / "masks" / f"{name}.png")
    arguments = ["inpaint", ".", "-r", "--mask", "masks", "--weights", tiny, "-o", "out", "--overwrite"]
    for _ in range(2):  # the second time, the pictures that the first one saved are there
        assert main([*arguments, "--save-damaged", "damaged", "--save-faces", "faces"]) == 0
        assert "2 photos: 2 faces, 2 filled" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png"]


def test_synthesize_names_a_colour_that_is_no_class(folder, tiny, capsys):
    pixels = np.full((64, 64, 3), CLASS_COLOURS[1], np.uint8)
    pixels[5:8, 5] = (0, 10, 200)
    write_image("map.png", DecodedImage(pixels))
    assert main(["synthesize", "map.png", "--weights", tiny]) == 1
    err = capsys.readouterr().err
    assert "the colour (0, 10, 200), which is no class, at 3 pixels" in err
    assert "nearest to it is hair (0, 0, 204)" in err
    assert main(["synthesize", "--legend"]) == 0
    assert "13  (0, 0, 204)        #0000cc  hair" in capsys.readouterr().out


def test_tasks_take_standard_input_and_output(folder, tiny, monkeypatch):
    sent, received = (folder / "a.png").read_bytes(), io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(sent)))
    stdout = SimpleNamespace(buffer=received, isatty=lambda: False, flush=lambda: None, write=lambda _: 0)
    monkeypatch.setattr("sys.stdout", stdout)
    assert main(["inpaint", "-", "-o", "-", "--strokes", "--weights", tiny, "-q"]) == 0
    assert PillowImage.open(io.BytesIO(received.getvalue())).size == (160, 140)
    assert main(["inpaint", "a.png", "-o", "-", "--strokes", "--save-damaged", "d", "--weights", tiny]) == 2


def test_results_of_earlier_runs_are_left_out(folder, tiny, capsys):
    assert main(["colorize", ".", "--weights", tiny]) == 0
    assert main(["colorize", ".", "--weights", tiny, "--skip-existing"]) == 0
    assert "left out: 2 results of earlier runs" in capsys.readouterr().out
    assert names(folder) == ["a.png", "a_colorized.png", "b.png", "b_colorized.png"]
