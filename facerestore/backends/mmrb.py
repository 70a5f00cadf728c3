"""MMRB as a backend: codec and prior in one file, configured from its keys and shapes.

A file holds the codec, the prior's synthesis, its mean style and its noise, so that results repeat; the mapping
network is not needed. What no shape tells, keys do: a path is named after its kernel size and dilation, the
modulation heads after the way they reach the prior.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self

from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.priors import MMRB_PREFIX, prior_config
from facerestore.backends.restorer import Descriptor
from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import Shapes, load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    import torch

    from facerestore.archs.mmrb import BlockConfig, Injection, MMRBConfig

OWN_KEYS = frozenset({"codec.stem.weight", "codec.latent.offsets.weight", "prior.input.input", "prior.w_avg"})
"""Keys that every such network has, whatever its size."""

_PATH = re.compile(r"codec\.encoder\.(\d+)\.(\d+)\.rounds\.(\d+)\.(\d+)_k(\d+)_d(\d+)\.weight")
_HEAD = re.compile(r"codec\.heads\.(\w+)\.(\d+)\.weight")


class MMRBRestorer(TensorRestorer):
    """Restores faces with :class:`facerestore.archs.mmrb.MMRBGenerator`; both ranges are [-1, 1]."""

    descriptor = Descriptor(
        name="mmrb",
        summary="multi-path residual codec that steers a StyleGAN2 prior by styles and by scale and shift",
        paper=(
            "after Hu, Liu, Liu, Lu, Yu, Fu, Enhancing Quality of Pose-varied Face Restoration with Local Weak Feature"
            " Sensing and GAN Prior, arXiv 2205.14377; the numbers of the design are ours"
        ),
        network_range=(-1.0, 1.0),
        takes_half=True,
    )
    replayable = True

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a codec and a prior."""
        return state_dict.keys() >= OWN_KEYS

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> MMRBConfig:
        """Return sizes, widths, blocks and injection, read from the names and shapes of the tensors.

        The blocks' first gain is no part of the file: it is a starting value of training.

        Raises:
            CheckpointError: they fit no such network.
        """
        from facerestore.archs.mmrb import MMRBConfig

        shapes = shapes_of(state_dict)
        own = {
            key.removeprefix(MMRB_PREFIX): shape
            for key, shape in shapes.items()
            if key.startswith(MMRB_PREFIX)
        }
        has_filters = "convs.0.conv.blur.kernel" in own
        prior = prior_config(own, upsampling="fir" if has_filters else "bilinear")
        try:
            inject, mod_max_res = _injection(shapes)
            return MMRBConfig(
                face_size=prior.face_size,
                style_dim=prior.style_dim,
                channel_multiplier=prior.channel_multiplier,
                narrow=prior.narrow,
                block=_block(shapes),
                block_counts=_block_counts(shapes, prior.face_size),
                inject=inject,
                mod_max_res=mod_max_res,
                upsampling=prior.upsampling,
            )
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"no MMRB network: {error}; the file is incomplete or foreign") from error

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, computed in float32 whatever they are stored in.

        Raises:
            CheckpointError: they fit no such network, or keys are missing, unexpected or misshapen.
        """
        from facerestore.archs.mmrb import MMRBGenerator

        config = cls.config_from_state_dict(state_dict)
        try:
            network = on_meta(MMRBGenerator, config)
        except ValueError as error:
            raise CheckpointError(f"no MMRB network: {error}; the file is incomplete or foreign") from error
        load_strictly(network, state_dict, name=f"{cls.descriptor.name} {config.face_size} px")
        return cls(network, face_size=config.face_size, device=device)

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a 32 px network whose codec reaches the prior."""
        import torch

        from facerestore.archs.mmrb import MMRBConfig, MMRBGenerator

        with fixed_randomness(), torch.no_grad():
            network = MMRBGenerator(MMRBConfig(32, style_dim=8, narrow=1 / 32, block_counts=(1, 1, 1, 1)))
            for key, value in network.named_parameters():
                if ".heads." in key or ".offsets." in key:  # start at zero, which would hide the codec
                    value.normal_(std=0.1)
            return network.state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the sizes of the design, 256 and 512 px; no weights of them are published."""
        from facerestore.archs.mmrb import MMRBConfig, MMRBGenerator

        for size in (256, 512):
            network = on_meta(MMRBGenerator, MMRBConfig(size))
            yield cls(network, face_size=size, device="meta")


def _block(shapes: Shapes) -> BlockConfig:
    """Return the shape of the encoder's blocks, from the first; strict loading compares the others with it."""
    from facerestore.archs.mmrb import BlockConfig

    found = [(match, shape) for key, shape in shapes.items() if (match := _PATH.fullmatch(key))]
    if not found:
        return BlockConfig()  # a codec without blocks
    level, block = found[0][0].group(1, 2)
    first = [(match, shape) for match, shape in found if match.group(1, 2) == (level, block)]
    by_index = {int(match[4]): (int(match[5]), int(match[6]), shape[0]) for match, shape in first}
    channels = first[0][1][1]
    return BlockConfig(
        paths=tuple(
            (kernel, dilation, width / channels) for _, (kernel, dilation, width) in sorted(by_index.items())
        ),
        rounds=len({match[3] for match, _ in first}),
        attention=f"codec.encoder.{level}.{block}.attention.squeeze.weight" in shapes,
    )


def _block_counts(shapes: Shapes, face_size: int) -> tuple[int, ...]:
    """Return the number of blocks at 4, 8, ..., ``face_size`` pixels."""
    blocks = {match.group(1, 2) for key in shapes if (match := _PATH.fullmatch(key))}
    sizes = [2**level for level in range(2, face_size.bit_length())]
    return tuple(sum(int(level) == size for level, _ in blocks) for size in sizes)


def _injection(shapes: Shapes) -> tuple[Injection, int]:
    """Return how the heads reach the prior, and the finest resolution at which one does."""
    from facerestore.archs.mmrb import INJECTIONS

    heads = {match.groups() for key in shapes if (match := _HEAD.fullmatch(key))}
    kinds = [inject for inject in INJECTIONS if inject in {name for name, _ in heads}]
    if len(kinds) != 1:
        names = ", ".join(sorted({name for name, _ in heads})) or "none"
        raise ValueError(f"its modulation heads are: {names}; it needs one kind of {', '.join(INJECTIONS)}")
    return kinds[0], max(int(size) for _, size in heads)
