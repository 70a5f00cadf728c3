"""``python -m facerestore`` is the ``facerestore`` command."""

import sys

from facerestore.cli import main

if __name__ == "__main__":
    sys.exit(main())
