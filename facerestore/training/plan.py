"""Plans a training run from its settings and faces, previews it, and runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import default_collate

from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.datasets import (
    DataSettings,
    FaceFile,
    PairDataset,
    PositionsOnly,
    face_files,
    validation_batch,
)
from facerestore.training.data.face_files import MAKE_MAPS, spread
from facerestore.training.data.maps import coloured
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.curves import plot_run
from facerestore.training.engine.folder import Listener
from facerestore.training.engine.loop import count_parameters, train
from facerestore.training.engine.settings import (
    EngineSettings,
    make_settings,
    merged,
    read_settings,
    resolved,
)
from facerestore.training.engine.state import checkpoint_bytes
from facerestore.training.recipes import recipe_class
from facerestore.training.recipes.base import Recipe

TABLES = ("engine", "data", "recipe", "validation")
"""The tables of a training configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """The fixed faces that every run is validated on.

    Attributes:
        degradation: preset that degrades them.
        seed: of their degradation; runs with different seeds cannot be compared.
        count: how many faces at most, evenly spread over the folder; 0 for all.
    """

    degradation: str = "gfpgan"
    seed: int = option(7, least=0)
    count: int = option(32, least=0)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPlan:
    """A run that is ready to go.

    Attributes:
        recipe: what is trained.
        engine: how it runs.
        data: what it learns from.
        validation: how it is validated.
        files: training faces.
        validation_files: faces that it is validated on; may be empty.
        described: all settings as plain values.
    """

    recipe: Recipe
    engine: EngineSettings
    data: DataSettings
    validation: ValidationSettings
    files: tuple[FaceFile, ...]
    validation_files: tuple[FaceFile, ...]
    described: dict[str, Any]


def make_plan(
    name: str,
    *,
    faces: Path | None,
    validation_faces: Path | None = None,
    config: Path | None = None,
    assignments: Iterable[str] = (),
    smoke: bool = False,
) -> TrainingPlan:
    """Return the run that is asked for: recipe defaults < smoke < TOML file < assignments.

    Args:
        name: the recipe.
        faces: folder of aligned training faces; None for a recipe that draws its own data.
        validation_faces: folder of faces to validate on.
        config: TOML file with the tables of ``TABLES``.
        assignments: ``table.key=value`` texts that win over all.
        smoke: take the recipe's tiny settings instead of its full ones.

    Raises:
        ConfigError: a setting is unknown or unfit, or the recipe needs faces and there are none.
    """
    cls = recipe_class(name)
    tables = _merged_tables(cls, config, assignments, smoke=smoke)
    engine = make_settings(EngineSettings, tables["engine"], source="[engine]")
    data = make_settings(DataSettings, tables["data"], source="[data]")
    validation = make_settings(ValidationSettings, tables["validation"], source="[validation]")
    own = make_settings(cls.settings_class, tables["recipe"], source="[recipe]")
    recipe = cls(own, face_size=data.face_size)
    if recipe.needs and faces is None:
        raise ConfigError(f"recipe '{name}' learns from faces; give a folder of aligned ones with --data")
    if "parsing" in recipe.needs and not data.parsing:
        raise ConfigError(
            f"recipe '{name}' learns from parsing maps; make them with '{MAKE_MAPS.format(faces=faces, maps='MAPS')}'"
            " (best with a parser network), and name their folder with --set data.parsing=MAPS"
        )
    files = face_files(faces) if faces is not None else []
    held = face_files(validation_faces) if validation_faces is not None else []
    held = [file for _, file in spread(held, validation.count or len(held))]
    described = {
        "recipe": name,
        "engine": resolved(engine),
        "data": resolved(data),
        "validation": resolved(validation),
        name: resolved(own),
        "faces": {"train": _names_in_short(files), "validation": _names_in_short(held)},
    }
    return TrainingPlan(recipe, engine, data, validation, tuple(files), tuple(held), described)


def _names_in_short(files: list[FaceFile]) -> str:
    """Return number and names of faces in short: samples depend on them, wherever the folder lies."""
    names = "\n".join(f"{file.set_name}/{file.name}" for file in files)
    return f"{len(files)} faces, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _merged_tables(
    cls: type[Recipe], config: Path | None, assignments: Iterable[str], *, smoke: bool
) -> dict[str, dict[str, Any]]:
    """Return the four tables, each laid over the one before."""
    layers = [cls.defaults()]
    if smoke:
        tiny = cls.smoke()
        half = max(1, tiny.get("engine", {}).get("steps", 2) // 2)
        layers += [{"engine": {"log_every": 1, "save_every": half, "validate_every": half}}, tiny]
    if config:
        layers.append(read_settings(config))
    together: dict[str, Any] = {table: {} for table in TABLES}
    for layer in layers:
        together = _laid_over(together, layer)
    together = merged(together, assignments)
    unknown = [table for table in together if table not in TABLES]
    if unknown:
        raise ConfigError(f"unknown table '{unknown[0]}' in the settings; known are {', '.join(TABLES)}")
    for table, values in together.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"'{table}' is {values!r} and no table; write [{table}] above its settings")
    return together


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested mappings, the second laid over the first.

    A mapping of names to shares (``mix``, ``set_weights``) is replaced as a whole.
    """
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        nested = isinstance(value, Mapping) and isinstance(old, Mapping) and key not in {"mix", "set_weights"}
        result[key] = _laid_over(old, value) if nested and isinstance(old, Mapping) else value
    return result


def samples_of(plan: TrainingPlan) -> Samples:
    """Return the training samples of a plan."""
    if not plan.recipe.needs:
        return PositionsOnly()
    own = plan.recipe.samples(plan.files, plan.data)
    return PairDataset(plan.files, plan.data) if own is None else own


def validation_of(plan: TrainingPlan) -> Batch:
    """Return the fixed validation faces of a plan as one batch; empty without any."""
    if not plan.validation_files:
        return {}
    chosen = plan.validation
    own = plan.recipe.validation(plan.validation_files, plan.data, seed=chosen.seed)
    if own is not None:
        return own
    return validation_batch(
        plan.validation_files, plan.data, degradation=chosen.degradation, seed=chosen.seed
    )


def run_plan(
    plan: TrainingPlan, folder: Path, *, device: torch.device | None = None, listener: Listener | None = None
) -> Path:
    """Train as planned, or go on, and return the last checkpoint; see :func:`facerestore.training.engine.loop.train`.

    Its curves are drawn to ``curves.png`` in the run's folder.
    """
    samples = samples_of(plan)
    last = train(
        plan.recipe,
        plan.engine,
        samples=samples,
        validation=validation_of(plan),
        folder=folder,
        described=plan.described,
        device=device,
        listener=listener,
    )
    if PartialState().is_main_process:
        plot_run(folder, folder / "curves.png")
    return last


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a run will take.

    Attributes:
        networks: name -> number of trained parameters.
        frozen: name -> number of parameters of networks that are not trained.
        state_bytes: parameters, gradients, two moments an optimiser keeps, the running average and the untrained
            networks, in float32; activations come on top.
        checkpoint_bytes: about what one checkpoint takes on disk.
        rows: the first batch as pictures, (B, 3, S, S) in [0, 1] each; empty for recipes that draw their own data.
    """

    networks: dict[str, int]
    frozen: dict[str, int]
    state_bytes: int
    checkpoint_bytes: int
    rows: tuple[Tensor, ...]


def preview(plan: TrainingPlan) -> Preview:
    """Return what a run will take, without a step of it."""
    networks = {name: count_parameters(network) for name, network in plan.recipe.networks().items()}
    frozen = {name: count_parameters(network) for name, network in plan.recipe.frozen().items()}
    trained, averaged = sum(networks.values()), networks[plan.recipe.averaged]
    samples = samples_of(plan)
    collated = default_collate([samples[position] for position in range(plan.engine.batch_size)])
    batch = samples.prepare(collated, torch.device("cpu"))
    return Preview(
        networks,
        frozen,
        state_bytes=4 * (4 * trained + averaged + sum(frozen.values())),
        checkpoint_bytes=checkpoint_bytes(trained, averaged),
        rows=_pictures_of(batch),
    )


def _pictures_of(batch: Batch) -> tuple[Tensor, ...]:
    """Return what a batch has to show: colour and grey pictures, and parsing maps in their colours."""
    rows = []
    for values in batch.values():
        if values.ndim == 4 and values.shape[1] == 3:
            rows.append(values)
        elif values.ndim == 3 and values.dtype == torch.uint8:
            rows.append(coloured(values))
        elif values.ndim == 3 and values.shape[1] == values.shape[2]:
            rows.append(values.unsqueeze(1).expand(-1, 3, -1, -1))
    return tuple(rows)
