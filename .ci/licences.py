"""Checks the licences of what facerestore needs, as it is installed here, each by its own metadata.

python .ci/licences.py [EXTRA ...]    dependencies, those of the extras, and what they need in turn
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ALLOWED = frozenset({
    "MIT", "MIT-0", "MIT-CMU", "HPND", "ISC", "0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "Zlib",
    "Apache-2.0 WITH LLVM-exception", "PSF-2.0", "Python-2.0", "MPL-2.0", "Unlicense", "CC0-1.0", "BSL-1.0",
})  # fmt: skip
"""By SPDX; none of them asks anything of what is made with the program."""

LOOKED_AT = {
    "numpy": "its wheels bring libgfortran, GPL-3.0 with the runtime exception",
    "scipy": "its wheels bring libgfortran, GPL-3.0 with the runtime exception",
    "opencv-python": "its wheels bring FFmpeg, LGPL-2.1, linked as a library",
    "cuda-toolkit": "torch for CUDA needs it; proprietary, free of charge; torch for the CPU does without",
    "nvidia-": "torch for CUDA needs them; proprietary, free of charge; torch for the CPU does without",
}
"""Names, or how they begin, of what was looked at by hand, and why it may be needed all the same."""

_CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: BSD License": "BSD",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: The Unlicense (Unlicense)": "Unlicense",
    "License :: CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
}
_WORDS = {
    "mit license": "MIT", "the mit license": "MIT", "bsd": "BSD", "bsd license": "BSD", "bsd 3-clause": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "apache license version 2.0": "Apache-2.0", "apache": "Apache-2.0",
    "psf": "PSF-2.0",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_allowed(words: str) -> bool:
    """Say whether an SPDX expression, without brackets, has a choice of which every part is allowed."""
    plain = re.sub(r"[()]", " ", words)
    choices = [re.split(r"\s+AND\s+", choice.strip()) for choice in re.split(r"\s+OR\s+", plain)]
    return any(all(part.strip() in ALLOWED for part in choice) for choice in choices)


def licences_of(requirements: Iterable[str]) -> dict[str, str]:
    """Return the licence of each distribution that is needed, by name, in SPDX as far as its metadata tell.

    Those of `LOOKED_AT` are left out.
    """
    return {
        found.name.lower(): _licence(found)
        for found in _needed(requirements)
        if not found.name.lower().startswith(tuple(LOOKED_AT))
    }


def _needed(requirements: Iterable[str]) -> Iterator[Distribution]:
    seen: set[str] = set()
    left = list(requirements)
    while left:
        requirement = left.pop()
        name = re.sub(r"[-_.]+", "-", _NAME.match(requirement)[0]).lower()  # type: ignore[index]
        if name in seen or "extra ==" in requirement:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another system, or in the place of which another package stands
            continue
        yield found
        left += found.requires or []


def _licence(found: Distribution) -> str:
    """Return what a distribution says of its licence: by expression, by classifier, or in a few words."""
    metadata = found.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    if known := [_CLASSIFIERS[each] for each in classifiers if each in _CLASSIFIERS]:
        return " AND ".join(sorted(set(known)))
    text = str(metadata.get("License", "")).strip()
    return _WORDS.get(text.lower(), text.partition("\n")[0][:80])


def main() -> int:
    """Print what is needed and not allowed, and return the exit code."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [each for name in sys.argv[1:] for each in project["optional-dependencies"][name]]
    found = licences_of([*project["dependencies"], *extras])
    wrong = {name: words for name, words in found.items() if not is_allowed(words)}
    for name, words in sorted(wrong.items()):
        sys.stdout.write(f"{name}: {words or 'says nothing of its licence'}\n")
    sys.stdout.write(f"{len(found)} packages, {len(wrong)} of licences that are not allowed\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
