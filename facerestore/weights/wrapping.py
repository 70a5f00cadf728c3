"""What programs wrap around a network's tensors when they save it, and how the network is found again.

A training program saves more than the network, and the network under names of its own making: in an entry of a mapping
(``params_ema``, Lightning's ``state_dict``), behind a prefix of every key (``module.`` of DataParallel, ``_orig_mod.``
of torch.compile), or behind one of some keys, beside those of a discriminator and of losses (``net_g.``, mmagic's
``generator_ema.``). `canonical_state_dict` takes all of these off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from facerestore.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPER_KEYS = (
    *(
        "params_ema",
        "g_ema",
        "generator_ema",
        "net_g_ema",
        "ema",
        "params",
        "g",
        "generator",
        "net_g",
        "netG",
    ),
    *("state_dict", "model_state_dict", "model"),
)
"""Entries under which training programs store a network, in the order in which they are looked for: averaged parameters
first, since those are the ones to restore with."""

WHOLE_PREFIXES = ("_orig_mod.", "module.")
"""What ``torch.compile`` and ``DataParallel`` put before each key."""

PART_PREFIXES = ("generator_ema.", "net_g_ema.", "net_g.", "netG.", "generator.")
"""What stands before the keys of a restoring network where the modules of a whole training step are saved as one,
averaged parameters first."""

COMPANIONS = frozenset(
    (
        *(
            "criterion",
            "data_preprocessor",
            "discriminator",
            "gan_loss",
            "generator",
            "generator_ema",
            "loss",
            "net_d",
        ),
        *("net_g", "net_g_ema", "netD", "netG", "perceptual_loss", "pixel_loss", "step_counter"),
    )
)
"""First words of the keys in such a file. ``generator.`` begins keys of GPEN and of priors too, which have none of the
others beside them, and keep it."""

AVERAGE_COUNT, AVERAGE_PREFIX = "n_averaged", "module."
"""What ``torch.optim.swa_utils.AveragedModel`` counts in, and what it puts before the keys of its network."""

_LONG_NUMBER = re.compile(r"[0-9]{5}")
"""In a key; networks are built as large as their keys count, and none has ten thousand layers."""

MOST_WRAPPED = 8
"""Mappings within mappings that are looked through."""

KEYS_SHOWN = 5
"""How many entries a message shows."""


def canonical_state_dict(
    contents: Mapping[str, Any], *, key: str | None = None, source: str = "checkpoint"
) -> dict[str, Tensor]:
    """Return the network's own keys and tensors from the contents of a checkpoint.

    In this order: (1) the entry ``key``, or the first of `WRAPPER_KEYS` whose value is a mapping, or the only mapping
    there is, is unwrapped, and so on within it; (2) a count of averages is dropped; (3) of `WHOLE_PREFIXES` each that
    all keys start with is removed once, in the order in which they stand; (4) of a whole training step the part that
    restores is kept; (5) everything left must be a tensor, and hold the numbers that its shape speaks of.

    Args:
        contents: a flat state dict, or a mapping that holds one.
        key: the entry to take; None follows `WRAPPER_KEYS`.
        source: the file's name, for messages.

    Raises:
        CheckpointError: ``key`` is absent, or what remains is empty or is not all tensors.
    """
    state_dict = _unwrap(contents, key, source)
    if all(isinstance(name, str) for name in state_dict):
        bare = _without_prefixes(_without_count(state_dict))
        state_dict = _restoring_part(bare)
        if state_dict is not bare:
            state_dict = _without_prefixes(state_dict)
    _check_tensors(state_dict, contents, source)
    return dict(state_dict)


def _unwrap(contents: Mapping[str, Any], key: str | None, source: str) -> Mapping[str, Any]:
    """Return the mapping that holds the tensors."""
    if key is not None:
        if not isinstance(contents.get(key), Mapping):
            raise CheckpointError(
                f"'{source}' has no network '{key}'; its entries are: {_entry_names(contents) or 'none'}"
            )
        contents = contents[key]
    for _ in range(MOST_WRAPPED):
        inner = next(
            (contents[name] for name in WRAPPER_KEYS if isinstance(contents.get(name), Mapping)), None
        )
        if inner is None:
            inner = _only_mapping(contents)
        if inner is None:
            break
        contents = inner
    return dict(contents)


def _only_mapping(contents: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the one entry that may hold a network under a name that nobody told us; None where tensors lie beside it.

    An optimiser's state has numbers for keys, or lists for values, and is none.
    """
    if any(_is_tensor(value) for value in contents.values()):
        return None
    found = [value for value in contents.values() if isinstance(value, Mapping) and _may_hold(value)]
    return found[0] if len(found) == 1 else None


def _may_hold(value: Mapping[Any, Any], depth: int = 0) -> bool:
    """Say whether all of a mapping is named, and a tensor is among it or deeper within."""
    if depth == MOST_WRAPPED or not all(isinstance(name, str) for name in value):
        return False
    return any(
        _is_tensor(item) or (isinstance(item, Mapping) and _may_hold(item, depth + 1))
        for item in value.values()
    )


def _without_count(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys without the count of ``AveragedModel``, and without the prefix that comes with it."""
    rest = {name: value for name, value in state_dict.items() if name != AVERAGE_COUNT}
    if not rest or len(rest) == len(state_dict):
        return state_dict
    wrapped = all(name.startswith(AVERAGE_PREFIX) for name in rest)
    return {name.removeprefix(AVERAGE_PREFIX): value for name, value in rest.items()} if wrapped else rest


def _without_prefixes(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys without what wraps all of them."""
    left = set(WHOLE_PREFIXES)
    while found := [
        prefix for prefix in left if state_dict and all(name.startswith(prefix) for name in state_dict)
    ]:
        state_dict = {name.removeprefix(found[0]): value for name, value in state_dict.items()}
        left.discard(found[0])
    return state_dict


def _restoring_part(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of the network that restores, where those of a whole training step are there."""
    words = {name.partition(".")[0] for name in state_dict}
    for prefix in PART_PREFIXES:
        word = prefix.removesuffix(".")
        mixed = word != "generator" or (len(words) > 1 and words <= COMPANIONS)
        if word in words and mixed:
            return {name.removeprefix(prefix): v for name, v in state_dict.items() if name.startswith(prefix)}
    return state_dict


def _check_tensors(state_dict: Mapping[str, Any], contents: Mapping[str, Any], source: str) -> None:
    """Raise CheckpointError unless there are tensors, named, all with their numbers."""
    foreign = [
        name for name, value in state_dict.items() if not (isinstance(name, str) and _is_tensor(value))
    ]
    if foreign or not state_dict:
        held = f"'{foreign[0]}' is {type(state_dict[foreign[0]]).__name__}" if foreign else "it is empty"
        entries = _entry_names(contents)
        raise CheckpointError(
            f"'{source}' holds no network under {', '.join(WRAPPER_KEYS)} or at its top level ({held});"
            f" {f'its entries are {entries}: save the one that is the network by itself' if entries else REMEDY}"
        )
    for name, value in state_dict.items():
        if _LONG_NUMBER.search(name):
            raise CheckpointError(
                f"'{source}': no network counts as far as its key '{name[:80]}' does; {REMEDY}"
            )
        if (fault := _tensor_fault(value)) is not None:
            raise CheckpointError(f"'{source}': tensor '{name[:80]}' {fault}; {REMEDY}")


REMEDY = "get the file that its authors publish, or save the network's state_dict()"


def _tensor_fault(value: Tensor) -> str | None:
    """Return why a tensor cannot be a parameter; None where nothing speaks against it."""
    import torch

    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        return f"is {value.layout} of {value.dtype}, not plain numbers"
    if value.is_meta:
        return "has a shape and no numbers"
    if value.numel() > 1 and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"claims {value.numel()} numbers, and the file holds fewer"
    return None


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _entry_names(contents: Mapping[str, Any]) -> str:
    found = [f"'{name}'" for name, value in contents.items() if isinstance(value, Mapping)]
    return ", ".join(found[:KEYS_SHOWN])
