"""``python -m facerestore`` is the ``facerestore`` command; signals are heard before all else is imported."""

import gc
import sys

from facerestore.cli.stopping import listen

SPARED = 100_000
"""New objects before Python looks for unused ones. At 700, its own number, that is 3% of a start; modules all stay."""


def main() -> int:
    """Run the command line of this process, and return its exit code."""
    gc.set_threshold(SPARED)
    listen()
    from facerestore.cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
