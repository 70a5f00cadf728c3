"""Trains a tiny GPEN for a few steps; run as a program by tests of several processes: FOLDER BATCH_SIZE."""

from __future__ import annotations

import sys
from pathlib import Path

from gan_scene import run

from facerestore.training.engine.settings import make_settings
from facerestore.training.recipes.gpen.recipe import GPENRecipe, GPENSettings


def train_tiny(folder: Path, batch_size: int) -> Path:
    """Train in groups of two faces, so that the batch may be spread over processes."""
    settings = make_settings(
        GPENSettings,
        {
            "stage": "single",
            "generator": {"style_dim": 8, "mapping_layers": 2, "narrow": 1 / 64},
            "discriminator": {"narrow": 1 / 64, "stddev_group": 2},
            "regularisers": {"r1_every": 2, "path_every": 2},
        },
    )
    return run(GPENRecipe(settings, face_size=32), folder, face_size=32, steps=4, batch_size=batch_size)


if __name__ == "__main__":
    train_tiny(Path(sys.argv[1]), int(sys.argv[2]))
