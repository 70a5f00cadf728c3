"""From options to a service that listens, until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from facerestore.errors import ConfigError, read_text, refusing
from facerestore.serve.app import Service, build_app
from facerestore.serve.connections import closing
from facerestore.serve.crew import Crew
from facerestore.serve.door import is_local
from facerestore.serve.messages import Recipe
from facerestore.serve.options import ServeOptions
from facerestore.serve.watching import Log, LogHandler

TOKEN = "FACERESTORE_TOKEN"
LEAST_TOKEN = 16
"""Characters of a token, below which one can be guessed."""

BACKLOG = 128
CONNECTIONS = 256
"""Most at a time; beyond them the server answers 503 by itself."""


def token_of(options: ServeOptions) -> str | None:
    """Return the token that requests must bring; None for none.

    Raises:
        ConfigError: it cannot be read, is too short, or is missing where other machines are listened to.
    """
    token = os.environ.get(TOKEN)
    if (path := options.token_file) is not None:
        with refusing(lambda why: ConfigError(f"the token file '{path}' cannot be read: {why}")):
            token = read_text(path).partition("\n")[0].strip()
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(
            f"the token has {len(token)} characters; give {LEAST_TOKEN} or more of ASCII, such as those of"
            " 'openssl rand -hex 24'"
        )
    if token is None and not is_local(options.host):
        raise ConfigError(
            f"--host {options.host} lets other machines in, and there is no token; give --token-file FILE or"
            f" {TOKEN}, or listen on 127.0.0.1"
        )
    return token


def listening_socket(options: ServeOptions) -> socket.socket:
    """Return a socket that is bound; raises ConfigError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((options.host, options.port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}; give another with"
            " --host or --port"
        ) from error
    return bound


def serve(
    options: ServeOptions,
    recipe: Recipe,
    *,
    tell: Callable[[str], None],
    log: Log | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, and then finish what was accepted.

    Args:
        options: how to listen.
        recipe: how to restore.
        tell: told what is served, and where, for people.
        log: takes what happens; None for standard error.

    Raises:
        FaceRestoreError: the address, the token or the networks cannot be had.
    """
    token = token_of(options)
    if options.keep is not None and not options.keep.is_dir():
        raise ConfigError(f"--keep '{options.keep}' is no directory; make it, or name another")
    with listening_socket(options) as bound:
        asyncio.run(_serve(options, recipe, bound, token, tell, log or Log()))


async def _serve(
    options: ServeOptions,
    recipe: Recipe,
    bound: socket.socket,
    token: str | None,
    tell: Callable[[str], None],
    log: Log,
) -> None:
    crew = Crew(
        recipe,
        workers=options.workers,
        queue=options.queue,
        time_limit=options.time_limit,
        on_lost=lambda fault: service.lost(fault),
    )
    service = Service(options, recipe.config, crew, log)
    await crew.start()
    app = build_app(service, token=token)
    settings = uvicorn.Config(
        app,
        http=closing(options.upload_limit),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=max(1, round(options.grace)),
        ws="none",
    )
    logging.getLogger("uvicorn").addHandler(LogHandler(log))
    server = _Server(settings)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    bound.listen(BACKLOG)
    tell(f"restoring with {crew.description}")
    tell(f"listening on http://{shown}:{port}")
    with _asked_to_stop(server, crew):
        await server.serve(sockets=[bound])
    await crew.stop(options.grace if options.keep else 0)  # nobody can fetch the result of a job any more
    await service.jobs.settled()


class _Server(uvicorn.Server):
    """A server whose signals are ours to take."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


@contextmanager
def _asked_to_stop(server: uvicorn.Server, crew: Crew) -> Iterator[None]:
    """Stop the server by the first signal in its own time, by the second at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = crew.stopping = True

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
