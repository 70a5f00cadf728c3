"""The recipe of the bundled restorer: Charbonnier and frequency losses, Muon, and a light adversary where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.lite import BUNDLED, COLOURS, REDUCTION, LiteConfig, LiteGenerator, seen_with
from facerestore.backends.lite import WHOLE_PHOTOS
from facerestore.background.cleaner import MULTIPLE
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.engine.muon import Muon
from facerestore.training.losses.common import charbonnier, frequency
from facerestore.training.recipes.base import (
    Exported,
    Phase,
    Recipe,
    Scene,
    Term,
    Validated,
    check_levels,
    pair_validation,
)
from facerestore.training.recipes.lite.colour import chroma_distance, chroma_of, greyed
from facerestore.training.recipes.lite.detail import Adversary, AdversarySettings, FrozenEncoder, check_side
from facerestore.training.recipes.lite.refine import restorer_in_use, shortened, widened
from facerestore.training.recipes.start import State, begun_with, take_up
from facerestore.weights.checkpoint import SIZE_ENTRY
from facerestore.weights.mixing import DETAIL_OF, REFINES
from facerestore.weights.weights_file import GRAPH_TENSORS, looks_like_path

NEXT_TO_PIXELS = ("stem.", "head.", "fine.look.", "fine.draw.")
"""Keys of the layers of which one side are pixels."""

TONE_CELLS = 4
"""A quarter of a face's side is far wider than any blur of the presets (sigma 15 of 512 px)."""

SMALLEST_SQUARE = 1e-6
"""Keeps the slope of a channel without contrast finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteSettings:
    """What is trained, and with which loss.

    Attributes:
        task: what the network is for: ``restore``; ``colorize`` for the colours of a face of which it sees the luma;
            ``background`` for the rest of the photo, which is restored as faces are; or ``refine`` for large faces, of
            which it also sees what ``base`` makes of half the size.
        network: shape of the network; that of the bundled weights unless given.
        start: weights of this network to begin with: a name of the catalog, such as ``lite.clean-256``, or a file;
            empty for random numbers. Levels and residual blocks beyond those of the shape are left out.
        base: weights of the restorer that is refined, by their name in the catalog, mixed as they are used by
            themselves: with them the result is used.
        layers: beginnings of the names of the parameters that an adversary trains, such as ``fine.``; all where there
            are none. The others stay as they are in ``start``; where that is a name of the catalog, the exported file
            leaves them out, and is used with it, so that its network must have the same shape. Where ``start`` is such
            a file itself, the layers that it holds are to be among these, and the new one is used with what it is.
        learning_rate: peak of Muon's and AdamW's rate.
        frequency_weight: weight of the frequency loss beside the Charbonnier loss.
        faded_below: a face whose contrast in the input is below this share of the real one's has faded, and is to keep
            the tone that it has there: the rest of its photo keeps it, too. 0 for none: the network learns to undo the
            fading. By cells of a quarter of the face's side, the share is 0.82 and more in the presets ``gfpgan`` and
            ``severe``, and 0.40 to 0.81 in ``old-photo`` (measured on 10 faces each).
        adversary: judges for a last stage that trades fidelity for detail; it needs ``start``, whose encoder looks on,
            and the generator is then stepped by Adam.
    """

    task: Literal["restore", "colorize", "background", "refine"] = "restore"
    network: LiteConfig = field(default_factory=lambda: BUNDLED)
    start: str = ""
    base: str = "lite.clean-256"
    layers: tuple[str, ...] = ()
    learning_rate: float = option(1e-3, above=0)
    frequency_weight: float = option(1.0, least=0)
    faded_below: float = option(0.0, least=0, most=1)
    adversary: AdversarySettings = field(default_factory=AdversarySettings)


class LiteRecipe(Recipe):
    """Trains :class:`facerestore.archs.lite.LiteGenerator`."""

    name: ClassVar[str] = "lite"
    settings_class: ClassVar[type[Any]] = LiteSettings
    averaged = "generator"

    def __init__(self, settings: LiteSettings, *, face_size: int) -> None:
        shape = settings.network
        if len(shape.widths) != len(shape.blocks) or len(shape.widths) < 2:
            raise ConfigError(
                f"recipe 'lite': {len(shape.widths)} widths and {len(shape.blocks)} blocks; give one of each for each"
                " of 2 or more levels in recipe.network"
            )
        fine = shape.fine_widths
        if min(shape.unshuffle, *shape.widths, *shape.blocks, *fine, *shape.fine_blocks) < 1:
            raise ConfigError("recipe 'lite': unshuffle, widths and blocks of recipe.network are 1 and more")
        if fine and not (len(fine) == len(shape.fine_blocks) and shape.unshuffle == 2 ** len(fine)):
            raise ConfigError(
                f"recipe 'lite': {len(fine)} fine_widths and {len(shape.fine_blocks)} fine_blocks do not lead from"
                f" 1/{shape.unshuffle} of the face size to the whole; give one of each for each doubling"
            )
        check_levels("lite", face_size, unshuffle=shape.unshuffle, levels=len(shape.widths))
        _check_inputs(settings, face_size=face_size)
        self.settings, self.face_size = settings, face_size
        self.adversary = _adversary(settings, face_size=face_size)
        self.base: LiteGenerator | None = None
        trained = ("generator",) if self.adversary is None else ("generator", "judges")
        self.phases = tuple(Phase(name, (name,), name) for name in trained)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings of one run from nothing, as long as the three that made the bundled weights together.

        Mix, tone and average are those of the later two; each run as it was is in ``examples/train_lite_*.toml``.
        """
        return {
            "engine": {
                "steps": 5500,
                "batch_size": 8,
                "warmup_steps": 100,
                "clip_norm": 1.0,
                "ema_decay": 0.998,
            },
            "data": {
                "face_size": 256,
                "mix": {"gfpgan": 0.60, "severe": 0.20, "old-photo": 0.10, "clean": 0.10},
            },
            "recipe": {"faded_below": 0.82},
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {
                "steps": 30,
                "batch_size": 2,
                "warmup_steps": 5,
            },
            "data": {"face_size": 64},
            "recipe": {"network": {"widths": [8, 16], "blocks": [1, 1]}},
        }

    def networks(self) -> dict[str, nn.Module]:
        generator = LiteGenerator(self.settings.network)
        if self.adversary is None:
            return {"generator": generator}
        layers, named = self.settings.layers, dict(generator.named_parameters())
        if unknown := [layer for layer in layers if not any(key.startswith(layer) for key in named)]:
            raise ConfigError(
                f"recipe 'lite': recipe.layers names '{unknown[0]}', with which no parameter of the network begins;"
                f" they begin with {', '.join(sorted({key.partition('.')[0] for key in named}))}"
            )
        for key, parameter in named.items():
            parameter.requires_grad_(not layers or key.startswith(layers))
        return {"generator": generator, "judges": self.adversary.judges(generator)}

    def frozen(self) -> dict[str, nn.Module]:
        """Return the restorer that is refined, or the encoder of the weights that an adversary begins with."""
        if self.settings.task == "refine":
            self.base = restorer_in_use(self.settings.base)
            judged = {} if self.adversary is None else {"encoder": FrozenEncoder(self.base)}
            return {"base": self.base, **judged}
        if self.adversary is None:
            return {}
        network = LiteGenerator(self.settings.network)
        self.start({"generator": network})
        return {"encoder": FrozenEncoder(network)}

    def start(self, networks: Mapping[str, nn.Module]) -> None:
        """Take up the weights that are to be begun with, of a network that may lack the fine head, which is then grown.

        See :func:`facerestore.training.recipes.start.take_up` for what it raises.
        """
        settings, refines = self.settings, self.settings.task == "refine"
        if self._rest:
            file, kept = begun_with(settings.start), (*settings.layers, GRAPH_TENSORS)
            lost = next((key for key in file.tensors if not key.startswith(kept)), None)
            if DETAIL_OF in file.metadata and lost is not None:
                raise ConfigError(
                    f"recipe 'lite': recipe.start '{settings.start}' holds '{lost}', which recipe.layers leave out, so"
                    " that it would be lost; name its beginning there, too"
                )
        take_up(
            networks["generator"],
            settings.start,
            purpose="restore" if refines else settings.task,
            grown="" if self._rest else "fine.",
            fitted=self._fitted,
        )

    @cached_property
    def _rest(self) -> str:
        """The catalog name of what holds the tensors that are left out of the exported file; empty for none."""
        start = self.settings.start
        if not self.settings.layers:
            return ""
        return begun_with(start).metadata.get(DETAIL_OF, "" if looks_like_path(start) else start)

    def _fitted(self, state: State, own: State) -> State:
        if self._rest:
            return state
        return shortened(widened(state, own) if self.settings.task == "refine" else state, own)

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Muon for the inner convolutions, and AdamW for biases, norms, and the layers next to pixels.

        With an adversary both sides are stepped by Adam.
        """
        settings, generator = self.settings, networks["generator"]
        if "judges" not in networks:
            return {"generator": Muon.of_network(generator, lr=settings.learning_rate, outer=NEXT_TO_PIXELS)}
        adversary = settings.adversary
        rates = {"generator": settings.learning_rate, "judges": adversary.learning_rate}
        return {
            name: torch.optim.Adam(
                [p for p in networks[name].parameters() if p.requires_grad], lr=rate, betas=adversary.betas
            )
            for name, rate in rates.items()
        }

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the distances in pixels and in frequencies, that of chroma, or the terms of the adversary's sides."""
        if self.settings.task == "colorize":
            coloured: Tensor = scene.networks["generator"](greyed(scene.batch["lq"]))
            return [Term("chroma", chroma_distance(coloured, scene.batch["hq"]))]
        if self.adversary is not None and phase == "judges":
            return self.adversary.judge_terms(scene)
        if self.settings.faded_below:
            batch = scene.batch
            batch["hq"] = in_tone_of(batch["lq"], batch["hq"], faded_below=self.settings.faded_below)
        hq = scene.batch["hq"]
        restored: Tensor = scene.networks["generator"](self._seen(scene.batch["lq"]))
        if self.adversary is not None:
            return self.adversary.generator_terms(scene, restored)
        return [
            Term("pixel", charbonnier(restored, hq)),
            Term("frequency", frequency(restored, hq), self.settings.frequency_weight),
        ]

    def _seen(self, lq: Tensor) -> Tensor:
        """Return what the network is given of degraded faces, B 3 S S, with colours last in memory."""
        lq = lq.contiguous(memory_format=torch.channels_last)
        if self.base is None:
            return lq
        with torch.no_grad():
            return seen_with(self.base, lq).contiguous(memory_format=torch.channels_last)

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return PSNR before and after; for colours the distance of chroma, over faces that have any."""
        if self.settings.task == "colorize":
            grey, hq = greyed(batch["lq"]), batch["hq"]
            coloured = (grey + chroma_of(network(grey))).clamp(0, 1)
            distances = {"chroma_input": grey, "chroma": coloured}
            metrics = {name: chroma_distance(faces, hq).item() for name, faces in distances.items()}
            return Validated(metrics, (grey, coloured, hq))
        return pair_validation(network(self._seen(batch["lq"])), batch)

    def export(self, network: nn.Module) -> Exported:
        """Return the network in half precision, or what was trained of it: it is computed in float32 all the same."""
        settings, rest = self.settings, self._rest
        state = {
            key: value.half().contiguous()
            for key, value in network.state_dict().items()
            if not rest or key.startswith(settings.layers)
        }
        header = {"arch": "lite", "purpose": self.settings.task, SIZE_ENTRY: str(self.face_size)}
        if self.settings.task == WHOLE_PHOTOS:
            header[MULTIPLE] = str(network.size_multiple)
        if self.settings.task == "refine":
            header |= {"purpose": "restore", REFINES: self.settings.base}
        if rest:
            header[DETAIL_OF] = rest
        return Exported(state, header)


def _check_inputs(settings: LiteSettings, *, face_size: int) -> None:
    """Make sure that the network sees what its task gives it.

    Raises:
        ConfigError: it does not, or what is refined cannot be.
    """
    shape, inputs = settings.network, 2 * COLOURS if settings.task == "refine" else COLOURS
    if shape.inputs != inputs:
        raise ConfigError(
            f"recipe 'lite': recipe.network.inputs is {shape.inputs}; the task '{settings.task}' takes {inputs}"
        )
    if settings.task != "refine":
        return
    if not shape.fine_widths:
        raise ConfigError(
            "recipe 'lite': the task 'refine' draws at the full size; give recipe.network fine_widths and fine_blocks"
        )
    if looks_like_path(settings.base):
        raise ConfigError(f"recipe 'lite': recipe.base is '{settings.base}'; give a name of the catalog")
    half = face_size // REDUCTION
    check_levels("lite", half, unshuffle=BUNDLED.unshuffle, levels=len(BUNDLED.widths))


def _adversary(settings: LiteSettings, *, face_size: int) -> Adversary | None:
    """Return the adversary of a run; None where its weight is 0.

    Raises:
        ConfigError: nothing is begun with, or sizes or limits do not go together.
    """
    adversary = settings.adversary
    if not adversary.weight:
        if settings.layers:
            raise ConfigError(
                "recipe 'lite': recipe.layers are what an adversary trains; set recipe.adversary.weight, or"
                " leave them out"
            )
        return None
    if settings.task == "colorize":
        raise ConfigError(
            f"recipe 'lite': an adversary of weight {adversary.weight:g} judges luma, which 'colorize' does not touch;"
            " set recipe.adversary.weight=0"
        )
    if not settings.start:
        raise ConfigError(
            "recipe 'lite': an adversary begins with trained weights, whose encoder it looks through; name some in"
            " recipe.start, such as lite.clean-256"
        )
    check_side(adversary, face_size, setting="data.face_size")
    if adversary.none_db >= adversary.full_db:
        raise ConfigError(
            f"recipe 'lite': recipe.adversary.none_db is {adversary.none_db:g} and full_db {adversary.full_db:g}; give"
            " none_db the smaller one"
        )
    return Adversary(adversary, face_size=None if settings.task == WHOLE_PHOTOS else face_size)


def in_tone_of(lq: Tensor, hq: Tensor, *, faded_below: float) -> Tensor:
    """Return real faces with the tone of their degraded ones where those have faded, the others as they are.

    A straight line is fitted for each channel to the means over `TONE_CELLS` by `TONE_CELLS` cells, which blur and
    noise hardly change.

    Args:
        lq: B 3 S S.
        hq: B 3 S S.
        faded_below: a face has faded where the mean of its three slopes is below this.
    """
    real, degraded = (functional.adaptive_avg_pool2d(x, TONE_CELLS).flatten(2) for x in (hq, lq))
    middle, new_middle = real.mean(dim=2, keepdim=True), degraded.mean(dim=2, keepdim=True)
    offset = real - middle
    square = offset.square().sum(dim=2, keepdim=True).clamp_min(SMALLEST_SQUARE)
    slope = (offset * (degraded - new_middle)).sum(dim=2, keepdim=True) / square  # B 3 1
    toned = (hq - middle[..., None]) * slope[..., None] + new_middle[..., None]
    faded = slope.mean(dim=1, keepdim=True)[..., None] < faded_below
    return torch.where(faded, toned, hq)
