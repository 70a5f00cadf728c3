"""Tiny runs of any recipe on drawn faces, for tests."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate

from facerestore.imaging.alignment import template
from facerestore.parsing import load_parser
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.folder import RunFolder
from facerestore.training.export import export_run
from facerestore.training.plan import make_plan, run_plan, samples_of
from facerestore.training.recipes.base import Scene
from facerestore.types import AlignedFace, DetectedFace


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


def check_resuming(name, folder, *settings):
    """Check that two short runs of a recipe end as a long one does, which stays in ``whole``."""
    whole = trained(drawn_plan(name, folder, *settings, "engine.steps=4"), folder / "whole")
    trained(drawn_plan(name, folder, *settings, "engine.steps=2"), folder / "pieces")
    assert same_networks(
        whole, trained(drawn_plan(name, folder, *settings, "engine.steps=4"), folder / "pieces")
    )


def check_parser(name, folder, *settings):
    """Check that a parser learns, and that its export parses; return how the run was judged at its end."""
    learning = ("engine.steps=40", "recipe.learning_rate=5e-3", "engine.validate_every=20")
    run, out = folder / "run", folder / "parser.safetensors"
    trained(drawn_plan(name, folder, *settings, *learning), run)
    judged = [record for record in RunFolder(run).records() if "miou" in record]
    assert judged[-1]["miou"] > judged[0]["miou"]
    export_run(run, out, licence="CC0-1.0", data="drawn")
    parser = load_parser(out)
    assert (parser.name, parser.input_size) == (name, 64)
    face = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    (labels,) = parser.parse(
        [AlignedFace(DetectedFace((0, 0, 96, 96), template(96), 1.0), np.eye(2, 3), face)]
    )
    assert labels.shape == (96, 96)
    return judged[-1]


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
