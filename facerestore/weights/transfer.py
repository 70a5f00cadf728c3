"""What is said of a download before and while it runs; here and not beside it, for that imports HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """How patient a download is.

    Attributes:
        timeout_s: longest silence of the server.
        attempts: tries per URL; each goes on where the last one broke off.
        backoff_s: pause before the second try, doubled for each further one, at most 30 s.
        lock_timeout_s: longest wait for another process that fetches the same file.
        grace_s: seconds that a request may take whatever it sends.
        least_bytes_per_s: what it must send on average beyond that.
        most_bytes: of a file whose size nobody states: eight times the largest published network.
        clock: seconds that never go back.
        pause: waits so many seconds.
    """

    timeout_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 1.0
    lock_timeout_s: float = 600.0
    grace_s: float = 300.0
    least_bytes_per_s: float = 10_000.0
    most_bytes: int = 1 << 34
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        name: catalog name.
        phase: ``waiting`` for another process that fetches the same file, or ``downloading``.
        url: where from; empty while waiting.
        done_bytes: bytes in the part file.
        total_bytes: size of the whole file; None where the server does not say.
        resumed_bytes: how many of ``done_bytes`` an earlier attempt had left.
    """

    name: str
    phase: Literal["waiting", "downloading"]
    url: str
    done_bytes: int
    total_bytes: int | None
    resumed_bytes: int


Report = Callable[[DownloadProgress], None]


def truthy(environment: Mapping[str, str], name: str) -> bool:
    """Return whether an environment variable switches something on: any value but empty, 0, no, off and false."""
    return environment.get(name, "").strip().lower() not in {"", "0", "no", "off", "false"}
