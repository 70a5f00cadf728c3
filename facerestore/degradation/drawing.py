"""What every degradation has in common: ranges, what is drawn from them and its record, and damage by itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import ageing, camera, screens, steps, tearing
from facerestore.degradation.steps import CroppedJpeg, DamageStep, Grey, Resize, Step, apply_steps
from facerestore.errors import ConfigError

REFERENCE_SIZE = 512
"""Face size in pixels at which blur widths and the like are stated (GFP-GAN and PSFR-GAN train at 512)."""

SMALLEST_SIDE_PX = 4
"""No face is reduced further, however small it was to begin with."""

BLOCK_PX = 16
"""Side of a block of chroma, which JPEG halves: where a crop may fall."""

_STEPS = (
    *(
        steps.Grey,
        steps.Toning,
        steps.GaussianBlur,
        steps.BoxBlur,
        steps.MotionBlur,
        steps.MedianBlur,
        steps.Resize,
    ),
    *(steps.Noise, steps.Jpeg, steps.WholeLevels, ageing.Fading, ageing.Stains, ageing.Grain, ageing.Damage),
    *(
        steps.Sharpen,
        steps.CroppedJpeg,
        screens.Halftone,
        screens.PaperTexture,
        screens.ScanLines,
        screens.Combing,
    ),
    *(screens.ChromaBlur, screens.Moire, camera.Sensor, camera.Smear, tearing.WaterStains, tearing.Creases),
    *(tearing.Cracks, tearing.Scratches, tearing.Tears, tearing.MissingPieces, tearing.Dust),
)
STEPS: Mapping[str, type[Step]] = {step.word: step for step in _STEPS}
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


@dataclass(frozen=True, slots=True)
class DegradationDraw:
    """The parameters of one degradation, as drawn; writing them down repeats it.

    Attributes:
        preset: name of the degradation that they were drawn from.
        face_size: side of the face that they are for, px.
        target: steps for the real face, which input and target share: a monochrome photo has a monochrome target.
        steps: then the steps for the input alone, in order.
    """

    preset: str
    face_size: int
    target: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def grey(self) -> bool:
        """Whether input and target are both turned grey."""
        return any(isinstance(step, Grey) for step in self.target)

    @property
    def smallest_side_px(self) -> int:
        """Smallest side that the face has on its way: the resolution that is left."""
        sides = [step.side_px for step in self.steps if isinstance(step, Resize)]
        return min([self.face_size, *sides])

    @property
    def downsample(self) -> float:
        """Factor by which the face was reduced; ``face_size // downsample`` is its smallest side."""
        factor = self.face_size / self.smallest_side_px
        # Rounding of the quotient must not lose a pixel when the side is asked for.
        return factor if self.face_size // factor == self.smallest_side_px else float(np.nextafter(factor, 0))

    @property
    def text(self) -> str:
        """The parameters in a few words, one line per step."""
        lines = [step.text for step in (*self.target, *self.steps)]
        return "\n".join(line for line in lines if line) or "nothing drawn"

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain values; :func:`draw_from_json` takes them back."""
        return {
            "preset": self.preset,
            "face_size": self.face_size,
            "target": [step_to_json(step) for step in self.target],
            "steps": [step_to_json(step) for step in self.steps],
        }


def draw_from_json(values: Mapping[str, Any]) -> DegradationDraw:
    """Return the parameters that :meth:`DegradationDraw.to_json` wrote.

    Raises:
        ConfigError: they are not such parameters.
    """
    try:
        target, steps = (tuple(step_from_json(step) for step in values[key]) for key in ("target", "steps"))
        return DegradationDraw(str(values["preset"]), int(values["face_size"]), target, steps)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"these are no parameters of a degradation: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation(ABC):
    """A named degradation: ranges, and how steps are drawn from them.

    Attributes:
        name: name of the preset.
    """

    name: str

    @abstractmethod
    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters for a face of ``face_size`` px."""


def uniform(between: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a number between two."""
    return float(rng.uniform(*between))


def log_uniform(between: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a number between two positive ones whose logarithm is drawn evenly: half as much as often as twice."""
    return float(np.exp(rng.uniform(*np.log(between))))


def whole_number(between: tuple[int, int], rng: np.random.Generator) -> int:
    """Return a whole number from the first to the second, both included."""
    return int(rng.integers(between[0], between[1] + 1))


def cropped_jpeg(quality: tuple[int, int], rng: np.random.Generator) -> CroppedJpeg:
    """Return a JPEG of a drawn quality whose blocks begin anywhere."""
    return CroppedJpeg(whole_number(quality, rng), *rng.integers(BLOCK_PX, size=2).tolist())


def reduced_side(side_px: float, factor: float = 1.0) -> int:
    """Return the side of a face after a reduction, whole px and not below `SMALLEST_SIDE_PX`."""
    return max(round(side_px / factor), SMALLEST_SIDE_PX)


def apply(
    face: NDArray[np.uint8], drawn: DegradationDraw, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (lq, hq) of one real face for drawn parameters.

    Args:
        face: (S, S, 3) uint8 RGB, S the face size of the parameters.
        drawn: the parameters.
        rng: source of the fields of noise and grain.

    Raises:
        ConfigError: the face has another size.
    """
    if face.shape[:2] != (drawn.face_size, drawn.face_size):
        height, width = face.shape[:2]
        raise ConfigError(
            f"the face is {width} x {height}, and the parameters are for {drawn.face_size} px; draw them for its size"
        )
    hq = apply_steps(face, drawn.target, rng)
    return apply_steps(hq, drawn.steps, rng), hq


def degrade(
    face: NDArray[np.uint8], degradation: Degradation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], DegradationDraw]:
    """Return (lq, hq, parameters) for one real face.

    Args:
        face: (S, S, 3) uint8 RGB.
        degradation: the ranges.
        rng: the only source of randomness; the same state gives the same pair.

    Returns:
        lq and hq, both (S, S, 3) uint8 RGB; hq is ``face`` itself, or its grey or toned version.
    """
    drawn = degradation.draw(face.shape[0], rng)
    lq, hq = apply(face, drawn, rng)
    return lq, hq, drawn


@dataclass(frozen=True, slots=True, eq=False)
class DamagedFace:
    """A degraded face and its damage.

    Attributes:
        lq: (S, S, 3) uint8 RGB, what :func:`facerestore.degradation.apply` gives.
        undamaged: (S, S, 3) uint8 RGB, the same but for the damage, noise included.
        hq: (S, S, 3) uint8 RGB, the target.
        masks: by the word of each kind of damage, (S, S) float32 in [0, 1]: how far it covers the picture. Where all
            are 0 and nothing but damage follows damage, as in ``damage``, ``lq`` equals ``undamaged``; a reduction or
            a JPEG afterwards, as in ``old-photo``, lets damage bleed beyond its mask.
    """

    lq: NDArray[np.uint8]
    undamaged: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.float32]]

    @property
    def mask(self) -> NDArray[np.float32]:
        """Return all kinds together, (S, S) float32 in [0, 1]."""
        whole = np.zeros(self.lq.shape[:2], np.float32)
        for mask in self.masks.values():
            np.maximum(whole, mask, out=whole)
        return whole


def damaged(face: NDArray[np.uint8], drawn: DegradationDraw, rng: np.random.Generator) -> DamagedFace:
    """Return one real face for drawn parameters, with its damage apart.

    Args:
        face: (S, S, 3) uint8 RGB, S the face size of the parameters.
        drawn: the parameters, of any preset; of those with damage, ``damage`` has it last.
        rng: source of the fields of noise and grain; used as :func:`facerestore.degradation.apply` uses it.

    Raises:
        ConfigError: the face has another size.
    """
    whole = tuple(step for step in drawn.steps if not isinstance(step, DamageStep))
    # A damage step draws nothing from the generator, so that both have the same noise.
    undamaged, _ = apply(face, replace(drawn, steps=whole), copy.deepcopy(rng))
    lq, hq = apply(face, drawn, rng)
    return DamagedFace(lq, undamaged, hq, damage_masks(drawn))


def damage_masks(drawn: DegradationDraw) -> dict[str, NDArray[np.float32]]:
    """Return how far each kind of damage covers the face, by the kind's word, (S, S) float32 in [0, 1].

    It depends on the parameters alone; a preset without damage gives no masks.
    """
    side, size = drawn.face_size, (drawn.face_size, drawn.face_size)
    masks: dict[str, NDArray[np.float32]] = {}
    for step in drawn.steps:
        if isinstance(step, Resize):
            side = step.side_px
        if isinstance(step, DamageStep):
            mask = step.mask(side)
            if side != drawn.face_size:
                mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
            masks[step.word] = np.maximum(masks[step.word], mask) if step.word in masks else mask
    return masks
