"""From chosen weights to networks that run: restorers, detectors, parsers and upsamplers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from facerestore.backends import create_backend, load_backend
from facerestore.backends.exported import ExportedFile, Place, load_exported
from facerestore.backends.rims import TELEA, RimFiller
from facerestore.config import RESTORE, RestoreConfig, Task
from facerestore.detection import create_detector
from facerestore.engines.graph import TORCH
from facerestore.errors import CheckpointError, ConfigError
from facerestore.parsing import LandmarkParser, load_parser
from facerestore.pipeline.guard import Guard
from facerestore.pipeline.installed import LANDMARKS, ChosenWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from facerestore.backends.restorer import Restorer
    from facerestore.background import TiledUpsampler
    from facerestore.parsing.eyes import EyeReader
    from facerestore.pipeline.tasks.damage import FoundDamage
    from facerestore.quality.identity import IdentityNetwork
    from facerestore.types import AlignedFace, FaceDetector, FaceParser, ParsingMap
    from facerestore.weights import WeightsStore
    from facerestore.weights.weights_file import WeightsSource


def load_restorer(
    chosen: ChosenWeights,
    *,
    device: torch.device | str = "cpu",
    task: Task = RESTORE,
    provider: str | None = None,
    threads: int = 0,
) -> Restorer:
    """Return the restorer of chosen weights, of an exported network, or of a backend that needs none.

    Args:
        chosen: which one.
        device: where it runs.
        task: what it has to do.
        provider: what runs an exported network, or one of ours; ``torch`` for torch. None follows the device: torch
            on CUDA, ONNX Runtime elsewhere where the file holds a graph for it.
        threads: CPU threads of ONNX Runtime or OpenVINO; 0 leaves the choice to them.

    Raises:
        CheckpointError: the file fits no backend.
        BackendError: a backend of another package is broken.
        ConfigError: the backend does not do the task, or the file is for backgrounds.
    """
    if chosen.record is not None and chosen.backend is not None and chosen.path is not None:
        file, place = ExportedFile(chosen.backend, chosen.path), Place(str(device), provider, threads)
        return load_exported(file, place, record=chosen.record).for_task(task.purpose)
    if chosen.name == TELEA:
        return RimFiller()
    try:
        if chosen.source is None:
            restorer = create_backend(chosen.name, device=device)
        else:
            place = Place(str(device), provider, threads)
            restorer = load_backend(
                chosen.source,
                name=chosen.backend,
                device=device,
                place=place,
                mix=chosen.mix,
                base=chosen.refined,
            )
    except CheckpointError as error:
        from facerestore.background import holds_upsampler

        if chosen.source is None or not holds_upsampler(chosen.source):
            raise
        raise ConfigError(
            f"'{chosen.path}' holds a network for whole photos, not one for faces; give it with --background"
        ) from error
    return restorer.for_task(task.purpose)


def build_detector(
    chosen: ChosenWeights, config: RestoreConfig, store: WeightsStore, device: torch.device | str
) -> FaceDetector:
    """Return the detector that was chosen, which looks as ``config`` says.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: its weights are not installed, or corrupt.
    """
    return create_detector(
        chosen.name,
        weights_for=store.require,
        device=device,
        threads=config.threads,
        detect_size=config.detect_size,
        rotations=config.rotations,
    )


def build_parser(
    chosen: ChosenWeights, config: RestoreConfig | None = None, *, device: torch.device | str = "cpu"
) -> FaceParser | None:
    """Return the parser that was chosen; None where there is none to be.

    Args:
        chosen: which one.
        config: says how many threads a parser with a graph has, and whether torch is to run it.
        device: where it runs.

    Raises:
        CheckpointError: the file is no parser's, or does not fit.
    """
    if chosen.source is not None:
        config = config or RestoreConfig()
        # A provider is chosen for restorers; published parsers, which hold no graph, know none.
        provider = TORCH if config.provider == TORCH else None
        return load_parser(chosen.source, device=device, place=Place(str(device), provider, config.threads))
    return LandmarkParser() if chosen.name == LANDMARKS else None


class ParserLater:
    """The parser of a line that is loaded when a face first needs it, or by a thread sooner; see `FaceParser`.

    Args:
        name: of its network.
        get: gives it, loaded now where it is not yet.

    Raises:
        FaceRestoreError: where faces are parsed, whatever ``get`` raises.
    """

    def __init__(self, name: str, get: Callable[[], FaceParser]) -> None:
        self.name, self._get = name, get

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one (S, S) map of CelebAMask-HQ ids per face, S the size of its ``lq``."""
        return self._get().parse(faces)


def build_damage_finder(
    chosen: ChosenWeights, config: RestoreConfig, *, device: torch.device | str
) -> FoundDamage:
    """Return what finds damage in faces with the weights that were chosen.

    Raises:
        CheckpointError: the file holds another network.
    """
    from facerestore.parsing.damage import load_damage_finder
    from facerestore.pipeline.tasks.damage import FoundDamage

    assert chosen.source is not None, "weights that find damage lie in a file"
    provider = TORCH if config.provider == TORCH else None
    finder = load_damage_finder(chosen.source, place=Place(str(device), provider, config.threads))
    return FoundDamage(finder, chosen.name)


def build_guard(
    chosen: ChosenWeights, eyes: ChosenWeights, config: RestoreConfig, *, device: torch.device | str
) -> Guard | None:
    """Return what makes sure that restored faces are still those in the photo; None where it is not wanted.

    Args:
        chosen: the identity network, which is opened when the first face is judged; there may be none.
        eyes: what tells closed eyes, opened when a face may need it; there may be none.
        config: says whether it is wanted, and how alike faces must be.
        device: where a network of torch's runs.
    """
    if not config.guard:
        return None
    open_eyes = None if eyes.source is None else partial(_open_eyes, eyes.source, config.provider)
    if chosen.path is None or chosen.backend is None:
        return Guard(open_eyes=open_eyes)
    place = Place(str(device), threads=config.threads)
    opened = partial(_open_identity, chosen.path, chosen.backend, place)
    return Guard(
        opened, identities=chosen.identities, least_identity=config.min_identity, open_eyes=open_eyes
    )


def _open_eyes(source: WeightsSource, provider: str | None) -> EyeReader:
    from facerestore.parsing.eyes import load_eye_reader

    # On the CPU: an accelerator takes longer to be handed two eyes.
    return load_eye_reader(source, place=Place("cpu", TORCH if provider == TORCH else None, 1))


def _open_identity(path: Path, backend: str, place: Place) -> IdentityNetwork:
    from facerestore.quality.identity import load_identity

    return load_identity(path, backend, place)


def build_upsampler(
    chosen: ChosenWeights, config: RestoreConfig, *, device: torch.device | str
) -> TiledUpsampler | None:
    """Return what enlarges or cleans the background; None where nothing does.

    Args:
        chosen: which network.
        config: says how large its tiles are, how many threads it has, and whether torch is to run it.
        device: where it runs.

    Raises:
        FaceRestoreError: as ``load_upsampler``.
    """
    if chosen.source is None:
        return None
    from facerestore.background import load_upsampler

    provider = TORCH if config.provider == TORCH else None
    place = Place(str(device), provider, config.threads)
    return load_upsampler(chosen.source, name=chosen.name, tile=config.tile, place=place)
