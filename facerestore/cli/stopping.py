"""How a command is broken off: one way for Ctrl-C, a request to end and a terminal that goes away.

A signal becomes ``Stopped`` in the main thread, which ends the command with 128 + its number (130, 143, 129): what is
under way is whole or absent, reports are written, temporary files go. A run with something to report is ``finishing``:
the first signal is raised only in its work (``breakable``), not in what is told of it.

While a library is being imported a signal cannot be an exception, since unwinding the C++ of a half imported torch
aborts the process. Then nothing of ours is under way, and the process ends there and then; in a run that is
``finishing`` the signal waits for the end of the photo.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from facerestore.files import remove_unfinished

Item = TypeVar("Item")

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """The process was asked to end by a signal.

    Attributes:
        code: what it is to end with.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@dataclass(slots=True)
class _State:
    asked: int = 0
    """The signal that came first; 0 for none."""
    raised: bool = False
    finishing: bool = False
    working: bool = False
    over: bool = False


_state = _State()


def listen() -> None:
    """Take the signals that end a process; those that it was told to ignore (``nohup``) stay ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heard)


def code_of(error: BaseException) -> int:
    """Return the exit code of a command that was interrupted, by what it raised."""
    if isinstance(error, Stopped):
        return error.code
    return 128 + (_state.asked or signal.SIGINT)


@contextmanager
def finishing() -> Iterator[None]:
    """Within the block there is something to report, so that the first signal waits for what is ``breakable``.

    Raises:
        Stopped: one came before.
    """
    if _state.asked and not _state.raised:
        raise _noted()
    _state.finishing = True
    try:
        yield
    finally:
        _state.finishing = False


def breakable(work: Generator[Item, None, None]) -> Iterator[Item]:
    """Yield what a generator yields, and raise a signal within it, whenever it came.

    Raises:
        Stopped: a signal came, also where the work was through by then.
    """
    while True:
        waits = _state.asked and not _state.raised
        _state.working = True
        try:
            item = work.throw(_noted()) if waits else next(work)
        except StopIteration:
            break
        finally:
            _state.working = False
        yield item
    if _state.asked and not _state.raised:
        raise _noted()


def _noted() -> Stopped:
    """Return the signal that waits, which then does not wait any more."""
    _state.raised = True
    return Stopped(_state.asked)


def end_now(code: int) -> None:
    """End the process without another word of Python's, and without what is unfinished."""
    _state.over = True
    remove_unfinished()
    os._exit(code)


def _heard(number: int, frame: FrameType | None) -> None:
    first = not _state.asked
    _state.asked = _state.asked or number
    importing = _importing(frame)
    if first and _state.finishing and (importing or not _state.working):
        return
    if not importing and not _state.over:
        _state.raised = True
        raise Stopped(number)
    with suppress(OSError):
        os.write(2, b"facerestore: interrupted\n")
    end_now(128 + number)


def _importing(frame: FrameType | None) -> bool:
    """Say whether the main thread is within an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
