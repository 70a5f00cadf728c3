"""Targets ``state``, ``shards`` and ``results``: what trainings, the store and evaluations keep and read again."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from facerestore.evaluation.comparison import Named, merge
from facerestore.evaluation.metrics import SPECS
from facerestore.evaluation.result import Evaluation, FaceResult, MethodFacts, MetricFacts, read_evaluation
from facerestore.evaluation.tables import markdown
from facerestore.io import decode_image
from facerestore.training.data.shards import shard_faces
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.curves import panels_of
from facerestore.training.engine.folder import RunFolder
from facerestore.training.export import export_run
from facerestore.training.recipes.landmarks.data import by_labels
from facerestore.weights import WeightsStore
from facerestore.weights.own import record_path
from facerestore.weights.records import pin_path, read_pin, stamp_path, stamped_sha256, stamped_use
from fuzz.kinds import CATALOG, SHA256, Kind, in_folder, lines, of_file, packed
from fuzz.pictures import HEIGHT, MAX_PIXELS, WIDTH, photo

_SETTINGS = {
    "recipe": "lite", "lite": {}, "data": {"face_size": 64}, "engine": {"steps": 4, "seed": 3}, "faces": ["/x"],
}  # fmt: skip

_OWN = {
    "weights": {
        "file": "lite.mine.safetensors", "licence": "MIT", "commercial_use": "yes", "training_data": "drawn",
        "source": "here", "paper": "none", "purpose": "restore", "face_size": 64, "sha256": SHA256,
    },
    "licences": {"Mine": {"name": "Mine", "url": "none", "notice": "none"}},
}  # fmt: skip


def state() -> tuple[Kind, ...]:
    """Return what a training goes on from, and what the store of weights has noted."""
    log = [
        *({"step": n, "rate": 1e-4, "seconds": 0.5, "pixel": 0.1} for n in (1, 2)),
        {"step": 2, "psnr": 20.5},
    ]
    pin = {"sha256": SHA256, "origin": "https://example.org/x", "pinned_at": "2026-01-01T00:00:00+00:00"}
    stamp = {"sha256": SHA256, "size_bytes": 1, "mtime_ns": 1, "use": "x"}
    settings, average = packed(_SETTINGS), io.BytesIO()
    torch.save(torch.nn.Linear(2, 1).state_dict(), average)
    return (
        Kind("log", (lines(*log),), in_folder(lambda home: home / "log.jsonl", _read_run), "lines"),
        Kind("settled", (settings,), in_folder(lambda home: home / "settings.json", _settle), "json"),
        Kind("settings", (settings,), in_folder(lambda home: home / "settings.json", _export), "json"),
        Kind("average", (average.getvalue(),), in_folder(_checkpoint, _average)),
        Kind("pin", (packed(pin),), in_folder(_pin, lambda home: read_pin(home, "a.b")), "json"),
        Kind("stamp", (packed(stamp),), in_folder(_stamp, _read_stamp), "json"),
        Kind("own", (packed(_OWN),), in_folder(lambda home: record_path(home, "lite.mine"), _read_own), "json"),
    )  # fmt: skip


def shards() -> tuple[Kind, ...]:
    """Return a shard of faces, and the labels of landmarks."""
    labels = packed({"a/0": [[0.3, 0.4]] * 5})
    return (
        Kind("tar", (_shard(tarfile.USTAR_FORMAT), _shard(tarfile.PAX_FORMAT)), of_file(_read_shard, "s.tar")),
        Kind("labels", (labels,), of_file(by_labels, "l.json"), "json"),
    )  # fmt: skip


def results() -> tuple[Kind, ...]:
    """Return the file of an evaluation, compared with a right one."""
    return (Kind("evaluation", (_evaluation(),), of_file(_read_evaluation, "e.json"), "json"),)


def _pin(home: Path) -> Path:
    return pin_path(home, "a.b")


def _stamp(home: Path) -> Path:
    (home / "w.pth").write_bytes(b"x")
    return stamp_path(home / "w.pth")


def _read_stamp(home: Path) -> None:
    weights = home / "w.pth"
    stamped_sha256(weights)
    stamped_use(weights)


def _read_own(home: Path) -> None:
    WeightsStore(home, offline=True, catalog=CATALOG).entry("lite.mine")


def _read_run(home: Path) -> None:
    folder = RunFolder(home, main=False)
    panels_of(folder.records())
    folder.judgements()


def _settle(home: Path) -> None:
    RunFolder(home, main=False).settle({"recipe": "lite", "engine": {"steps": 4}})


def _export(home: Path) -> None:
    export_run(home, home / "out.safetensors", licence="MIT", data="none")


def _checkpoint(home: Path) -> Path:
    return home / "checkpoints" / "step_00000004" / "custom_checkpoint_1.pkl"


def _average(home: Path) -> None:
    recipe: Any = SimpleNamespace(name="x", averaged="g", networks=lambda: {"g": torch.nn.Linear(2, 1)})
    restore_average(recipe, home)


def _shard(format: int) -> bytes:
    stream, face = io.BytesIO(), io.BytesIO()
    Image.fromarray(photo()).save(face, "PNG")
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for number in range(2):
            values = json.dumps({"width": WIDTH, "height": HEIGHT, "photo": "a.jpg"}).encode()
            for ending, body in (("png", face.getvalue()), ("json", values)):
                member = tarfile.TarInfo(
                    f"{number:06d}{'é' if format == tarfile.PAX_FORMAT else ''}.{ending}"
                )
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
    return stream.getvalue()


def _read_shard(path: Path) -> None:
    for face in shard_faces(path):
        decode_image(face.face.read(path), name="mutant", max_pixels=MAX_PIXELS)


def _evaluation() -> bytes:
    facts = MetricFacts.of(SPECS["psnr"], {"implementation": "by hand"})
    faces = tuple(
        FaceResult(
            name=f"a/{n}",
            set_name="a",
            sha256="0",
            groups={"yaw": "low"},
            values={"lite": {"psnr": 20.0 + n}},
        )
        for n in range(3)
    )
    protocol = {"source": {"kind": "degradation", "preset": "gfpgan", "seed": 7}, "face_size": 64, "faces": 3}
    return (
        Evaluation(
            protocol=protocol,
            metrics=(facts,),
            unavailable={"niqe": "not here"},
            methods=(MethodFacts(name="lite", facts={"kind": "lite"}),),
            faces=faces,
        )
        .to_json()
        .encode()
    )


def _read_evaluation(path: Path) -> None:
    """Do as ``facerestore evaluate compare`` does with a result and a right one."""
    right = path.with_name("right.json")
    right.write_bytes(_evaluation())
    found = Named("found", read_evaluation(path))
    merged, notes = merge(found, Named("right", read_evaluation(right)))
    if merged.methods:
        markdown(merged, against=merged.methods[0].name, notes=notes)
