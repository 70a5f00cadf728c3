"""Prints pip constraints for the lowest releases that pyproject.toml allows: of a floor such as 2.4, some 2.4.x.

python .ci/lowest_versions.py [EXTRA ...]    dependencies, and those of the extras
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_FLOOR = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)")


def lowest(requirement: str) -> str:
    """Return the constraint of one requirement, with its marker if it has one."""
    found = _FLOOR.match(requirement)
    if found is None:
        raise SystemExit(f"'{requirement}' has no lowest version; write it as NAME>=VERSION")
    version, _, marker = found["version"], *requirement.partition(";")[1:]
    wanted = version if version.count(".") >= 2 else f"{version}.*"
    return f"{found['name']}=={wanted}" + (f"; {marker.strip()}" if marker else "")


def main() -> None:
    """Print a line for each requirement."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [each for name in sys.argv[1:] for each in project["optional-dependencies"][name]]
    own = f"{project['name']}["
    for requirement in dict.fromkeys([*project["dependencies"], *extras]):
        if not requirement.startswith(own):
            sys.stdout.write(f"{lowest(requirement)}\n")


if __name__ == "__main__":
    main()
