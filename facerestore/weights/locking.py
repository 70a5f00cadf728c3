"""One process at a time for one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facerestore.errors import WeightsError


@contextmanager
def exclusive(target: Path, *, timeout_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold ``<target>.lock`` for the time of a with block; the system frees it when the process ends, however it ends.

    Args:
        target: the file to guard; its folder is made.
        timeout_s: longest wait for the other process.
        on_wait: called once, if there is another process to wait for.

    Raises:
        WeightsError: the other process did not finish in time, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise WeightsError(
            f"another process has been busy with {target} for over {timeout_s:g} s; wait for it, or end it, and "
            f"try again"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"the weights folder {target.parent} cannot be written ({error}); set FACERESTORE_HOME to another"
        ) from error
    try:
        yield
    finally:
        lock.release()
