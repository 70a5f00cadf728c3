"""What GPEN does beside restoring: colour grey faces, fill damaged ones, and draw faces from parsing maps.

Each task is a procedure of its own for ``RestorePipeline``: some stages are other than those of restoring, and batches,
reports and errors are the same. The networks are the same, key by key; what tells them apart is
their purpose in the catalog, and their value range (``facerestore.backends.gpen.TASK_RANGES``).
"""

from __future__ import annotations

import os
from dataclasses import replace
from io import BytesIO

from PIL import Image as PillowImage

from facerestore.config import COLORIZE_MASK, RestoreConfig
from facerestore.engines.device import resolve_device
from facerestore.errors import ConfigError
from facerestore.io import DEFAULT_MAX_PIXELS, PictureSource, as_decoded, read_encoded
from facerestore.pictures.result import RestoreResult
from facerestore.pipeline.build import assemble
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, DAMAGE
from facerestore.pipeline.load import build_damage_finder
from facerestore.pipeline.one_photo import Asked, Channels, Keywords, OnePhoto
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.colorize import COLORIZING
from facerestore.pipeline.tasks.damage import DamageSource, MaskFile, MaskPicture, Strokes
from facerestore.pipeline.tasks.inpaint import inpainting
from facerestore.pipeline.tasks.synthesize import SYNTHESIZING
from facerestore.types import DecodedImage
from facerestore.weights import WeightsStore

__all__ = [
    "MaskFile",
    "MaskPicture",
    "Strokes",
    "build_colorizer",
    "build_inpainter",
    "build_synthesizer",
    "colorize",
    "inpaint",
    "synthesize",
]


def build_colorizer(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> RestorePipeline:
    """Return a pipeline that colours faces; ``build_pipeline`` says what may go wrong.

    Args:
        config: as for restoring; its ``mask`` says what is coloured, its ``strength`` is the saturation of the added
            colours, and ``colour_match`` is off whatever it says. None colours heads: faces, hair, necks and ears.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig(mask=COLORIZE_MASK)
    return assemble(replace(config, colour_match=False), COLORIZING, store=store)


def build_inpainter(
    damage: DamageSource | None = None,
    config: RestoreConfig | None = None,
    *,
    store: WeightsStore | None = None,
) -> RestorePipeline:
    """Return a pipeline that fills damage; ``build_pipeline`` says what may go wrong.

    Args:
        damage: ``MaskFile``, ``MaskPicture`` or ``Strokes``; None for what a network finds in the faces.
        config: as for restoring; what is pasted is the damage, whatever its ``mask`` and ``region`` say.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig()
    store = store if store is not None else WeightsStore(offline=config.offline)
    if damage is not None and config.damage_finder != AUTO:
        raise ConfigError(
            f"damage_finder is '{config.damage_finder}', but what is damaged is given; give one of both"
        )
    if damage is None:
        damage = build_damage_finder(
            choose(DAMAGE, config, store), config, device=resolve_device(config.device)
        )
    bare = replace(config, mask="whole", region="", parser="none")
    return assemble(bare, inpainting(damage), store=store)


def build_synthesizer(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> RestorePipeline:
    """Return a pipeline that draws faces from parsing maps; ``build_pipeline`` says what may go wrong.

    Args:
        config: its weights, device, threads and limit on pixels are used.
        store: where weights are looked for; the user's own when None.
    """
    config = config if config is not None else RestoreConfig()
    bare = replace(config, aligned=True, strength=1.0, upscale=1.0, mask="whole", region="", parser="none")
    return assemble(bare, SYNTHESIZING, store=store)


@OnePhoto(Keywords, mask=COLORIZE_MASK)
def colorize(source: PictureSource, config: RestoreConfig, asked: Asked) -> RestoreResult:
    """Colour the faces of one photo and keep its luma.

    Loads the network anew at each call; for many photos see ``build_colorizer``, which says what the fields mean here.

    Args:
        source: the photo.
        config: what is chosen; each field of ``RestoreConfig`` can be given as a keyword too.
        asked: ``channels``, the order of the colours of an array, and ``on_progress`` and ``cancel`` as for
            ``RestorePipeline.run``; keywords too.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    return _run(build_colorizer(config), _photo(source, config, asked.channels), asked)


@OnePhoto(Keywords)
def inpaint(
    source: PictureSource, damage: PictureSource | Strokes | None, config: RestoreConfig, asked: Asked
) -> RestoreResult:
    """Fill what is damaged in the faces of one photo.

    Loads the network anew at each call; for many photos see ``build_inpainter``, which says what the fields mean here.

    Args:
        source: the photo.
        damage: a picture of the photo's size that is white where the photo is damaged and black elsewhere; or
            ``Strokes(seed)``, which are drawn at random to try with; None for what a network finds in the faces.
        config: what is chosen; each field of ``RestoreConfig`` can be given as a keyword too.
        asked: ``channels``, the order of the colours of an array, and ``on_progress`` and ``cancel`` as for
            ``RestorePipeline.run``; keywords too.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    told = damage if damage is None or isinstance(damage, Strokes) else MaskPicture(as_decoded(damage))
    return _run(build_inpainter(told, config), _photo(source, config, asked.channels), asked)


@OnePhoto(Keywords)
def synthesize(source: PictureSource, config: RestoreConfig, asked: Asked) -> RestoreResult:
    """Draw a face from one parsing map, at the network's size.

    Loads the network anew at each call; for many maps see ``build_synthesizer``, which says what the fields mean here.

    Args:
        source: the map: colours of CelebAMask-HQ, or ids 0 to 18 as grey values, square.
        config: what is chosen; each field of ``RestoreConfig`` can be given as a keyword too.
        asked: ``channels``, the order of the colours of an array, and ``on_progress`` and ``cancel`` as for
            ``RestorePipeline.run``; keywords too.

    Raises:
        FaceRestoreError: the source, an option, the weights or the network is at fault; see its subclasses.
    """
    pipeline = build_synthesizer(config)
    return _run(pipeline, _as_map(source, pipeline, asked.channels), asked)


def _run(pipeline: RestorePipeline, photo: DecodedImage, asked: Asked) -> RestoreResult:
    return pipeline.run(photo, on_progress=asked.on_progress, cancel=asked.cancel)


def _photo(source: PictureSource, config: RestoreConfig, channels: Channels) -> DecodedImage:
    limit = config.max_pixels or DEFAULT_MAX_PIXELS
    return as_decoded(source, channels=channels, max_pixels=limit, page=config.page)


def _as_map(source: PictureSource, pipeline: RestorePipeline, channels: Channels) -> DecodedImage:
    """Return a parsing map as a picture; indexed files and Pillow pictures may hold ids as indices."""
    if isinstance(source, PillowImage.Image) and source.mode == "P":
        encoded = BytesIO()
        source.save(encoded, format="PNG")
        source = encoded.getvalue()
    if isinstance(source, str | os.PathLike):
        return pipeline.decode(read_encoded(source), name=os.fspath(source))
    if isinstance(source, bytes):
        return pipeline.decode(source, name="map")
    return as_decoded(source, channels=channels)
