"""What operators see of a service: counters for Prometheus, and a line of JSON for each request."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from facerestore.serve.crew import Crew

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
"""Limits of the buckets of times."""


class Metrics:
    """Counters of one service.

    Args:
        crew: whose queue is told.
    """

    def __init__(self, crew: Crew) -> None:
        self._all = CollectorRegistry()
        self._requests = Counter(
            "facerestore_requests", "Requests by route and status", ["route", "status"], registry=self._all
        )
        self._seconds = Histogram(
            "facerestore_request_seconds",
            "Time of requests",
            ["route"],
            buckets=SECONDS,
            registry=self._all,
        )
        self._received = Counter("facerestore_received_bytes", "Photos received", registry=self._all)
        self._photos = Counter("facerestore_photos", "Photos done", registry=self._all)
        self._faces = Counter(
            "facerestore_faces", "Faces by what became of them", ["code"], registry=self._all
        )
        self._stages = Counter("facerestore_stage_seconds", "Time by stage", ["stage"], registry=self._all)
        self.lost = Counter(
            "facerestore_processes_lost", "Processes that had to be replaced", registry=self._all
        )
        self.gone = Counter("facerestore_clients_gone", "Requests whose client went away", registry=self._all)
        waiting = Gauge("facerestore_waiting", "Requests that wait", registry=self._all)
        waiting.set_function(lambda: crew.waiting)
        running = Gauge("facerestore_running", "Requests that are worked on", registry=self._all)
        running.set_function(lambda: crew.running)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def received(self, size: int) -> None:
        """Count an upload."""
        self._received.inc(size)

    def photo(self, report: Mapping[str, Any]) -> None:
        """Count a photo that was done, with its faces."""
        self._photos.inc()
        for face in report["faces"]:
            self._faces.labels(face["code"]).inc()
        for stage, seconds in report.get("stage_seconds", {}).items():
            if stage != "total":
                self._stages.labels(stage).inc(seconds)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self._all)


class Log:
    """Writes events as JSON, one a line.

    Args:
        stream: takes the lines; None for standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def event(self, name: str, **facts: Any) -> None:
        """Write an event; what is None is left out."""
        known = {key: value for key, value in facts.items() if value is not None}
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        line = json.dumps({"time": f"{moment}Z", "event": name, **known})
        print(line, file=self._stream or sys.stderr, flush=True)  # the log of a service


class LogHandler(logging.Handler):
    """Hands what the server library logs to ours."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as an event."""
        fault = repr(record.exc_info[1]) if record.exc_info else None
        self._log.event("server", level=record.levelname.lower(), message=record.getMessage(), error=fault)
