"""What ``enhance`` and the other commands for photos are asked for, each option with its documentation under it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from facerestore.cli.options import Spoken
from facerestore.config import RESTORE, OutputConfig, RestoreConfig, Task
from facerestore.errors import ConfigError
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.batch import BatchPlan, Watch
    from facerestore.pipeline.restore import RestorePipeline

RAY = "ray"
"""The engine that is a cluster."""

ENGINES = ("local", RAY)

ONE_PAGE = "Which page of a TIFF, or which frame of an animation; the first, which is 1, unless given."
"""The help of ``--page`` where not all pages are looked at."""

SMALL = "Take faces too that are too small to know."
"""The help of ``--force`` where sharp faces are never kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotosRequest(Spoken):
    """What ``enhance`` and the other tasks were asked for.

    The fields below ``config`` that no option gives say what the command is.

    Attributes:
        restore: how faces are found and restored.
        files: how results are written.
        strengths: all of them, where ``--strength`` was a list.
        task: what is done with the faces.
        build: makes the pipeline; None for the one that restores.
        check: raises ImageError where a photo lacks something, for a dry run.
        aside: files and directories that hold no photos, though they may lie within the inputs.
        watcher: makes what watches the directories; None for the one that goes by the clock.
    """

    inputs: tuple[Path, ...] = option(argument=True, metavar="INPUT...")
    """Photos, directories, or - for standard input."""

    output: Path | None = option(None, flags=("-o", "--output"), metavar="OUT")
    """A file for one photo, a directory for more (directories are mirrored into it), or - for standard output. Without
    it, results go beside their photos, named after what was done: NAME_restored and the like.
    """

    recursive: bool = option(False, flags=("-r", "--recursive"))
    """Look into subdirectories."""

    sheet: Path | None = option(None, metavar="FILE")
    """Compare only: draw each face as every backend and strength would restore it, side by side; no restored photo is
    written. --backend then takes a list such as lite,gpen.bfr-512,my.pth or all (whatever is installed), and --weights
    and --strength take lists, too.
    """

    files_from: Path | None = option(None, metavar="FILE")
    """Photos and directories from a list, one a line, - for standard input; with -o DIR, each keeps its path there."""

    include: tuple[str, ...] = option((), metavar="PATTERN")
    """In directories, take only photos that match: '*.jpg' by the name of a photo or of a directory on its way,
    'scans/*' by its path. May be given several times.
    """

    exclude: tuple[str, ...] = option((), metavar="PATTERN")
    """In directories, leave out what matches."""

    shard: str | None = option(None, metavar="K/N")
    """Take one of N equal shares of the photos, by their names alone: 3/16 is the third of sixteen."""

    include_results: bool = option(False)
    """In directories, take results of earlier runs too, which are known by their name, a journal or a mark in them."""

    watch: bool = option(False)
    """When all is done, wait for photos that come into the directories; Ctrl-C ends it."""

    retry_failed: bool = option(False)
    """Try photos again that have failed in an earlier run into the same directory."""

    no_journal: bool = option(False)
    """Keep no journal in the directory of -o. By it, a run leaves out what is done with the same settings and goes on
    where another was broken off, and several share the work.
    """

    journal: Path | None = option(None, metavar="DIR")
    """Keep the journal in this directory of the disk, for results in a store and on shared disks, where several
    machines may not write one. That of results in a store lies beside the weights unless given.
    """

    engine: str = option("local", among=ENGINES, metavar="local|ray")
    """Where photos are restored: local is this process; ray is the cluster of --address, or one of this machine's
    cores that is started. Each of its workers holds the networks and has one CPU, or --threads, or a GPU; --workers
    bounds how many there are. What a worker had that dies, another one does.
    """

    address: str | None = option(None, metavar="HOST:PORT")
    """With --engine ray: the cluster to join, or auto for the one that runs here. Its machines need the same
    facerestore and weights, and the same paths, on a disk that they share or in a store.
    """

    report: Path | None = option(None, metavar="FILE.json")
    """Write all facts: boxes, decisions, seconds, weights."""

    config: Path | None = option(None, metavar="FILE.toml")
    """Options from a file, in the tables 'restore' and 'output'; flags win over it."""

    dry_run: bool = option(False)
    """Say what would be done, and do nothing; with -v also which network each face would have, and why."""

    as_json: bool = option(False, flags=("--json",))
    """Print the report as JSON; text goes to standard error."""

    log_json: bool = option(False)
    """Print each photo as it comes as JSON, one a line; text goes to standard error."""

    verbose: int = option(0, count=True, flags=("-v", "--verbose"))
    """Say more: each face and stage; twice, the trace of errors."""

    restore: RestoreConfig
    files: OutputConfig
    strengths: tuple[float, ...] = ()
    task: Task = RESTORE
    build: Callable[[RestoreConfig], RestorePipeline] | None = None
    check: Callable[[Path], object] | None = None
    aside: tuple[Path, ...] = ()
    watcher: Callable[[], Watch] | None = None

    @property
    def verbosity(self) -> int:
        """How much is said: -1 quiet, 0 normal, 1 verbose, 2 with traces."""
        return -1 if self.quiet else self.verbose

    def check_stdout(
        self, what: str, *, example: str, json: str = "give -o FILE", name: str = "give -o FILE"
    ) -> None:
        """Raise ConfigError where standard output, which a picture goes to, is to carry JSON too, or is a terminal.

        Args:
            what: the picture.
            example: a name to redirect it to.
            json: how to have both.
            name: how to name a file.
        """
        flag = "--json" if self.as_json else "--log-json"
        if self.as_json or self.log_json:
            raise ConfigError(f"standard output cannot carry the {what} and {flag}; {json}")
        if sys.stdout is None:  # as Python has streams that were closed before it began
            raise ConfigError(f"standard output is closed, and the {what} would go there; {name}")
        if not self.dry_run and sys.stdout.isatty():
            raise ConfigError(f"the {what} would go to the terminal; redirect it ('> {example}'), or {name}")

    def journal_folder(self, plan: BatchPlan) -> Path | None:
        """Return the directory of several results of ``enhance``, of which a journal is kept; None for none.

        Raises:
            ConfigError: an option needs one.
        """
        from facerestore.io import located

        output = None if self.output is None else located(self.output)
        named = output in (None, Path("-"), *(job.target for job in plan.jobs))
        kept = not (named or self.no_journal) and self.task is RESTORE
        flags = (
            ("--retry-failed", self.retry_failed),
            ("--watch", self.watch),
            ("--journal", self.journal is not None),
        )
        for flag, given in flags:
            if given and not kept:
                raise ConfigError(f"{flag} goes by the journal of a directory; give one with -o DIR")
        return output if kept else None

    def journal_home(self, folder: Path) -> Path:
        """Return where the journal of a directory of results lies: on the disk, wherever the results are.

        Raises:
            ConfigError: it is to be in a store.
        """
        from facerestore.io import RemotePath, fitting, located
        from facerestore.weights.files import default_home

        if self.journal is not None:
            if isinstance(home := located(self.journal), RemotePath):
                raise ConfigError(
                    f"--journal is '{home}'; give a directory of the disk, since it is a database"
                )
            return home
        if isinstance(folder, RemotePath):
            journals = default_home() / "journals"
            return journals / fitting(journals, quote(str(folder), safe=""), "")
        return folder

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that were named, of which several have a process each."""
        return tuple(name.strip() for name in self.restore.device.split(","))

    def check_engine(self) -> None:
        """Raise ConfigError unless the engine is known, and the address is for it."""
        if self.engine not in ENGINES:
            raise ConfigError(f"--engine is '{self.engine}'; give {' or '.join(ENGINES)}")
        if len(self.devices) > 1 and (self.engine == RAY or self.task is not RESTORE or "" in self.devices):
            raise ConfigError(
                f"--device is '{self.restore.device}'; name one device, or of 'enhance' without --engine ray several"
                " such as cuda:0,cuda:1, which have a process each"
            )
        if self.address is not None and self.engine != RAY:
            raise ConfigError(f"--address is '{self.address}', which --engine ray joins; give both, or none")

    def check_report(self) -> None:
        """Raise ConfigError unless the report, where one is asked for, has the name of one, and a place."""
        if self.as_json and self.log_json:
            raise ConfigError(
                "standard output cannot carry --json and --log-json; write the report with --report FILE.json"
            )
        if self.report is not None and self.report.suffix.lower() != ".json":
            raise ConfigError(f"the report '{self.report}' needs a name that ends in .json")
