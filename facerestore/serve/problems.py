"""What can be wrong with a request, as an HTTP answer: RFC 9457, with what, the value and the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Self

from facerestore.errors import (
    BackendError,
    CancelledError,
    ConfigError,
    FaceRestoreError,
    ImageError,
    WeightsError,
)
from facerestore.fields import FieldError, UnfitError

TYPE = "application/problem+json"
"""Media type of a problem."""

_STATUS: tuple[tuple[type[FaceRestoreError], int], ...] = (
    (ConfigError, 422),
    (ImageError, 422),
    (CancelledError, 409),
    (BackendError, 500),
    (WeightsError, 500),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem.

    Attributes:
        status: of the HTTP answer.
        detail: one sentence or two: what happened, the value that caused it, and the remedy.
        option: of the request, where one is at fault.
        value: that was given.
        remedy: what to do.
        retry_after: seconds after which it may be gone; None where waiting does not help.
    """

    status: int
    detail: str
    option: str | None = None
    value: str | None = None
    remedy: str | None = None
    retry_after: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The members of the answer, ready for JSON; what is not known is left out."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return {"type": "about:blank", "title": HTTPStatus(self.status).phrase, **known}

    @classmethod
    def of(cls, error: FaceRestoreError) -> Self:
        """Return the problem that an error of ours is."""
        if isinstance(error, RefusedError):
            return cls(**asdict(error.problem))
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        detail = " ".join(str(error).split())
        cause, remedy = error.__cause__, detail.rpartition("; ")[2] if "; " in detail else None
        option = cause.name if isinstance(cause, FieldError) else None
        value = repr(cause.value)[:80] if isinstance(cause, UnfitError) else None
        return cls(status, detail, option, value, remedy)

    @classmethod
    def fault(cls, error: Exception) -> Self:
        """Return the problem of an error that is a fault of ours."""
        return cls(
            500, f"{type(error).__name__} while the request was answered; report it", remedy="report it"
        )


class RefusedError(FaceRestoreError):
    """A request is refused.

    Attributes:
        problem: why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    @classmethod
    def make(
        cls, status: int, what: str, *, value: object = None, remedy: str, retry_after: int | None = None
    ) -> Self:
        """Return the refusal with a status, of what happened, the value and the remedy."""
        shown = None if value is None else str(value)[:80]
        return cls(Problem(status, f"{what}; {remedy}", None, shown, remedy, retry_after))
