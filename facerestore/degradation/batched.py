"""Degradations of many faces at once, on any device: the steps of :mod:`facerestore.degradation.steps` in torch.

The parameters are drawn one face at a time on the CPU, as always; this applies their steps. A step is applied to all
faces of the batch that have come to it, each with its own parameters and size: faces of different sizes share a canvas.
The results are those of the steps on the CPU up to rounding, but for the fields of noise and grain, which have the same
distribution and other values: they come from a torch generator of each face's own, so that a face does not depend on
its neighbours in the batch. Different kinds of device draw different fields. A few steps have no form for a device:
each :class:`~facerestore.degradation.steps.HostStep` is done on the CPU, a face at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facerestore.degradation.ageing import Damage, Fading, Grain, Stains
from facerestore.degradation.drawing import DegradationDraw
from facerestore.degradation.shapes import stain_field
from facerestore.degradation.steps import (
    Grey,
    HostStep,
    Jpeg,
    KernelBlur,
    MedianBlur,
    Noise,
    Resize,
    Step,
    Toning,
    WholeLevels,
)
from facerestore.degradation.torch_jpeg import jpeg, taken
from facerestore.degradation.torch_resize import resize
from facerestore.errors import ConfigError

MEDIAN_VALUES = 2**25
"""Most values that a median sorts at a time: 128 MB."""

CV2_GREY = (9798, 19235, 3735)
"""BT.601 in the 15-bit fixed point of cv2.cvtColor."""

Fields: TypeAlias = Sequence[torch.Generator]


def degrade_batch(
    faces: Tensor, draws: Sequence[DegradationDraw | None], field_seeds: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return (lq, hq) of real faces, on their device, both (B, 3, S, S) float32 in whole 255ths of [0, 1].

    Args:
        faces: (B, 3, S, S) float32 RGB in [0, 1].
        draws: the parameters of each face; None leaves it as it is.
        field_seeds: what fixes the noise of each face, 0 to 2^63 - 1.

    Raises:
        ConfigError: the numbers differ, or parameters are for another size.
    """
    size = faces.shape[-1]
    if not len(faces) == len(draws) == len(field_seeds):
        raise ConfigError(
            f"{len(faces)} faces, {len(draws)} draws and {len(field_seeds)} seeds; give one each"
        )
    wrong = next((d.face_size for d in draws if d is not None and d.face_size != size), None)
    if wrong is not None:
        raise ConfigError(
            f"the faces are {size} px, and parameters are for {wrong} px; draw them for their size"
        )
    fields = [torch.Generator(device=faces.device).manual_seed(seed) for seed in field_seeds]
    levels = _whole(faces.float() * 255)
    hq = _after_steps(levels, [() if d is None else d.target for d in draws], fields)
    lq = _after_steps(hq, [() if d is None else d.steps for d in draws], fields)
    return lq / 255, hq / 255


def _after_steps(faces: Tensor, lists: Sequence[Sequence[Step]], fields: Fields) -> Tensor:
    """Return (B, 3, S, S) levels after each face's own steps, in whole levels."""
    canvas = _Canvas(faces)
    left = [list(steps) for steps in lists]
    while any(left):
        heads = {n: _table_key(steps[0]) for n, steps in enumerate(left) if steps}
        # In the order of the table, so that faces wait for each other before they are resized.
        kind = next(kind for kind in _ON_DEVICE if kind in heads.values())
        members = [n for n, own in heads.items() if own is kind]
        canvas.change(
            members, [left[n].pop(0) for n in members], _ON_DEVICE[kind], [fields[n] for n in members]
        )
    return _whole(canvas.pictures[..., : faces.shape[-1], : faces.shape[-1]])


def _table_key(step: Step) -> Any:
    """Return the entry of the table that the step belongs to: its own, or that of what it is a kind of."""
    return next(kind for kind in type(step).__mro__ if kind in _ON_DEVICE)


class _Canvas:
    """Pictures of different sides in one tensor.

    Attributes:
        pictures: (B, 3, C, C); the n-th picture is its first ``sides[n]`` rows and columns.
        sides: B sides, px.
    """

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures
        self.sides = [pictures.shape[-1]] * len(pictures)

    def change(self, members: list[int], steps: list[Any], do: Callable[..., Tensor], fields: Fields) -> None:
        """Do one step to some of the pictures, each with its own parameters."""
        everyone = len(members) == len(self.sides)
        before = self.pictures if everyone else self.pictures[members]
        after = do(before, [self.sides[n] for n in members], steps, fields)
        for n, step in zip(members, steps, strict=True):
            if isinstance(step, Resize):
                self.sides[n] = step.side_px
        if everyone:
            self.pictures = after
            return
        size = max(self.sides)
        whole = _cut_or_padded(self.pictures, size)
        whole = whole.clone() if whole is self.pictures else whole
        whole[members] = _cut_or_padded(after, size)
        self.pictures = whole


def _cut_or_padded(pictures: Tensor, size: int) -> Tensor:
    """Return pictures cut or filled up with 0 to a side."""
    extra = size - pictures.shape[-1]
    return pictures if extra == 0 else functional.pad(pictures, (0, extra, 0, extra))


def _whole(pictures: Tensor) -> Tensor:
    """Return levels as 8 bits store them."""
    return pictures.round().clamp(0, 255)


def _grey(x: Tensor, sides: list[int], steps: list[Grey], fields: Fields) -> Tensor:
    weights = torch.tensor(CV2_GREY, device=x.device, dtype=torch.float32)[:, None, None]
    # Whole numbers below 2^24: exact in float32.
    return torch.floor(((_whole(x) * weights).sum(1, keepdim=True) + 2**14) / 2**15).expand_as(x)


def _toning(x: Tensor, sides: list[int], steps: list[Toning], fields: Fields) -> Tensor:
    exponents = _column_of([[step.red, step.green, step.blue] for step in steps], x)
    return torch.round(255 * (x.clamp(0, 255) / 255) ** exponents)


def _fading(x: Tensor, sides: list[int], steps: list[Fading], fields: Fields) -> Tensor:
    black, white = (_column_of([getattr(step, name) for step in steps], x) for name in ("black", "white"))
    return black + (white - black) * (x / 255)


def _column_of(values: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return (N, K, 1, 1) of N lists of K numbers."""
    return torch.tensor(values, device=like.device, dtype=torch.float32)[..., None, None]


def correlate(x: Tensor, sides: Sequence[int], kernels: Sequence[np.ndarray[Any, Any]]) -> Tensor:
    """Return (N, K, C, C) pictures correlated with a kernel each, mirrored at each one's borders.

    By Fourier transforms: kernels of any size cost the same, and sizes may differ.
    """
    reach, size = max(len(kernel) // 2 for kernel in kernels), x.shape[-1]
    total = _smooth_length(size + 2 * reach)
    padded = taken(x, _mirrored_places(sides, size, reach).to(x.device))
    placed = np.zeros((len(kernels), total, total), np.float32)
    for place, kernel in zip(placed, kernels, strict=True):
        start = reach - len(kernel) // 2
        place[start : start + len(kernel), start : start + len(kernel)] = kernel[::-1, ::-1]
    spectrum = torch.fft.rfft2(torch.from_numpy(placed).to(x.device))[:, None]
    done: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded, (total, total)) * spectrum, (total, total))
    end = size + 2 * reach
    return done[..., 2 * reach : end, 2 * reach : end]


def _mirrored_places(sides: Sequence[int], size: int, reach: int) -> Tensor:
    """Return (N, size + 2 reach) columns that continue each picture beyond its borders, the border pixel once."""
    last = torch.tensor(sides)[:, None] - 1
    places = torch.arange(-reach, size + reach)[None]
    period = (2 * last).clamp_min(1)
    turned = torch.remainder(places, period)
    return torch.minimum(torch.minimum(turned, period - turned), last)


def _smooth_length(least: int) -> int:
    """Return the next number without prime factors above 5, for which Fourier transforms are quick."""
    number = least
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 1


def _median(x: Tensor, sides: list[int], steps: list[MedianBlur], fields: Fields) -> Tensor:
    return _face_by_face(x, sides, lambda n, picture: median(picture, steps[n].width_px))


def median(picture: Tensor, width_px: int) -> Tensor:
    """Return a (3, S, S) picture's median over squares of an odd side, of whole levels; 1 leaves it as it is."""
    if width_px == 1:
        return picture
    side, reach = picture.shape[-1], width_px // 2
    padded = functional.pad(_whole(picture[None]), (reach,) * 4, mode="replicate")[0]
    windows = padded.unfold(1, width_px, 1).unfold(2, width_px, 1)  # 3 S S width width
    rows = max(1, MEDIAN_VALUES // (3 * side * width_px**2))
    parts = [windows[:, top : top + rows].flatten(-2).median(dim=-1).values for top in range(0, side, rows)]
    return torch.cat(parts, dim=1)


def _noise(x: Tensor, sides: list[int], steps: list[Noise], fields: Fields) -> Tensor:
    def noisy(n: int, picture: Tensor) -> Tensor:
        shape = (3 if steps[n].coloured else 1, *picture.shape[1:])
        return picture + steps[n].sigma * torch.randn(shape, generator=fields[n], device=x.device)

    return _face_by_face(x, sides, noisy)


def _face_by_face(x: Tensor, sides: Sequence[int], change: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Return pictures each of which was changed by itself: its number and (K, side, side) to the same shape."""
    done = x.clone()
    for n, side in enumerate(sides):
        done[n, :, :side, :side] = change(n, x[n, :, :side, :side])
    return done


def _grain(x: Tensor, sides: list[int], steps: list[Grain], fields: Fields) -> Tensor:
    field = _face_by_face(
        torch.zeros_like(x[:, :1]),
        sides,
        lambda n, blank: torch.randn(blank.shape, generator=fields[n], device=x.device),
    )
    kernels = [step.kernel() for step in steps]
    gains = [
        step.sigma / np.sqrt(np.square(kernel).sum()) for step, kernel in zip(steps, kernels, strict=True)
    ]
    level = (x.mean(1, keepdim=True) / 255).clamp(0, 1)
    midtones = (1 + 8 * level * (1 - level)) / 3
    return x + _column_of([[float(gain)] for gain in gains], x) * midtones * correlate(field, sides, kernels)


def _stains(x: Tensor, sides: list[int], steps: list[Stains], fields: Fields) -> Tensor:
    def stained(n: int, picture: Tensor) -> Tensor:
        field = torch.from_numpy(stain_field(sides[n], steps[n].layout_seed)).to(x.device)
        return picture + steps[n].amplitude * field

    return _face_by_face(x, sides, stained)


def _damage(x: Tensor, sides: list[int], steps: list[Damage], fields: Fields) -> Tensor:
    """Lay on here what is drawn on the host, in one to three milliseconds a face."""

    def damaged(n: int, picture: Tensor) -> Tensor:
        opacity, level = (torch.from_numpy(layer).to(x.device) for layer in steps[n].layers(sides[n]))
        return picture + opacity * (level - picture)

    return _face_by_face(x, sides, damaged)


def _on_host(x: Tensor, sides: list[int], steps: list[HostStep], fields: Fields) -> Tensor:
    def stepped(n: int, picture: Tensor) -> Tensor:
        seed = int(torch.randint(2**63 - 1, (1,), generator=fields[n], device=x.device))
        pixels = picture.permute(1, 2, 0).contiguous().cpu().numpy()
        after = torch.from_numpy(steps[n].apply(pixels, np.random.default_rng(seed)))
        return after.permute(2, 0, 1).to(x.device)

    return _face_by_face(x, sides, stepped)


_ON_DEVICE: Mapping[Any, Callable[..., Tensor]] = {
    WholeLevels: lambda x, *_: _whole(x),
    Grey: _grey,
    Toning: _toning,
    KernelBlur: lambda x, sides, steps, _: correlate(x, sides, [step.kernel() for step in steps]),
    MedianBlur: _median,
    Grain: _grain,
    Fading: _fading,
    Stains: _stains,
    Damage: _damage,
    HostStep: _on_host,
    Noise: _noise,
    Jpeg: lambda x, sides, steps, _: jpeg(
        x, torch.tensor(sides, device=x.device), [step.quality for step in steps]
    ),
    Resize: lambda x, sides, steps, _: resize(
        x, sides, [step.side_px for step in steps], [step.interpolation for step in steps]
    ),
}
