"""GPEN as a backend: every published size, variant and task, recognised and configured from its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self

from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.priors import noise_mode
from facerestore.backends.restorer import Descriptor
from facerestore.errors import CheckpointError, ConfigError
from facerestore.weights.checkpoint import Shapes, count_indices, load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    import torch

    from facerestore.archs.gpen import GPENConfig

OWN_KEYS = frozenset(
    {"generator.input.input", "generator.to_rgb1.bias", "ecd0.0.0.weight", "final_linear.0.weight"}
)
"""Keys that every GPEN generator has, whatever its size."""

TASK_RANGES: Mapping[str, tuple[float, float]] = {
    "restore": (-1.0, 1.0),
    "colorize": (-1.0, 1.0),
    "inpaint": (-1.0, 1.0),
    "synthesize": (0.0, 1.0),
}
"""Value range, input and output alike, in which the published networks of each task were trained: the test code of
https://github.com/yangxy/GPEN at 2c73670 normalises photos to [-1, 1] and back, and segmentation pictures not at all.
The networks themselves are the same, key by key, so that a file does not tell its task."""


class GPENRestorer(TensorRestorer):
    """Restores faces with :class:`facerestore.archs.gpen.GPENGenerator`; the ranges are those of ``TASK_RANGES``.

    Noise is the encoder's features, so results repeat; a network that gives larger faces than it takes draws
    the rest from a fixed seed.
    """

    descriptor = Descriptor(
        name="gpen",
        summary="GAN prior embedded network: an encoder that steers StyleGAN2",
        paper=(
            "Yang, Ren, Xie, Zhang, GAN Prior Embedded Network for Blind Face Restoration in the Wild, CVPR 2021,"
            " arXiv 2105.06070"
        ),
        tasks=tuple(TASK_RANGES),
        network_range=TASK_RANGES["restore"],
        takes_half=True,
    )
    replayable = True

    def for_task(self, purpose: str) -> Self:
        """Return a restorer with the same network, in the value range of a task.

        Raises:
            ConfigError: GPEN has no such task.
        """
        if purpose not in TASK_RANGES:
            raise ConfigError(f"gpen has no task '{purpose}'; choose one of {', '.join(TASK_RANGES)}")
        return self.redeclared(network_range=TASK_RANGES[purpose])

    def inference_form(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return the fused form of the network."""
        from facerestore.archs.gpen import GPENGenerator
        from facerestore.archs.gpen_fused import FusedGPEN

        return FusedGPEN(network) if isinstance(network, GPENGenerator) else super().inference_form(network)

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a GPEN generator."""
        return state_dict.keys() >= OWN_KEYS

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> GPENConfig:
        """Return sizes, widths, latent code and noise mode, read from the shapes of the tensors.

        Raises:
            CheckpointError: the shapes fit no GPEN generator.
        """
        from facerestore.archs.gpen import GPENConfig
        from facerestore.archs.stylegan2 import COARSE_WIDTH

        shapes = shapes_of(state_dict)
        try:
            face_size = 2 ** (count_indices(shapes, r"generator\.to_rgbs\.(\d+)\.bias") + 2)
            input_size = 2 ** (count_indices(shapes, r"ecd(\d+)\.0\.\d\.weight") + 1)
            coarse = shapes["generator.input.input"][1]
            config = GPENConfig(
                face_size=face_size,
                input_size=input_size,
                style_dim=shapes["generator.style.1.weight"][0],
                mapping_layers=count_indices(shapes, r"generator\.style\.(\d+)\.weight"),
                channel_multiplier=_multiplier(shapes, face_size, input_size),
                narrow=coarse / COARSE_WIDTH,
                noise_mode=noise_mode(shapes, "generator.conv1.activate.bias", width=coarse),
            )
        except KeyError as error:
            raise CheckpointError(
                f"no GPEN generator: key {error} is missing; the file is incomplete"
            ) from error
        except (IndexError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(f"no GPEN generator: {error}; the file is of another network") from error
        _check_widths(shapes, config)
        return config

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, computed in float32 whatever they are stored in.

        Raises:
            CheckpointError: the shapes fit no GPEN generator, or keys are missing or unexpected.
        """
        from facerestore.archs.gpen import GPENGenerator

        config = cls.config_from_state_dict(state_dict)
        network = on_meta(GPENGenerator, config)
        load_strictly(network, state_dict, name=f"{cls.descriptor.name} {config.face_size} px")
        return cls(network, face_size=config.face_size, input_size=config.input_size, device=device)

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a 32 px generator, with weight on the encoder's features."""
        import torch

        from facerestore.archs.gpen import GPENConfig, GPENGenerator

        with fixed_randomness(), torch.no_grad():
            network = GPENGenerator(GPENConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64))
            for key, value in network.named_parameters():
                if key.endswith("noise.weight"):  # starts at zero, which would hide the encoder
                    value.fill_(0.5)
                if "to_rgb" in key and key.endswith("conv.weight"):  # keeps most pixels off the clamp
                    value.mul_(0.2)
            return network.state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the four published sizes: 256 px is narrow, the others have all widths (model zoo of its authors)."""
        from facerestore.archs.gpen import GPENConfig, GPENGenerator

        configs = [GPENConfig(256, channel_multiplier=1, narrow=0.5), *map(GPENConfig, (512, 1024, 2048))]
        for config in configs:
            network = on_meta(GPENGenerator, config)
            yield cls(network, face_size=config.face_size, device="meta")


def _widths(shapes: Shapes, face_size: int, input_size: int) -> dict[int, int]:
    """Return the channels at each resolution, from the encoder and then the generator."""
    levels = input_size.bit_length() - 2
    widths = {input_size: shapes["ecd0.0.0.weight"][0]}
    for index in range(1, levels):
        widths[input_size >> index] = shapes[f"ecd{index}.0.1.weight"][0]
    for index in range(face_size.bit_length() - 3):
        widths[8 << index] = shapes[f"generator.convs.{2 * index}.conv.weight"][1]
    return widths


def _multiplier(shapes: Shapes, face_size: int, input_size: int) -> float:
    """Return the widening from 64 px on; networks that end below have none, and any value serves."""
    width = _widths(shapes, face_size, input_size).get(64)
    return 2.0 if width is None else 2 * width / shapes["generator.input.input"][1]


def _check_widths(shapes: Shapes, config: GPENConfig) -> None:
    """Raise `CheckpointError` where a layer's width departs from the table that all published networks follow."""
    for resolution, width in _widths(shapes, config.face_size, config.input_size).items():
        if width != config.width(resolution):
            raise CheckpointError(
                f"no GPEN generator: {width} channels at {resolution} px, but its widths at 4 and 64 px call for"
                f" {config.width(resolution)}; the file is of another network"
            )
