"""Where everything that facerestore keeps lies."""

from __future__ import annotations

import os
from pathlib import Path


def default_home() -> Path:
    """Return the folder of all that facerestore keeps.

    It is FACERESTORE_HOME, else XDG_DATA_HOME/facerestore, else the platform's folder for application data: not a
    cache, since pinned hashes and accepted licences must outlive a clean-up of caches.
    """
    if own := os.environ.get("FACERESTORE_HOME"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_DATA_HOME"):
        return Path(xdg).expanduser() / "facerestore"
    from platformdirs import user_data_path

    return user_data_path("facerestore", appauthor=False)
