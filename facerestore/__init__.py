"""facerestore restores faces in real photographs: offline, on any machine, keeping the person recognisable.

    import facerestore

    result = facerestore.restore("portrait.jpg")
    result.save("portrait_restored.jpg")

Names are imported when they are first used (PEP 562), so that ``import facerestore`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from facerestore.backends import register_backend
    from facerestore.backends.base import TensorRestorer
    from facerestore.backends.restorer import Descriptor, Restorer
    from facerestore.config import OutputConfig, RestoreConfig, load_config
    from facerestore.degradation import register_degradation
    from facerestore.detection import DetectorOptions, register_detector
    from facerestore.errors import (
        BackendError,
        CancelledError,
        CheckpointError,
        ConfigError,
        ExtensionError,
        FaceRestoreError,
        ImageError,
        JournalError,
        WeightsError,
    )
    from facerestore.evaluation.metrics import register_metric
    from facerestore.io import Mark, read_image, read_mark, write_image
    from facerestore.pictures.result import RestoreResult
    from facerestore.pipeline.build import build_pipeline, restore
    from facerestore.pipeline.progress import Cancel, Progress
    from facerestore.pipeline.restore import RestorePipeline
    from facerestore.pipeline.tasks.build import (
        Strokes,
        build_colorizer,
        build_inpainter,
        build_synthesizer,
        colorize,
        inpaint,
        synthesize,
    )
    from facerestore.testing.contract import Verdict, check_restorer
    from facerestore.training.recipes import register_recipe
    from facerestore.types import (
        AlignedFace,
        Choice,
        Decision,
        DecodedImage,
        DetectedFace,
        Effect,
        FaceImage,
        Outcome,
        ParsingMap,
        RestoredFace,
    )
    from facerestore.video.clip import restore_video
    from facerestore.weights.checkpoint import load_strictly

_HOMES = {
    "AlignedFace": "types",
    "BackendError": "errors",
    "CheckpointError": "errors",
    "Cancel": "pipeline.progress",
    "CancelledError": "errors",
    "Choice": "types",
    "ConfigError": "errors",
    "Decision": "types",
    "DecodedImage": "types",
    "Descriptor": "backends.restorer",
    "DetectedFace": "types",
    "DetectorOptions": "detection",
    "Effect": "types",
    "ExtensionError": "errors",
    "FaceImage": "types",
    "FaceRestoreError": "errors",
    "ImageError": "errors",
    "JournalError": "errors",
    "Mark": "io",
    "Outcome": "types",
    "OutputConfig": "config",
    "ParsingMap": "types",
    "Progress": "pipeline.progress",
    "RestoreConfig": "config",
    "RestorePipeline": "pipeline.restore",
    "RestoreResult": "pictures.result",
    "RestoredFace": "types",
    "Restorer": "backends.restorer",
    "Strokes": "pipeline.tasks.build",
    "TensorRestorer": "backends.base",
    "Verdict": "testing.contract",
    "WeightsError": "errors",
    "build_colorizer": "pipeline.tasks.build",
    "build_inpainter": "pipeline.tasks.build",
    "build_pipeline": "pipeline.build",
    "build_synthesizer": "pipeline.tasks.build",
    "check_restorer": "testing.contract",
    "colorize": "pipeline.tasks.build",
    "inpaint": "pipeline.tasks.build",
    "load_config": "config",
    "load_strictly": "weights.checkpoint",
    "read_image": "io",
    "read_mark": "io",
    "register_backend": "backends",
    "register_degradation": "degradation",
    "register_detector": "detection",
    "register_metric": "evaluation.metrics",
    "register_recipe": "training.recipes",
    "restore": "pipeline.build",
    "restore_video": "video.clip",
    "synthesize": "pipeline.tasks.build",
    "write_image": "io",
}
"""The module of each public name."""

__all__ = [
    "AlignedFace",
    "BackendError",
    "Cancel",
    "CancelledError",
    "CheckpointError",
    "Choice",
    "ConfigError",
    "Decision",
    "DecodedImage",
    "Descriptor",
    "DetectedFace",
    "DetectorOptions",
    "Effect",
    "ExtensionError",
    "FaceImage",
    "FaceRestoreError",
    "ImageError",
    "JournalError",
    "Mark",
    "Outcome",
    "OutputConfig",
    "ParsingMap",
    "Progress",
    "RestoreConfig",
    "RestorePipeline",
    "RestoreResult",
    "RestoredFace",
    "Restorer",
    "Strokes",
    "TensorRestorer",
    "Verdict",
    "WeightsError",
    "__version__",
    "build_colorizer",
    "build_inpainter",
    "build_pipeline",
    "build_synthesizer",
    "check_restorer",
    "colorize",
    "inpaint",
    "load_config",
    "load_strictly",
    "read_image",
    "read_mark",
    "register_backend",
    "register_degradation",
    "register_detector",
    "register_metric",
    "register_recipe",
    "restore",
    "restore_video",
    "synthesize",
    "write_image",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds ``name``, when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted(__all__)
