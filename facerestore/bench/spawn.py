"""Objects and calls in processes of their own: their memory is their own, and so is what they set for a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from facerestore.bench.environment import Changes, as_shipped, changed
from facerestore.errors import BackendError, FaceRestoreError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

P = ParamSpec("P")
Result = TypeVar("Result")

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
            target=_serve, args=(theirs, make, args, dict(named or {})), daemon=True
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


def _serve(
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
