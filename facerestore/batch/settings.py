"""What decides how a result looks, in a form that is kept and compared: options and networks, by names and hashes.

No network is loaded for it. What is about the machine alone (device, threads, limits) is left out: on another one, last
bits may differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from facerestore.batch.journal_file import NETWORKS
from facerestore.config import INPAINT, OutputConfig, RestoreConfig
from facerestore.pipeline.candidates import chooses_by_face, usable
from facerestore.pipeline.choose import choose, drawn_from, with_detail
from facerestore.pipeline.installed import (
    BACKGROUND,
    DAMAGE,
    DETECT,
    EYES,
    IDENTITY,
    NONE,
    PARSE,
    installed_weights,
)
from facerestore.weights import WeightsStore

_MACHINE = frozenset({"provider", "device", "threads", "offline", "max_pixels", "workers"})
_MANNER = frozenset({"overwrite", "skip_existing", "suffix", "html"})
"""How a run goes about its work; a suffix is in the names."""
_SHORT = frozenset({"photo"})
"""What is short for another option, which says it."""

_NETWORK = re.compile(r"(.+?) ([0-9a-f]{12,})(?:, (\S+ of .+))?")
"""What ``_networks`` yields: a name, which may be a path, the hash, and the share of another network in it."""

HASH_SHOWN = 8
"""Digits of a hash that tell two files of one name apart."""


def settings_of(restore: RestoreConfig, files: OutputConfig, store: WeightsStore) -> dict[str, Any]:
    """Return all that decides what the results of ``enhance`` look like; options that are as by default are left out.

    Args:
        restore: how faces are restored.
        files: how results are written.
        store: where weights are looked for.

    Raises:
        WeightsError: the weights are not installed, or are corrupt.
        ConfigError: the backend is unknown, or the weights are of another.
    """
    chosen: dict[str, Any] = {}
    for record in (restore, files):
        for each in fields(record):
            value = getattr(record, each.name)
            if value != each.default and each.name not in _MACHINE | _MANNER | _SHORT:
                chosen[each.name] = value
    return chosen | {NETWORKS: list(dict.fromkeys(_networks(restore, store)))}


def _networks(config: RestoreConfig, store: WeightsStore) -> Iterator[str]:
    """Yield the networks that a configuration takes, as ``name sha256``, and those that are mixed with their share."""
    if chooses_by_face(config):
        names = [each.name for each in usable(config, store).candidates]
        found = [
            with_detail(installed_weights(name, store, purpose="restore"), config, store) for name in names
        ]
    else:
        found = [choose("restore", config, store)]
    found += [each.base for each in found if each.base is not None]
    found += [choose(purpose, config, store) for purpose in (DETECT, PARSE, BACKGROUND, IDENTITY, EYES)]
    if config.repair:
        from facerestore.pipeline.repair import filling

        found += [choose(DAMAGE, config, store), choose(INPAINT.purpose, filling(config), store)]
    for each in found:
        if each.mix is not None:  # what it is mixed with decides as much
            base = store.entry(drawn_from(each, store) or "")
            yield f"{base.name} {base.sha256}, {each.mix.share:g} of {each.name}"
        if each.name != NONE:
            yield f"{each.name} {each.sha256 or ''}".strip()
        if each.identities is not None:
            yield f"limits of {each.name}: {', '.join(f'{least:g}' for least in each.identities)}"


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return how settings differ, as ``strength 1, now 0.5``."""
    defaults = {
        each.name: each.default for record in (RestoreConfig, OutputConfig) for each in fields(record)
    }
    words = []
    for name in dict.fromkeys([*before, *now]):
        old, new = (settings.get(name, defaults.get(name)) for settings in (before, now))
        if old == new:
            continue
        shown = (_unlike(old, new), _unlike(new, old)) if name == NETWORKS else (_shown(old), _shown(new))
        words.append(f"{name.replace('_', '-')} {shown[0]}, now {shown[1]}")
    return "; ".join(words)


def _unlike(some: list[str], others: list[str]) -> str:
    """Return the networks that others lack, by name and share, and by hash where those are the same."""
    known = {_named(each) for each in others}
    rest = [each for each in some if each not in others]
    short = [_named(each, hashed=_named(each) in known) for each in rest]
    return " and ".join(dict.fromkeys(short)) or "none"


def _named(network: str, *, hashed: bool = False) -> str:
    """Return how people are told of a network that ``_networks`` yields."""
    found = _NETWORK.fullmatch(network)
    if found is None:
        return network
    name, digest, share = found.groups()
    words = f"{name} {digest[:HASH_SHOWN]}" if hashed else name
    return words if share is None else f"{share} in {words}"


def _shown(value: object) -> str:
    """Return a value as people write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_of(text: str) -> dict[str, Any]:
    """Return settings that were kept as JSON."""
    found: dict[str, Any] = json.loads(text)
    return found
