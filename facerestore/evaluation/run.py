"""One evaluation: every method on every face, every metric on every result."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from facerestore import __version__
from facerestore.errors import ConfigError, FaceRestoreError, ImageError, WeightsError
from facerestore.evaluation import bootstrap
from facerestore.evaluation.cases import (
    CaseFiles,
    CaseSource,
    Face,
    pictures_by_name,
    read_reference,
)
from facerestore.evaluation.inception import (
    KID_FACTOR,
    SUBSETS,
    InceptionFeatures,
    frechet_distance,
    kernel_distance,
    subset_size,
)
from facerestore.evaluation.methods import Bicubic, Method, Unchanged, check_names
from facerestore.evaluation.metrics import SPECS, Chosen, Setting, metric_names, versions
from facerestore.evaluation.result import (
    Evaluation,
    FaceResult,
    Failure,
    MethodFacts,
    MetricFacts,
    SetResult,
)

PACKAGES = (
    "torch",
    "torchvision",
    "torchmetrics",
    "torch-fidelity",
    "basicsr",
    "numpy",
    "opencv-python",
    "pillow",
)
"""Libraries whose versions are written down."""

ORIGINALS = "the originals of these faces"

Listener = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be evaluated.

    Attributes:
        source: reads the faces.
        files: those of the source that are measured.
        methods: what is compared, beside the input and bicubic interpolation, which always are.
        metrics: what is measured.
        setting: where networks run, and the face size.
        reference: folder of real faces for FID and KID; the originals when None.
        groups: name of a face to column to group.
        features: opens the network through which FID and KID see faces.
    """

    source: CaseSource
    files: tuple[CaseFiles, ...]
    methods: tuple[Method, ...]
    metrics: Chosen
    setting: Setting
    reference: Path | None = None
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    features: Callable[[Setting], InceptionFeatures] = InceptionFeatures

    @property
    def all_methods(self) -> tuple[Method, ...]:
        """The input, bicubic interpolation, and the others."""
        return (Unchanged(), Bicubic(), *self.methods)


class _SetFeatures:
    """The features of the faces of every method and of the reference, for the metrics of sets."""

    def __init__(self, order: Order) -> None:
        self._inception = order.features(order.setting)
        self._wanted = order.metrics.sets
        self._of: dict[str, list[Tensor]] = {method.name: [] for method in order.all_methods}
        self._reference: list[Tensor] = []
        self._digest = hashlib.sha256()
        self.reference_facts: dict[str, Any] = {}

    def add(self, restored: Mapping[str, Face]) -> None:
        for name, face in restored.items():
            self._of[name].append(self._inception.of(face))

    def add_reference(self, face: Face) -> None:
        self._digest.update(face.tobytes())
        self._reference.append(self._inception.of(face))

    def close(self, what: str) -> None:
        """Record what the reference is, once all of it is added."""
        self.reference_facts = {
            "what": what,
            "faces": len(self._reference),
            "sha256": self._digest.hexdigest(),
        }

    def metrics(self) -> list[MetricFacts]:
        count = min(len(self._reference), *(len(found) for found in self._of.values()))
        own: dict[str, dict[str, Any]] = {
            "fid": {"interval": "none: its bias depends on the number of faces"},
            "kid": {
                "subsets": SUBSETS,
                "subset_size": subset_size(count),
                "factor": KID_FACTOR,
                "kernel": "cubic polynomial",
                "seed": bootstrap.SEED,
                "interval": "from the spread of the subsets",
            },
        }
        return [
            MetricFacts.of(SPECS[name], {**self._inception.protocol, **own[name]}) for name in self._wanted
        ]

    def results(self) -> list[SetResult]:
        found = []
        for metric in self._wanted:
            for method, features in self._of.items():
                distance = frechet_distance if metric == "fid" else kernel_distance
                value = asdict(distance(features, self._reference))
                found.append(SetResult(method=method, metric=metric, **value))
        return found


def evaluate(
    order: Order,
    *,
    on_face: Listener = lambda name: None,
    on_failure: Callable[[Failure], None] | None = None,
) -> Evaluation:
    """Return the value of every metric for every method on every face.

    A face that cannot be read, or that a method cannot restore, is left out of every row, so that all rows are of the
    same faces; it is named in ``failures`` and stops nothing.

    Args:
        order: what is to be evaluated.
        on_face: called with the name of each face before it is measured.
        on_failure: called with each failure.

    Raises:
        ConfigError: two methods have one name, or only sets are to be compared and there are too few faces.
        ImageError: no face could be measured.
        WeightsError: the weights of a metric of sets are not here.
    """
    check_names(order.all_methods)
    sets = _SetFeatures(order) if order.metrics.sets else None
    faces: list[FaceResult] = []
    failures: list[Failure] = []
    for files in order.files:
        on_face(files.name)
        found = _face_or_failure(order, files, sets)
        if isinstance(found, Failure):
            failures.append(found)
            if on_failure is not None:
                on_failure(found)
        else:
            faces.append(found)
    if not faces:
        raise ImageError(
            f"no face could be measured; {len(failures)} failed, the first: {failures[0].name}: {failures[0].message}"
        )
    return _with_set_metrics(order, faces, failures, sets, on_face)


def _face_or_failure(order: Order, files: CaseFiles, sets: _SetFeatures | None) -> FaceResult | Failure:
    """Return the values of one face, or why it has none."""
    doing: str | None = None
    try:
        case = order.source.load(files, order.setting.face_size)
        restored: dict[str, Face] = {}
        for method in order.all_methods:
            doing = method.name
            restored[method.name] = method.restore(case, order.setting.face_size)
        values = {name: _measured_values(order, face, case.hq) for name, face in restored.items()}
    except WeightsError:
        raise
    except FaceRestoreError as error:
        return Failure(name=files.name, method=doing, message=str(error))
    if sets is not None:
        sets.add(restored)
        if order.reference is None and case.hq is not None:
            sets.add_reference(case.hq)
    return FaceResult(
        name=files.name,
        set_name=files.set_name,
        sha256=case.sha256,
        groups=dict(order.groups.get(files.name, {})),
        drawn=None if case.drawn is None else dict(case.drawn),
        values=values,
    )


def _measured_values(order: Order, face: Face, hq: Face | None) -> dict[str, float | None]:
    found = {metric.spec.name: metric.measure(face, hq) for metric in order.metrics.faces}
    return {
        name: value if value is not None and math.isfinite(value) else None for name, value in found.items()
    }


def _with_set_metrics(
    order: Order,
    faces: Sequence[FaceResult],
    failures: list[Failure],
    sets: _SetFeatures | None,
    on_face: Listener,
) -> Evaluation:
    """Return the evaluation, the metrics of sets included."""
    metrics = [MetricFacts.of(metric.spec, metric.protocol) for metric in order.metrics.faces]
    protocol: dict[str, Any] = {
        "source": order.source.facts,
        "face_size": order.setting.face_size,
        "faces": len(faces),
        "inputs_sha256": hashlib.sha256("".join(face.sha256 for face in faces).encode()).hexdigest(),
        "output": "8 bit; a result of another size is reduced by area or enlarged by bicubic interpolation",
        "intervals": bootstrap.FACTS,
    }
    set_values: list[SetResult] = []
    names = metric_names()
    unavailable = dict(order.metrics.unavailable)
    if sets is not None:
        if order.reference is not None:
            failures += _add_reference_folder(sets, order.reference, order.setting.face_size, on_face)
        sets.close(ORIGINALS if order.reference is None else f"folder '{order.reference.resolve().name}'")
        try:
            set_values = sets.results()
        except ConfigError as error:
            # The values of the faces stand; too few faces for a set are no reason to throw them away.
            if not metrics:
                raise
            unavailable |= dict.fromkeys(order.metrics.sets, str(error))
        else:
            protocol["reference"] = sets.reference_facts
            metrics += sets.metrics()
    return Evaluation(
        protocol=protocol,
        metrics=tuple(sorted(metrics, key=lambda metric: names.index(metric.name))),
        unavailable=unavailable,
        methods=tuple(MethodFacts(name=m.name, facts=m.facts) for m in order.all_methods),
        faces=tuple(faces),
        set_values=tuple(set_values),
        failures=tuple(failures),
        unmatched=order.source.unmatched,
        versions={"facerestore": __version__, **versions(PACKAGES)},
    )


def _add_reference_folder(
    sets: _SetFeatures, folder: Path, face_size: int, on_face: Listener
) -> list[Failure]:
    """Add all faces of a folder to the reference; return those that cannot be read."""
    failures = []
    for name, path in sorted(pictures_by_name(folder).items()):
        on_face(f"reference {name}")
        try:
            sets.add_reference(read_reference(path, face_size))
        except FaceRestoreError as error:
            failures.append(Failure(name=f"reference {name}", method=None, message=str(error)))
    return failures
