"""Targets ``config`` and ``catalog``: what people write, options, lists and a catalog of weights."""

from __future__ import annotations

import contextlib
from pathlib import Path

from facerestore.backends.exported.record import record_beside
from facerestore.batch.selecting import parse_shard, read_list
from facerestore.config import load_config
from facerestore.errors import FaceRestoreError, parse_json, parse_whole
from facerestore.evaluation.cases import CaseFiles
from facerestore.evaluation.groups import GroupWish, group_faces
from facerestore.training.engine.settings import EngineSettings, make_settings, merged, read_settings
from facerestore.weights import parse_catalog
from fuzz.kinds import Kind, of_file

_RESTORE = (
    b'[restore]\nstrength = 0.7\nfaces = "0,2"\nmin_face = 3\n\n[output]\nformat = "png"\nquality = 90\n'
)
_TRAIN = b'[engine]\nsteps = 5\nprecision = "no"\nema_decay = 0.99\n'
_SIDECAR = b"face_size = 512\nvalue_range = [-1, 1]\nmax_batch = 4\n"
_CATALOG = b"""schema = 1
[licences.MIT]
name = "MIT License"
url = "https://spdx.org/licenses/MIT.html"
notice = "Keep the copyright notice."
[weights."lite.small"]
file = "net.safetensors"
urls = ["https://example.org/net.safetensors"]
licence = "MIT"
commercial_use = "yes"
training_data = "synthetic"
source = "https://example.org"
paper = "none"
purpose = "restore"
quality_rank = 1
size_bytes = 5
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"""
_MANIFEST = b"set,name,yaw,light\na,0,0.1,0.2\na,1,0.4,0.9\na,2,x,0.3\n"


def config() -> tuple[Kind, ...]:
    """Return options, settings of a training, what describes a network, a manifest, a list of photos, flags."""
    return (
        Kind("restore", (_RESTORE,), of_file(load_config, "c.toml"), "toml"),
        Kind("train", (_TRAIN,), of_file(_train, "t.toml"), "toml"),
        Kind("sidecar", (_SIDECAR,), of_file(_sidecar, "side.onnx.toml"), "toml"),
        Kind("manifest", (_MANIFEST,), of_file(_group, "m.csv")),
        Kind("list", (b"a.jpg\nb/c.png\n", b"a.jpg\0d\xff.png\0"), read_list),
        Kind("flags", (b"engine.steps=5\x003/16", b"lite.width=0.5\x001/1"), _flags),
    )  # fmt: skip


def catalog() -> tuple[Kind, ...]:
    """Return a catalog of one entry."""
    return (Kind("catalog", (_CATALOG,), _catalog, "toml"),)


def _catalog(data: bytes) -> None:
    parse_catalog(data.decode("utf-8", errors="surrogateescape"), folder=Path("weights"))


def _sidecar(path: Path) -> None:
    record_beside(path.with_suffix(""))


def _train(path: Path) -> None:
    make_settings(EngineSettings, read_settings(path).get("engine", {}))


def _group(path: Path) -> None:
    faces = [CaseFiles(name=f"a/{n}", set_name="a", lq=None, hq=None, position=n) for n in range(3)]
    group_faces(faces, path, [GroupWish("yaw"), GroupWish("light", (0.5,))])


def _flags(data: bytes) -> None:
    setting, _, shard = data.decode(errors="surrogateescape").partition("\0")
    for ask in (lambda: merged({}, [setting]), lambda: parse_shard(shard)):
        with contextlib.suppress(FaceRestoreError):
            ask()
    for parse in (parse_json, parse_whole):
        with contextlib.suppress(ValueError):  # a MalformedError, which whoever reads turns into one of ours
            parse(shard)
