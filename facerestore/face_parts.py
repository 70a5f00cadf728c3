"""The parts of a face: their names, and how people write a choice of them (``face,hair``, ``eyes=0.3,mouth=1``)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from facerestore.errors import ConfigError, MalformedError, parse_whole, refusing

CLASS_NAMES: tuple[str, ...] = (
    "background",
    "skin",
    "nose",
    "eyeglasses",
    "left_eye",
    "right_eye",
    "left_brow",
    "right_brow",
    "left_ear",
    "right_ear",
    "mouth",
    "upper_lip",
    "lower_lip",
    "hair",
    "hat",
    "earring",
    "necklace",
    "neck",
    "cloth",
)
"""Names of the ids of a ``ParsingMap``, in the order of CelebAMask-HQ (Lee et al., arXiv 1907.11922).

Left and right are those of the picture; ``mouth`` is what lies between the lips.
"""

UNKNOWN = 255
"""In labels to learn from: nobody knows what this pixel shows, and no network is judged by it."""

CLASS_COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (204, 0, 0),
    (76, 153, 0),
    (204, 204, 0),
    (51, 51, 255),
    (204, 0, 204),
    (0, 255, 255),
    (255, 204, 204),
    (102, 51, 0),
    (255, 0, 0),
    (102, 204, 0),
    (255, 255, 0),
    (0, 0, 153),
    (0, 0, 204),
    (255, 51, 153),
    (0, 204, 204),
    (0, 51, 0),
    (255, 153, 51),
    (0, 204, 0),
)
"""RGB with which CelebAMask-HQ and PSFR-GAN draw the classes, in the order of ``CLASS_NAMES``."""

FACE_CLASSES: frozenset[str] = frozenset(CLASS_NAMES[1 : CLASS_NAMES.index("hair")])
"""The classes that are pasted. Hair, hat, earring, necklace, neck and cloth stay as they are in the photo."""

REGIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "face": FACE_CLASSES,
        "eyes": frozenset({"left_eye", "right_eye"}),
        "brows": frozenset({"left_brow", "right_brow"}),
        "ears": frozenset({"left_ear", "right_ear"}),
        "mouth": frozenset({"mouth", "upper_lip", "lower_lip"}),
        "lips": frozenset({"upper_lip", "lower_lip"}),
        "inner_mouth": frozenset({"mouth"}),
        "glasses": frozenset({"eyeglasses"}),
    }
)
"""Words for several classes at once, as users say them; ``mouth`` is the whole mouth here, lips and all."""

WHOLE = "whole"
"""The mask that is the whole crop, whatever is in it."""

REGION_WORDS: tuple[str, ...] = tuple(dict.fromkeys([*REGIONS, *CLASS_NAMES]))
"""Every word that names a part, regions first."""


def classes_of(word: str) -> frozenset[str]:
    """Return the classes that a word names: a region such as ``eyes``, or a class such as ``left_eye``.

    Case does not matter, nor whether parts of a word are joined by ``_``, ``-`` or a blank.

    Raises:
        ConfigError: no part has this name.
    """
    name = "_".join(word.lower().replace("-", " ").replace("_", " ").split())
    if name in REGIONS:
        return REGIONS[name]
    if name in CLASS_NAMES:
        return frozenset({name})
    close = difflib.get_close_matches(name, REGION_WORDS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(REGION_WORDS)}"
    raise ConfigError(f"'{word}' is no part of a face; {hint}")


def parse_mask(choice: str) -> frozenset[str] | None:
    """Return the classes that a mask consists of; None for ``whole``.

    Words are joined from left to right: ``face,hair`` adds, ``face,-ears`` takes away. A choice that only adds
    and takes away (``-ears``, ``+hair``) starts from the face.

    Raises:
        ConfigError: a word is unknown, ``whole`` is not alone, or nothing is left.
    """
    words = [word.strip() for word in choice.split(",")]
    if WHOLE in (word.lower() for word in words):
        if len(words) > 1:
            raise ConfigError(f"mask is '{choice}'; '{WHOLE}' is the whole crop and stands alone")
        return None
    classes = FACE_CLASSES if all(word[:1] in ("-", "+") for word in words) else frozenset[str]()
    for word in words:
        try:
            part = classes_of(word.removeprefix("-").removeprefix("+"))
        except ConfigError as error:
            stop = "" if str(error).endswith("?") else ";"
            raise ConfigError(
                f"mask is '{choice}': {error}{stop} a mask is '{WHOLE}', or parts such as face,hair or face,-ears"
            ) from error
        classes = classes - part if word.startswith("-") else classes | part
    if not classes:
        raise ConfigError(f"mask is '{choice}', which leaves nothing; name a part to paste, such as face")
    return classes


def parse_region(choice: str) -> dict[str, float]:
    """Return the strength of each class that ``choice`` names, such as ``eyes=0.3,mouth=1``; empty for "".

    Where words overlap, the narrower one holds, whatever their order: ``face=0.8,eyes=0.3``.

    Raises:
        ConfigError: it is not written so, a word is unknown or given twice, or a strength is outside 0 to 1.
    """
    if not choice.strip():
        return {}
    parts: dict[frozenset[str], float] = {}
    for item in choice.split(","):
        word, equals, number = item.partition("=")
        classes = _region_classes(word.strip(), choice)
        if classes in parts:
            raise ConfigError(f"region '{choice}' names '{word.strip()}' twice; give each part once")
        strength = _strength(number) if equals else None
        if strength is None:
            raise ConfigError(
                f"region '{choice}': '{item.strip()}' is not PART=STRENGTH with a number from 0 to 1, such as eyes=0.3"
            )
        parts[classes] = strength
    widest_first = sorted(parts.items(), key=lambda item: -len(item[0]))
    return {name: strength for classes, strength in widest_first for name in classes}


def region_words(choice: str) -> dict[str, frozenset[str]]:
    """Return the words of a region choice as they are written, each with its classes.

    Raises:
        ConfigError: a word is unknown.
    """
    words = [item.partition("=")[0].strip() for item in choice.split(",") if item.strip()]
    return {word: _region_classes(word, choice) for word in words}


def check_region_in_mask(region: str, mask: str) -> None:
    """Make sure that a strength by region can show: its part must be pasted at all.

    Raises:
        ConfigError: a part of ``region`` lies wholly outside of ``mask``, or one of both is not written so.
    """
    pasted = parse_mask(mask)
    for word, classes in region_words(region).items():
        if pasted is not None and not classes & pasted:
            raise ConfigError(
                f"region '{region}': '{word}' lies outside the mask '{mask}', so its strength would change nothing;"
                f" add it with --mask {mask},{word}"
            )


@dataclass(frozen=True, slots=True)
class Dial:
    """Settings of a single face; None for those of all faces.

    Attributes:
        strength: of it.
        detail: of it.
        region: strengths of its parts.
    """

    strength: float | None = None
    detail: float | None = None
    region: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """What it says, by the names of the configuration's fields."""
        named = {"strength": self.strength, "detail": self.detail, "region": self.region}
        return {name: value for name, value in named.items() if value is not None}


def parse_dial(choice: str) -> dict[int, Dial]:
    """Return the settings of single faces by index, of a text such as ``0:strength=0.5,eyes=0.3;2:detail=0``.

    Raises:
        ConfigError: it is not written so, a face is named twice, a part is unknown, or a number is outside 0 to 1.
    """
    dials: dict[int, Dial] = {}
    for item in choice.split(";") if choice.strip() else []:
        index, colon, settings = item.partition(":")
        with refusing(
            lambda why: ConfigError(
                f"dial is '{choice[:80]}'; give faces by index such as 0:strength=0.5,eyes=0.3;2:detail=0: {why}"
            )
        ):
            if not colon or not settings.strip():
                raise MalformedError(f"{item.strip()[:40]!r} has no settings")
            number = parse_whole(index.strip())
            if number in dials:
                raise MalformedError(f"face {number} is named twice")
            dials[number] = _dial(settings)
    return dials


def _dial(settings: str) -> Dial:
    """Return the settings of one face, as they are written behind its index."""
    found: dict[str, float] = {}
    parts = []
    for word in settings.split(","):
        name, _, number = (text.strip() for text in word.partition("="))
        if name not in ("strength", "detail"):
            parts.append(word.strip())
            continue
        if name in found:
            raise MalformedError(f"{name} is given twice")
        found[name] = float(number)
        if not 0 <= found[name] <= 1:
            raise MalformedError(f"{name} is {number}, not a number from 0 to 1")
    region = ",".join(parts) or None
    parse_region(region or "")
    return Dial(**found, region=region)


def _region_classes(word: str, choice: str) -> frozenset[str]:
    try:
        return classes_of(word)
    except ConfigError as error:
        raise ConfigError(f"region '{choice}': {error}") from error


def _strength(text: str) -> float | None:
    """Return the number from 0 to 1 that is written; None where none is."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None
