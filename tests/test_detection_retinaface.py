"""RetinaFace: the published network, built without importing the package it comes from."""

import subprocess
import sys

from golden import Golden, closed_form_weights, listed_keys

from facerestore.detection.retinaface import (
    CONFIGS,
    build_network,
)


def test_retinaface_network_matches_the_official_one():
    import torch

    golden = Golden("retinaface_arcface_recipe")
    network = build_network(CONFIGS["retinaface.resnet50"]).eval()
    assert set(network.state_dict()) == set(listed_keys("retinaface_r50_keys"))
    network.load_state_dict(closed_form_weights(network.state_dict(), gain=0.6), strict=True)
    with torch.inference_mode():
        boxes, classes, points = network(golden["retinaface.in"])
    assert torch.allclose(boxes, golden["retinaface.out.loc"], atol=2e-4)
    assert torch.allclose(classes, golden["retinaface.out.conf"], atol=2e-4)
    assert torch.allclose(points, golden["retinaface.out.landm"], atol=2e-4)


def test_facexlib_itself_is_never_imported():
    """Its package imports numba, scipy, matplotlib and GPL code; one file of it is enough."""
    code = (
        "import sys; from facerestore.detection.retinaface import CONFIGS, build_network;"
        "build_network(CONFIGS['retinaface.mobile0.25']);"
        "print([m for m in ('facexlib', 'numba', 'scipy', 'matplotlib', 'torchvision') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
