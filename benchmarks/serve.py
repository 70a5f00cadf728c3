"""The service under load: many clients with good, oversized, malformed, slow and aborted requests, and jobs.

    python -m benchmarks.serve results --clients 50 --rounds 12

Starts ``facerestore serve`` by itself, and writes what became of every request, how long the good ones took, and the
memory of all processes over time. No request that was accepted may be lost, and memory may not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

KINDS = ("good", "good", "good", "form", "oversized", "malformed", "slow", "aborted", "job")
"""What a client sends in turn, each client beginning at another place."""

PATIENCE = 600.0
"""Seconds for one request, waiting included."""

PIECES = 8
"""In which a slow client sends a photo."""

POLL = 0.2


@dataclass(slots=True)
class Outcome:
    """What became of the requests.

    Attributes:
        answers: (kind, status) and how often; status 0 where the connection was lost.
        seconds: of good requests that were answered, from the first try.
        lost: requests that were accepted and not answered with a result, in words.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


async def load(url: str, photo: bytes, *, clients: int, rounds: int, too_large: int) -> Outcome:
    """Return what becomes of the requests of many clients at a time.

    Args:
        url: of the service.
        photo: a JPEG or PNG with a face.
        clients: at a time.
        rounds: requests of each.
        too_large: bytes that the service refuses.
    """
    outcome = Outcome()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False) as client:
        visitor = _Visitor(client, url, photo, too_large, outcome)

        async def visit(number: int) -> None:
            for place in range(rounds):
                await visitor.send(KINDS[(number + place) % len(KINDS)])

        await asyncio.gather(*(visit(number) for number in range(clients)))
    return outcome


@dataclass(frozen=True, slots=True)
class _Visitor:
    """Sends requests, and notes what becomes of them."""

    client: httpx.AsyncClient
    url: str
    photo: bytes
    too_large: int
    outcome: Outcome

    async def send(self, kind: str) -> None:
        """Send a request of a kind."""
        start = time.perf_counter()
        try:
            status = await _SENT[kind](self)
        except (httpx.HTTPError, OSError) as error:
            status = 0
            if kind in ("good", "form", "job", "slow"):
                self.outcome.lost.append(f"{kind}: {error!r}")
        self.outcome.answers[kind, status] += 1
        if kind in ("good", "form") and status == httpx.codes.OK:
            self.outcome.seconds.append(time.perf_counter() - start)

    async def good(self) -> int:
        """Send a photo as the body, and come again where there is no room."""
        headers = {"content-type": "image/jpeg", "accept": "application/json"}
        return await self._until_answered(
            lambda: self.client.post("/v1/restore", content=self.photo, headers=headers)
        )

    async def form(self) -> int:
        """Send a photo in a form."""
        parts = {"image": ("photo", self.photo)}
        return await self._until_answered(
            lambda: self.client.post("/v1/restore", files=parts, data={"strength": "0.5"})
        )

    async def _until_answered(self, post: Callable[[], Coroutine[Any, Any, httpx.Response]]) -> int:
        while (answer := await post()).status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(float(answer.headers["retry-after"]))
        if answer.status_code != httpx.codes.OK:
            self.outcome.lost.append(f"{answer.status_code}: {answer.text[:200]}")
        return answer.status_code

    async def oversized(self) -> int:
        """Send more bytes than are taken, in pieces of which the service knows no sum."""

        async def pieces() -> Any:
            for _ in range(self.too_large // 65_536 + 1):
                yield bytes(65_536)

        return (
            await self.client.post("/v1/restore", content=pieces(), headers={"content-type": "image/jpeg"})
        ).status_code

    async def malformed(self) -> int:
        """Send the first part of a photo alone."""
        headers = {"content-type": "image/jpeg"}
        return (await self.client.post("/v1/restore", content=self.photo[:100], headers=headers)).status_code

    async def slow(self) -> int:
        """Send a photo in pieces, each after a pause."""
        reader, writer = await self._connected()
        step = len(self.photo) // PIECES + 1
        for place in range(0, len(self.photo), step):
            writer.write(self.photo[place : place + step])
            await writer.drain()
            await asyncio.sleep(POLL)
        head = await reader.readline()
        writer.close()
        return int(head.split()[1]) if head else 0

    async def aborted(self) -> int:
        """Send a photo, and go away before it is done."""
        _, writer = await self._connected()
        writer.write(self.photo)
        await writer.drain()
        await asyncio.sleep(POLL)
        writer.transport.abort()
        return -1

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection on which the head of a request was sent."""
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(
            f"POST /v1/restore HTTP/1.1\r\nHost: {place.hostname}\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(self.photo)}\r\n\r\n".encode()
        )
        return reader, writer

    async def job(self) -> int:
        """Begin a job, and fetch its result."""
        headers = {"content-type": "image/jpeg"}
        begun = await self.client.post("/v1/jobs", content=self.photo, headers=headers)
        if begun.status_code != httpx.codes.ACCEPTED:
            return begun.status_code
        place = begun.headers["location"]
        while (known := (await self.client.get(place)).json())["state"] in ("queued", "running"):
            await asyncio.sleep(POLL)
        result = await self.client.get(f"{place}/result")
        if result.status_code != httpx.codes.OK:
            self.outcome.lost.append(f"job: {known}")
        await self.client.delete(place)
        return result.status_code


_SENT: dict[str, Callable[[_Visitor], Coroutine[Any, Any, int]]] = {
    name: getattr(_Visitor, name) for name in set(KINDS)
}


class _Memory:
    """Takes the memory of a process and all below it, again and again."""

    def __init__(self, process: int) -> None:
        import psutil

        self._root = psutil.Process(process)
        self.samples: list[float] = []

    async def watch(self) -> None:
        """Take samples until cancelled, MB."""
        import psutil

        while True:
            total = 0
            for one in [self._root, *self._root.children(recursive=True)]:
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.samples.append(round(total / 1e6, 1))
            await asyncio.sleep(1)


async def _measure(url: str, process: int, options: argparse.Namespace, photo: bytes) -> dict[str, Any]:
    memory = _Memory(process)
    watching = asyncio.create_task(memory.watch())
    await load(url, photo, clients=options.clients, rounds=2, too_large=options.max_bytes + 1)  # warm
    warm, start = len(memory.samples), time.perf_counter()
    outcome = await load(
        url, photo, clients=options.clients, rounds=options.rounds, too_large=options.max_bytes + 1
    )
    took = time.perf_counter() - start
    watching.cancel()
    samples, seconds = memory.samples[warm:], sorted(outcome.seconds)
    third = max(1, len(samples) // 3)
    return {
        "clients": options.clients,
        "rounds": options.rounds,
        "seconds": round(took, 1),
        "answers": {f"{kind} {status}": n for (kind, status), n in sorted(outcome.answers.items())},
        "lost": outcome.lost,
        "good_per_second": round(len(seconds) / took, 2),
        "good_seconds_median": round(statistics.median(seconds), 2),
        "good_seconds_p95": round(seconds[int(0.95 * len(seconds))], 2),
        "memory_mb": {
            "first third, median": statistics.median(samples[:third]),
            "last third, median": statistics.median(samples[-third:]),
            "most": max(samples),
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 where a request that was accepted was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=12, help="requests of each client")
    parser.add_argument("--max-bytes", type=int, default=2_000_000)
    parser.add_argument("--photo", type=Path, default=Path("examples/astronaut_degraded.jpg"))
    options = parser.parse_args(arguments)
    command = [
        sys.executable,
        "-m",
        "facerestore",
        "serve",
        "--port",
        "0",
        "--max-bytes",
        str(options.max_bytes),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "serve.log").open("w+") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            url = _address(options.out / "serve.log")
            facts = asyncio.run(_measure(url, process.pid, options, options.photo.read_bytes()))
        finally:
            process.terminate()
            code = process.wait()
    facts["exit_code"] = code
    (options.out / "serve.json").write_text(json.dumps(facts, indent=1) + "\n")
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    return 1 if facts["lost"] else 0


def _address(log: Path) -> str:
    """Return where the service listens, once it does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := re.search(r"listening on (\S+)", log.read_text()):
            return found[1]
        time.sleep(POLL)
    raise TimeoutError(log.read_text())


if __name__ == "__main__":
    sys.exit(main())
