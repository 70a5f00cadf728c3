"""Whether a file can be the weights that a catalog entry describes: its purpose, network and size, told by its tensors.

The store of weights asks this, by name (`facerestore.weights.store.EXAMINER`), before it copies or pins a file of which
no hash is known, since what reads networks stands above what keeps files. Networks are made on the meta device where
they can be, of shapes without numbers, so that the answer costs no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from facerestore.backends import BACKENDS, backend_class, backend_names, load_backend
from facerestore.background import load_upsampler
from facerestore.config import TASKS, RestoreConfig
from facerestore.detection.embedded import open_cells, open_points
from facerestore.engines import Place
from facerestore.errors import CheckpointError
from facerestore.parsing import load_parser
from facerestore.parsing.damage import load_damage_finder
from facerestore.parsing.eyes import load_eye_reader
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import BACKGROUND, DAMAGE, DETECT, EYES, PARSE
from facerestore.pipeline.load import load_restorer
from facerestore.weights import WeightsStore
from facerestore.weights.catalog import WeightsEntry
from facerestore.weights.checkpoint import check_fit, count_indices, load_state_dict, shapes_of

COARSEST_PX = 4
"""Side of the smallest features of a StyleGAN2 discriminator; each block before them halves (arXiv 1912.04958)."""


def examine(entry: WeightsEntry, path: Path) -> bool:
    """Say whether a file was looked into, and found fit; False where nothing here reads the weights of such an entry.

    Args:
        entry: what the file is to be.
        path: the file, under any name.

    Raises:
        FaceRestoreError: it is unsafe or corrupt, of another network or purpose, or of another size.
    """
    check = _CHECKS.get(entry.purpose)
    return check is not None and check(entry, path)


def open_own(entry: WeightsEntry, path: Path, store: WeightsStore) -> None:
    """Make the network of a file of one's own, with those that it is used with, as it is made when it is used.

    Args:
        entry: what the file says of itself.
        path: the file.
        store: where the others are.

    Raises:
        FaceRestoreError: it cannot be made here, or takes faces of another size than the file says.
    """
    if entry.purpose in TASKS:
        config = RestoreConfig(backend=entry.backend, weights=str(path))
        restorer = load_restorer(choose(entry.purpose, config, store), task=TASKS[entry.purpose])
        _check_size(entry, restorer.face_size)
    elif entry.purpose in _OPENERS:
        _OPENERS[entry.purpose](path)
    else:
        examine(entry, path)


def _restorer(entry: WeightsEntry, path: Path) -> bool:
    if entry.backend not in backend_names():
        return False
    found = backend_class(entry.backend)
    if found.descriptor.missing_modules():
        state_dict = load_state_dict(path)
        if not found.detect(state_dict):
            raise CheckpointError(f"its keys are not those of backend '{entry.backend}'")
        found.config_from_state_dict(state_dict)
        return True
    # Adapters of other packages may not know the meta device.
    restorer = load_backend(path, name=entry.backend, device="meta" if entry.backend in BACKENDS else "cpu")
    _check_size(entry, restorer.face_size)
    return True


def _parser(entry: WeightsEntry, path: Path) -> bool:
    from facerestore.parsing.networks import PARSERS

    if entry.backend not in [parser.name for parser in PARSERS]:
        return False
    parser = load_parser(path, device="meta")
    if parser.name != entry.backend:
        raise CheckpointError(f"it holds a {parser.name}, not a {entry.backend}")
    _check_size(entry, parser.input_size)
    return True


def _detector(entry: WeightsEntry, path: Path) -> bool:
    from facerestore.detection.embedded import load_detector_network
    from facerestore.detection.retinaface import CONFIGS, RetinaFaceDetector
    from facerestore.detection.yunet import YuNetDetector

    if entry.backend == "yunet":
        YuNetDetector(path)
    elif entry.backend == "finder":
        load_detector_network(path)
    elif entry.name in CONFIGS:
        RetinaFaceDetector(path, CONFIGS[entry.name])
    else:
        return False
    return True


def _landmarks(entry: WeightsEntry, path: Path) -> bool:
    from facerestore.detection.embedded import load_landmarks

    load_landmarks(path)
    return True


def _background(entry: WeightsEntry, path: Path) -> bool:
    upsampler, stated = load_upsampler(path), re.match(r"x([0-9])", entry.name.partition(".")[2])
    if stated and upsampler.scale != int(stated[1]):
        raise CheckpointError(
            f"it enlarges {upsampler.scale} times, and '{entry.name}' does {stated[1]} times"
        )
    return True


def _identity(entry: WeightsEntry, path: Path) -> bool:
    import torch

    from facerestore.archs.arcface import ArcFace

    with torch.device("meta"):
        expected = shapes_of(ArcFace().state_dict())
    check_fit(expected, load_state_dict(path), name="ArcFace IR-SE50")
    return True


def _discriminator(entry: WeightsEntry, path: Path) -> bool:
    import torch

    from facerestore.archs.gpen import GPENDiscriminator

    if entry.backend != "gpen":
        return False
    state_dict = load_state_dict(path)
    blocks = count_indices(shapes_of(state_dict), r"convs\.([1-9][0-9]?)\.conv1\..*")
    size = COARSEST_PX << blocks
    with torch.device("meta"):
        keys = GPENDiscriminator(max(size, 2 * COARSEST_PX)).state_dict()
    if lacking := [key for key in keys if key not in state_dict]:
        raise CheckpointError(f"it holds no discriminator of GPEN: '{lacking[0]}' is missing")
    _check_size(entry, size)
    return True


def _check_size(entry: WeightsEntry, size: int) -> None:
    """Raise CheckpointError where a network has another size than the catalog says."""
    if entry.face_size not in (None, size):
        raise CheckpointError(
            f"its network is for faces of {size} px, and '{entry.name}' is for {entry.face_size} px"
        )


_OPENERS: Mapping[str, Callable[[Path], object]] = {
    PARSE: partial(load_parser, place=Place()),
    DAMAGE: load_damage_finder,
    EYES: load_eye_reader,
    BACKGROUND: load_upsampler,
    DETECT: open_cells,
    "landmarks": open_points,
}

_CHECKS: Mapping[str, Callable[[WeightsEntry, Path], bool]] = {
    **dict.fromkeys(TASKS, _restorer),
    "parse": _parser,
    "detect": _detector,
    "landmarks": _landmarks,
    "background": _background,
    "identity": _identity,
    "discriminator": _discriminator,
}
