"""Distances between sets of faces, by torch-fidelity: FID (Heusel et al. 2017) and KID (Binkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facerestore.errors import ConfigError
from facerestore.evaluation.bootstrap import SEED
from facerestore.evaluation.cases import Face
from facerestore.evaluation.metrics import Setting, best_weights, require, sha256_known

LAYER = "2048"  # the pooled features, which both metrics take
SUBSETS = 100  # torch-fidelity's default
LARGEST_SUBSET = 1000  # torch-fidelity's default
LEAST_FACES = 10
"""Fewer faces have no covariance that is worth a number."""

NORMAL_95 = 1.96  # half the width of a 95% interval, in standard deviations of a normal distribution
KID_FACTOR = 1000  # KID is shown times 1000, as is usual


@dataclass(frozen=True, slots=True)
class SetValue:
    """How far a set of faces is from the reference set.

    Attributes:
        value: the distance.
        low: lower end of the 95% interval; None where none can be given.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


class InceptionFeatures:
    """Inception V3 as FID uses it, with weights from the store.

    Raises:
        ConfigError: torch-fidelity is not installed.
        WeightsError: the network is not installed, or corrupt.
    """

    def __init__(self, setting: Setting) -> None:
        module = require("torch_fidelity.feature_extractor_inceptionv3", metric="FID and KID")
        entry = best_weights("inception", setting, metric="FID and KID")
        path = setting.store.require(entry.name)
        # The file has the catalog's hash, or `require` had failed; torch-fidelity would fetch it if none were given.
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", [LAYER], feature_extractor_weights_path=str(path)
        )
        self._network, self._device = network.to(setting.device).eval(), setting.device
        self.protocol = {
            "implementation": "torch-fidelity, Inception V3 of TensorFlow",
            "network": entry.name,
            "network_sha256": sha256_known(entry, setting.store),
            "layer": LAYER,
            "colour": "RGB, 8 bit",
            "crop": f"the whole aligned face, {setting.face_size} px",
        }

    def of(self, face: Face) -> Tensor:
        """Return the (2048,) features of an (S, S, 3) uint8 RGB face, on the CPU."""
        picture = torch.from_numpy(face.copy()).permute(2, 0, 1)[None].to(self._device)
        with torch.inference_mode():
            features: Tensor = self._network(picture)[0][0].float().cpu()
        return features


def check_present(setting: Setting) -> None:
    """Raise, as `InceptionFeatures` would, unless what FID and KID need is here; nothing is loaded."""
    require("torch_fidelity", metric="FID and KID")
    setting.store.require(best_weights("inception", setting, metric="FID and KID").name)


def frechet_distance(features: Sequence[Tensor], reference: Sequence[Tensor]) -> SetValue:
    """Return FID; without an interval, since its bias depends on the number of faces, which resampling changes.

    Raises:
        ConfigError: a set is too small.
    """
    module = require("torch_fidelity.metric_fid", metric="FID")
    first, second = (
        module.fid_features_to_statistics(_stacked(faces).double()) for faces in (features, reference)
    )
    found = module.fid_statistics_to_metric(first, second, verbose=False)
    return SetValue(float(found[module.KEY_METRIC_FID]))


def kernel_distance(features: Sequence[Tensor], reference: Sequence[Tensor], *, seed: int = SEED) -> SetValue:
    """Return KID times 1000, the mean over subsets of half the faces, with its interval.

    The spread of subsets of m of n faces tells the error of the whole: its variance is that of the subsets times
    m / (n - m) (the delete-d jackknife, Shao and Wu 1989, with n the smaller set's size).

    Raises:
        ConfigError: a set is too small.
    """
    module = require("torch_fidelity.metric_kid", metric="KID")
    first, second = _stacked(features), _stacked(reference)
    count = min(len(first), len(second))
    size = subset_size(count)
    found: dict[str, Any] = module.kid_features_to_metric(
        first, second, kid_subsets=SUBSETS, kid_subset_size=size, rng_seed=seed, verbose=False
    )
    value = KID_FACTOR * float(found[module.KEY_METRIC_KID_MEAN])
    spread = KID_FACTOR * float(found[module.KEY_METRIC_KID_STD]) * (size / (count - size)) ** 0.5
    return SetValue(value, value - NORMAL_95 * spread, value + NORMAL_95 * spread)


def subset_size(count: int) -> int:
    """Return the size of KID's subsets for a number of faces: half of them, 1000 at most."""
    return min(LARGEST_SUBSET, count // 2)


def _stacked(features: Sequence[Tensor]) -> Tensor:
    if len(features) < LEAST_FACES:
        raise ConfigError(
            f"FID and KID compare sets of {LEAST_FACES} faces or more, and one has {len(features)}; give more faces"
        )
    return torch.stack(list(features))
