"""What became of each photo of a folder of results, kept beside them: nothing is done twice, and nothing is lost.

One SQLite file in WAL mode, a row a photo by the name of its result. A photo goes from ``claimed`` (a run has begun it)
over ``written`` (what its result is to be is known, and the file is about to take its name) to ``done``; or it
``failed``, or is ``open`` again where something else than the photo was at fault. A run that is dead has no claims, and
of what it left ``written`` the hash says whether the file beside it is the whole result. So a file that somebody else
has put there is never taken for one of ours.

Several runs may work on one folder. A run is alive for `LEASE_S` after it last said so, which it does four times in
that time; on one machine a process that is gone is dead at once.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.batch.journal_file import FILE, NETWORKS, ROWS, checked_texts, opened, telling
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.standing import (
    Asked,
    Claim,
    Intent,
    Look,
    Record,
    Stamp,
    Stamps,
    Standing,
    intent_of,
    own_fault,
    plain,
    runs_here,
    sha256_of,
    size_of,
    stamp,
)
from facerestore.errors import InTheWayError, JournalError, MalformedError

if TYPE_CHECKING:
    from facerestore.batch.plan import PhotoJob

LEASE_S = 60.0
"""How long a run that says nothing counts as alive. Chosen: a machine that is busy is still heard within it."""

AHEAD_S = 86_400.0
"""How far another machine's clock may be ahead: a wrong zone is less. Later was said before a clock was set back."""

MOST_UNNOTED = 16
"""Photos that are done before they are noted together: 0.06 ms for each in place of 0.3 (measured on ext4)."""

SYNC_S = 1.0
"""After a power cut, at most the results of so long are there and not known, and are told to be in the way. An fsync
for each photo took 0.5 ms of the processor on ext4, 1% of the time of a photo of 480x360."""


class Journal:
    """The journal of one folder, opened by one run; threads may share it.

    Args:
        folder: of the results.
        asked: of the run.
        home: where the journal's file lies, a folder of the disk, which is made where it is missing; by default that of
            the results.
        version: of the program, for who looks into the file.
        clock: seconds since 1970.
        host: name of this machine.
        pid: of this process.

    Raises:
        JournalError: the file is damaged, of a later version, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        asked: Asked,
        *,
        home: Path | None = None,
        version: str = "",
        clock: Callable[[], float] = time.time,
        host: str | None = None,
        pid: int | None = None,
    ) -> None:
        self._folder, self._asked, self._version, self._clock = folder, asked, version, clock
        self._home = home or folder
        import socket

        self._host, self._pid = host or socket.gethostname(), pid or os.getpid()
        self._lock, self._over = threading.RLock(), threading.Event()
        self._run, self._synced = 0, clock()
        self._done: list[PhotoOutcome] = []
        with telling(self._home):
            self._home.mkdir(parents=True, exist_ok=True)
            self._base = opened(self._home / FILE)
        self._settings = self._number_of(asked.settings)

    def look(self, jobs: Sequence[PhotoJob]) -> Look:
        """Return how photos stand; results that a dead run had just finished are noted as done."""
        looks, words = Stamps(), dict[int, str]()
        self.beat()
        # No transaction: photos may be read for it, and other runs are not to wait so long.
        with self._lock, telling(self._home):
            found = Look(self._facts(self._settings))
            lists = {
                Standing.TO_DO: found.to_do,
                Standing.BUSY: found.busy,
                Standing.DONE: found.done,
                Standing.FAILED: found.failed,
                Standing.CHANGED: found.changed,
            }
            rows = {row["name"]: row for row in self._base.execute(ROWS)}
            for job in jobs:
                row = rows.get(self._name(job))
                standing = self._standing(job, row, looks)
                if standing is Standing.OTHERWISE:
                    assert row is not None, "it was done"
                    text = words.setdefault(row["settings"], self._facts(row["settings"]))
                    found.otherwise.setdefault(text, []).append(job)
                else:
                    lists[standing].append(job)
        return found

    def begin(self) -> None:
        """Note that a run begins, and keep it alive until ``close``."""
        with self._transaction():
            now = self._clock()
            self._run = (
                self._base.execute(
                    "INSERT INTO runs (host, pid, version, settings, begun, seen) VALUES (?, ?, ?, ?, ?, ?)",
                    (self._host, self._pid, self._version, self._settings, now, now),
                ).lastrowid
                or 0
            )
        threading.Thread(target=self._keep_alive, daemon=True).start()

    def claim(self, job: PhotoJob, *, looks: Callable[[Path], Stamp] = stamp) -> Claim:
        """Take a photo, looked at by ``looks``, unless another run has it under way, or has done it meanwhile."""
        with self._transaction():
            row = self._base.execute(f"{ROWS} WHERE name = ?", (self._name(job),)).fetchone()
            if self._standing(job, row) is not Standing.TO_DO:
                return Claim.REFUSED
            size, mtime_ns = looks(job.source)
            self._base.execute(
                "INSERT OR REPLACE INTO photos (name, source, state, run, settings, input_size, input_mtime_ns)"
                " VALUES (?, ?, 'claimed', ?, ?, ?, ?)",
                (self._name(job), os.fsencode(job.source), self._run, self._settings, size, mtime_ns),
            )
        return Claim.FIRST if row is None else Claim.AGAIN

    def writing(
        self,
        job: PhotoJob,
        data: bytes | mmap,
        *,
        report: dict[str, Any],
        parts: Iterable[bytes | bytearray | memoryview],
        extras: Sequence[Path] = (),
    ) -> None:
        """Note what a result is to be, just before its file is written.

        Args:
            job: a photo that this run has claimed.
            data: the photo's file.
            report: the pipeline's.
            parts: the result's file, in pieces.
            extras: what was written beside it.
        """
        self.intend(job, intent_of(data, parts, report=report, extras=extras))

    def intend(self, job: PhotoJob, intent: Intent) -> None:
        """Note what a result is to be, just before its file is written by somebody else; see ``writing``."""
        facts = {
            "input_sha256": intent.input_sha256,
            "output_size": intent.output_size,
            "output_sha256": intent.output_sha256,
            "seconds": sum(intent.report.get("stage_seconds", {}).values()),
            "written": _json([self._relative(path) for path in (job.target, *intent.extras)]),
            "report": _json(intent.report),
        }
        with self._transaction():
            self._update(job, state="written", **facts)

    def looked_at(self, job: PhotoJob, stamp: Stamp) -> None:
        """Note the size and time of a photo's file as somebody else has found them, who then reads it."""
        with self._transaction():
            self._update(job, input_size=stamp[0], input_mtime_ns=stamp[1])

    def settle(self, outcome: PhotoOutcome) -> None:
        """Note what became of a photo that this run has claimed."""
        job, error = outcome.job, outcome.error
        if (
            error is None and outcome.status is Status.DONE
        ):  # together with others: should it be lost, the hash says the same
            with self._lock:
                self._done.append(outcome)
            if len(self._done) >= MOST_UNNOTED:
                self.beat()
            return
        with self._transaction():
            if error is None or isinstance(error, InTheWayError):
                # Nothing was begun: what lies there is not known to be ours.
                self._base.execute(
                    "DELETE FROM photos WHERE name = ? AND run = ?", (self._name(job), self._run)
                )
            elif own_fault(error):
                words = " ".join(str(error).split()) or type(error).__name__
                self._update(job, state="failed", seconds=outcome.seconds, error=plain(words))
            else:
                self._update(job, state="open")

    def records(self, jobs: Iterable[PhotoJob]) -> dict[PhotoJob, Record]:
        """Return what the journal has of photos that are done or have failed; nothing of others."""
        self.beat()  # what this run has done is to be among them, here as above
        found = {}
        known = "SELECT * FROM photos WHERE name = ? AND state IN ('done', 'failed')"
        with self._lock, telling(self._home):
            for job in jobs:
                row = self._base.execute(known, (self._name(job),)).fetchone()
                if row is not None:
                    found[job] = _record(row, self._folder)
        return found

    def complete(self) -> None:
        """Note that nothing is left of what was asked for: ``overwrite`` begins anew the next time."""
        with self._transaction():
            self._base.execute("UPDATE runs SET complete = 1 WHERE settings = ?", (self._settings,))

    def close(self) -> None:
        """End the run; what it has claimed and not finished is free."""
        self._over.set()
        with self._lock:
            with (
                suppress(JournalError),
                self._transaction(),
            ):  # else the process is found gone, or its lease over
                self._base.execute("UPDATE runs SET seen = 0 WHERE id = ?", (self._run,))
            self._base.close()

    def _standing(
        self, job: PhotoJob, row: sqlite3.Row | None, looks: Callable[[Path], Stamp] = stamp
    ) -> Standing:
        """Return how a photo stands by its row, which is none where nobody has begun it; ``looks`` is that of claim."""
        if row is None or row["state"] == "open":
            return Standing.TO_DO
        if row["state"] in ("claimed", "written"):
            if self._alive(row):
                return Standing.BUSY
            if not self._recovered(job, row):
                return Standing.TO_DO
        asked, same = self._asked, row["settings"] == self._settings
        anew = asked.overwrite and row["complete"]
        if row["state"] == "failed":
            anew = anew or (asked.retry_failed and not self._alive(row)) or not same
            return Standing.TO_DO if anew or self._changed(job, row, looks) else Standing.FAILED
        if anew or looks(job.target)[0] is None:
            return Standing.TO_DO
        if not same:
            return Standing.TO_DO if asked.overwrite else Standing.OTHERWISE
        if self._changed(job, row, looks):
            return Standing.TO_DO if asked.overwrite else Standing.CHANGED
        return Standing.DONE

    def _alive(self, row: sqlite3.Row) -> bool:
        """Say whether the run of a row, which may be this one, is still at work."""
        if row["run"] == self._run:
            return True
        if row["host"] == self._host and (row["pid"] == self._pid or not runs_here(row["pid"])):
            return False  # in a container, a process often has the number of the one before
        return bool(-AHEAD_S < self._clock() - row["seen"] < LEASE_S)

    def _recovered(self, job: PhotoJob, row: sqlite3.Row) -> bool:
        """Say whether a dead run has finished a result, and note it."""
        if row["state"] != "written" or size_of(job.target) != row["output_size"]:
            return False
        if sha256_of(job.target) != row["output_sha256"]:
            return False
        self._base.execute(
            "UPDATE photos SET state = 'done' WHERE name = ? AND run = ?", (row["name"], row["run"])
        )
        return True

    def _changed(self, job: PhotoJob, row: sqlite3.Row, looks: Callable[[Path], Stamp]) -> bool:
        """Say whether a photo's file holds something else than it did; one that was only touched is noted as it is."""
        size, mtime_ns = looks(job.source)
        if (size, mtime_ns) == (row["input_size"], row["input_mtime_ns"]):
            return False
        if size != row["input_size"] or sha256_of(job.source) != row["input_sha256"]:
            return True
        self._base.execute("UPDATE photos SET input_mtime_ns = ? WHERE name = ?", (mtime_ns, row["name"]))
        return False

    def _name(self, job: PhotoJob) -> bytes:
        """Return the key of a photo: its result's path within the folder, in bytes, since names need be no Unicode."""
        return os.fsencode(self._relative(job.target))

    def _relative(self, path: Path) -> str:
        """Return a path within the folder, which may be moved as a whole; of others the whole path."""
        text, start = path.as_posix(), self._folder.as_posix()
        if start == ".":
            return str(path) if path.is_absolute() else text
        inside = text.startswith(f"{start.rstrip('/')}/")
        return text[len(start.rstrip("/")) + 1 :] if inside else str(path.absolute())

    def _number_of(self, settings: Mapping[str, Any]) -> int:
        facts = _json(dict(sorted(settings.items())))
        with self._transaction():
            self._base.execute("INSERT OR IGNORE INTO settings (facts) VALUES (?)", (facts,))
            row = self._base.execute("SELECT id FROM settings WHERE facts = ?", (facts,)).fetchone()
            return int(row["id"])

    def _facts(self, settings: int) -> str:
        row = self._base.execute("SELECT facts FROM settings WHERE id = ?", (settings,)).fetchone()
        facts = json.loads(row["facts"])
        if not isinstance(facts, dict):
            raise MalformedError("what should be settings is something else")
        checked_texts(facts.get(NETWORKS, []))
        return str(row["facts"])

    def _update(self, job: PhotoJob, **facts: object) -> None:
        """Change the row of a photo, unless another run has taken it over."""
        change = ", ".join(f"{column} = ?" for column in facts)
        self._base.execute(
            f"UPDATE photos SET {change} WHERE name = ? AND run = ?",
            (*facts.values(), self._name(job), self._run),
        )

    def _keep_alive(self) -> None:
        while not self._over.wait(LEASE_S / 4):
            self.beat()

    def beat(self) -> None:
        """Say that the run is alive, and what it has done."""
        with suppress(JournalError), self._transaction():  # what matters fails where it is asked for
            self._note_done()
            self._base.execute("UPDATE runs SET seen = ? WHERE id = ?", (self._clock(), self._run))

    def _note_done(self) -> None:
        for outcome in self._done:
            self._update(outcome.job, state="done", seconds=outcome.seconds)
        self._done.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do what is in the block as one change, which no other process sees in part."""
        with self._lock, telling(self._home):
            # What the system has is safe from whatever becomes of the process; from a power cut, what the disk has.
            now = self._clock()
            due = not 0 <= now - self._synced < SYNC_S
            if due:
                self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
                self._synced = now if due else self._synced
            finally:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                if due:
                    self._base.execute("PRAGMA synchronous = NORMAL")


def _record(row: sqlite3.Row, folder: Path) -> Record:
    """Return what a row says of a photo that is done or has failed.

    Raises:
        MalformedError: it says what no run has written.
    """
    error, seconds = row["error"], row["seconds"] or 0.0
    if not isinstance(error, str | None) or not isinstance(seconds, float | int):
        raise MalformedError("the outcome of a photo has values of wrong types")
    report = None if row["report"] is None or error is not None else _checked_report(row["report"])
    return Record(
        seconds,
        report,
        tuple(folder / name for name in checked_texts(json.loads(row["written"] or "[]"))),
        error,
    )


def _checked_report(text: str) -> dict[str, Any]:
    from facerestore.batch.schema import done_schema
    from facerestore.batch.schema_check import UNDESCRIBED, faults

    report: dict[str, Any] = json.loads(text)
    if wrong := [fault for fault in faults(report, done_schema()) if not fault.endswith(UNDESCRIBED)]:
        raise MalformedError(wrong[0])
    return report


def _json(value: object) -> str:
    """Return JSON in ASCII: names of files that are no Unicode keep their lone surrogates in it."""
    return json.dumps(value)
