"""Tiny runs of any recipe on drawn faces, for tests."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate

from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine.draw import Draw
from facerestore.training.plan import make_plan, run_plan, samples_of
from facerestore.training.recipes.base import Scene


def drawn_plan(name, folder, *assignments, count=4, face_size=64):
    """Return the plan of a smoke run of recipe ``name`` on a few drawn faces, with these settings on top."""
    faces, maps = write_drawn_faces(folder / "drawn", count=count, face_size=face_size)
    given = (f"data.parsing={str(maps)!r}", *assignments)
    return make_plan(name, faces=faces, validation_faces=faces, assignments=given, smoke=True)


def first_batch(plan, size=2):
    """Return the first samples of a plan as one batch."""
    samples = samples_of(plan)
    collated = default_collate([samples[position] for position in range(size)])
    return samples.prepare(collated, torch.device("cpu"))


def scene_of(plan, networks, batch, step=0):
    """Return what a recipe sees of a step, without any engine."""
    frozen = {name: n.eval().requires_grad_(False) for name, n in plan.recipe.frozen().items()}
    together = {**networks, **frozen}
    size = len(next(iter(batch.values())))
    return Scene(together, together, batch, Draw((1, step), first=0, batch_size=size), step, 0.0)


def gradients(plan, networks, scene, phase):
    """Return the terms of a phase, and the gradient of every parameter that it trains."""
    for name, network in networks.items():
        network.requires_grad_(name in phase.trains).zero_grad(set_to_none=True)
    terms = plan.recipe.losses(phase.name, scene)
    torch.stack([term.weight * term.value for term in terms]).sum().backward()
    found = {
        f"{name}.{key}": parameter.grad
        for name in phase.trains
        for key, parameter in networks[name].named_parameters()
    }
    return {term.name: term.value.item() for term in terms}, found


def trained(plan, folder):
    """Train on the CPU and return the last checkpoint."""
    return run_plan(plan, folder, device=torch.device("cpu"))


def same_networks(one: Path, other: Path):
    """Say whether two checkpoints hold the same networks and averages, bit for bit."""
    for path in sorted(one.glob("model*.safetensors")):
        ours, theirs = load_file(path), load_file(other / path.name)
        assert ours.keys() == theirs.keys()
        if not all(torch.equal(ours[key], theirs[key]) for key in ours):
            return False
    averages = [
        torch.load(folder / "custom_checkpoint_1.pkl", weights_only=True, map_location="cpu")
        for folder in (one, other)
    ]
    return all(torch.equal(averages[0][key], averages[1][key]) for key in averages[0])
