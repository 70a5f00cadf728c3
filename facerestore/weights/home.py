"""Where everything that facerestore keeps lies."""

from __future__ import annotations

import os
from pathlib import Path

from facerestore.errors import WeightsError


def default_home() -> Path:
    """Return the folder of all that facerestore keeps.

    It is FACERESTORE_HOME, else XDG_DATA_HOME/facerestore, else the platform's folder for application data: not a
    cache, since pinned hashes and accepted licences must outlive a clean-up of caches. It need not be there.

    Raises:
        WeightsError: it begins with the home of somebody who has none.
    """
    if own := os.environ.get("FACERESTORE_HOME"):
        return _expanded(own)
    if xdg := os.environ.get("XDG_DATA_HOME"):
        return _expanded(xdg) / "facerestore"
    from platformdirs import user_data_path

    return user_data_path("facerestore", appauthor=False)


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise WeightsError(
            f"'{text}' is in nobody's home; set FACERESTORE_HOME to a folder by its whole path"
        ) from error
