"""Damage that is found: what counts, what is filled and how, and repairing before restoring."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import Brightener, FakeDetector, face_at, photo, pipeline

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.batch import PhotoJob, run_jobs
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError, ConfigError
from facerestore.imaging.filling import fill
from facerestore.io import read_image, write_image
from facerestore.parsing.damage import DamageFinder, load_damage_finder
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.change import BARELY_LEVELS
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.repair import Repair
from facerestore.pipeline.repair import filling as line_that_fills
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.build import MaskPicture, build_colorizer, build_inpainter
from facerestore.pipeline.tasks.damage import CERTAIN, FoundDamage, certain
from facerestore.pipeline.tasks.inpaint import inpainting
from facerestore.testing.drawn_faces import trial_faces
from facerestore.types import DecodedImage

SIZE = 64
FACE = face_at(20, 24, size=96)


class WhiteFinder:
    """An engine that takes what is white for damage."""

    place, accelerated, inputs, fixed_batch = "here", False, ("float32",), 0

    def run(self, faces):
        return [(faces.min(axis=-1) > 0.9).astype(np.float32)]


class Filler(Restorer):
    """Gives back what it sees, a level of 255 ths brighter; it sees holes filled."""

    def __init__(self, brighter=0.0):
        self.descriptor = Descriptor(name="filler", face_size=SIZE, tasks=("inpaint",), sees_filled=True)
        self.brighter, self.seen = brighter, []

    def restore(self, faces, parsing_maps=None):
        self.seen += [face.lq for face in faces]
        return [np.clip(face.lq + np.float32(self.brighter), 0, 1) for face in faces]


def found():
    return FoundDamage(DamageFinder(WhiteFinder(), face_size=SIZE), "white.test")


def filling(source, restorer=None, *faces, **options):
    config = RestoreConfig(**{"mask": "whole", **options})
    facts = PipelineFacts(weights="filler.test", sha256="1" * 64)
    return RestorePipeline(
        FakeDetector(*faces), restorer or Filler(), config=config, facts=facts, procedure=inpainting(source)
    )


def smooth(height=140, width=160, *, dtype=np.uint8):
    """A photo of gentle slopes, which rims tell, with a white scratch in its face."""
    limit = np.iinfo(dtype).max
    down, across = np.mgrid[:height, :width]
    pixels = np.stack([down / height, across / width, (down + across) / (height + width)], axis=2)
    whole = np.rint((0.2 + 0.4 * pixels) * limit).astype(dtype)
    scratched = whole.copy()
    cv2.line(scratched, (50, 60), (80, 84), (limit,) * 3, 3)
    return DecodedImage(whole), DecodedImage(scratched)


def holes_of(image):
    return (image.pixels == np.iinfo(image.pixels.dtype).max).all(axis=2)


# --- filling from rims


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_holes_are_filled_from_their_rims_and_nothing_else_changes(dtype):
    whole, scratched = smooth(dtype=dtype)
    holes = holes_of(scratched)
    filled = fill(scratched.pixels, holes)
    assert np.array_equal(filled[~holes], scratched.pixels[~holes])
    limit = np.iinfo(dtype).max
    assert np.abs(filled[holes].astype(float) - whole.pixels[holes]).max() < 0.02 * limit
    assert filled is not scratched.pixels


def test_filling_hole_by_hole_is_filling_all_at_once():
    image = photo(60, 80)
    holes = np.zeros((60, 80), dtype=bool)
    holes[5:9, 5:40] = holes[20:30, 60:66] = holes[55:, :7] = True
    at_once = cv2.inpaint(image.pixels, holes.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    assert np.abs(fill(image.pixels, holes).astype(int) - at_once).max() <= 1


def test_a_picture_without_rims_stays_as_it_is():
    image = photo(20, 20)
    assert np.array_equal(fill(image.pixels, np.ones((20, 20), dtype=bool)), image.pixels)


# --- what counts as found


def test_what_is_likely_counts_where_it_hangs_together_with_what_is_certain():
    share = np.zeros((SIZE, SIZE), np.float32)
    share[30:34, 20:40] = 0.75
    assert not certain(share).any(), "likely alone"
    share[30, 30] = CERTAIN
    found = certain(share)
    assert found[30:34, 20:40].all()
    assert found.sum() < 7 * 22
    dot = np.zeros((256, 256), np.float32)
    dot[100:105, 100:105] = 1
    assert not certain(dot).any(), "a highlight in an eye"
    border = np.zeros((SIZE, SIZE), np.float32)
    border[:, 0] = 1
    assert not certain(border).any(), "a crop's border is not pasted"


def test_what_is_found_lies_where_the_damage_is():
    _, scratched = smooth(280, 320)
    holes, face = holes_of(scratched), face_at(20, 24, size=96)
    line = filling(found(), None, face)
    result = line.run(scratched)
    assert result.holes[holes].mean() > 0.9
    assert not (result.holes & (cv2.dilate(holes.astype(np.uint8), np.ones((13, 13))) == 0)).any()
    assert result.report["filled"]["source"] == "found by white.test"
    assert result.before is None, "the photo itself is what the result is compared with"


def test_a_finder_that_fails_or_gives_no_numbers_is_an_error():
    class Failing(WhiteFinder):
        def run(self, faces):
            raise RuntimeError("no room\nmore")

    class Infinite(WhiteFinder):
        def run(self, faces):
            return [np.full(faces.shape[:3], np.nan, np.float32)]

    crop = np.zeros((SIZE, SIZE, 3), np.float32)
    for engine, message in ((Failing(), "failed on here with 1 face: no room;"), (Infinite(), "not finite")):
        with pytest.raises(BackendError, match=message):
            DamageFinder(engine, face_size=SIZE).find([crop])


def test_the_bundled_finder_finds_a_crack_and_nothing_in_a_sound_face():
    finder = load_damage_finder(Path(__file__).parents[1] / "weights/damage_clean_256.safetensors")
    draw = np.random.default_rng(1)
    for face in trial_faces(256):
        sound = cv2.GaussianBlur(face.lq, (0, 0), 1)
        along = np.linspace((60, 70), (190, 200), 14) + draw.normal(0, 3, (14, 2))
        crack = cv2.polylines(np.zeros((256, 256), np.uint8), [along.astype(np.int32)], False, 1, 2) > 0
        before, after = finder.find([sound, np.where(crack[..., None], np.float32(0.95), sound)])
        assert not certain(before).any()
        assert certain(after)[crack].mean() > 0.9


# --- filling with a network that sees filled holes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [40, 96, 300])
def test_the_network_changes_what_fills_the_holes(dtype, size):
    image = photo(340, 340, dtype=dtype)
    mask = np.zeros((340, 340, 3), np.uint8)
    x = 20 + size // 2
    mask[x - 3 : x + 4, x - 5 : x + 5] = 255
    holes, limit = mask[..., 0] > 0, np.iinfo(dtype).max
    line = filling(
        MaskPicture(DecodedImage(mask)), Filler(0.1), face_at(20, 20, size=size), colour_match=False
    )
    result = line.run(image)
    rims = fill(image.pixels, holes)
    change = result.image.pixels[holes].astype(float) - rims[holes]
    assert np.abs(change / limit - 0.1).max() < 0.01
    far = cv2.distanceTransform((~holes).astype(np.uint8), cv2.DIST_L2, 5) > 2 + 4 * size / 64
    assert np.array_equal(result.image.pixels[far], image.pixels[far])
    assert result.report["filled"]["share_left"] == 0
    assert (result.before.pixels[holes] == limit).all()


def test_strength_is_the_share_of_what_is_filled():
    whole, scratched = smooth()
    half, full = (filling(found(), None, FACE, strength=s).run(scratched).image.pixels for s in (0.5, 1.0))
    holes = holes_of(scratched)
    middle = (scratched.pixels[holes].astype(float) + full[holes]) / 2
    assert np.abs(half[holes] - middle).max() <= 1
    assert np.abs(full[holes].astype(float) - whole.pixels[holes]).mean() < 6


def test_without_damage_the_photo_stays_the_very_same():
    whole, _ = smooth()
    result = filling(found(), None, FACE).run(whole)
    assert result.image is whole
    assert result.faces[0].decision.code == "undamaged"


# --- repairing before restoring


def repairing(*faces, config=None, restorer=None):
    source = found()
    line = pipeline(*faces, config=config or RestoreConfig(), restorer=restorer)
    repair = Repair(filling(source, None, *faces), source)
    return RestorePipeline(line.detector, line.restorer, config=line.config, facts=line.facts, repair=repair)


def test_what_is_damaged_is_filled_before_the_face_is_restored():
    whole, scratched = smooth()

    class Seeing(Brightener):
        def restore(self, faces, parsing_maps=None):
            self.seen = [face.lq for face in faces]
            return super().restore(faces, parsing_maps)

    restorer = Seeing()
    result = repairing(FACE, restorer=restorer).run(scratched)
    assert restorer.seen[0].max() < 0.7, "no white is left"
    (face,) = result.report["faces"]
    assert 0 < face["repaired"] < 0.3
    sound = pipeline(FACE, restorer=Seeing()).run(whole).report["faces"][0]["change"]
    assert face["change"] > 1.1 * sound, "what was filled counts"
    assert result.report["repair"]["faces"] == 1
    assert result.report["repair"]["weights"] == "filler.test"
    assert any(f"damage in {face['repaired']:.1%} of its crop" in note for note in result.report["notes"])
    assert b"filled restored" in result.image.metadata.xmp


def test_a_face_whose_damage_was_filled_is_cleaned_at_least():
    whole, _ = smooth()
    cv2.line(whole.pixels, (62, 70), (66, 71), (255, 255, 255), 3)

    class Same(Brightener):
        def restore(self, faces, parsing_maps=None):
            return [face.lq for face in faces]

    result = repairing(FACE, restorer=Same()).run(whole)
    (face,) = result.report["faces"]
    assert 0 < face["change"] < BARELY_LEVELS
    assert face["effect"] == "cleaned"


def test_a_sound_photo_is_restored_as_without_repair():
    whole, _ = smooth()
    result, plain = repairing(FACE).run(whole), pipeline(FACE).run(whole)
    assert np.array_equal(result.image.pixels, plain.image.pixels)
    assert result.report["faces"][0]["repaired"] is None
    assert "no damage was found in its faces" in result.report["notes"]
    assert result.report["repair"]["faces"] == 0


def test_a_face_that_is_kept_is_repaired_all_the_same(tmp_path):
    _, scratched = smooth()
    line = repairing(FACE, config=RestoreConfig(strength=0))
    write_image(tmp_path / "a.png", scratched)
    job = PhotoJob(tmp_path / "a.png", tmp_path / "b.png", Path("b"))
    (outcome,) = run_jobs([job], line, options=OutputConfig(save_damaged=str(tmp_path / "d")))
    assert outcome.report["restored"] == 0
    assert outcome.report["faces"][0]["touched"] is not None
    after = read_image(tmp_path / "b.png")
    assert not holes_of(after).any()
    assert b"filled" in after.metadata.xmp
    shown = read_image(outcome.written[1])
    assert holes_of(shown)[holes_of(scratched)].mean() > 0.9


def test_other_tasks_and_official_pipelines_repair_nothing():
    with pytest.raises(ConfigError, match="'facerestore colorize' repairs nothing"):
        build_colorizer(RestoreConfig(repair=True, weights="lite.clean-256"))


def test_a_finder_of_damage_where_none_is_looked_for_is_refused():
    with pytest.raises(
        ConfigError, match=r"damage_finder is 'own\.safetensors', but no damage is looked for"
    ):
        build_pipeline(RestoreConfig(damage_finder="own.safetensors"))
    mask = MaskPicture(DecodedImage(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ConfigError, match=r"what is damaged is given; give one of both"):
        build_inpainter(mask, RestoreConfig(damage_finder="own.safetensors"))


def test_who_fills_damage_is_said_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image("a.png", photo())
    asked = ["enhance", "a.png", "--repair", "--device", "cpu"]
    assert main([*asked, "--dry-run"]) == 0
    assert ", fill damage with lite.inpaint-256; nothing is written" in capsys.readouterr().out
    assert main([*asked, "--damage-finder", "lite.clean-256", "--dry-run"]) == 2
    assert main(asked) == 0
    assert ", damage filled by lite.inpaint-256" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "taken"), [(None, None), ("torch", "torch"), ("cuda", None)])
def test_the_filler_runs_in_torch_where_all_that_ships_does(asked, taken):
    assert line_that_fills(RestoreConfig(repair=True, provider=asked)).provider == taken


def test_holes_are_filled_from_their_rims_alone_where_that_is_asked_for():
    whole, scratched = smooth(140, 140)
    holes = holes_of(scratched)
    mask = MaskPicture(DecodedImage(np.where(holes, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)))
    line = build_inpainter(mask, RestoreConfig(weights="telea", aligned=True))
    result = line.run(scratched)
    assert result.report["backend"] == "telea"
    assert np.abs(result.image.pixels[holes].astype(int) - whole.pixels[holes]).max() < 6
    assert np.array_equal(result.image.pixels[~holes], scratched.pixels[~holes])
    with pytest.raises(
        ConfigError, match="'telea' fills damage without a network; give it to 'facerestore inpaint'"
    ):
        build_pipeline(RestoreConfig(weights="telea"))
