"""Jobs: orders whose clients do not wait, remembered for a while under names that nobody guesses."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facerestore.errors import CancelledError, FaceRestoreError
from facerestore.serve.crew import Crew, Ticket
from facerestore.serve.messages import Answer
from facerestore.serve.problems import Problem, RefusedError

BYTES_KEPT = 8
"""Results that are remembered together may be so many times as large as the largest upload."""


@dataclass(eq=False, slots=True)
class Job:
    """One of them.

    Attributes:
        name: under which it is asked for.
        ticket: of its order.
        result: what came of it; None while nothing has.
    """

    name: str
    ticket: Ticket
    result: Answer | FaceRestoreError | None = None

    @property
    def size(self) -> int:
        """Bytes of its picture."""
        return len(self.result.picture or b"") if isinstance(self.result, Answer) else 0

    @property
    def facts(self) -> dict[str, Any]:
        """What is said of it, ready for JSON."""
        step = self.ticket.progress
        state = "running" if self.ticket.begun is not None else "queued"
        if self.result is not None:
            state = "done" if isinstance(self.result, Answer) else "failed"
        failed = isinstance(self.result, FaceRestoreError)
        return {
            "id": self.name,
            "state": state,
            "stage": step.stage if step and state == "running" else None,
            "progress": round(step.number / step.stages, 3) if step and state == "running" else None,
            "problem": Problem.of(self.result).facts if failed else None,  # type: ignore[arg-type]  # just told
            "result": f"/v1/jobs/{self.name}/result" if state == "done" else None,
        }


@dataclass(eq=False, slots=True)
class Jobs:
    """All that are remembered.

    Attributes:
        crew: does them.
        most: how many at a time.
        most_bytes: of all results together; the oldest are forgotten first.
        seconds: how long a result is remembered.
        keep: a folder that results are written to as well; None for none.
        on_kept: told what could not be written there.
    """

    crew: Crew
    most: int
    most_bytes: int
    seconds: float
    keep: Path | None = None
    on_kept: Callable[[FaceRestoreError], None] = lambda error: None
    _known: dict[str, Job] = field(default_factory=dict)
    _watching: set[asyncio.Task[None]] = field(default_factory=set)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    def check_room(self) -> None:
        """Raise RefusedError where no job is taken now."""
        if len(self._known) >= self.most and all(job.result is None for job in self._known.values()):
            raise RefusedError.make(
                429,
                f"{len(self._known)} jobs are under way, as many as may",
                value=len(self._known),
                remedy=f"send it again in {self.crew.retry_after} s",
                retry_after=self.crew.retry_after,
            )

    def add(self, ticket: Ticket) -> Job:
        """Remember an order that was accepted."""
        while len(self._known) >= self.most:
            del self._known[next(name for name, job in self._known.items() if job.result is not None)]
        job = Job(secrets.token_urlsafe(16), ticket)
        self._known[job.name] = job
        task = asyncio.create_task(self._follow(job))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return job

    def get(self, name: str) -> Job:
        """Return the job of that name; raises RefusedError where there is none."""
        if name not in self._known:
            raise RefusedError.make(
                404,
                "there is no such job, or it was forgotten",
                value=name,
                remedy=f"results are kept for {self.seconds:g} s; send the photo again",
            )
        return self._known[name]

    def forget(self, name: str) -> None:
        """Give a job up, and forget it."""
        job = self.get(name)
        del self._known[name]
        if job.result is None:
            self.crew.drop(job.ticket, CancelledError("the job was deleted; send the photo again"))

    async def settled(self) -> None:
        """Wait until what came of jobs is written, where it is."""
        await asyncio.gather(*self._watching)

    async def _follow(self, job: Job) -> None:
        """Take the result when it comes, and forget it after a while."""
        try:
            job.result = await job.ticket.answer
        except FaceRestoreError as error:
            job.result = error
        if self.keep is not None and isinstance(job.result, Answer) and job.name in self._known:
            try:
                await asyncio.to_thread(_write, self.keep / job.name, job.result)
            except FaceRestoreError as error:
                self.on_kept(error)
        asyncio.get_running_loop().call_later(self.seconds, self._known.pop, job.name, None)
        done = [one for one in self._known.values() if one.result is not None and one is not job]
        while done and sum(one.size for one in self._known.values()) > self.most_bytes:
            self._known.pop(done.pop(0).name, None)


def _write(base: Path, answer: Answer) -> None:
    """Write a result with its report, each whole or not at all."""
    from facerestore.io import write_encoded

    if answer.picture is not None and answer.format is not None:
        write_encoded(base.with_suffix(f".{answer.format.lower()}"), answer.picture)
    write_encoded(base.with_suffix(".json"), json.dumps(answer.report, indent=2).encode())
