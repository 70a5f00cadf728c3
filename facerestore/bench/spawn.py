"""A call in a process of its own: its memory is its own, and so is what it sets for the whole process."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from facerestore.errors import BackendError, FaceRestoreError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

P = ParamSpec("P")
Result = TypeVar("Result")


def spawned(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Return what a function of a module gives, called in a fresh process.

    Raises:
        FaceRestoreError: what the function raised.
        BackendError: it raised anything else, or the process ended without an answer.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, args, kwargs), daemon=True)
    process.start()
    theirs.close()
    try:
        succeeded, result = ours.recv()
    except EOFError as error:
        process.join()
        raise BackendError(
            f"the process that ran {function.__name__} ended with code {process.exitcode}, perhaps for want of memory;"
            " choose a smaller size"
        ) from error
    finally:
        ours.close()
    process.join()
    if not succeeded:
        raise result
    answer: Result = result
    return answer


def _answer(
    connection: Connection,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    """Call the function and send what came of it."""
    try:
        answer: tuple[bool, object] = (True, function(*args, **kwargs))
    except FaceRestoreError as error:
        answer = (False, type(error)(str(error)))
    except Exception as error:  # told over there, where somebody sees it
        answer = (False, BackendError(f"{function.__name__} failed: {type(error).__name__}: {error}"))
    connection.send(answer)
    connection.close()
