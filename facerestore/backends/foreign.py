"""Networks of other people, run through spandrel (MIT; the extra ``extra-backends``): GFPGAN and RestoreFormer.

spandrel brings the networks. What is not taken from it: reading files (``checkpoint.load_state_dict`` is the one door),
shapes (read from the tensors here, so that a file that does not fit is told by its keys) and the call adapters. Those
take RGB in [0, 1]; RestoreFormer's converts that to the [-1, 1] the network was trained on, GFPGAN's does not (as of
0.4.2), though GFPGAN was trained on (x - 0.5) / 0.5 like the other (``gfpgan/utils.py`` of its authors normalises so
and reads the result as [-1, 1]). So the networks themselves are called, at [-1, 1].

A file is recognised by its keys alone, without spandrel. CodeFormer is not among spandrel's networks, since the licence
of its authors' code forbids commercial use; `facerestore.archs.codeformer` is written anew and needs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.restorer import Descriptor
from facerestore.errors import BackendError, CheckpointError, required_package
from facerestore.weights.checkpoint import Shapes, count_indices, load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    import torch

    from facerestore.types import ParsingMap

INSTALL = 'pip install "facerestore[extra-backends]"'

GFPGAN_KEYS = frozenset(
    {
        "conv_body_first.weight",
        "toRGB.0.weight",
        "stylegan_decoder.style_mlp.1.weight",
        "condition_scale.0.0.weight",
    }
)
"""Keys that every GFPGAN of the clean kind has (published as v1.2 to v1.4)."""

RESTOREFORMER_KEYS = frozenset(
    {
        "quantize.embedding.weight",
        "quant_conv.weight",
        "encoder.conv_in.weight",
        "encoder.down.0.block.0.norm1.weight",
        "decoder.conv_out.weight",
        "decoder.mid.attn_1.norm2.weight",
    }
)
"""Keys that every RestoreFormer has; the last tells its cross-attention from a plain VQGAN."""

GFPGAN_COARSE_WIDTH = 512
"""Channels up to 32 px of a generator with ``narrow`` 1 (StyleGAN2, arXiv 1912.04958, its table of channels)."""

ATTENTION_SIDE = 16
"""Side of the feature maps on which RestoreFormer attends, pixels (its paper, arXiv 2201.06374, section 4.1)."""

RESTOREFORMER_HEADS = 8
"""Attention heads of the published RestoreFormer; no tensor tells them."""


@dataclass(frozen=True, slots=True)
class GFPGANConfig:
    """Shape of a GFPGAN; fields as spandrel names them.

    Attributes:
        out_size: side of the face, pixels.
        num_style_feat: length of a style code.
        num_mlp: layers of the mapping network, which restoration does not use.
        channel_multiplier: widening from 64 px on.
        narrow: width over that of the published networks.
        different_w: a style code for each layer of the generator.
        sft_half: half of the channels are modulated.
    """

    out_size: int
    num_style_feat: int
    num_mlp: int
    channel_multiplier: float
    narrow: float
    different_w: bool
    sft_half: bool

    @property
    def face_size(self) -> int:
        """Side of the face, pixels."""
        return self.out_size

    @classmethod
    def of(cls, shapes: Shapes) -> Self:
        """Return the shape that tensors have; raises the error of a look-up where they have none."""
        decoder = "stylegan_decoder"
        doublings = count_indices(shapes, r"toRGB\.(\d+)\..*")
        coarse = shapes[f"{decoder}.constant_input.weight"][1]
        style_dim = shapes[f"{decoder}.style_mlp.1.weight"][0]
        # The first convolution at 64 px is the fourth pair's; a generator that ends below has no widening.
        wide = shapes.get(f"{decoder}.style_convs.6.modulated_conv.weight")
        scale = shapes["condition_scale.0.2.weight"]
        return cls(
            out_size=4 << doublings,
            num_style_feat=style_dim,
            num_mlp=count_indices(shapes, rf"{decoder}\.style_mlp\.(\d+)\..*"),
            channel_multiplier=2.0 if wide is None else 2 * wide[1] / coarse,
            narrow=coarse / GFPGAN_COARSE_WIDTH,
            different_w=shapes["final_linear.weight"][0] != style_dim,
            sft_half=scale[0] == scale[1],
        )


@dataclass(frozen=True, slots=True)
class RestoreFormerConfig:
    """Shape of a RestoreFormer; fields as spandrel names them.

    Attributes:
        n_embed: entries of the dictionary.
        embed_dim: length of an entry.
        ch: channels at full size.
        ch_mult: channels at each level over ``ch``.
        num_res_blocks: residual blocks at each level.
        resolution: side of the face, pixels.
        z_channels: channels between encoder and dictionary.
        head_size: attention heads.
        attn_resolutions: sides of the feature maps on which it attends, pixels.
        double_z: the encoder gives mean and variance of a code.
    """

    n_embed: int
    embed_dim: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    resolution: int
    z_channels: int
    head_size: int = RESTOREFORMER_HEADS
    attn_resolutions: tuple[int, ...] = (ATTENTION_SIDE,)
    double_z: bool = False

    @property
    def face_size(self) -> int:
        """Side of the face, pixels."""
        return self.resolution

    @classmethod
    def of(cls, shapes: Shapes) -> Self:
        """Return the shape that tensors have; raises the error of a look-up where they have none."""
        codes, code_dim = shapes["quantize.embedding.weight"]
        width = shapes["encoder.conv_in.weight"][0]
        levels = count_indices(shapes, r"encoder\.down\.(\d+)\..*")
        attending = [level for level in range(levels) if f"encoder.down.{level}.attn.0.q.weight" in shapes]
        if not attending:
            raise ValueError("no level attends")
        return cls(
            n_embed=codes,
            embed_dim=code_dim,
            ch=width,
            ch_mult=tuple(
                shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] // width for level in range(levels)
            ),
            num_res_blocks=count_indices(shapes, r"encoder\.down\.0\.block\.(\d+)\..*"),
            resolution=ATTENTION_SIDE << attending[0],
            z_channels=shapes["quant_conv.weight"][1],
        )


Config: TypeAlias = GFPGANConfig | RestoreFormerConfig


class _SpandrelRestorer(TensorRestorer):
    """A restorer whose network is spandrel's; built of what its subclass says and reads."""

    title: ClassVar[str]
    """What its authors call it, and spandrel its architecture."""
    keys: ClassVar[frozenset[str]]
    """Keys that every such network has."""
    config_class: ClassVar[type[Config]]
    example: ClassVar[Config]
    """Shape of a small network, to try the adapter with."""
    at_512: ClassVar[Config]
    """Shape of the published network."""

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of such a network."""
        return state_dict.keys() >= cls.keys

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> Config:
        """Return the network's shape, read from the tensors.

        Raises:
            CheckpointError: the shapes fit no such network.
        """
        try:
            return cls.config_class.of(shapes_of(state_dict))
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(f"no {cls.title}: {error}; the file is cut short or foreign") from error

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, computed in float32 whatever they are stored in.

        Raises:
            BackendError: spandrel is not installed.
            CheckpointError: the shapes fit no such network, or keys are missing or unexpected.
        """
        config = cls.config_from_state_dict(state_dict)
        network = on_meta(cls._network, config)
        load_strictly(network, state_dict, name=f"{cls.descriptor.name} {config.face_size} px")
        return cls(network, face_size=config.face_size, device=device)

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a 32 px network.

        Raises:
            BackendError: spandrel is not installed.
        """
        with fixed_randomness():
            return cls._network(cls.example).state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the one published size, 512 px.

        Raises:
            BackendError: spandrel is not installed.
        """
        yield cls(on_meta(cls._network, cls.at_512), face_size=512, device="meta")

    @classmethod
    def _network(cls, config: Config) -> torch.nn.Module:
        """Return spandrel's network; raises BackendError where spandrel is absent, or too old for it."""
        module = required_package(
            f"spandrel.architectures.{cls.title}",
            what=f"backend '{cls.descriptor.name}'",
            install=INSTALL,
            error=BackendError,
        )
        network: torch.nn.Module = getattr(module, cls.title)(**asdict(config))
        return network


class GFPGANRestorer(_SpandrelRestorer):
    """Restores faces with GFPGAN (Wang et al., CVPR 2021, arXiv 2101.04061); both ranges are [-1, 1].

    Its generator adds noise. The authors draw it anew for each face; here it is the noise that the weights file holds,
    so that results repeat and do not depend on which faces share a batch.
    """

    descriptor = Descriptor(
        name="gfpgan",
        summary="U-shaped encoder that steers a StyleGAN2 prior by scale and shift; through spandrel",
        paper=(
            "Wang, Li, Zhang, Shan, Towards Real-World Blind Face Restoration with Generative Facial Prior, CVPR 2021,"
            " arXiv 2101.04061"
        ),
        requires=("spandrel",),
        network_range=(-1.0, 1.0),
    )
    title = "GFPGAN"
    keys = GFPGAN_KEYS
    config_class = GFPGANConfig
    example = GFPGANConfig(32, 8, 2, 1, 1 / 32, different_w=True, sft_half=True)
    # Of v1.3 and v1.4: ``gfpgan/utils.py`` of its authors, arch "clean".
    at_512 = GFPGANConfig(512, 512, 8, 2, 1, different_w=True, sft_half=True)

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Run the network with its stored noise on (N, 3, S, S) RGB in [-1, 1]; the result likewise."""
        result: torch.Tensor = self.network(x, return_rgb=False, randomize_noise=False)[0]
        return result


class RestoreFormerRestorer(_SpandrelRestorer):
    """Restores faces with RestoreFormer (Wang et al., CVPR 2022, arXiv 2201.06374); both ranges are [-1, 1]."""

    descriptor = Descriptor(
        name="restoreformer",
        summary="faces from a dictionary of facial parts, by cross-attention; through spandrel",
        paper=(
            "Wang, Zhang, Chen, Wang, Luo, RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value"
            " Pairs, CVPR 2022, arXiv 2201.06374"
        ),
        requires=("spandrel",),
        network_range=(-1.0, 1.0),
    )
    title = "RestoreFormer"
    keys = RESTOREFORMER_KEYS
    config_class = RestoreFormerConfig
    example = RestoreFormerConfig(12, 8, 32, (1, 2), 1, 32, 8)
    # ``configs/RestoreFormer.yaml`` of its authors.
    at_512 = RestoreFormerConfig(1024, 256, 64, (1, 2, 2, 4, 4, 8), 2, 512, 256)

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Run the network on (N, 3, S, S) RGB in [-1, 1]; the result likewise."""
        result: torch.Tensor = self.network(x)[0]
        return result
