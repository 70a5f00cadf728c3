"""The clauses of the contract that can be told from shapes, values and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.restorer import DECLARE, Descriptor, Restorer, has_own
from facerestore.config import TASKS
from facerestore.errors import BackendError, ConfigError
from facerestore.imaging.blending import whole_crop
from facerestore.imaging.pixels import to_8_bit
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.testing.trial import Finding, Trial, Verdict, finding, maps_of

if TYPE_CHECKING:
    from facerestore.types import FaceImage

TOLERANCE = 0.5 / 255
"""How far two results may lie apart that have to be equal but for the order of sums: half a level of 8 bits."""

USE_BASE = "use Restorer.crops, or derive from facerestore.TensorRestorer"


_STATED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str) and value != "", "a text"),
    "face_size": (lambda value: isinstance(value, int) and value > 0, "a number of pixels"),
    "input_size": (lambda value: isinstance(value, int) and value >= 0, "a number of pixels"),
    "tasks": (lambda value: isinstance(value, tuple) and set(value) <= TASKS.keys(), "a tuple of tasks"),
    "network_range": (lambda value: value is None or value[0] < value[1], "a low and a high value"),
    "needs_parsing": (lambda value: isinstance(value, bool), "True or False"),
    "fidelity": (lambda value: value is None or 0 <= value <= 1, "a number from 0 to 1"),
    "max_batch": (lambda value: isinstance(value, int) and value >= 0, "a number of faces"),
}
"""What a descriptor may state of these, and in which words it is asked for."""


def check_descriptor(restorer: object) -> Finding:
    """Tell whether the restorer says what it is, in words that can be true."""
    if not isinstance(restorer, Restorer):
        return Finding("descriptor", Verdict.FAILED, f"{type(restorer).__name__} is no restorer", DECLARE)
    wrong = [words for field in _STATED if (words := _misstated(restorer.descriptor, field))]
    if restorer.descriptor.has_stages and not has_own(type(restorer), "stages"):
        wrong.append("has_stages is True, and there is no method stages")
    if wrong:
        return Finding("descriptor", Verdict.FAILED, "; ".join(wrong), "see facerestore.Descriptor")
    words = "; ".join(f"{what} {value}" for what, value in restorer.descriptor.in_words().items())
    return Finding("descriptor", Verdict.PASSED, f"'{restorer.name}'; {words}")


def _misstated(descriptor: Descriptor, field: str) -> str:
    """Return what is wrong with a field of a descriptor; nothing where nothing is."""
    value, (holds, words) = getattr(descriptor, field), _STATED[field]
    try:
        kept = holds(value)
    except (TypeError, IndexError):  # of another kind altogether
        kept = False
    return "" if kept else f"{field} is {value!r}, not {words}"


def check_form(restorer: Restorer, restored: Any, count: int) -> Finding:
    """Tell whether ``restored`` is one float32 RGB array of the face size for each of ``count`` faces."""
    size = restorer.face_size
    remedy = f"return one float32 array of shape ({size}, {size}, 3) for each face, in order"
    if not isinstance(restored, Sequence) or len(restored) != count:
        given = len(restored) if isinstance(restored, Sequence) else type(restored).__name__
        return Finding("form", Verdict.FAILED, f"{given} for {count} faces", remedy)
    forms = dict.fromkeys(_array_form(face) for face in restored)
    kept = list(forms) == [_array_form(np.empty((size, size, 3), np.float32))]
    return finding("form", kept, f"{count} faces of {' and '.join(forms)}", remedy=remedy)


def check_values(trial: Trial) -> Finding:
    """Tell whether all values are finite and in [0, 1], also for faces that are all black and all white."""
    size = trial.restorer.face_size
    extremes = [whole_crop(np.full((size, size, 3), value, np.float32)) for value in (0.0, 1.0)]
    values = np.stack([*trial.restored, *trial.restore(extremes)])
    finite = bool(np.isfinite(values).all())
    low, high = (float(values.min()), float(values.max())) if finite else (np.nan, np.nan)
    measured = f"from {low:.3f} to {high:.3f}" if finite else "some are not finite"
    return finding(
        "values",
        finite and low >= 0 and high <= 1,
        measured,
        remedy="scale the output to [0, 1] and clamp it",
    )


def check_repeats(trial: Trial) -> Finding:
    """Tell whether a second call gives the very same faces."""
    largest = _largest_difference(trial.restored, trial.restore(trial.faces))
    measured = "a second call gives the same bits" if largest == 0 else f"two calls differ by {largest:.2g}"
    return finding(
        "repeats", largest == 0, measured, remedy="fix the seed of whatever noise the network draws"
    )


def check_batch(trial: Trial) -> Finding:
    """Tell whether a face comes out of a batch as it does alone, and in its place."""
    largest = _largest_difference(trial.restored, trial.singles)
    measured = f"alone and in a batch of {len(trial.faces)} differ by {largest:.2g}, allowed {TOLERANCE:.2g}"
    remedy = "keep statistics, noise and order of a face apart from its batch"
    return finding("batch", largest <= TOLERANCE, measured, remedy=remedy)


def check_empty(trial: Trial) -> Finding:
    """Tell whether no faces give no faces."""
    result = list(trial.restore([]))
    return finding(
        "no faces", not result, f"{len(result)} for none", remedy="return an empty list for no faces"
    )


def check_sizes(trial: Trial) -> Finding:
    """Tell whether crops that are smaller and larger than the face size give faces of the face size."""
    size = trial.restorer.face_size
    sizes = (max(1, size // 2 + 1), size + size // 4 + 1)
    wrong = []
    for other in sizes:
        result = check_form(trial.restorer, trial.restore(trial_faces(other)[:1]), 1)
        wrong += [f"{other} px: {result.measured}"] if result.verdict is Verdict.FAILED else []
    measured = "; ".join(wrong) or f"crops of {sizes[0]} and {sizes[1]} px give {size} px"
    return finding("sizes", not wrong, measured, remedy=f"resize the crop; {USE_BASE}")


def check_inputs_kept(trial: Trial) -> Finding:
    """Tell whether the crops are what they were before all these calls, and no result is a view of one."""
    pristine = trial_faces(trial.restorer.face_size)
    changed = sum(not np.array_equal(a.lq, b.lq) for a, b in zip(trial.faces, pristine, strict=True))
    shared = any(np.shares_memory(face.lq, r) for face in trial.faces for r in trial.restored)
    measured = f"{changed} of {len(pristine)} crops changed" + (
        ", a result is its own crop" if shared else ""
    )
    return finding("inputs kept", not changed and not shared, measured, remedy="work on a copy of the crop")


def check_bad_inputs(trial: Trial) -> Finding:
    """Tell whether what is no face image is refused with a `BackendError`."""
    wrong = [
        f"{what} {reply}"
        for what, face in _bad_faces(trial.restorer.face_size).items()
        if (reply := _reply_to(trial.restorer, face)) != "refused"
    ]
    measured = "; ".join(wrong) or "8-bit, unscaled, NaN, oblong, grey, RGBA and bare crops are refused"
    return finding(
        "bad inputs",
        not wrong,
        measured,
        remedy=f"refuse them with BackendError; {USE_BASE}",
    )


def check_parsing(trial: Trial) -> Finding:
    """Tell whether `needs_parsing` says how parsing maps are treated."""
    return _check_maps_needed(trial) if trial.restorer.needs_parsing else _check_maps_harmless(trial)


def check_fidelity(trial: Trial) -> Finding:
    """Tell whether a dial that is declared turns, and one that is not is refused."""
    declared, wrong = trial.restorer.descriptor.fidelity is not None, ""
    for value, taken in {1.0: declared, -1.0: False}.items():
        try:
            given = trial.restorer.with_fidelity(value).descriptor.fidelity
            wrong = wrong or ("" if taken and given == value else f"{value:g} is taken and gives {given}")
        except ConfigError:
            wrong = wrong or (f"{value:g} is refused" if taken else "")
    measured = wrong or ("from 0 to 1, and no further" if declared else "no dial, and a value is refused")
    remedy = "return self.redeclared(fidelity=value) for 0 to 1, raise ConfigError for all else"
    return finding("fidelity", not wrong, measured, remedy=remedy)


def check_threads(trial: Trial) -> Finding:
    """Tell whether two threads that share the restorer get what one gets."""
    faces = [*trial.faces[:2], *trial.faces[:2]]
    with ThreadPoolExecutor(2) as pool:
        found = [result[0] for result in pool.map(lambda face: trial.restore([face]), faces)]
    largest = _largest_difference(found, [*trial.singles[:2], *trial.singles[:2]])
    measured = f"two threads and one differ by {largest:.2g}, allowed {TOLERANCE:.2g}"
    remedy = "keep nothing of a call on the restorer or in globals, the random number generator included"
    return finding("threads", largest <= TOLERANCE, measured, remedy=remedy)


def _array_form(face: object) -> str:
    return f"{face.shape} {face.dtype}" if isinstance(face, np.ndarray) else type(face).__name__


def _largest_difference(ones: Sequence[FaceImage], others: Sequence[FaceImage]) -> float:
    return float(np.abs(np.stack(ones).astype(np.float64) - np.stack(others)).max())


def _bad_faces(size: int) -> dict[str, Any]:
    """Return what is no aligned face, by what is wrong with it."""
    good = trial_faces(size)[0].lq
    arrays: dict[str, NDArray[Any]] = {
        "an 8-bit crop": to_8_bit(good),
        "a crop from 0 to 255": 255 * good,
        "a crop with NaN": np.where(good == good.max(), np.float32(np.nan), good),
        "an oblong crop": good[: max(1, size // 2)],
        "a grey crop": good[..., 0],
        "an RGBA crop": np.concatenate([good, good[..., :1]], axis=2),
    }
    return {**{what: whole_crop(array) for what, array in arrays.items()}, "a bare array": good}


def _reply_to(restorer: Restorer, face: Any) -> str:
    """Return what becomes of one crop."""
    maps = [trial_map(restorer.face_size)] if restorer.needs_parsing else None
    try:
        restorer.restore([face], maps)
    except BackendError:
        return "refused"
    except Exception as error:  # what else it may be is what is looked for
        return f"raises {type(error).__name__}, not BackendError"
    return "is taken"


def _check_maps_needed(trial: Trial) -> Finding:
    maps = maps_of(trial.faces)
    wrong = []
    for what, given in {"without maps": None, "with one map for three faces": maps[:1]}.items():
        try:
            trial.restorer.restore(trial.faces, given)
            wrong.append(f"it works {what}")
        except BackendError:
            continue
        except Exception as error:  # what else it may be is what is looked for
            wrong.append(f"{what} it raises {type(error).__name__}, not BackendError")
    if wrong:
        return Finding(
            "parsing", Verdict.FAILED, "; ".join(wrong), "refuse any other number of maps than one per face"
        )
    blank = [np.zeros_like(m) for m in maps]
    change = _largest_difference(trial.restored, trial.restorer.restore(trial.faces, blank))
    if change == 0:
        remedy = "use the map, or declare needs_parsing=False"
        return Finding("parsing", Verdict.UNCLEAR, "a blank map gives the same face", remedy)
    return Finding("parsing", Verdict.PASSED, f"maps are asked for; a blank one changes up to {change:.2g}")


def _check_maps_harmless(trial: Trial) -> Finding:
    """Tell whether maps may be given all the same, as the pipeline does where there is a parser."""
    given = trial.restorer.restore(trial.faces, maps_of(trial.faces))
    result = check_form(trial.restorer, given, len(trial.faces))
    measured = (
        "not needed, and taken where there are any" if result.verdict is Verdict.PASSED else result.measured
    )
    remedy = "take parsing maps even if the network has no use for them"
    return finding("parsing", result.verdict is Verdict.PASSED, measured, remedy=remedy)
