"""Faces on disk, and evaluations without networks."""

import numpy as np

from facerestore.evaluation.metrics import SPECS
from facerestore.evaluation.result import Evaluation, FaceResult, MethodFacts, MetricFacts
from facerestore.io import write_image
from facerestore.types import DecodedImage


def face(seed, size=96):
    """Return a blocky square picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def save(path, pixels, *, overwrite=False):
    write_image(path, DecodedImage(pixels), overwrite=overwrite)
    return path


def fill(root, *, sets=("a", "b"), count=3, size=96, ending=".png"):
    """Write faces into root/set/number and return root."""
    for set_name in sets:
        for number in range(count):
            save(root / set_name / f"{number}{ending}", face([number, ord(set_name[0])], size))
    return root


def metric(name="psnr", **protocol):
    return MetricFacts.of(SPECS[name], {"implementation": "by hand", **protocol})


def found(
    values, *, names=None, sha="0", methods=None, protocol=None, metrics=None, groups=None, versions=None
):
    """Return an evaluation of PSNR: method to values, one for each face."""
    first = next(iter(values.values()))
    names = names or [f"a/{k}" for k in range(len(first))]
    faces = tuple(
        FaceResult(
            name=name,
            set_name=name.partition("/")[0],
            sha256=f"{sha}{name}",
            groups={} if groups is None else groups[k],
            values={method: {"psnr": column[k]} for method, column in values.items()},
        )
        for k, name in enumerate(names)
    )
    facts = methods or {}
    return Evaluation(
        protocol=protocol
        or {
            "source": {"kind": "degradation", "preset": "gfpgan", "seed": 7},
            "face_size": 64,
            "faces": len(faces),
        },
        metrics=metrics or (metric(),),
        unavailable={},
        methods=tuple(MethodFacts(name=name, facts=facts.get(name, {"kind": name})) for name in values),
        faces=faces,
        versions=versions or {},
    )
