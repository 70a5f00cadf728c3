"""Parsing maps on which a network may be conditioned in training, as (B, S, S) int64 class ids; and their parsers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_COLOURS, UNKNOWN
from facerestore.imaging.alignment import template
from facerestore.parsing import LandmarkParser, ParseNetParser, PartsParser, load_parser
from facerestore.pipeline.installed import PARSE, ranked
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights import WeightsStore
from facerestore.weights.catalog import SUFFIXES

PARSER_REMEDY = (
    "name a ParseNet's file with --set recipe.parser=FILE ('facerestore train parsenet' makes one), run 'facerestore"
    " weights download parsenet.psfr-90000', or give --set recipe.condition=landmarks"
)


def parsed_maps(lq: Tensor, parser: ParseNetParser | PartsParser) -> Tensor:
    """Return the maps that a parser gives for degraded faces, resized as at test time (``parsing.networks``).

    Args:
        lq: (B, 3, S, S) in [0, 1].
        parser: takes faces in [-1, 1].
    """
    size, input_size = lq.shape[-1], parser.input_size
    if size > input_size:
        lq = functional.adaptive_avg_pool2d(lq, input_size)
    elif size < input_size:
        lq = functional.interpolate(lq, size=(input_size, input_size), mode="bicubic", align_corners=False)
    with torch.no_grad():
        logits: Tensor = parser.network.logits(lq.clamp(0, 1) * 2 - 1)
    labels = logits.argmax(dim=1, keepdim=True)
    return functional.interpolate(labels.float(), size=(size, size), mode="nearest-exact").squeeze(1).long()


def landmark_maps(lq: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Return maps drawn from five points, as the parser ``landmarks`` draws them.

    Args:
        lq: (B, 3, S, S), for its size alone.
        shifts: (B, 5, 2), how far the points are from where an aligned face has them on average, as shares of S;
            None for not at all.
    """
    size = lq.shape[-1]
    points = np.broadcast_to(template(size), (len(lq), 5, 2))
    if shifts is not None:
        points = points + size * shifts.double().cpu().numpy()
    blank = np.zeros((size, size, 3), np.float32)
    faces = [
        AlignedFace(DetectedFace((0.0, 0.0, size, size), five.astype(np.float32), 1.0), np.eye(2, 3), blank)
        for five in points
    ]
    drawn = np.stack(LandmarkParser().parse(faces))
    return torch.from_numpy(drawn).to(lq.device).long()


def coloured(labels: Tensor) -> Tensor:
    """Return (B, S, S) class ids in the colours of CelebAMask-HQ, (B, 3, S, S) in [0, 1]; what is unknown is white."""
    palette = torch.ones(UNKNOWN + 1, 3, device=labels.device)
    palette[: len(CLASS_COLOURS)] = torch.tensor(CLASS_COLOURS, device=labels.device) / 255
    return palette[labels.long()].permute(0, 3, 1, 2)


def pixel_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of the pixels with a known label, of (B, S, S) each, that have it."""
    known = labels != UNKNOWN
    return float(((predicted == labels) & known).sum().double() / known.sum().clamp_min(1))


def mean_iou(predicted: Tensor, labels: Tensor) -> float:
    """Return the mean over faces of the mean intersection over union of the classes that occur in either map.

    Args:
        predicted: (B, S, S) class ids.
        labels: (B, S, S) class ids; pixels that are `UNKNOWN` there do not count.
    """
    ids = torch.arange(len(CLASS_COLOURS), device=labels.device).reshape(1, -1, 1)
    known = (labels != UNKNOWN).flatten(1).unsqueeze(1)
    ours, theirs = ((x.flatten(1).unsqueeze(1) == ids) & known for x in (predicted, labels))
    union = (ours | theirs).sum(dim=2).double()
    shared = (ours & theirs).sum(dim=2).double()
    occurs = union > 0
    return float(((shared / union.clamp_min(1)).sum(dim=1) / occurs.sum(dim=1).clamp_min(1)).mean())


def parser_path(name: str) -> Path:
    """Return the file of a parser of degraded faces.

    Args:
        name: of a file or of the catalog, or ``auto`` for the best that is installed.

    Raises:
        ConfigError: there is none.
        WeightsError: it is not in the catalog, not installed, or corrupt.
    """
    store, path = WeightsStore(), Path(name).expanduser()
    if name == "auto":
        found = ranked(PARSE, store, backends={ParseNetParser.name, PartsParser.name})  # one is bundled
        return store.require(found[0].name)
    if path.is_file():
        return path
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise ConfigError(f"the parser '{name}' is not there; {PARSER_REMEDY}")
    return store.require(name)


def find_parser(name: str) -> ParseNetParser | PartsParser:
    """Return the parser of degraded faces; see :func:`parser_path`.

    Raises:
        ConfigError: there is none, or it takes other faces or gives other classes than a ParseNet.
        WeightsError: it is not in the catalog, not installed, or corrupt.
        CheckpointError: the file does not fit.
    """
    parser = load_parser(parser_path(name))
    if not isinstance(parser, ParseNetParser | PartsParser):
        raise ConfigError(f"'{name}' is a {parser.name}, which does not suit PSFR-GAN; {PARSER_REMEDY}")
    return parser
