"""``facerestore serve``: restore photos for programs and people over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facerestore.cli.options import command
from facerestore.cli.terminal import Terminal
from facerestore.config import RestoreConfig
from facerestore.errors import required_package
from facerestore.fields import names_of, option
from facerestore.serve.options import OPERATOR, RESTORE, SERVED_PIXELS, ServeOptions

EPILOG = """Examples:
facerestore serve
facerestore serve --port 9000 --workers 2
facerestore serve --host 0.0.0.0 --token-file token.txt
curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'localhost:8000/v1/restore?strength=0.8' -o better.jpg
curl -F image=@photo.jpg -F faces=0,2 -H 'Accept: application/json' localhost:8000/v1/restore
Options of a request have the names of enhance; localhost:8000/openapi.json describes all of them."""

INSTALL = 'pip install "facerestore[serve]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest(ServeOptions):
    """What ``serve`` was asked for.

    Attributes:
        restore: what requests begin with.
    """

    config: Path | None = option(None, metavar="FILE.toml")
    """Options from a file, in the table 'restore'; flags win over it."""

    quiet: bool = option(False, flags=("-q", "--quiet"))
    """Say nothing but errors and the log."""

    restore: RestoreConfig


@command(
    {
        "": "host port token_file workers at_a_time",
        "Limits": "max_bytes max_pixels queue time_limit upload_limit grace",
        "Jobs": "jobs keep_for keep",
        "Networks and results": " ".join(OPERATOR),
        "What requests begin with": " ".join(
            each for each in RESTORE if each not in ("page", "aligned", "faces", "dial")
        ),
        "What is said": "config quiet",
    },
    texts={"max_pixels": f"Refuse photos with more pixels than this; {SERVED_PIXELS} unless given."},
    presets={"max_pixels": SERVED_PIXELS},
)
def serve(request: ServeRequest) -> None:
    """Restore photos for programs and people over HTTP: POST a photo, get it restored, or open the page in a browser.

    Listens to this machine alone unless told otherwise, and then wants a token. Nothing is kept on disk unless asked.
    Each request is logged to standard error as a line of JSON, without anything of its photo.
    """
    for module in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        required_package(module, what="'facerestore serve'", install=INSTALL)
    from facerestore.serve.messages import Recipe
    from facerestore.serve.run import serve as run

    terminal = Terminal(-1 if request.quiet else 0, stdout_taken=True)
    options = ServeOptions(**{name: getattr(request, name) for name in names_of(ServeOptions)})
    run(options, Recipe(request.restore, request.at_a_time), tell=terminal.say)
