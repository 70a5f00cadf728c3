"""Named, seeded degradations that turn a real face into a degraded one.

A :class:`Degradation` holds ranges; :func:`degrade` draws from them a list of steps with parameters
(:class:`DegradationDraw`, which goes to JSON and back), and does them to a face. Everything is a function of the
generator that it is given. :mod:`facerestore.degradation.batched` does the same steps to many faces at once on a
device; it is not imported here, since it needs torch.
"""

from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    STEPS,
    DamagedFace,
    Degradation,
    DegradationDraw,
    apply,
    damage_masks,
    damaged,
    degrade,
    draw_from_json,
)
from facerestore.degradation.kernels import gaussian_kernel
from facerestore.degradation.old_prints import DamagedPrint, OldPhoto
from facerestore.degradation.presets import (
    PRESETS,
    BicubicReduction,
    BlurReduceNoise,
    OneOfFourBlurs,
    preset,
    register_degradation,
)
from facerestore.degradation.print_scan import Print
from facerestore.degradation.snapshots import Phone, Web
from facerestore.degradation.steps import Step, apply_steps

__all__ = [
    "PRESETS",
    "REFERENCE_SIZE",
    "STEPS",
    "BicubicReduction",
    "BlurReduceNoise",
    "DamagedFace",
    "DamagedPrint",
    "Degradation",
    "DegradationDraw",
    "OldPhoto",
    "OneOfFourBlurs",
    "Phone",
    "Print",
    "Step",
    "Web",
    "apply",
    "apply_steps",
    "damage_masks",
    "damaged",
    "degrade",
    "draw_from_json",
    "gaussian_kernel",
    "preset",
    "register_degradation",
]
