"""PSFR-GAN as a backend: restores a face from its pixels and its parsing map, and shows its work scale by scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from facerestore.backends.base import TensorRestorer, faces_to_tensor, fixed_randomness, tensor_to_faces
from facerestore.backends.restorer import Descriptor
from facerestore.backends.tensors import fit_map
from facerestore.errors import BackendError, CheckpointError
from facerestore.types import AlignedFace, FaceImage, ParsingMap, Stage
from facerestore.weights.checkpoint import check_fit, load_strictly, on_meta

if TYPE_CHECKING:
    import torch

    from facerestore.archs.psfr import PSFRConfig, PSFRGenerator

OWN_KEYS = frozenset({"const_input", "head.0.bias", "head.1.norm_0.gamma_conv.bias"})
"""Keys that every PSFR-GAN generator has, with spectral norm or without it."""

FORMER_PREFIX = "to_rgb."
"""Begins keys that only the model of before March 2021 has; it summed a picture of every scale."""

# Principal components are drawn so that this many standard deviations fill half of the range.
COMPONENT_DEVIATIONS = 2.5

# Of the example's finest scale: little enough that the face shows, enough that every parameter counts.
EXAMPLE_RANDOM_SHARE = 0.1


class PSFRRestorer(TensorRestorer):
    """Restores faces with :class:`facerestore.archs.psfr.PSFRGenerator`; both ranges are [-1, 1].

    Needs a parsing map of each face, of the degraded face itself: that of a ParseNet, or with weights that were trained
    so, one drawn from the five landmarks. The network is deterministic.
    """

    descriptor = Descriptor(
        name="psfr",
        summary="progressive restyling of a learnt face by the degraded one and its parsing map",
        paper=(
            "Chen, Li, Yang, Lin, Zhang, Wong, Progressive Semantic-Aware Style Transformation for Blind Face"
            " Restoration, CVPR 2021, arXiv 2009.08709"
        ),
        network_range=(-1.0, 1.0),
        needs_parsing=True,
        has_stages=True,
        takes_half=True,
    )
    replayable = True

    def inference_form(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return the network with fused style blocks."""
        from facerestore.archs.psfr import fuse_psfr

        return super().inference_form(fuse_psfr(cast("PSFRGenerator", network)))

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a PSFR-GAN generator, of its former model too."""
        return state_dict.keys() >= OWN_KEYS or _is_former(state_dict)

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> PSFRConfig:
        """Return sizes and widths, read from the shapes of the tensors.

        Raises:
            CheckpointError: the shapes fit no PSFR-GAN generator, or are of its former model.
        """
        from facerestore.archs.psfr import PSFRConfig

        _refuse_former(state_dict)
        scales = {found[1] for key in state_dict if (found := re.match(r"body\.(\d+)\.", key))}
        try:
            _, coarsest, least_size, _ = state_dict["const_input"].shape
            widths = [
                coarsest,
                *(state_dict[f"body.{scale}.1.bias"].shape[0] for scale in range(len(scales))),
            ]
            config = PSFRConfig(least_size << len(scales), least_size, (min(widths), coarsest))
        except KeyError as error:
            raise CheckpointError(
                f"no PSFR-GAN generator: key {error} is missing; the file is incomplete"
            ) from error
        except (ValueError, IndexError) as error:
            raise CheckpointError(
                f"no PSFR-GAN generator: {error}; the file is of another network"
            ) from error
        if list(config.widths) != widths:
            raise CheckpointError(
                f"no PSFR-GAN generator: its scales have {widths} channels, but each must have half of those of the one"
                f" before, as in {list(config.widths)}; the file is of another network"
            )
        return config

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, spectral norm folded into them, in float32.

        Args:
            state_dict: the keys of the published checkpoint, or those of plain weights.
            device: where the network runs.

        Raises:
            CheckpointError: keys are missing, unexpected or have the wrong shape, or the spectral norms are no
                numbers.
        """
        from facerestore.archs.psfr import PSFRGenerator
        from facerestore.archs.spectral import fuse, has_spectral_norm, official_shapes

        config = cls.config_from_state_dict(state_dict)
        name = f"{cls.descriptor.name} {config.face_size} px"
        network = on_meta(PSFRGenerator, config)
        if has_spectral_norm(state_dict):
            check_fit(official_shapes(network), state_dict, name=f"{name} with spectral norm")
        try:
            plain = fuse(state_dict)
        except ValueError as error:
            raise CheckpointError(f"the checkpoint does not fit {name}: {error}; it is corrupt") from error
        load_strictly(network, plain, name=name)
        return cls(network, face_size=config.face_size, device=device)

    def for_header(self, header: Mapping[str, str]) -> Self:
        """Return this restorer, for the maps on which it was trained, which recipe ``psfr`` writes.

        With the condition ``landmarks`` these are drawn ones; else ``parser`` may name whose they are.
        """
        drawn, parser = header.get("condition") == "landmarks", header.get("parser")
        return self.redeclared(drawn_maps=drawn, parser_weights=parser) if drawn or parser else self

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a 32 px generator, random but for those that let the degraded face through."""
        import torch

        from facerestore.archs.psfr import PSFRConfig, PSFRGenerator

        with fixed_randomness(), torch.no_grad():
            network = PSFRGenerator(PSFRConfig(32, 8, (6, 8)))
            _let_face_through(network)
            return network.state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the one published size, 512 px."""
        from facerestore.archs.psfr import PSFRConfig, PSFRGenerator

        network = on_meta(PSFRGenerator, PSFRConfig())
        yield cls(network, face_size=network.config.face_size, device="meta")

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Return (N, 3, S, S) RGB for faces of (N, 3, S, S) RGB in [-1, 1] and one square map for each.

        Raises:
            BackendError: there are no maps, or one is no map of class ids.
        """
        result: torch.Tensor = self.network(x, self._planes(parsing_maps))
        return result

    def stages(self, face: AlignedFace, parsing_map: ParsingMap) -> list[Stage]:
        """Return what the network makes of a face at each scale, coarsest first: 16, 32, ..., ``face_size`` px.

        Args:
            face: the face, cut out, as for `restore`.
            parsing_map: (S, S) uint8 class ids.

        Raises:
            BackendError: the input is no face image or no map, or the network failed.
        """
        import torch

        crops = self.crops([face])
        network = cast("PSFRGenerator", self.network)
        try:
            with torch.inference_mode():
                x = faces_to_tensor(crops, self.network_range).to(self.device)
                features = network.features(x, self._planes([parsing_map]))
                pictures = [picture.float() for picture in network.pictures(features)]
        except RuntimeError as error:
            raise BackendError(
                f"backend '{self.name}' failed on {self.device} with the stages of a face: {error};"
                " see 'facerestore doctor', or try other weights"
            ) from error
        return [
            self._stage(feature, picture, before)
            for feature, picture, before in zip(features, pictures[1:], pictures, strict=False)
        ]

    def _stage(self, features: torch.Tensor, picture: torch.Tensor, before: torch.Tensor) -> Stage:
        """Return one scale's record, its pictures reduced from full size by area."""
        from torch.nn import functional

        size = features.shape[-1]
        low, high = self.network_range
        reduced, added = (functional.adaptive_avg_pool2d(x, size) for x in (picture, picture - before))
        return Stage(
            size=size,
            picture=tensor_to_faces(reduced, self.network_range)[0],
            added=np.ascontiguousarray((added[0] / (high - low)).permute(1, 2, 0).cpu().numpy()),
            features=_components(features[0].float()),
        )

    def _planes(self, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Return (N, 19, S, S) one-hot planes at the size of the network's input."""
        import torch

        from facerestore.archs.psfr import one_hot

        if parsing_maps is None:
            raise BackendError(f"backend '{self.name}' needs a parsing map for each face; give parsing_maps")
        labels = np.stack([fit_map(parsing_map, self.input_size) for parsing_map in parsing_maps])
        return one_hot(self._transfer.upload(torch.from_numpy(labels)))


def _components(features: torch.Tensor) -> FaceImage:
    """Return (C, s, s) features as RGB in [0, 1]: their three largest principal components.

    The sign of a component is free; each points where the channel that weighs most in it grows.
    """
    import torch

    channels, side, _ = features.shape
    points = features.flatten(1).cpu().double()
    points = points - points.mean(dim=1, keepdim=True)
    _, vectors = torch.linalg.eigh(points @ points.T)
    axes = vectors.flip(1)[:, : min(3, channels)]
    heaviest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    scores = (axes * heaviest.sign()).T @ points
    scores = scores / (COMPONENT_DEVIATIONS * scores.std(dim=1, keepdim=True)).clamp_min(1e-12)
    rgb = torch.zeros(3, side * side, dtype=torch.float64)
    rgb[: scores.shape[0]] = scores
    view = ((rgb + 1) / 2).clamp(0, 1).reshape(3, side, side).permute(1, 2, 0)
    return np.ascontiguousarray(view.float().numpy())


def _let_face_through(network: PSFRGenerator) -> None:
    """Make the finest style block add the degraded face to its features, and all else little beside it.

    Each colour goes as a pair, x and -x, through the two leaky ReLUs; the difference of a pair restores it.
    """
    from facerestore.archs.ops import LEAKY_SLOPE

    _, carry, block = cast("Sequence[Any]", network.body[-1])
    to_style, to_shift = block.norm_1.conv1[0], block.norm_1.beta_conv
    for convolution in (carry, to_style, to_shift, block.norm_1.gamma_conv, block.conv_1, network.img_out):
        for parameter in convolution.parameters():
            parameter.mul_(EXAMPLE_RANDOM_SHARE)
    half = 1 / (1 + LEAKY_SLOPE)  # leaky(x) - leaky(-x) is x over this
    for colour in range(3):
        up, down = 2 * colour, 2 * colour + 1
        for channel, sign in ((up, 1.0), (down, -1.0)):
            to_style.weight[channel, colour, 1, 1] += sign
            to_shift.weight[up, channel, 1, 1] += sign * half
            to_shift.weight[down, channel, 1, 1] -= sign * half
            block.conv_1.weight[colour, channel, 1, 1] += sign * half
        network.img_out.weight[colour, colour, 1, 1] += 1


def _is_former(state_dict: Mapping[str, torch.Tensor]) -> bool:
    return "const_input" in state_dict and any(key.startswith(FORMER_PREFIX) for key in state_dict)


def _refuse_former(state_dict: Mapping[str, torch.Tensor]) -> None:
    former = next((key for key in state_dict if key.startswith(FORMER_PREFIX)), None)
    if former is not None:
        raise CheckpointError(
            f"this is PSFR-GAN's model of before March 2021, another network, which sums pictures of all scales (key"
            f" '{former}'); use psfrgan_epoch15_net_G.pth ('facerestore weights download psfr.ffhq-512')"
        )
