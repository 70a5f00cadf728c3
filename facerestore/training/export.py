"""From a run to a weights file that every backend can load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from facerestore import __version__
from facerestore.backends.lite import WHOLE_PHOTOS
from facerestore.config import TASKS
from facerestore.errors import CheckpointError, ConfigError, parse_json, read_text, refusing
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import make_settings
from facerestore.training.recipes import recipe_class, recipe_entry
from facerestore.weights.checkpoint import save_state_dict

SETTINGS = "settings.json"
"""Of a run, in its folder."""

STARTS = {
    "stylegan2": "mmrb --set recipe.prior",
    "gpen": "gpen --set recipe.stage=restore --set recipe.prior",
}
"""Recipe of a prior, and the arguments of 'facerestore train' that start from it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A weights file that was made.

    Attributes:
        path: the file.
        recipe: what trained it.
        step: after how many steps.
        installable: whether the weights store accepts it under a name.
        runs_alone: its network restores faces, finds them or their damage, or cleans photos: its graph may stand in
            its header.
        starts: of a prior, the recipe that starts from it and its options up to the file; else empty.
    """

    path: Path
    recipe: str
    step: int
    installable: bool
    runs_alone: bool
    starts: str = ""


def export_run(
    run: Path, out: Path, *, licence: str, data: str, half: bool = False, overwrite: bool = False
) -> Written:
    """Write the averaged network of a run's last checkpoint as safetensors; its header says what made it.

    Args:
        run: folder of a run.
        out: the file; its name ends in ``.safetensors``.
        licence: of the weights.
        data: what they were trained on.
        half: store the numbers in float16, in half of the bytes; backends compute in float32 whatever they read.
        overwrite: replace a file that exists.

    Raises:
        CheckpointError: the folder holds no checkpoint, or a run that does not fit its own settings; or a number is too
            large for float16.
        ConfigError: the folder holds no run, or the file exists or has another ending.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(
            f"weights are written as safetensors; give a name such as '{out.with_suffix('.safetensors')}'"
        )
    if out.exists() and not overwrite:
        raise ConfigError(f"'{out}' exists; give --overwrite to replace it, or another name")
    settings = _settings_of(run)
    name = settings["recipe"]
    cls = recipe_class(name)
    with _no_run_folder(run):
        face_size = int(settings["data"]["face_size"])
        own = make_settings(cls.settings_class, settings[name], source=f"the settings of '{run}'")
    recipe = cls(own, face_size=face_size)
    network, step = restore_average(recipe, run)
    exported = recipe.export(network)
    folder = RunFolder(run, main=False)
    metrics = [record for record in folder.judgements() if record["step"] <= step]
    header = {
        "facerestore": __version__,
        "recipe": name,
        "licence": licence,
        "data": data,
        "step": str(step),
        "training": json.dumps(without_folders(settings)),
        "metrics": json.dumps(metrics[-1] if metrics else {}),
        "face_size": str(face_size),
        **_backend_and_purpose(name, exported.metadata),
        **exported.metadata,
    }
    state = halved(exported.state_dict) if half else exported.state_dict
    save_state_dict(out, state, metadata=header)
    starts = STARTS.get(name, "") if header.get("arch", "").endswith("-prior") else ""
    return Written(out, name, step, "backend" in header and "purpose" in header, _runs_alone(header), starts)


def _runs_alone(header: Mapping[str, str]) -> bool:
    """Say whether ``facerestore.export.embedding`` knows how a network is given what it takes."""
    return header.get("purpose") in (*TASKS, WHOLE_PHOTOS) or header.get("arch") in (
        "finder",
        "landmarks",
        "damage",
        "eyes",
    )


def _no_run_folder(run: Path) -> AbstractContextManager[None]:
    return refusing(
        lambda why: CheckpointError(
            f"'{run}' is no folder of a training run, or its {SETTINGS} is damaged: {why}; give what --run was given"
        )
    )


def without_folders(value: Any) -> Any:
    """Return settings with absolute paths cut to the names of their files: a weights file travels, folders do not."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str):
        path = next((p for p in (PurePosixPath(value), PureWindowsPath(value)) if p.is_absolute()), None)
        return value if path is None else path.name
    return value


def halved(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters in float16; what is no floating-point number stays as it is.

    Raises:
        CheckpointError: one is too large for it.
    """
    made = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state_dict.items()}
    lost = [name for name, value in made.items() if not bool(torch.isfinite(value).all())]
    if lost:
        raise CheckpointError(f"'{lost[0]}' has numbers too large for float16; export without --half")
    return made


def _backend_and_purpose(name: str, metadata: dict[str, str]) -> dict[str, str]:
    """Return backend and purpose, which the weights store needs to accept a file; none for a prior of a restorer."""
    entry = recipe_entry(name)
    is_prior = metadata.get("arch", "").endswith("-prior")
    return {} if is_prior or not entry.backend else {"backend": entry.backend, "purpose": entry.purpose}


def _settings_of(run: Path) -> dict[str, Any]:
    path = run / SETTINGS
    if not path.exists():
        raise ConfigError(
            f"'{run}' is no folder of a training run: it has no {SETTINGS}; give what --run was given"
        )
    with _no_run_folder(run):
        found = parse_json(read_text(path))
    if not isinstance(found, dict) or not isinstance(found.get("recipe"), str):
        raise CheckpointError(f"'{path}' names no recipe; is it the folder of a training run?")
    return found
