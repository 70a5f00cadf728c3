"""What can be fuzzed, by name: a new target is a function that returns its kinds, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from fuzz.kinds import Kind

TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "decode": "fuzz.pictures:kinds",
        "metadata": "fuzz.blocks:kinds",
        "catalog": "fuzz.texts:catalog",
        "config": "fuzz.texts:config",
        "checkpoint": "fuzz.networks:checkpoint",
        "graph": "fuzz.networks:graph",
        "state": "fuzz.runs:state",
        "journal": "fuzz.journals:journal",
        "shards": "fuzz.runs:shards",
        "results": "fuzz.runs:results",
        "service": "fuzz.requests:service",
    }
)
"""Module and function of each; what reads networks imports torch, and so each is imported when it is asked for."""


def kinds_of(target: str) -> tuple[Kind, ...]:
    """Return the kinds of files of a target, their examples made anew."""
    module, _, name = TARGETS[target].partition(":")
    made: tuple[Kind, ...] = getattr(import_module(module), name)()
    return made
