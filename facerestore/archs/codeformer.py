"""CodeFormer: faces rebuilt from a codebook of facial parts, with a weight between quality and fidelity.

Zhou, Chan, Li, Loy, "Towards Robust Blind Face Restoration with Codebook Lookup Transformer", NeurIPS 2022,
arXiv 2206.11253. An encoder (of a VQGAN, Esser et al., arXiv 2012.09841) folds the face into a small grid; a
transformer reads from it which entry of a learnt codebook belongs in each cell; a generator draws the face from those
entries. On the way the encoder's features are fused in, times the weight w: 0 is the codebook alone, 1 holds most to
the input. Attribute names are those of the published checkpoints. Images are RGB in [-1, 1]. Shapes are B C H W.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_GROUPS = 32  # group norm of every VQGAN block, with its epsilon
NORM_EPSILON = 1e-6
LEAKY_SLOPE = 0.2
# Huang and Belongie, AdaIN, arXiv 1703.06868: added to the variance before its root.
STATISTICS_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class CodeFormerConfig:
    """Shape of the network; the defaults are those of the published weights.

    Attributes:
        width: channels at full size.
        multipliers: channels at each level over ``width``; each level has half the side of the one before.
        blocks: residual blocks at each level.
        code_dim: length of a codebook entry.
        codes: entries of the codebook.
        grid: side of the grid of codes, which is the side of the last level.
        token_dim: width of the transformer.
        layers: its depth.
        heads: its attention heads; the one number that no tensor tells.
        hidden: width of its feed-forward part.
        fused: sides of the levels at which the encoder's features are fused in, pixels.
    """

    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 2, 4, 4, 8)
    blocks: int = 2
    code_dim: int = 256
    codes: int = 1024
    grid: int = 16
    token_dim: int = 512
    layers: int = 9
    heads: int = 8
    hidden: int = 1024
    fused: tuple[int, ...] = (32, 64, 128, 256)

    @property
    def face_size(self) -> int:
        """Side of the face, pixels: the grid doubled once for each level but the last."""
        return self.grid << (len(self.multipliers) - 1)


class ResidualBlock(nn.Module):
    """B I H W -> B O H W: norm, SiLU and 3x3 convolution twice, and a skip, 1x1 where the widths differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = _group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_out = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """B I H W -> B O H W."""
        y = self.conv1(functional.silu(self.norm1(x)))  # B O H W
        y = self.conv2(functional.silu(self.norm2(y)))
        skip = x if self.conv_out is None else self.conv_out(x)
        return torch.add(skip, y)


class AttentionBlock(nn.Module):
    """B C H W -> B C H W: self-attention over all pixels with one head, and a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _group_norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        normed = self.norm(x)
        # The one head has an axis, without which ONNX has no attention: B 1 HW C.
        q, k, v = (part(normed).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).squeeze(1)  # B HW C
        return torch.add(x, self.proj_out(mixed.transpose(1, 2).reshape(x.shape)))


class Halve(nn.Module):
    """B C 2H 2W -> B C H W: a 3x3 convolution of stride 2 that sees one pixel beyond the right and lower edge."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """B C 2H 2W -> B C H W."""
        y: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)))
        return y


class Double(nn.Module):
    """B C H W -> B C 2H 2W: nearest neighbours, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C 2H 2W."""
        y: Tensor = self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return y


class Encoder(nn.Module):
    """Face to grid; keeps the features at which each level ends."""

    def __init__(self, config: CodeFormerConfig) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, config.width, 3, padding=1)]
        self.taps: dict[int, int] = {}
        width, side = config.width, config.face_size
        for level, multiplier in enumerate(config.multipliers):
            last = level == len(config.multipliers) - 1
            for _ in range(config.blocks):
                blocks.append(ResidualBlock(width, config.width * multiplier))
                width = config.width * multiplier
                self.taps[side] = len(blocks) - 1
                if last:
                    blocks.append(AttentionBlock(width))
            if not last:
                blocks.append(Halve(width))
                side //= 2
        blocks += [
            *_middle_blocks(width),
            _group_norm(width),
            nn.Conv2d(width, config.code_dim, 3, padding=1),
        ]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Mapping[int, Tensor]]:
        """B 3 S S -> the grid B code_dim G G, and the features of each level by their side."""
        features = {}
        sides = {index: side for side, index in self.taps.items()}
        for index, block in enumerate(self.blocks):
            x = block(x)  # B C s s
            if index in sides:
                features[sides[index]] = x
        return x, features


class Generator(nn.Module):
    """Grid to face; the features of each level may be changed after its first residual block."""

    def __init__(self, config: CodeFormerConfig) -> None:
        super().__init__()
        width, side = config.width * config.multipliers[-1], config.grid
        blocks: list[nn.Module] = [nn.Conv2d(config.code_dim, width, 3, padding=1), *_middle_blocks(width)]
        self.taps: dict[int, int] = {}
        for level in reversed(range(len(config.multipliers))):
            self.taps[len(blocks)] = side
            for _ in range(config.blocks):
                blocks.append(ResidualBlock(width, config.width * config.multipliers[level]))
                width = config.width * config.multipliers[level]
                if side == config.grid:
                    blocks.append(AttentionBlock(width))
            if level > 0:
                blocks.append(Double(width))
                side *= 2
        blocks += [_group_norm(width), nn.Conv2d(width, 3, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class TransformerLayer(nn.Module):
    """L B D -> L B D: self-attention whose queries and keys know their place, then a feed-forward part."""

    def __init__(self, config: CodeFormerConfig) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(config.token_dim, config.heads)
        self.linear1 = nn.Linear(config.token_dim, config.hidden)
        self.linear2 = nn.Linear(config.hidden, config.token_dim)
        self.norm1 = nn.LayerNorm(config.token_dim)
        self.norm2 = nn.LayerNorm(config.token_dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """L B D and L 1 D -> L B D."""
        normed = self.norm1(x)
        placed = normed + position  # L B D
        x = x + self.self_attn(placed, placed, normed, need_weights=False)[0]
        return torch.add(x, self.linear2(functional.gelu(self.linear1(self.norm2(x)))))


class FusionBlock(nn.Module):
    """Encoder and generator features B C H W -> generator features, scaled and shifted by both, times w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_enc = ResidualBlock(2 * width, width)
        self.scale = _two_convolutions(width)
        self.shift = _two_convolutions(width)

    def forward(self, encoded: Tensor, x: Tensor, w: float) -> Tensor:
        """B C H W -> B C H W."""
        joint = self.encode_enc(torch.cat([encoded, x], dim=1))  # B 2C H W -> B C H W
        return torch.add(x, w * (x * self.scale(joint) + self.shift(joint)))


class Codebook(nn.Module):
    """The learnt entries."""

    def __init__(self, config: CodeFormerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.codes, config.code_dim)


class CodeFormer(nn.Module):
    """B 3 S S -> B 3 S S, S being the config's ``face_size``; RGB in [-1, 1], not clamped."""

    def __init__(self, config: CodeFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.generator = Generator(config)
        self.quantize = Codebook(config)
        self.position_emb = nn.Parameter(torch.zeros(config.grid**2, config.token_dim))
        self.feat_emb = nn.Linear(config.code_dim, config.token_dim)
        self.ft_layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.idx_pred_layer = nn.Sequential(
            nn.LayerNorm(config.token_dim), nn.Linear(config.token_dim, config.codes, bias=False)
        )
        widths = {config.face_size >> i: config.width * m for i, m in enumerate(config.multipliers)}
        self.fuse_convs_dict = nn.ModuleDict({str(side): FusionBlock(widths[side]) for side in config.fused})

    def forward(self, x: Tensor, w: float) -> Tensor:
        """B 3 S S and the fidelity weight, 0 to 1 -> B 3 S S."""
        grid, features = self.encoder(x)  # B code_dim G G; B C s s by side
        codes = self.predict(grid).argmax(dim=2)  # L B
        entries: Tensor = self.quantize.embedding(codes.T)  # B L code_dim
        x = with_statistics_of(entries.transpose(1, 2).reshape(grid.shape), grid)  # B code_dim G G
        for index, block in enumerate(self.generator.blocks):
            x = block(x)  # B C s s, at last B 3 S S
            side = str(self.generator.taps.get(index))
            if w > 0 and side in self.fuse_convs_dict:
                x = self.fuse_convs_dict[side](features[int(side)], x, w)
        return x

    def predict(self, grid: Tensor) -> Tensor:
        """B code_dim G G -> L B codes: how well each entry of the codebook fits each cell."""
        tokens = self.feat_emb(grid.flatten(2).permute(2, 0, 1))  # L B D
        position = self.position_emb[:, None]  # L 1 D
        for layer in self.ft_layers:
            tokens = layer(tokens, position)
        scores: Tensor = self.idx_pred_layer(tokens)
        return scores


def with_statistics_of(x: Tensor, like: Tensor) -> Tensor:
    """Return ``x`` with the mean and deviation of ``like`` in each channel (AdaIN); both B C H W."""
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
    like_variance, like_mean = torch.var_mean(like, dim=(2, 3), keepdim=True)
    ratio = ((like_variance + STATISTICS_EPSILON) / (variance + STATISTICS_EPSILON)).sqrt()
    return (x - mean) * ratio + like_mean


def config_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> CodeFormerConfig:
    """Return the shape of the network that has these parameters.

    Raises:
        KeyError: a tensor that every such network has is missing.
        ValueError: the shapes fit no such network.
    """
    width = shapes["encoder.blocks.0.weight"][0]
    cells, token_dim = shapes["position_emb"]
    codes, code_dim = shapes["quantize.embedding.weight"]
    halvings = [i for i in range(len(shapes)) if f"encoder.blocks.{i}.conv.weight" in shapes]
    if not halvings or isqrt(cells) ** 2 != cells:
        raise ValueError(f"{len(halvings)} levels over a grid of {cells} cells")
    blocks = halvings[0] - 1
    firsts = [1, *(index + 1 for index in halvings)]
    layers = {key.split(".")[1] for key in shapes if key.startswith("ft_layers.")}
    fused = {int(key.split(".")[1]) for key in shapes if key.startswith("fuse_convs_dict.")}
    config = CodeFormerConfig(
        width=width,
        multipliers=tuple(shapes[f"encoder.blocks.{i}.conv2.weight"][0] // width for i in firsts),
        blocks=blocks,
        code_dim=code_dim,
        codes=codes,
        grid=isqrt(cells),
        token_dim=token_dim,
        layers=len(layers),
        hidden=shapes["ft_layers.0.linear1.weight"][0],
        fused=tuple(sorted(fused)),
    )
    sides = {config.face_size >> level for level in range(len(config.multipliers))}
    if not fused <= sides or token_dim % config.heads:
        raise ValueError(
            f"features fused at {sorted(fused)} px, of levels {sorted(sides)}; {token_dim} wide tokens"
        )
    return config


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, width, eps=NORM_EPSILON)


def _middle_blocks(width: int) -> list[nn.Module]:
    return [ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width)]


def _two_convolutions(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(LEAKY_SLOPE),
        nn.Conv2d(width, width, 3, padding=1),
    )
