"""Pictures of a restoration scale by scale: what they show, their files, and who has none."""

import json

import numpy as np
import pytest
import torch
from fakes import FACE_SIZE, FakeDetector, face_at, photo, pipeline

from facerestore.archs.psfr import PSFRConfig, PSFRGenerator
from facerestore.archs.spectral import attach_spectral_norm, to_official
from facerestore.backends.psfr import PSFRRestorer
from facerestore.batch import PhotoJob, Status, run_jobs
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError
from facerestore.io import read_image, write_image
from facerestore.parsing import PALETTE
from facerestore.pictures.stages import TILE_PX, check_staged, stage_pictures, stretched
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights.checkpoint import save_state_dict

ENDINGS = ["lq", "parsing", "stage008", "stage016", "stage032", "stages"]


class Stripes:
    """Labels each face with stripes of classes."""

    name = "stripes"

    def parse(self, faces):
        return [
            np.tile(np.arange(face.lq.shape[0]) % 19, (face.lq.shape[0], 1)).astype(np.uint8)
            for face in faces
        ]


@pytest.fixture
def restorer():
    return PSFRRestorer.build(PSFRRestorer.example_state_dict())


@pytest.fixture
def line(restorer):
    detector = FakeDetector(face_at(10, 20), face_at(110, 30))
    return RestorePipeline(detector, restorer, parser=Stripes(), config=RestoreConfig(force=True))


def example(side=32):
    lq = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    return lq, np.tile(np.arange(side) % 19, (side, 1)).astype(np.uint8)


def test_a_face_gives_a_view_of_each_scale_in_its_own_size(restorer):
    lq, parsing_map = example()
    (face,) = pipeline(face_at(0, 0), config=RestoreConfig(force=True)).run(photo(64, 64)).faces
    stages = restorer.stages(face.aligned, parsing_map)
    pictures = stage_pictures(stages, lq, parsing_map)
    assert sorted(pictures) == ENDINGS
    for ending, size in (("lq", 32), ("parsing", 32), ("stage008", 8), ("stage016", 16), ("stage032", 32)):
        assert pictures[ending].shape == (size, size, 3)
        assert pictures[ending].dtype == np.uint8
    assert np.array_equal(pictures["parsing"], PALETTE[parsing_map])
    assert np.abs(pictures["lq"] / 255 - lq).max() < 0.003
    height, width, _ = pictures["stages"].shape
    assert width > 4 * TILE_PX
    assert height > 3 * TILE_PX


def test_additions_are_stretched_around_mid_grey():
    added = np.zeros((10, 10, 3), np.float32)
    added[:5] = 0.01
    added[5:, :, 0] = -0.01
    view, factor = stretched(added)
    assert factor == pytest.approx(50)
    assert view[0, 0].tolist() == [255, 255, 255]
    assert view[9, 0].tolist() == [0, 128, 128]


def test_nothing_added_is_mid_grey():
    view, factor = stretched(np.zeros((4, 4, 3), np.float32))
    assert factor == 1
    assert (view == 128).all()


def test_files_are_written_for_each_restored_face(tmp_path, line):
    write_image(tmp_path / "a.png", photo())
    job = PhotoJob(tmp_path / "a.png", tmp_path / "out.png", tmp_path.relative_to(tmp_path) / "sub" / "a")
    options = OutputConfig(save_stages=str(tmp_path / "stages"))
    (outcome,) = run_jobs([job], line, options=options)
    assert outcome.status is Status.DONE, outcome.error
    folder = tmp_path / "stages" / "sub"
    expected = {folder / f"a_face{index}_{ending}.png" for index in (0, 1) for ending in ENDINGS}
    assert set(folder.iterdir()) == expected == set(outcome.written[1:])
    assert read_image(folder / "a_face1_stage016.png").pixels.shape == (16, 16, 3)
    (again,) = run_jobs([job], line, options=options)
    assert again.status is Status.FAILED
    (replaced,) = run_jobs([job], line, options=OutputConfig(save_stages=options.save_stages, overwrite=True))
    assert replaced.status is Status.DONE


def test_faces_that_are_kept_have_no_stages(tmp_path, restorer):
    line = RestorePipeline(
        FakeDetector(face_at(10, 20)), restorer, parser=Stripes(), config=RestoreConfig(min_face=500)
    )
    write_image(tmp_path / "a.png", photo())
    job = PhotoJob(tmp_path / "a.png", tmp_path / "out.png", tmp_path.relative_to(tmp_path) / "a")
    (outcome,) = run_jobs([job], line, options=OutputConfig(save_stages=str(tmp_path / "stages")))
    assert outcome.status is Status.DONE
    assert not (tmp_path / "stages").exists()


def test_other_backends_say_that_they_have_no_stages(tmp_path):
    line = pipeline(face_at(0, 0, size=FACE_SIZE))
    with pytest.raises(ConfigError, match="'brightener' does not work in stages, only 'psfr' does"):
        check_staged(line.restorer)
    job = PhotoJob(tmp_path / "a.png", tmp_path / "out.png", tmp_path)
    with pytest.raises(ConfigError, match="leave out --save-stages"):
        list(run_jobs([job], line, options=OutputConfig(save_stages=str(tmp_path))))


def test_the_command_saves_the_stages_of_a_checkpoint_under_official_names(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    network = attach_spectral_norm(PSFRGenerator(PSFRConfig(64, 16, (4, 8))))
    save_state_dict(tmp_path / "tiny.safetensors", to_official(network.state_dict()))
    write_image(tmp_path / "face.png", photo(64, 64))
    monkeypatch.chdir(tmp_path)
    options = (
        "--backend psfr --weights tiny.safetensors --parser landmarks --aligned --force --no-guard"
        " --save-stages stages"
    )
    assert main(["enhance", "face.png", "-o", "out.png", "--json", *options.split()]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["photos"][0]["backend"] == "psfr"
    endings = ["lq", "parsing", "stage016", "stage032", "stage064", "stages"]
    assert sorted(p.name for p in (tmp_path / "stages").iterdir()) == [f"face_face0_{e}.png" for e in endings]
    parsing = read_image(tmp_path / "stages" / "face_face0_parsing.png").pixels
    assert {tuple(colour) for colour in parsing.reshape(-1, 3)} >= {(0, 0, 0), (204, 0, 0), (76, 153, 0)}
    assert main(["enhance", "face.png", "-o", "lite.png", "--aligned", "--force", "--save-stages", "s"]) == 2
    out, err = capsys.readouterr()
    assert "only 'psfr' does" in err
    assert out == "", "refused before anything is said to be done"
    assert not (tmp_path / "lite.png").exists()
