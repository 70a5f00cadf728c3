"""What reads the files: each a function that may raise nothing but a FaceRestoreError."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from benchmarks.fuzz.corpus import RECORDS
from facerestore.config import load_config
from facerestore.io import decode_image, encode_image, picture_size
from facerestore.training.data.shards import shard_faces
from facerestore.weights.checkpoint import load_state_dict

MAX_PIXELS = 2**20


def read_picture(data: bytes) -> None:
    """Decode a picture and write it again in its own format."""
    picture_size(data, name="mutant", max_pixels=MAX_PIXELS, page=1)
    image = decode_image(data, name="mutant", max_pixels=MAX_PIXELS, page=1)
    encode_image(image, format=image.format or "PNG")


def _read_shard(path: Path) -> None:
    for face in shard_faces(path):
        decode_image(face.face.read(path), name="mutant", max_pixels=MAX_PIXELS)


def _read_record(name: str, data: bytes) -> None:
    from benchmarks.fuzz.records import read_record

    read_record(name, data)


def _from_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], None]:
    """Return what reads a file's bytes with a function of paths."""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mutant{suffix}"
            path.write_bytes(data)
            read(path)

    return run


TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        **dict.fromkeys((".jpg", ".png", ".tif", ".bmp", ".webp"), read_picture),
        ".safetensors": _from_file(load_state_dict, ".safetensors"),
        ".pth": _from_file(load_state_dict, ".pth"),
        ".toml": _from_file(load_config, ".toml"),
        ".tar": _from_file(_read_shard, ".tar"),
        **{f".{name}": partial(_read_record, name) for name in RECORDS},
    }
)
"""By suffix of the files of the corpus."""
