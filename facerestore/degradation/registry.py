"""Every step by name, and steps as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from facerestore.degradation.ageing import Damage, Fading, Grain, Stains
from facerestore.degradation.camera import Sensor, Smear
from facerestore.degradation.delivery import CroppedJpeg, Sharpen
from facerestore.degradation.screens import (
    ChromaBlur,
    Combing,
    Halftone,
    Moire,
    PaperTexture,
    ScanLines,
)
from facerestore.degradation.steps import (
    BoxBlur,
    GaussianBlur,
    Grey,
    Jpeg,
    MedianBlur,
    MotionBlur,
    Noise,
    Resize,
    Step,
    Toning,
    WholeLevels,
)
from facerestore.degradation.tearing import (
    Cracks,
    Creases,
    Dust,
    MissingPieces,
    Scratches,
    Tears,
    WaterStains,
)
from facerestore.errors import ConfigError

STEPS: Mapping[str, type[Step]] = {
    step.word: step
    for step in (
        Grey,
        Toning,
        GaussianBlur,
        BoxBlur,
        MotionBlur,
        MedianBlur,
        Resize,
        Noise,
        Jpeg,
        WholeLevels,
        Fading,
        Stains,
        Grain,
        Damage,
        Sharpen,
        CroppedJpeg,
        Halftone,
        PaperTexture,
        ScanLines,
        Combing,
        ChromaBlur,
        Moire,
        Sensor,
        Smear,
        WaterStains,
        Creases,
        Cracks,
        Scratches,
        Tears,
        MissingPieces,
        Dust,
    )
}
"""Every step by its name in JSON."""


def step_to_json(step: Step) -> dict[str, Any]:
    """Return a step as plain values."""
    return {"step": step.word, **asdict(step)}


def step_from_json(values: Mapping[str, Any]) -> Step:
    """Return the step that :func:`step_to_json` wrote.

    Raises:
        ConfigError: there is no such step, or its parameters are others.
    """
    parameters = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key != "step"}
    kind = STEPS.get(str(values.get("step")))
    if kind is None:
        raise ConfigError(f"unknown step '{values.get('step')}'; known are {', '.join(STEPS)}")
    try:
        return kind(**parameters)
    except TypeError as error:
        raise ConfigError(f"step '{kind.word}' cannot be made of {parameters}: {error}") from error
