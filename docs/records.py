"""Lets the reference show the records of ``facerestore.records`` as the dataclasses that they are."""

from __future__ import annotations

from typing import Any

import griffe


class Records(griffe.Extension):
    """Reads every import of that ``dataclass`` as one of the standard library's."""

    def on_alias_instance(self, *, alias: griffe.Alias, **_: Any) -> None:
        """Change where an imported name comes from."""
        if alias.target_path == "facerestore.records.dataclass":
            alias.target_path = "dataclasses.dataclass"
