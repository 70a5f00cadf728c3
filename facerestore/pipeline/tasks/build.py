"""What GPEN does beside restoring: colour grey faces, fill damaged ones, and draw faces from parsing maps.

Each task is a pipeline that differs from ``RestorePipeline`` in what happens before and after the network, so that
batches, reports and errors are those of restoring. The networks are the same, key by key; what tells them apart is
their purpose in the catalog, and their value range (``facerestore.backends.gpen.TASK_RANGES``).
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from facerestore.config import COLORIZE_MASK, RestoreConfig
from facerestore.io import as_decoded, read_encoded
from facerestore.pipeline.build import assemble
from facerestore.pipeline.choose import AUTO
from facerestore.pipeline.tasks.colorize import ColorizePipeline
from facerestore.pipeline.tasks.damage import DamageSource, MaskFile, MaskPicture, Strokes
from facerestore.pipeline.tasks.inpaint import InpaintPipeline
from facerestore.pipeline.tasks.synthesize import SynthesizePipeline
from facerestore.types import DecodedImage, RestoreResult

if TYPE_CHECKING:
    from facerestore.weights import WeightsStore

__all__ = [
    "ColorizePipeline",
    "InpaintPipeline",
    "MaskFile",
    "MaskPicture",
    "Strokes",
    "SynthesizePipeline",
    "build_colorizer",
    "build_inpainter",
    "build_synthesizer",
    "colorize",
    "inpaint",
    "synthesize",
]

Picture: TypeAlias = (
    str | Path | bytes | PillowImage.Image | NDArray[np.uint8] | NDArray[np.uint16] | DecodedImage
)
"""A path, the bytes of a picture file, a Pillow image, or an (H, W), (H, W, 3) or (H, W, 4) array."""


def build_colorizer(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> ColorizePipeline:
    """Return a pipeline that colours faces; ``build_pipeline`` says what may go wrong.

    Args:
        config: as for restoring; its ``mask`` says what is coloured, its ``strength`` is the saturation of the added
            colours, and ``colour_match`` is off whatever it says. None colours the whole crop of each face.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig(mask=COLORIZE_MASK)
    return assemble(ColorizePipeline, replace(config, colour_match=False), store=store)


def build_inpainter(
    damage: DamageSource, config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> InpaintPipeline:
    """Return a pipeline that fills damage; ``build_pipeline`` says what may go wrong.

    Args:
        damage: ``MaskFile``, ``MaskPicture`` or ``Strokes``.
        config: as for restoring; what is pasted is the damage, whatever its ``mask`` and ``region`` say.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig()
    bare = replace(config, mask="whole", region="", parser="none")
    return assemble(InpaintPipeline, bare, store=store).with_damage(damage)


def build_synthesizer(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> SynthesizePipeline:
    """Return a pipeline that draws faces from parsing maps; ``build_pipeline`` says what may go wrong.

    Args:
        config: its weights, device, threads and limit on pixels are used.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig()
    bare = replace(config, aligned=True, strength=1.0, upscale=1.0, mask="whole", region="", parser="none")
    return assemble(SynthesizePipeline, bare, store=store)


def colorize(
    source: Picture,
    *,
    weights: str | None = None,
    strength: float = 1.0,
    mask: str = COLORIZE_MASK,
    faces: str = "all",
    aligned: bool = False,
    detector: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    channels: Literal["rgb", "bgr"] = "rgb",
) -> RestoreResult:
    """Colour the faces of one photo and keep its luma.

    Loads the network anew at each call; for many photos, and for all other settings, see ``build_colorizer``.

    Args:
        source: the photo.
        weights: catalog name or path; None takes the best that is installed for this.
        strength: saturation of the added colours, 0 to 1.
        mask: what is coloured: ``whole``, ``face``, or parts such as ``face,hair``.
        faces: ``all``, ``largest``, ``center`` or indices such as ``0,2``.
        aligned: the source is a square face crop.
        detector: name of the face detector.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``float32``, ``fp16`` or ``bf16``.
        channels: order of the colours of an array.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    config = RestoreConfig(
        weights=weights,
        strength=strength,
        mask=mask,
        faces=faces,
        aligned=aligned,
        detector=detector,
        device=device,
        precision=precision,
    )
    image = as_decoded(source, channels=channels)
    return build_colorizer(config).run(image)


def inpaint(
    source: Picture,
    damage: Picture | Strokes,
    *,
    weights: str | None = None,
    faces: str = "all",
    aligned: bool = False,
    detector: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    channels: Literal["rgb", "bgr"] = "rgb",
) -> RestoreResult:
    """Fill what is damaged in the faces of one photo.

    Loads the network anew at each call; for many photos, and for all other settings, see ``build_inpainter``.

    Args:
        source: the photo.
        damage: a picture of the photo's size that is white where the photo is damaged and black elsewhere; or
            ``Strokes(seed)``, which are drawn at random to try with.
        weights: catalog name or path; None takes the best that is installed for this.
        faces: ``all``, ``largest``, ``center`` or indices such as ``0,2``.
        aligned: the source is a square face crop.
        detector: name of the face detector.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``float32``, ``fp16`` or ``bf16``.
        channels: order of the colours of an array.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    config = RestoreConfig(
        weights=weights, faces=faces, aligned=aligned, detector=detector, device=device, precision=precision
    )
    image = as_decoded(source, channels=channels)
    told = damage if isinstance(damage, Strokes) else MaskPicture(as_decoded(damage))
    return build_inpainter(told, config).run(image)


def synthesize(
    source: Picture, *, weights: str | None = None, device: str = AUTO, precision: str = AUTO
) -> RestoreResult:
    """Draw a face from one parsing map, at the network's size.

    Loads the network anew at each call; for many maps see ``build_synthesizer``.

    Args:
        source: the map: colours of CelebAMask-HQ, or ids 0 to 18 as grey values, square.
        weights: catalog name or path; None takes the best that is installed for this.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``float32``, ``fp16`` or ``bf16``.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    pipeline = build_synthesizer(RestoreConfig(weights=weights, device=device, precision=precision))
    return pipeline.run(_as_map(source, pipeline))


def _as_map(source: Picture, pipeline: SynthesizePipeline) -> DecodedImage:
    """Return a parsing map as a picture; indexed files and Pillow pictures may hold ids as indices."""
    if isinstance(source, PillowImage.Image) and source.mode == "P":
        encoded = BytesIO()
        source.save(encoded, format="PNG")
        source = encoded.getvalue()
    if isinstance(source, str | Path):
        return pipeline.decode(read_encoded(source), name=str(source))
    return pipeline.decode(source, name="map") if isinstance(source, bytes) else as_decoded(source)
