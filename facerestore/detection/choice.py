"""Which detector is used: the one that is asked for, or the best that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facerestore.detection import DETECTORS, create_detector
from facerestore.weights.choosing import PassedOver, first_sound

if TYPE_CHECKING:
    import torch

    from facerestore.config import RestoreConfig
    from facerestore.types import FaceDetector
    from facerestore.weights import WeightsEntry, WeightsStore

AUTO = "auto"


def build_detector(config: RestoreConfig, store: WeightsStore, device: torch.device) -> FaceDetector:
    """Return the detector of a configuration; ``auto`` takes the best whose file can be used, else ``embedded``.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: its weights are not installed, or corrupt.
    """
    name = config.detector
    if name == AUTO:
        found = first_sound(_detectors(store).values(), store).entry
        name = next((each for each, entry in _detectors(store).items() if entry == found), "embedded")
    return create_detector(
        name,
        weights_for=store.require,
        device=device,
        detect_size=config.detect_size,
        rotations=config.rotations,
    )


def best_detector(store: WeightsStore) -> str:
    """Return the name of the best detector whose weights are installed; ``embedded`` without any."""
    return next(iter(_detectors(store)), "embedded")


def passed_over_detectors(name: str, store: WeightsStore) -> PassedOver:
    """Return the installed detectors that ``auto`` does not take since their files cannot be used, and why."""
    return first_sound(_detectors(store).values(), store).passed_over if name == AUTO else ()


def _detectors(store: WeightsStore) -> dict[str, WeightsEntry]:
    """Return the detectors whose weights are installed, the best first."""
    known = {name: store.entry(weights) for name, weights in DETECTORS.items() if store.locate(weights)}
    ranked = [name for name, entry in known.items() if entry.purpose == "detect" and entry.quality_rank]
    return {name: known[name] for name in sorted(ranked, key=lambda each: known[each].quality_rank or 0)}
