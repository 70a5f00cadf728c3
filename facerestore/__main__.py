"""``python -m facerestore`` is the ``facerestore`` command; signals are heard before all else is imported."""

import sys

from facerestore.cli.stopping import listen


def main() -> int:
    """Run the command line of this process, and return its exit code."""
    listen()
    from facerestore.cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
