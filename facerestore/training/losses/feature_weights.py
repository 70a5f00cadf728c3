"""VGG19 and ArcFace for losses, with installed weights; without weights a loss is replaced, and a note says so.

What a run minimises depends on whether they are installed. So a recipe says so before the run (``Recipe.notes``), and
a resumed run must find what it began with (:func:`check_same`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from facerestore.archs.arcface import ArcFace
from facerestore.archs.vgg import PERCEPTUAL_TAPS, VGG19
from facerestore.errors import ConfigError, WeightsError
from facerestore.pipeline.installed import best
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, load_strictly

FEATURES, IDENTITY = "features", "identity"
"""What weights of these networks are for, in the catalog."""

Wish = Literal["auto", "yes", "no"]
"""Whether such a network is used: ``auto`` if it is installed, ``yes`` or an error, ``no`` even if it is."""

CLASSIFIER_PREFIX = "classifier."
"""Begins the keys of VGG19's file that tell ImageNet's classes and are of no use here."""

_BACKENDS = {FEATURES: "vgg19", IDENTITY: "arcface"}
_NETWORKS = {FEATURES: "VGG19", IDENTITY: "ArcFace"}


@dataclass(frozen=True, slots=True)
class FeatureWeights:
    """Which weights a feature network has, before it is loaded.

    Attributes:
        purpose: ``features`` or ``identity``.
        name: catalog name of its weights, or None: it is not used.
        note: one line for the user.
    """

    purpose: str
    name: str | None
    note: str


def find_features(
    purpose: Literal["features", "identity"],
    *,
    instead: str,
    wish: Wish = "auto",
    store: WeightsStore | None = None,
) -> FeatureWeights:
    """Return which weights a feature network has on this machine; no network is loaded.

    Args:
        purpose: ``features`` for VGG19, ``identity`` for ArcFace.
        instead: what a recipe does without, for the note, such as ``the identity loss is left out``.
        wish: whether it is used at all.
        store: where weights are looked for; by default the user's own.

    Raises:
        WeightsError: ``wish`` is ``yes``, and there are none.
    """
    store, network = store or WeightsStore(), _NETWORKS[purpose]
    if wish == "no":
        return FeatureWeights(purpose, None, f"{network} is switched off: {instead}")
    found = best(purpose, store, backends={_BACKENDS[purpose]})
    if found.path is not None:
        return FeatureWeights(purpose, found.name, f"{network}: weights '{found.name}'")
    if found.passed_over:
        fault = f"the weights of {network} cannot be used: {found.passed_over[0][1]}"
        if wish == "yes":
            raise WeightsError(fault)
        return FeatureWeights(purpose, None, f"{fault}; until then {instead}")
    known = next(
        e.name
        for e in store.catalog.entries.values()
        if e.purpose == purpose and e.backend == _BACKENDS[purpose]
    )
    remedy = f"run 'facerestore weights download {known}'"
    if wish == "yes":
        raise WeightsError(f"{network} is asked for, and its weights are not installed; {remedy}")
    return FeatureWeights(
        purpose, None, f"no weights of {network} are installed, so {instead}; to have them, {remedy}"
    )


def load_vgg19(
    name: str,
    *,
    taps: Sequence[str] = PERCEPTUAL_TAPS,
    store: WeightsStore | None = None,
) -> VGG19:
    """Return VGG19 with installed weights, frozen, in eval mode.

    Args:
        name: catalog name.
        taps: activations that are wanted, see :class:`VGG19`.
        store: where weights are looked for; by default the user's own.

    Raises:
        WeightsError: they are not installed, or corrupt.
        CheckpointError: the file is of another network.
    """
    state_dict = load_state_dict((store or WeightsStore()).require(name))
    convolutions = {k: v for k, v in state_dict.items() if not k.startswith(CLASSIFIER_PREFIX)}
    network = VGG19(taps)
    load_strictly(network, convolutions, name="VGG19")
    return network.eval().requires_grad_(False)


def load_arcface(name: str) -> ArcFace:
    """Return ArcFace with the user's installed weights, frozen, in eval mode.

    Raises:
        WeightsError: they are not installed, or corrupt.
        CheckpointError: the file is of another network.
    """
    state_dict = load_state_dict(WeightsStore().require(name))
    network = ArcFace()
    load_strictly(network, state_dict, name="ArcFace IR-SE50")
    return network.eval().requires_grad_(False)


def check_same(before: str | None, now: str | None, *, what: str) -> None:
    """Check that a run is resumed with the feature network that it began with.

    Args:
        before: catalog name in the run's checkpoint, or None.
        now: that of this machine, or None.
        what: the network, for the message.

    Raises:
        ConfigError: they differ.
    """
    if before != now:
        raise ConfigError(
            f"this run began with {what} {_in_words(before)}, and here there is {what} {_in_words(now)}; going on would"
            " minimise something else: install or remove its weights, or begin another run"
        )


def _in_words(name: str | None) -> str:
    return "without weights" if name is None else f"'{name}'"
