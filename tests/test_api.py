import os
import subprocess
import sys

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from PIL import Image as PillowImage

import facerestore
from facerestore.io import encode_image, write_image


def test_every_public_name_resolves_and_others_do_not():
    for name in facerestore.__all__:
        assert getattr(facerestore, name) is not None
    assert set(facerestore.__all__) <= set(dir(facerestore))
    with pytest.raises(AttributeError, match="restor_"):
        _ = facerestore.restor_


def test_importing_the_package_costs_nothing():
    code = "import facerestore, sys; sys.exit(len({'torch', 'cv2', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["path", "text", "entry", "bytes", "pillow", "rgb", "bgr"])
def test_restore_takes_every_kind_of_picture(kind, tmp_path, use_pipeline):
    use_pipeline(lambda config: pipeline(face_at(10, 20), config=config))
    image = photo()
    write_image(tmp_path / "a.png", image)
    (entry,) = os.scandir(tmp_path)
    source = {
        "path": tmp_path / "a.png",
        "text": str(tmp_path / "a.png"),
        "entry": entry,
        "bytes": encode_image(image, format="PNG"),
        "pillow": PillowImage.fromarray(image.pixels),
        "rgb": image.pixels.copy(),
        "bgr": image.pixels[..., ::-1].copy(),
    }[kind]
    untouched = source.copy() if isinstance(source, np.ndarray) else None
    result = facerestore.restore(source, channels="bgr" if kind == "bgr" else "rgb")
    expected = pipeline(face_at(10, 20)).run(image)
    assert np.array_equal(result.image.pixels, expected.image.pixels)
    assert result.faces[0].decision.code == "restored"
    assert result.report["found"] == 1
    assert untouched is None or np.array_equal(source, untouched)


def test_restore_hands_its_options_to_the_pipeline(use_pipeline):
    seen = []

    def build(config):
        seen.append(config)
        return pipeline(face_at(10, 20), config=config)

    use_pipeline(build)
    facerestore.restore(photo().pixels, strength=0.5, faces="largest", upscale=2, device="cpu", offline=True)
    assert seen == [
        facerestore.RestoreConfig(strength=0.5, faces="largest", upscale=2, device="cpu", offline=True)
    ]


def test_wrong_options_and_sources_are_our_errors():
    with pytest.raises(facerestore.ConfigError, match="strength"):
        facerestore.restore(photo().pixels, strength=7)
    with pytest.raises(facerestore.ImageError):
        facerestore.restore("no such file.jpg")
    with pytest.raises(facerestore.WeightsError, match="download"):
        facerestore.restore(photo().pixels, weights="gpen.bfr-512", device="cpu")
    with pytest.raises(facerestore.ConfigError, match="unknown backend"):
        facerestore.restore(photo().pixels, backend="gpne", device="cpu")
