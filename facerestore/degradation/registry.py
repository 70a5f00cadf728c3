"""Every step by name, and steps as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from facerestore.degradation import ageing, camera, screens, steps, tearing
from facerestore.degradation.steps import Step
from facerestore.errors import ConfigError

STEPS: Mapping[str, type[Step]] = {
    step.word: step
    for step in (
        steps.Grey,
        steps.Toning,
        steps.GaussianBlur,
        steps.BoxBlur,
        steps.MotionBlur,
        steps.MedianBlur,
        steps.Resize,
        steps.Noise,
        steps.Jpeg,
        steps.WholeLevels,
        ageing.Fading,
        ageing.Stains,
        ageing.Grain,
        ageing.Damage,
        steps.Sharpen,
        steps.CroppedJpeg,
        screens.Halftone,
        screens.PaperTexture,
        screens.ScanLines,
        screens.Combing,
        screens.ChromaBlur,
        screens.Moire,
        camera.Sensor,
        camera.Smear,
        tearing.WaterStains,
        tearing.Creases,
        tearing.Cracks,
        tearing.Scratches,
        tearing.Tears,
        tearing.MissingPieces,
        tearing.Dust,
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
