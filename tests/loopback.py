"""A real HTTP server on loopback that can break off, and a small catalog that it serves."""

import hashlib
import http.server
import json
import re
import threading

import pytest


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def safetensors_bytes(size=200_000, seed=0):
    """The bytes of a valid safetensors file with one tensor."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    body = bytes((i * 31 + seed) % 251 for i in range(size))
    return len(header).to_bytes(8, "little") + header + body


CONTENT = safetensors_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; ``server.faults`` are functions that answer the next requests instead."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        if self.server.faults:
            self.server.faults.pop(0)(self)
        else:
            self.serve()

    def serve(self, *, cut=None):
        found = self.server.files.get(self.path.rsplit("/", 1)[-1])
        if found is None:
            self.answer(404)
            return
        content, etag = found
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range") in (None, etag):
            start = int(wanted[1])
            if start >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
                return
        headers = {"ETag": etag} if etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, headers, content[start:], cut=cut)

    def answer(self, status, headers=None, body=b"", *, cut=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.faults, server.seen = {"net.safetensors": (CONTENT, '"v1"')}, [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files_in(store):
    """Return the names of the files in a store, its locks apart."""
    return {path.name for path in store.folder.iterdir() if not path.name.endswith(".lock")}


def catalog_text(urls=(), extra="", name="net.small", file="net.safetensors", commercial="yes"):
    return f"""
schema = 1
[licences.MIT]
name = "MIT License"
url = "https://spdx.org/licenses/MIT.html"
notice = "Keep the copyright notice."
[weights."{name}"]
file = "{file}"
urls = {json.dumps(list(urls))}
licence = "MIT"
commercial_use = "{commercial}"
training_data = "synthetic"
source = "https://example.org"
paper = "none"
purpose = "restore"
quality_rank = 1
{extra}
"""


BUNDLED = f"""
[weights."lite.example-64"]
file = "lite_example_64.safetensors"
licence = "MIT"
commercial_use = "yes"
training_data = "public-domain portraits"
source = "https://example.org"
paper = "none"
purpose = "restore"
quality_rank = 1
bundled = true
size_bytes = {len(CONTENT)}
sha256 = "{sha256(CONTENT)}"
"""
