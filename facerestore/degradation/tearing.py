"""Steps of damage, each of one kind and with its mask: see :mod:`facerestore.degradation.shapes`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.shapes import (
    CORNERS,
    Layers,
    Line,
    blob,
    broken_along,
    crack,
    draw_scratch,
    draw_specks,
    fibre,
    fold,
    ribbon,
    stain_field,
    tear,
)
from facerestore.degradation.steps import DamageStep, Pixels

FAINTEST = 0.04
"""Opacity below which a blurred edge ends: at most 10 levels, and a mask must end somewhere."""
SHADE = np.array([0.7, 0.7])
"""Where a raised edge throws its shadow, x and y: light from above and the left."""


@dataclass(frozen=True, slots=True)
class PaperDamage(DamageStep):
    """Damage of one kind that lies on the print.

    Attributes:
        count: how many.
        width_px: of a typical one; of a stain or a missing piece, of its rim.
        softness_px: standard deviation of the scan's blur.
        paper: R, G and B of the bare paper, as shares of white.
        layout_seed: of shapes, places and tones.
    """

    count: int
    width_px: float
    softness_px: float
    paper: tuple[float, float, float]
    summary: ClassVar[str] = "{0.word} x {0.count}"
    layout_seed: int

    @abstractmethod
    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw the damage; ``rng`` is the layout's own."""

    def layers(self, size_px: int) -> Layers:
        """Return what lies on a picture of that side."""
        layers = Layers(size_px)
        self.lay(layers, np.random.default_rng(self.layout_seed))
        layers.softened(self.softness_px)
        layers.opacity = np.clip((layers.opacity - np.float32(FAINTEST)) / np.float32(1 - FAINTEST), 0, 1)
        return layers

    def mask(self, size_px: int) -> NDArray[np.float32]:
        """Return the opacity."""
        return self.layers(size_px).opacity

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the damaged picture."""
        layers = self.layers(len(picture))
        colours = layers.level[..., None] * np.array(self.paper, dtype=np.float32)
        return np.asarray(picture + layers.opacity[..., None] * (colours - picture), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Scratches(PaperDamage):
    """Long thin lines, nearly straight."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them."""
        for _ in range(self.count):
            layers.line(draw_scratch(rng, self.width_px))


@dataclass(frozen=True, slots=True)
class Cracks(PaperDamage):
    """Jagged lines with branches: here a hairline, there broken open to the paper, with flakes that fell off beside."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them, each with the shadow of its raised edge below it."""
        for _ in range(self.count):
            width = self.width_px / layers.size_px * rng.uniform(0.6, 1.6)
            tone, cover, shade = rng.uniform(195, 255), rng.uniform(0.7, 1.0), rng.uniform(0, 0.6)
            pieces = list(crack(rng, width))
            outlines = [ribbon(rng, line, half)[0] for line, half in pieces]
            for _ in range(rng.integers(0, 9)):
                line = pieces[rng.integers(len(pieces))][0]
                place = line[rng.integers(len(line))] + rng.normal(0, width, 2)
                outlines.append(blob(rng, place, width * rng.uniform(0.15, 0.9), roughness=1.0))
            for outline in outlines:
                layers.polygon(outline + 0.5 * width * SHADE, rng.uniform(10, 60), shade)
            for outline in outlines:
                layers.polygon(outline, tone, cover)
        layers.textured(rng, 8)


@dataclass(frozen=True, slots=True)
class Dust(PaperDamage):
    """Grains, pin holes, and a hair now and then."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw it."""
        specks = draw_specks(rng, self.count, self.width_px)
        layers.specks(specks)
        for _ in range(rng.integers(0, 1 + self.count // 12)):
            layers.line(fibre(rng, self.width_px))


@dataclass(frozen=True, slots=True)
class Creases(PaperDamage):
    """Folds: a shaded and a lit side, and broken emulsion between them."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them; the relief is softer than what is broken."""
        lines = [fold(rng) for _ in range(self.count)]
        aside = 0.8 * self.width_px / layers.size_px
        for line in lines:
            shift = aside * np.array([np.cos(2.4), np.sin(2.4)])
            for sign, tone in ((1, 20.0), (-1, 240.0)):
                relief = Line(line + sign * shift, 1.6 * self.width_px, tone, rng.uniform(0.1, 0.5))
                layers.line(relief)
        layers.softened(max(0.6 * self.width_px, 0.5))
        for line in lines:
            for piece in broken_along(rng, line, self.width_px):
                layers.line(piece)


@dataclass(frozen=True, slots=True)
class Tears(PaperDamage):
    """Tears that run in from the border: the white core of the paper, and a shadow along one edge."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them."""
        for _ in range(self.count):
            width = self.width_px / layers.size_px * rng.uniform(1.0, 4.0)
            outline, edge = tear(rng, width)
            layers.polygon(outline, rng.uniform(215, 255), 1.0)
            shadow = Line(edge, 0.5 * self.width_px, rng.uniform(20, 90), rng.uniform(0.3, 0.8))
            layers.line(shadow)
        layers.textured(rng, 5)


@dataclass(frozen=True, slots=True)
class MissingPieces(PaperDamage):
    """Pieces that are gone, at corners and borders more than within: the paper below, or what lies under the print."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them, with a rim of white paper."""
        for _ in range(self.count):
            kind = rng.random()
            centre = rng.uniform(0.05, 0.95, 2)
            if kind < 0.3:
                centre = CORNERS[rng.integers(4)]
            elif kind < 0.6:
                centre[rng.integers(2)] = rng.integers(2)
            radius = rng.uniform(0.03, 0.11) * (1.8 if kind < 0.3 else 1.2 if kind < 0.6 else 1.0)
            outline = blob(rng, centre, radius, roughness=rng.uniform(0.2, 1.0))
            inner = centre + (outline - centre) * (1 - min(0.5, self.width_px / layers.size_px / radius))
            layers.polygon(outline, rng.uniform(225, 255), 1.0)
            bare = rng.random() < 0.7
            layers.polygon(inner, rng.uniform(185, 250) if bare else rng.uniform(15, 110), 1.0)
        layers.textured(rng, 5)


@dataclass(frozen=True, slots=True)
class WaterStains(PaperDamage):
    """Stains that let the picture through, darkest at their rim, and small brown spots; ``paper`` is their colour."""

    def lay(self, layers: Layers, rng: np.random.Generator) -> None:
        """Draw them; the level is not used, since a stain multiplies."""
        for _ in range(self.count):
            centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.06, 0.3)
            outline = blob(rng, centre, radius, roughness=0.15)
            strength = rng.uniform(0.15, 0.55)
            layers.polygon(outline, 255.0, strength)
            rim = Line(np.concatenate([outline, outline[:1]]), self.width_px, 255.0, min(1, 2 * strength))
            layers.line(rim)
        spots = rng.integers(0, 12)
        layers.specks(draw_specks(rng, int(spots), 2 * self.width_px))
        layers.softened(max(0.5 * self.width_px, 0.5))
        mottle = stain_field(layers.size_px, self.layout_seed)
        layers.opacity *= np.float32(0.85) + np.float32(0.15) * mottle

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the stained picture."""
        opacity = self.layers(len(picture)).opacity[..., None]
        taken = 1 - np.array(self.paper, dtype=np.float32)
        return np.asarray(picture * (1 - opacity * taken), dtype=np.float32)
