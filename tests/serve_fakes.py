"""A service in a process of its own, whose networks are quick and do what the first pixel of a photo says."""

import contextlib
import io
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import Brightener, FakeDetector, face_at, photo, pipeline

from facerestore.cli.app import main
from facerestore.errors import BackendError
from facerestore.io import encode_image
from facerestore.pipeline.dials import dialled, undialled

httpx, _, uvicorn, *_ = (
    pytest.importorskip(needed, reason=f"{needed} is not installed; pip install '.[serve,test]'")
    for needed in ("httpx", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
)

WAIT, CRASH, CRASH_ONCE, FAIL = (1, 2, 3), (3, 2, 1), (3, 1, 2), (2, 1, 3)
"""First pixels: wait while the gate is closed, lose the process, lose it once, raise."""

FACE = face_at(20, 20)
PATIENCE = 300
"""Seconds until a test gives a busy machine up."""

GATE = "FACERESTORE_TEST_GATE"


class CodedDetector(FakeDetector):
    """Finds a face, unless the first pixel of the photo wants something else first."""

    def detect(self, image):
        folder, code = Path(os.environ[GATE]), tuple(int(value) for value in image[0, 0])
        if code == WAIT:
            (folder / "waiting").touch()
            while (folder / "closed").exists():
                time.sleep(0.005)
        if code == CRASH or (code == CRASH_ONCE and not (folder / "crashed").exists()):
            (folder / "crashed").touch()
            os._exit(9)
        if code == FAIL:
            raise BackendError("backend 'brightener' failed with 1 face; try other weights")
        return super().detect(image)


def build(config):
    """Return a pipeline with these."""
    line = replace(pipeline(FACE, restorer=Brightener()), detector=CodedDetector(FACE))

    def line_for(single):
        return replace(line, config=undialled(single))

    return dialled(line_for(config), config, line_for)


def never(config):
    """End the process instead of returning a pipeline."""
    os._exit(9)


def png(code=None, *, height=120, width=200, format="PNG", **facts):
    """Return the file of a photo, its first pixel a code."""
    image = photo(height, width, **facts)
    if code is not None:
        image.pixels[0, 0] = np.array(code)
    return encode_image(image, format=format)


class Server:
    """The service, from start to stop."""

    def __init__(self, folder, **options):
        self.folder, self.lines, self.log = folder, [], queue.Queue()
        words = [f"{name}={value!r}" for name, value in {"port": 0, **options}.items()]
        code = (
            "from facerestore.serve.run import serve;"
            " from facerestore.serve.options import ServeOptions, SERVED_PIXELS;"
            " from facerestore.serve.messages import Recipe; from facerestore.config import RestoreConfig;"
            " from pathlib import PosixPath; import serve_fakes, sys;"
            f" options = ServeOptions({', '.join(words)});"
            " recipe = Recipe(RestoreConfig(max_pixels=SERVED_PIXELS), options.at_a_time, serve_fakes.build);"
            " serve(options, recipe, tell=lambda line: print(line, file=sys.stderr))"
        )
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, GATE: str(folder)},
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self._address()

    def _read(self):
        with self.process.stderr as lines:
            for line in lines:
                self.log.put(line)
        self.log.put("")

    def _address(self):
        while line := self.log.get(timeout=PATIENCE):
            self.lines.append(line)
            if found := re.search(r"listening on (\S+)", line):
                return found[1]
        raise AssertionError("".join(self.lines))

    def event(self, name):
        """Return the next event of a name in the log."""
        while line := self.log.get(timeout=PATIENCE):
            self.lines.append(line)
            with contextlib.suppress(ValueError):
                if (found := json.loads(line))["event"] == name:
                    return found
        raise AssertionError("".join(self.lines))

    def client(self, **settings):
        """Return a client of it."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, **settings)

    @contextlib.contextmanager
    def gate(self):
        """Hold photos that wait within the block; let them go behind it."""
        (self.folder / "waiting").unlink(missing_ok=True)
        (self.folder / "closed").touch()
        try:
            yield
        finally:
            self.open()

    def open(self):
        """Let photos go that wait."""
        (self.folder / "closed").unlink(missing_ok=True)

    def until_waiting(self):
        """Return once a photo waits at the gate."""
        self.until(lambda: (self.folder / "waiting").exists())

    def until(self, holds):
        """Return once something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.01)

    def gauge(self, client, name):
        """Return what the metrics say."""
        found = re.search(rf"^facerestore_{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1])

    def stop(self):
        """Ask it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE)


def enhanced_bytes(folder, data, *options, name="photo.png"):
    """Return what ``enhance`` writes with the same networks."""
    from facerestore.pipeline import build as building

    (folder / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "build_pipeline", build)
        patch.setenv(GATE, str(folder))
        result = folder / f"out_{name}"
        assert main(["enhance", str(folder / name), "-o", str(result), "--overwrite", *options]) == 0
    return result.read_bytes()


def form(data, **options):
    """Return what httpx posts as a form."""
    return {"files": {"image": ("photo.png", io.BytesIO(data), "image/png")}, "data": options}
