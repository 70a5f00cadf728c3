"""The bundled restorer: a small residual U-shaped network on pixel-unshuffled features.

Its trunk runs at a quarter of the face size or below, where an ordinary processor is fast; a narrow head at half the
size and at the full size draws what the trunk has understood. The network predicts what to add to its input, so an
undamaged face costs it nothing to keep. The layout follows common practice for fast restoration (pixel unshuffle as in
Real-ESRGAN x2, arXiv 2107.10833; channel-wise layer norm before each residual branch as in NAFNet, arXiv 2204.04676).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.resizing import doubled

SLOPE = 0.2  # of the leaky ReLU
COLOURS = 3


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """Shape of the network.

    Attributes:
        unshuffle: factor by which space is folded into channels before the first convolution.
        widths: channels at each level, the first at ``face_size / unshuffle``, each next at half the size.
        blocks: residual blocks at each level, on the way down and again on the way up (the last level once).
        fine_widths: channels of the head that draws at twice the size of the first level, at four times, and so on up
            to the size of the face; none for no such head. Where 48 numbers become 4 by 4 pixels at once, lattices and
            ragged edges come of it; these layers see their neighbours as they draw.
        fine_blocks: residual blocks at each of those sizes.
        inputs: channels of the input: 3 for a face alone; 6 for a face and what another network made of it, to the
            mean of which this one then adds. Such a network has fine widths.
    """

    unshuffle: int = 4
    widths: tuple[int, ...] = (48, 96, 192, 256)
    blocks: tuple[int, ...] = (2, 2, 2, 3)
    fine_widths: tuple[int, ...] = ()
    fine_blocks: tuple[int, ...] = ()
    inputs: int = COLOURS


BUNDLED = LiteConfig(fine_widths=(32, 12), fine_blocks=(3, 1))
"""Shape of the weights that come with facerestore."""


class ResidualBlock(nn.Module):
    """x + conv(LReLU(conv(norm(x)))), both convolutions 3x3, the norm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv1 = conv(width, width, 3, slope=SLOPE)
        self.conv2 = conv(width, width, 3, scale=0.2)  # residual branches start small

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # by B H W C, and back
        return torch.add(x, self.conv2(functional.leaky_relu(self.conv1(normed), SLOPE)))


def conv(
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    bias: bool = True,
    slope: float = 1.0,
    scale: float = 1.0,
) -> nn.Conv2d:
    """Return a convolution that keeps the variance of its input (He 2015) times ``scale`` squared.

    Args:
        inputs: channels.
        outputs: channels.
        size: of the kernel.
        stride: of the kernel.
        padding: None keeps the size at stride 1, and is none beyond.
        dilation: of the kernel.
        bias: it has one, at first zero.
        slope: of the leaky ReLU behind it; 1 for none.
        scale: of the first weights.
    """
    if padding is None:
        padding = dilation * (size // 2) if stride == 1 else 0
    conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=bias)
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, slope)
        conv.weight.data.mul_(scale)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return conv


def _residual_blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class LiteTrunk(nn.Module):
    """B C S S in [0, 1] to features B C0 S/4 S/4 (for an unshuffle of 4), which hold what all levels found.

    C is 3, for RGB, unless ``inputs`` says otherwise.
    """

    def __init__(
        self, unshuffle: int, widths: Sequence[int], blocks: Sequence[int], *, inputs: int = COLOURS
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or len(widths) < 2:
            raise ValueError(
                f"widths {widths} and blocks {blocks} must have one entry for each of 2 or more levels"
            )
        self.unshuffle = unshuffle
        self.size_multiple = unshuffle * 2 ** (len(widths) - 1)
        self.stem = conv(inputs * unshuffle**2, widths[0], 3)
        self.encoder = nn.ModuleList(_residual_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(conv(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(conv(b, 4 * a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(
            _residual_blocks(a, n) for (a, _), n in zip(pairs, blocks[:-1], strict=True)
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        """B C S S -> B Ci S/(4 * 2^i) S/(4 * 2^i) of each level of the way down, finest first."""
        h: Tensor = self.stem(functional.pixel_unshuffle(2 * x - 1, self.unshuffle))  # B C0 S/4 S/4
        found: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            h = blocks(h)
            found.append(h)
            if level < len(self.down):
                h = self.down[level](h)
        return found

    def features(self, x: Tensor) -> Tensor:
        """B C S S -> B C0 S/4 S/4."""
        *skips, h = self.encode(x)
        for level in reversed(range(len(self.down))):
            h = functional.pixel_shuffle(self.up[level](h), 2) + skips[level]  # this level's size and width
            h = self.decoder[level](h)
        return h


class FineHead(nn.Module):
    """Draws at twice, four times ... the size of the trunk, with the input beside it at each size.

    Its last convolution starts at zero: grown onto a trained network, it changes nothing at first.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        widths, blocks = config.fine_widths, config.fine_blocks
        if len(widths) != len(blocks) or config.unshuffle != 2 ** len(widths):
            raise ValueError(
                f"fine_widths {widths} and fine_blocks {blocks} must have one entry for each doubling from"
                f" 1/{config.unshuffle} of the face size to the whole"
            )
        self.folds = tuple(config.unshuffle // 2 ** (level + 1) for level in range(len(widths)))
        pairs = list(pairwise((config.widths[0], *widths)))
        self.up = nn.ModuleList(conv(a, 4 * b, 1) for a, b in pairs)
        self.look = nn.ModuleList(
            conv(config.inputs * fold**2, w, 3) for w, fold in zip(widths, self.folds, strict=True)
        )
        self.blocks = nn.ModuleList(_residual_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        self.draw = conv(widths[-1], COLOURS, 3, scale=0.0)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """B C0 S/4 S/4 features and the B C S S input -> B 3 S S."""
        for up, look, blocks, fold in zip(self.up, self.look, self.blocks, self.folds, strict=True):
            seen = look(functional.pixel_unshuffle(2 * x - 1, fold))  # B C S/fold S/fold
            h = blocks(functional.pixel_shuffle(up(h), 2) + seen)  # B C S/fold S/fold
        drawn: Tensor = self.draw(h)  # B 3 S S
        return drawn


class LiteGenerator(LiteTrunk):
    """Restores B 3 S S RGB in [0, 1] to the same shape and range, S a multiple of ``size_multiple``.

    With six inputs it refines what another network made of the face: it takes what `seen_with` returns, B 6 S S.
    """

    def __init__(self, config: LiteConfig | None = None) -> None:
        config = config or LiteConfig()
        super().__init__(config.unshuffle, config.widths, config.blocks, inputs=config.inputs)
        self.config = config
        # At first the output is the input.
        self.head = conv(config.widths[0], COLOURS * config.unshuffle**2, 3, scale=0.01)
        self.fine = FineHead(config) if config.fine_widths else None

    def forward(self, x: Tensor) -> Tensor:
        """B C S S -> B 3 S S; the output is not clamped."""
        h = self.features(x)  # B C0 S/4 S/4
        before = x if self.config.inputs == COLOURS else (x[:, :COLOURS] + x[:, COLOURS:]) / 2
        restored = before + functional.pixel_shuffle(self.head(h), self.unshuffle)  # B 3 S S
        return restored if self.fine is None else restored + self.fine(h, x)


REDUCTION = 2
"""Side of a face that is refined over that at which the other network restores it."""


def seen_with(base: LiteGenerator, faces: Tensor) -> Tensor:
    """Return faces with what another network makes of them, reduced by area and enlarged again (bicubic).

    Args:
        base: the other network.
        faces: B 3 S S in [0, 1].

    Returns:
        B 6 S S in [0, 1]: the faces, then the enlarged results.
    """
    restored = base(functional.avg_pool2d(faces, REDUCTION)).float().clamp(0, 1)  # B 3 S/2 S/2
    return torch.cat((faces, doubled(restored).clamp(0, 1)), dim=1)


class RefiningGenerator(LiteGenerator):
    """Restores B 3 S S RGB in [0, 1]: another network at half the size, and this one at the whole, which refines.

    Args:
        config: shape of what refines.
        base: shape of what is refined.
    """

    def __init__(self, config: LiteConfig, base: LiteConfig) -> None:
        super().__init__(config)
        self.base = LiteGenerator(base)
        self.size_multiple = max(self.size_multiple, REDUCTION * self.base.size_multiple)

    def forward(self, x: Tensor) -> Tensor:
        """B 3 S S -> B 3 S S; the output is not clamped."""
        return super().forward(seen_with(self.base, x))


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> LiteConfig:
    """Return the configuration of a state dict from the shapes of its tensors.

    Raises:
        KeyError: a tensor that every such network has is missing.
    """
    levels = 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("down."))
    widths = [int(shapes["stem.weight"][0])]
    widths += [int(shapes[f"down.{level}.weight"][0]) for level in range(levels)]
    fine = 1 + max((int(key.split(".")[2]) for key in shapes if key.startswith("fine.look.")), default=-1)
    inputs = int(shapes[f"fine.look.{fine - 1}.weight"][1]) if fine else COLOURS  # the last one folds nothing
    return LiteConfig(
        unshuffle=round((int(shapes["stem.weight"][1]) / inputs) ** 0.5),
        widths=tuple(widths),
        blocks=tuple(_count_blocks(shapes, f"encoder.{level}.") for level in range(levels + 1)),
        fine_widths=tuple(int(shapes[f"fine.look.{level}.weight"][0]) for level in range(fine)),
        fine_blocks=tuple(_count_blocks(shapes, f"fine.blocks.{level}.") for level in range(fine)),
        inputs=inputs,
    )


def _count_blocks(shapes: Mapping[str, Sequence[int]], prefix: str) -> int:
    """Return how many residual blocks have keys of this prefix; that they are numbered from 0, strict loading sees."""
    return len({key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)})
