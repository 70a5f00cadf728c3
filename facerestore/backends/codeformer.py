"""CodeFormer as a backend: faces from a codebook, and a weight between quality and fidelity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.restorer import Descriptor
from facerestore.errors import CheckpointError, ConfigError
from facerestore.weights.checkpoint import load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    import torch

    from facerestore.archs.codeformer import CodeFormerConfig
    from facerestore.types import ParsingMap

DEFAULT_FIDELITY = 0.5
"""The w of the authors' test program where its user gives none (``inference_codeformer.py``)."""

OWN_KEYS = frozenset(
    {"position_emb", "quantize.embedding.weight", "idx_pred_layer.1.weight", "ft_layers.0.linear1.weight"}
)
"""Keys that every CodeFormer has, whatever its size."""


class CodeFormerRestorer(TensorRestorer):
    """Restores faces with :class:`facerestore.archs.codeformer.CodeFormer`; both ranges are [-1, 1].

    Its fidelity is w, from 0 (quality: the codebook alone) to 1 (fidelity: as much of the input as it can hold).
    """

    descriptor = Descriptor(
        name="codeformer",
        summary="faces from a codebook that a transformer reads, with a weight between quality and fidelity",
        paper=(
            "Zhou, Chan, Li, Loy, Towards Robust Blind Face Restoration with Codebook Lookup Transformer, NeurIPS 2022,"
            " arXiv 2206.11253"
        ),
        network_range=(-1.0, 1.0),
        fidelity=DEFAULT_FIDELITY,
    )
    replayable = True

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of CodeFormer."""
        return state_dict.keys() >= OWN_KEYS

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> CodeFormerConfig:
        """Return widths, depths and the levels at which features are fused, read from the shapes of the tensors.

        Raises:
            CheckpointError: the shapes fit no CodeFormer.
        """
        from facerestore.archs.codeformer import config_from_shapes

        try:
            return config_from_shapes(shapes_of(state_dict))
        except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
            raise CheckpointError(f"no CodeFormer: {error}; the file is cut short or foreign") from error

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, computed in float32 whatever they are stored in.

        Raises:
            CheckpointError: the shapes fit no CodeFormer, or keys are missing or unexpected.
        """
        from facerestore.archs.codeformer import CodeFormer

        config = cls.config_from_state_dict(state_dict)
        network = on_meta(CodeFormer, config)
        load_strictly(network, state_dict, name=f"{cls.descriptor.name} {config.face_size} px")
        return cls(network, face_size=config.face_size, device=device)

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a 16 px network."""
        from facerestore.archs.codeformer import CodeFormer, CodeFormerConfig

        config = CodeFormerConfig(
            width=32,
            multipliers=(1, 1, 2),
            blocks=1,
            code_dim=8,
            codes=12,
            grid=4,
            token_dim=16,
            layers=1,
            hidden=24,
            fused=(8, 16),
        )
        with fixed_randomness():
            return CodeFormer(config).state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the one published size, 512 px."""
        from facerestore.archs.codeformer import CodeFormer, CodeFormerConfig

        network = on_meta(CodeFormer, CodeFormerConfig())
        yield cls(network, face_size=network.config.face_size, device="meta")

    def with_fidelity(self, value: float) -> Self:
        """Return this restorer with another w; the network is shared, nothing is loaded anew.

        Raises:
            ConfigError: ``value`` is outside 0 to 1.
        """
        if not 0 <= value <= 1:
            raise ConfigError(f"fidelity is {value}; give a number from 0 (quality) to 1 (fidelity)")
        return self.redeclared(fidelity=value)

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Run the network with this restorer's w on (N, 3, S, S) RGB in [-1, 1]; the result likewise."""
        result: torch.Tensor = self.network(x, self.descriptor.fidelity)
        return result
