"""Objects and calls in processes of their own: their memory is their own, and so is what they set for a process.

OpenMP and the allocator read the environment when they are loaded, so it must stand before such a process begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast

from facerestore.engines.device import SHORT_SPIN
from facerestore.errors import BackendError, FaceRestoreError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

P = ParamSpec("P")
Result = TypeVar("Result")

Changes: TypeAlias = Mapping[str, str | None]
"""Variables and their values; None takes a variable out."""

WAITING_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""How long GNU OpenMP lets a waiting thread spin, and whether it does at all; ``device.wait_asleep`` looks at both."""

TUNING = (
    *WAITING_VARIABLES,
    "OPENBLAS_THREAD_TIMEOUT",
    "MALLOC_MMAP_MAX_",  # mallopt(3), as the next three
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",  # torch's own, for large pages
)
"""Variables that change how threads wait and what becomes of freed memory. The number of threads is none of them."""

CLOSE = "close"
"""The question that ends a process."""

STOP_SECONDS = 10.0
"""How long a process that was told to end may take before it is ended."""


class Remote:
    """An object in a fresh process, whose methods without arguments can be called from here.

    Args:
        make: class or function of a module that makes the object; called when the first question comes.
        args: for it.
        named: for it, by name.
        label: what the object does, for messages.
        environment: what the process finds changed; None for what our command sets.
    """

    def __init__(
        self,
        make: Callable[..., object],
        args: tuple[object, ...] = (),
        named: Mapping[str, object] | None = None,
        *,
        label: str,
        environment: Changes | None = None,
    ) -> None:
        context = get_context("spawn")
        self._label = label
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_answer_questions, args=(theirs, make, args, dict(named or {})), daemon=True
        )
        with changed(as_shipped() if environment is None else environment):
            self._process.start()
        theirs.close()

    def ask(self, method: str) -> Any:
        """Return what a method of the object gives.

        Raises:
            FaceRestoreError: what the method, or making the object, raised there.
            BackendError: anything else was raised there, or the process has ended.
        """
        try:
            self._connection.send(method)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(STOP_SECONDS)
            raise BackendError(
                f"the process of '{self._label}' ended with code {self._process.exitcode}, perhaps for want of memory;"
                " choose a smaller size or batch"
            ) from error
        if isinstance(answer, FaceRestoreError):
            raise answer
        return answer

    def __getattr__(self, name: str) -> Callable[[], Any]:
        """Return a method of the object, as :meth:`ask` calls it."""
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self.ask, name)

    def close(self) -> None:
        """End the process; again does nothing."""
        if not self._connection.closed:
            with suppress(OSError):  # it has ended by itself, which an earlier answer has told
                self._connection.send(CLOSE)
            self._connection.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.terminate()


def spawned(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Return what a function of a module gives, called in a fresh process.

    Raises:
        FaceRestoreError: what the function raised.
        BackendError: it raised anything else, or the process ended without an answer.
    """
    remote = Remote(partial, (function, *args), kwargs, label=function.__name__)
    try:
        return cast("Result", remote.ask("__call__"))
    finally:
        remote.close()


def _answer_questions(
    connection: Connection, make: Callable[..., object], args: tuple[object, ...], named: dict[str, object]
) -> None:
    """Answer questions until told to close: the whole life of a process."""
    made: list[object] = []
    while True:
        try:
            question = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if question == CLOSE:
            return
        try:
            if not made:
                made.append(make(*args, **named))
            answer = getattr(made[0], question)()
        except FaceRestoreError as error:
            answer = type(error)(str(error))
        except Exception as error:  # told over there, where somebody sees it
            answer = BackendError(f"{question} failed: {type(error).__name__}: {error}")
        connection.send(answer)


def as_shipped() -> Changes:
    """Return what the ``facerestore`` command sets before it imports torch (see ``device.wait_asleep``)."""
    return {} if any(name in os.environ for name in WAITING_VARIABLES) else {"GOMP_SPINCOUNT": SHORT_SPIN}


def as_published() -> Changes:
    """Return what leaves threads and memory to the libraries, whatever the command or the user has set."""
    return dict.fromkeys(TUNING)


@contextmanager
def changed(changes: Changes) -> Iterator[None]:
    """Let processes that are started within find these variables; then all is as before."""
    before = {name: os.environ.get(name) for name in changes}
    _set_variables(changes)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(changes: Changes) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def waiting_words() -> str:
    """Return how threads of this process were told to wait, for people."""
    told = [f"{name}={os.environ[name]}" for name in WAITING_VARIABLES if name in os.environ]
    return ", ".join(told) or "OpenMP's own waiting"
