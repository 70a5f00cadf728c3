"""StyleGAN2 checkpoints of several origins as the prior of our networks.

Four kinds of file are told apart by their keys and brought to one form, the names of
rosinality/stylegan2-pytorch, which are `facerestore.archs.prior`'s:

- ``rosinality``: ``style.1.weight``, ``conv1.conv.weight``, ``noises.noise_0``, under ``g_ema``;
- ``basicsr``: StyleGAN2Generator, ``style_mlp.1.weight``, ``style_conv1.modulated_conv.weight``,
  ``noises.noise0``, under ``params_ema``; the same numbers under other names, without the filters;
- ``clean``: StyleGAN2GeneratorClean of GFPGAN; plain layers, into which run-time scales and the square root of two
  behind the activations have been multiplied, and bilinear upsampling;
- ``own``: what recipe ``stylegan2`` exports, and the prior inside an MMRB restorer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import Shapes, count_indices, load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    from torch import Tensor

    from facerestore.archs.prior import StyleGAN2Prior
    from facerestore.archs.stylegan2 import GeneratorConfig, NoiseMode, Upsampling

Origin: TypeAlias = Literal["rosinality", "basicsr", "clean", "own"]
"""Whose names and conventions a state dict follows."""


MMRB_PREFIX = "prior."
"""What an MMRB restorer's file puts before the keys of its prior."""

SIGNS: Mapping[Origin, frozenset[str]] = {
    "own": frozenset({"w_avg", "input.input", "conv1.conv.weight"}),
    "rosinality": frozenset({"input.input", "conv1.conv.weight", "conv1.activate.bias"}),
    "basicsr": frozenset({"constant_input.weight", "style_conv1.activate.bias"}),
    "clean": frozenset({"constant_input.weight", "style_conv1.bias"}),
}
"""Keys by which each kind is known, in the order of looking."""

_RENAMES = (
    (r"style_mlp\.", "style."),
    (r"constant_input\.weight", "input.input"),
    (r"style_conv(1|s\.\d+)\.weight", r"conv\1.noise.weight"),
    (r"style_conv(1|s\.\d+)\.bias", r"conv\1.activate.bias"),
    (r"style_conv(1|s\.\d+)\.", r"conv\1."),
    (r"noises\.noise(\d+)", r"noises.noise_\1"),
)
"""From BasicSR's names to ours; the first pattern that a key begins with counts."""

_FILTER_ENDS = (".blur.kernel", ".upsample.kernel")


def prior_from_state_dict(
    state_dict: Mapping[str, Tensor], *, upsampling: Upsampling | None = None
) -> StyleGAN2Prior:
    """Return the StyleGAN2 generator with these parameters, on the CPU.

    One without a mean style has it computed from its mapping network, with a fixed seed.

    Args:
        state_dict: of any kind above.
        upsampling: how sizes double; None follows the kind. Only needed for GFPGAN's "bilinear" generators, whose keys
            are those of filtered ones.

    Raises:
        CheckpointError: they are no StyleGAN2 generator's, or keys are missing, unexpected or misshapen.
    """
    import torch

    from facerestore.archs.prior import StyleGAN2Prior

    state_dict = _inside_mmrb(state_dict)
    origin = prior_origin(state_dict)
    canonical = canonical_prior(state_dict, origin)
    shapes = shapes_of(canonical)
    config = prior_config(shapes, upsampling=upsampling or _upsampling(shapes, origin))
    canonical = _with_filters(canonical, config, origin)
    has_mean = "w_avg" in canonical
    if not has_mean and config.mapping_layers:
        canonical["w_avg"] = torch.zeros(config.style_dim)
    prior = on_meta(StyleGAN2Prior, config)
    load_strictly(prior, canonical, name=f"a StyleGAN2 prior of {config.face_size} px ({origin} file)")
    if not has_mean:
        prior.set_mean_latent()
    return prior


def prior_origin(state_dict: Mapping[str, Tensor]) -> Origin:
    """Return whose names a StyleGAN2 generator's keys follow.

    Raises:
        CheckpointError: nobody's that is known here.
    """
    for origin, keys in SIGNS.items():
        if state_dict.keys() >= keys:
            return origin
    first = ", ".join(f"'{key}'" for key in list(state_dict)[:5])
    raise CheckpointError(
        f"these {len(state_dict)} keys ({first}, ...) are no StyleGAN2 generator's; give a checkpoint of BasicSR"
        " ('params_ema'), of rosinality/stylegan2-pytorch ('g_ema'), or one that facerestore trained"
    )


def canonical_prior(state_dict: Mapping[str, Tensor], origin: Origin) -> dict[str, Tensor]:
    """Return the tensors under our names and in our scaling; keys that nobody knows stay as they are."""
    if origin in ("own", "rosinality"):
        return dict(state_dict)
    if origin == "basicsr":
        return {_our_name(key): value for key, value in state_dict.items()}
    return dict(_from_clean(_our_name(key), value) for key, value in state_dict.items())


def prior_config(shapes: Shapes, *, upsampling: Upsampling) -> GeneratorConfig:
    """Return sizes and widths, read from the shapes of canonical tensors.

    Raises:
        CheckpointError: they fit no generator.
    """
    from facerestore.archs.stylegan2 import COARSE_WIDTH, GeneratorConfig

    try:
        face_size = 2 ** (count_indices(shapes, r"to_rgbs\.(\d+)\.bias") + 2)
        coarse = shapes["input.input"][1]
        return GeneratorConfig(
            face_size=face_size,
            style_dim=shapes["conv1.conv.modulation.weight"][1],
            mapping_layers=count_indices(shapes, r"style\.(\d+)\.weight"),
            channel_multiplier=_multiplier(shapes, face_size, coarse),
            narrow=coarse / COARSE_WIDTH,
            upsampling=upsampling,
            noise_mode=noise_mode(shapes, "conv1.activate.bias", width=coarse),
        )
    except KeyError as error:
        raise CheckpointError(
            f"no StyleGAN2 generator: key {error} is missing; the file is incomplete"
        ) from error
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"no StyleGAN2 generator: {error}; the file is of another network") from error


def _inside_mmrb(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the prior of an MMRB restorer; anything else as it is."""
    if f"{MMRB_PREFIX}input.input" not in state_dict:
        return state_dict
    return {
        key.removeprefix(MMRB_PREFIX): value
        for key, value in state_dict.items()
        if key.startswith(MMRB_PREFIX)
    }


def _our_name(key: str) -> str:
    for pattern, ours in _RENAMES:
        renamed, count = re.subn(f"^{pattern}", ours, key)
        if count:
            key = renamed
            break
    return key.replace(".modulated_conv.", ".conv.")


def _from_clean(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Take out of a clean generator's tensor what was multiplied into it.

    Its styled convolution is LReLU(sqrt2 conv + weight noise + bias), ours sqrt2 LReLU(conv + weight noise + bias),
    and LReLU(sqrt2 x) = sqrt2 LReLU(x). Its layers have no run-time scale; ours multiply by 1 / sqrt(fan-in), and in
    the mapping network by the learning rate's factor too.
    """
    from facerestore.archs.ops import ACTIVATION_GAIN
    from facerestore.archs.stylegan2 import MAPPING_LR_MULTIPLIER

    mapping = re.fullmatch(r"style\.(\d+)\.(weight|bias)", name)
    if mapping:  # a layer and its activation have an index each: 1, 3, 5, ...
        index, kind = int(mapping[1]), mapping[2]
        gain = MAPPING_LR_MULTIPLIER * ACTIVATION_GAIN
        fan_in = math.prod(value.shape[1:]) if kind == "weight" else 1
        return f"style.{index // 2 + 1}.{kind}", value * (math.sqrt(fan_in) / gain)
    if re.fullmatch(r"(conv1|convs\.\d+)\.activate\.bias", name):
        return name, value.flatten() / ACTIVATION_GAIN
    if re.fullmatch(r"(conv1|convs\.\d+)\.noise\.weight", name):
        return name, value / ACTIVATION_GAIN
    if name.endswith(".conv.weight"):  # 1 Cout Cin k k
        return name, value * math.sqrt(math.prod(value.shape[2:]))
    if name.endswith(".modulation.weight"):  # C D
        return name, value * math.sqrt(math.prod(value.shape[1:]))
    return name, value


def _upsampling(shapes: Shapes, origin: Origin) -> Upsampling:
    """Return how a file's generator doubles sizes; our own say it by having filters or not."""
    if origin == "clean" or (origin == "own" and "convs.0.conv.blur.kernel" not in shapes):
        return "bilinear"
    return "fir"


def _with_filters(
    canonical: Mapping[str, Tensor], config: GeneratorConfig, origin: Origin
) -> dict[str, Tensor]:
    """Add the filters that BasicSR does not store; leave them out where upsampling is bilinear."""
    from facerestore.archs.ops import fir_kernel

    if config.upsampling == "bilinear":
        return {key: value for key, value in canonical.items() if not key.endswith(_FILTER_ENDS)}
    filled = dict(canonical)
    if origin in ("basicsr", "clean"):
        for index in range(config.face_size.bit_length() - 3):
            for key in (f"convs.{2 * index}.conv.blur.kernel", f"to_rgbs.{index}.upsample.kernel"):
                filled.setdefault(key, fir_kernel(gain=4.0))
    return filled


def _multiplier(shapes: Shapes, face_size: int, coarse: int) -> float:
    """Return the widening from 64 px on; generators that end below have none, and any value serves."""
    return 1.0 if face_size < 64 else 2 * shapes["convs.6.conv.weight"][1] / coarse


def noise_mode(shapes: Shapes, key: str, *, width: int) -> NoiseMode:
    """Return whether noise is added or concatenated, told from the bias ``key`` behind features of ``width``.

    Raises:
        ValueError: the bias has the length of neither.
    """
    length = shapes[key][0]
    if length == 2 * width:
        return "concat"
    if length == width:
        return "add"
    raise ValueError(f"{key} has {length} values for {width} channels")
