"""The first network of the bundled detector: where faces are, their boxes and five landmarks, in one pass.

Anchor-free, as FCOS (Tian et al., ICCV 2019): each cell of four maps, one for each range of face sizes, says how likely
it is at the middle of a face, and where that face's box and points lie. Depthwise separable convolutions (MobileNet,
arXiv 1704.04861) and a top-down path (FPN, arXiv 1612.03144) keep it small; no code of either is used.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import fold_batch_norms

Network = TypeVar("Network", bound=nn.Module)

STRIDES = (8, 16, 32, 64)
"""px of the picture for each cell of the four maps."""

OUTPUTS = 15
"""Of each cell: the score's logit, box centre x y, log width and height, five points x y."""

SIDE_PER_STRIDE = 3.0
"""A cell's box before it has learnt anything, in strides: the middle of the sizes that its map is taught."""

HALF_RANGE = 127.5
"""Of the values of an 8-bit picture."""

RARE_LOGIT = -4.6
"""Score before training: one cell in a hundred (RetinaNet, arXiv 1708.02002, section 4.1)."""


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch norm and ReLU: B C H W -> B C' H/stride W/stride."""

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class _Separable(nn.Module):
    """A depthwise convolution and a mixing of channels; with the input added where both have the same shape."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.space = ConvNormReLU(channels_in, channels_in, kernel=kernel, stride=stride, groups=channels_in)
        self.mix = ConvNormReLU(channels_in, channels_out, kernel=1)
        self._adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H/stride W/stride."""
        out: Tensor = self.mix(self.space(x))
        if not self._adds:
            return out
        # In place where no gradient needs what is overwritten: a fifth of the time is memory traffic.
        return x + out if out.requires_grad else out.add_(x)


class DetectorNet(nn.Module):
    """RGB picture to scores, boxes and landmarks of faces.

    Args:
        widths: channels at strides 2, 4, 8, 16, 32 and 64.
        neck: channels of the top-down path and the heads.
        depth: blocks at strides 8, 16 and 32.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int, int] = (16, 32, 64, 96, 128, 128),
        *,
        neck: int = 64,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormReLU(3, widths[0], stride=2),
            ConvNormReLU(widths[0], widths[1], stride=2),
            _Separable(widths[1], widths[1]),
            ConvNormReLU(widths[1], widths[2], stride=2),
        )
        self.stages = nn.ModuleList()
        for level, width in enumerate(widths[2:]):
            kernel = 3 if level == 0 else 5  # wider where cells are few and faces are many cells wide
            first = [] if level == 0 else [_Separable(widths[1 + level], width, stride=2, kernel=kernel)]
            count = depth if level < 3 else 1
            blocks = [_Separable(width, width, kernel=kernel) for _ in range(count)]
            self.stages.append(nn.Sequential(*first, *blocks))
        self.laterals = nn.ModuleList(ConvNormReLU(width, neck, kernel=1) for width in widths[2:])
        self.joints = nn.ModuleList(_Separable(neck, neck) for _ in STRIDES)
        self.heads = nn.ModuleList(
            nn.Sequential(_Separable(neck, neck), _Separable(neck, neck), nn.Conv2d(neck, OUTPUTS, 1))
            for _ in STRIDES
        )
        for head in self.heads:
            last = head[-1]  # type: ignore[index]
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
            nn.init.constant_(last.bias[:1], RARE_LOGIT)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the maps of ``STRIDES``.

        Args:
            pictures: B 3 H W RGB in [0, 1]; H and W are multiples of 64.

        Returns:
            four (B, 15, H / stride, W / stride); see `OUTPUTS`, and `decode` for what they mean.
        """
        return self.maps(normalise(pictures))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps of pictures that are `normalise`d already."""
        x = self.stem(x)  # B 64 H/8 W/8
        taps = []
        for stage in self.stages:
            x = stage(x)  # B C H/stride W/stride
            taps.append(x)
        found: list[Tensor] = []
        coarser: Tensor | None = None
        for level in reversed(range(len(taps))):
            seen = self.laterals[level](taps[level])  # B neck H/stride W/stride
            if coarser is not None:
                seen = seen + functional.interpolate(coarser, scale_factor=2.0, mode="nearest")
            coarser = self.joints[level](seen)
            found.append(self.heads[level](coarser))  # B 15 H/stride W/stride
        return found[::-1]


def normalise(pictures: Tensor) -> Tensor:
    """Return RGB values in [0, 1] as the network sees them, in [-1, 1]."""
    return pictures * 2 - 1


def cell_centres(height: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return (N, 2) centres x y of all cells in px (pixel centres are integers), and their (N,) strides.

    Args:
        height: of the picture, px, a multiple of 64.
        width: likewise.
        device: of the result.
    """
    centres, strides = [], []
    for stride in STRIDES:
        y = torch.arange(height // stride, device=device, dtype=torch.float32)
        x = torch.arange(width // stride, device=device, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)
        centres.append((grid + 0.5) * stride - 0.5)
        strides.append(torch.full((len(grid),), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


def flatten(maps: list[Tensor]) -> Tensor:
    """Return (B, N, 15) float32 outputs of all cells, in the order of `cell_centres`."""
    return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1).float()


def decode(outputs: Tensor, centres: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes and points that cells stand for.

    Args:
        outputs: (..., 15) of cells.
        centres: (..., 2) px of those cells.
        strides: (...) px.

    Returns:
        (..., 4) left, top, right, bottom and (..., 5, 2) x y, in px of the picture.
    """
    stride = strides.unsqueeze(-1)
    middle = centres + outputs[..., 1:3] * stride
    half = torch.exp(outputs[..., 3:5].clamp(-4, 4)) * stride * (SIDE_PER_STRIDE / 2)
    points = outputs[..., 5:].reshape(*outputs.shape[:-1], 5, 2) * (stride * SIDE_PER_STRIDE).unsqueeze(-1)
    return torch.cat([middle - half, middle + half], dim=-1), centres.unsqueeze(-2) + points


class PictureCells(nn.Module):
    """What the detector runs: B H W 3 uint8 RGB pictures, as they lie in memory, to the B N 15 outputs of all cells.

    The range of the values is made one with the first weights, so that a large picture is not gone through for it: of
    `normalise` only the middle stays, 127.5, since that is what the first convolution pads with.
    """

    def __init__(self, network: DetectorNet) -> None:
        super().__init__()
        self.network = deepcopy(network)
        with torch.no_grad():
            next(self.network.parameters()).div_(HALF_RANGE)

    def forward(self, pictures: Tensor) -> Tensor:
        """B H W 3 -> B N 15, H and W multiples of 64; see `flatten`."""
        x = pictures.permute(0, 3, 1, 2).float() - HALF_RANGE  # B 3 H W, colours last in memory
        return flatten(self.network.maps(x))


def without_norms(network: Network) -> Network:
    """Return the network for inference only, with each batch norm folded into the convolution before it."""
    return fold_batch_norms(network.eval().requires_grad_(False))
