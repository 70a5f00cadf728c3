"""How the process ends."""

from __future__ import annotations

import atexit
import sys

from facerestore.stopping import end_now


class QuickEnd:
    """Ends the process, once all that is to be done at its end is done, without unloading torch's libraries.

    Their finalizers take 0.6 s and page 118 MB of them into memory, with torch 2.15 built for CUDA on two cores; on a
    disk that has to be read for it, over ten seconds. There is nothing in them that a process that ends needs.

    To be made first of all: what is registered with ``atexit`` later runs earlier.

    Attributes:
        code: exit code of the process; None until it is known, and then the process ends as any other.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is not None and "torch" in sys.modules:
            self.now()

    def now(self) -> None:
        """End the process, unless what was said cannot be handed over."""
        assert self.code is not None, "the exit code is known"
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):  # Python tells of it, if it is let to end on its own
            return
        end_now(self.code)
