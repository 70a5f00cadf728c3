"""Restoration backends behind one base class.

A backend is two files: the network in `facerestore.archs`, and here an adapter derived from
`facerestore.backends.base.TensorRestorer`. Adapters are named in a table and imported when they are asked
for. Other packages add theirs (`facerestore.extensions`); ``examples/custom_backend`` shows how.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import isabstract, isclass
from typing import TYPE_CHECKING

from facerestore.backends.calling import adapter_errors
from facerestore.backends.restorer import DECLARE, Restorer, has_own
from facerestore.engines import Place
from facerestore.engines.graph import runs_graph
from facerestore.errors import BackendError, CheckpointError, ConfigError
from facerestore.extensions import OWN_PACKAGE, Extension, Extensions
from facerestore.weights.checkpoint import load_state_dict, open_weights
from facerestore.weights.mixing import BASE, DETAIL_OF, Base, Mix, detail_of, mixed, without_the_rest

if TYPE_CHECKING:
    import torch

    from facerestore.weights.weights_file import WeightsFile, WeightsSource

BACKENDS: Mapping[str, str] = {
    "codeformer": "facerestore.backends.codeformer:CodeFormerRestorer",
    "gfpgan": "facerestore.backends.foreign:GFPGANRestorer",
    "gpen": "facerestore.backends.gpen:GPENRestorer",
    "lite": "facerestore.backends.lite:LiteRestorer",
    "mmrb": "facerestore.backends.mmrb:MMRBRestorer",
    "psfr": "facerestore.backends.psfr:PSFRRestorer",
    "restoreformer": "facerestore.backends.foreign:RestoreFormerRestorer",
}
"""Name of each backend that comes with facerestore, and where its class is."""

# How many keys of an unknown state dict a message shows: enough to recognise the network by.
KEYS_SHOWN = 5

LEAST_SHARE = 0.5
"""Of a backend's keys, from which on a file that is not recognised is likened to it."""


def backend_sources() -> list[Extension]:
    """Return all backends that are installed, our own first, those that cannot be used included."""
    return [*map(_own, BACKENDS), *EXTENSIONS.outside()]


def backend_names() -> list[str]:
    """Return the names of the backends that may be asked for, our own first."""
    return EXTENSIONS.names()


def backend_class(name: str) -> type[Restorer]:
    """Return the class of a backend, imported now.

    Raises:
        ConfigError: no backend has this name, or two packages claim it.
        BackendError: the backend's module cannot be imported, or what it holds is no backend.
    """
    return EXTENSIONS.import_one(_own(name)) if name in BACKENDS else EXTENSIONS.load(name)


def register_backend(name: str, backend: type[Restorer]) -> None:
    """Let ``backend="NAME"`` mean a class of yours, in this process.

    Args:
        name: not that of another backend.
        backend: derived from `Restorer` or `TensorRestorer`.

    Raises:
        ConfigError: the name is taken.
        BackendError: the class is no backend.
    """
    EXTENSIONS.register(name, backend)


def _own(name: str) -> Extension:
    return Extension(EXTENSIONS.kind, name, BACKENDS[name], OWN_PACKAGE)


def needs_weights(name: str) -> bool:
    """Say whether a backend is made from a weights file; one that is not is made by `create_backend`.

    Raises:
        ConfigError: no backend has this name.
        BackendError: it cannot be imported.
    """
    return backend_class(name).descriptor.needs_weights


def identify(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the name of the one backend that these parameters belong to.

    Our own backends are asked first; those of other packages only when none of ours recognises the keys, so
    that no package can change what our weights do.

    Raises:
        CheckpointError: no backend claims them, or several do; backends that could not be asked are named.
    """
    own = [name for name in BACKENDS if _claims(_own(name), state_dict)]
    claims, broken = (own, []) if own else _foreign_claims(state_dict)
    if len(claims) == 1:
        return claims[0]
    shown = (
        f"these {len(state_dict)} keys ({', '.join(repr(key) for key in list(state_dict)[:KEYS_SHOWN])}, ...)"
    )
    unasked = f"; one could not be asked: {'; '.join(broken)}" if broken else ""
    if claims:
        raise CheckpointError(
            f"backends {' and '.join(claims)} both claim {shown}; name one of them{unasked}"
        )
    raise CheckpointError(
        f"no backend recognises {shown}{_nearest(state_dict)}; give weights of one of {', '.join(backend_names())},"
        " such as"
        f" 'facerestore weights list --purpose restore' shows{unasked}"
    )


def _nearest(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return which backend of ours has most of its keys here, and the first that is missing; nothing below half."""
    best, words = LEAST_SHARE, ""
    for name in BACKENDS:
        try:
            example = backend_class(name).example_state_dict()
        except (BackendError, ConfigError):  # spandrel is not installed, or there is no example
            continue
        missing = [key for key in example if key not in state_dict]
        share = 1 - len(missing) / len(example)
        if missing and share >= best:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            best, words = share, f"; most like backend '{name}', of whose keys '{missing[0]}'{more} missing"
    return words


def _other_backend(name: str, state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return what the keys are that are not those of backend ``name``, and what to do."""
    try:
        found = identify(state_dict)
    except CheckpointError:
        shown = ", ".join(repr(key) for key in list(state_dict)[:KEYS_SHOWN])
        return f"and no other backend recognises them ({shown}, ...){_nearest(state_dict)}; give weights of '{name}'"
    return f"but those of '{found}'; give --backend {found}, or leave the backend out"


def load_backend(
    source: WeightsSource,
    *,
    name: str | None = None,
    device: torch.device | str = "cpu",
    place: Place | None = None,
    mix: Mix | None = None,
    base: Base | None = None,
) -> Restorer:
    """Return a restorer with the parameters of a weights file.

    Args:
        source: safetensors or PyTorch file; read without running code.
        name: the backend; None recognises it by the file's keys.
        device: where the network runs.
        mix: what the parameters are mixed with; None takes them as they are.
        place: where the graph that the file may hold is to run; None for torch.
        base: what its network refines; None where it refines nothing.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of no known network, or does not fit.
        ConfigError: no backend is called ``name``, or it takes no weights; or the provider is unknown.
        BackendError: a backend of another package is broken.
    """
    file = open_weights(source)
    own = file.metadata.get("backend", "")
    if place is not None and own in BACKENDS and name in (None, own) and runs_graph(file, place):
        from facerestore.backends.graph_restorer import load_graph

        in_torch = partial(load_backend, file, name=own, device=device, mix=mix, base=base)
        return load_graph(
            file, place, mix=mix, base=base, own=backend_class(own).descriptor, in_torch=in_torch
        )
    state_dict = _mixed(file, mix)
    if base is not None:
        state_dict |= {f"{BASE}{key}": value for key, value in _mixed(base.source, base.mix).items()}
    try:
        chosen = _recognise(file, state_dict) if name is None else name
        found = backend_class(chosen)
        if not found.descriptor.needs_weights:
            raise ConfigError(f"backend '{chosen}' takes no weights; leave out '{file.path}'")
        with adapter_errors(f"backend '{chosen}' cannot load '{file.path}'"):
            if name is not None and not found.detect(state_dict):
                raise CheckpointError(
                    f"its keys are not those of backend '{chosen}', {_other_backend(chosen, state_dict)}"
                )
            restorer = _whole(found.build(state_dict, device=device)).for_header(file.metadata)
            share = detail_of(mix, base)
            return restorer if share is None else restorer.redeclared(detail=share)
    except CheckpointError as error:
        raise CheckpointError(f"'{file.path}': {error}") from error


def _mixed(source: WeightsSource, mix: Mix | None) -> dict[str, torch.Tensor]:
    """Return the parameters of a file, mixed with others where they are to be.

    Raises:
        CheckpointError: a file cannot be read, or they do not go together.
    """
    file = open_weights(source)
    if mix is None:
        if DETAIL_OF in file.metadata:
            raise CheckpointError(without_the_rest(file.metadata[DETAIL_OF]))
        return load_state_dict(file)
    import torch

    base, own = ({k: v.numpy() for k, v in load_state_dict(f).items()} for f in (mix.base, file))
    made = mixed(base, own, mix.share, name=str(file.path))
    whole = {**base, **made} if DETAIL_OF in file.metadata else made
    return {key: torch.from_numpy(value) for key, value in whole.items()}


def _recognise(file: WeightsFile, state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the backend of a file; of one that ``facerestore train export`` wrote for another use, say which."""
    try:
        return identify(state_dict)
    except CheckpointError as error:
        header = file.metadata
        recipe = header.get("recipe")
        if not recipe or header.get("purpose") == "restore":
            raise
        remedy = "give it with --parser" if header.get("purpose") == "parse" else "give another file"
        raise CheckpointError(
            f"it is of recipe '{recipe}' of 'facerestore train', which restores no faces; {remedy}"
        ) from error


def create_backend(name: str, *, device: torch.device | str = "cpu") -> Restorer:
    """Return the restorer of a backend that needs no weights.

    Args:
        name: the backend.
        device: where it runs, if it runs on devices at all.

    Raises:
        ConfigError: no backend is called ``name``, or it needs weights.
        BackendError: it cannot be imported or made.
    """
    found = backend_class(name)
    if found.descriptor.needs_weights:
        raise ConfigError(f"backend '{name}' needs weights; give them with --weights")
    with adapter_errors(f"backend '{name}' cannot be made"):
        return _whole(found.create(device=device))


def _lack(_: str, found: object) -> str | None:
    """Return what a class must have and has not to be a backend; None where nothing is amiss."""
    if not isclass(found):
        return f"{found!r} is no class"
    if not issubclass(found, Restorer) or not has_own(found, "descriptor"):
        return f"class {found.__name__} does not say what it is; {DECLARE}"
    missing = (
        []
        if not found.descriptor.needs_weights
        else [m for m in ("detect", "build") if not has_own(found, m)]
    )
    if isabstract(found):
        missing += sorted(found.__abstractmethods__)
    return f"class {found.__name__} lacks {', '.join(missing)}" if missing else None


def _whole(restorer: object) -> Restorer:
    """Return what an adapter made, if it is a restorer of faces of some size.

    Raises:
        BackendError: it is not.
    """
    if not isinstance(restorer, Restorer):
        raise BackendError(f"{type(restorer).__name__} is no restorer; {DECLARE}")
    if restorer.face_size < 1:
        raise BackendError(
            f"the descriptor of '{restorer.name}' states no face_size; add it: the side in pixels"
        )
    return restorer


def _claims(source: Extension, state_dict: Mapping[str, torch.Tensor]) -> bool:
    found = EXTENSIONS.import_one(source)
    return found.descriptor.needs_weights and bool(found.detect(state_dict))


def _foreign_claims(state_dict: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Return which backends of other packages claim the keys, and what is wrong with those that cannot say."""
    claims: list[str] = []
    broken: list[str] = []
    for name, source in EXTENSIONS.usable().items():
        try:
            claims += [name] if _claims(source, state_dict) else []
        except Exception as error:  # one broken package must not keep the others from answering
            broken.append(str(error) if isinstance(error, BackendError) else f"backend '{name}': {error!r}")
    return claims, broken


EXTENSIONS: Extensions[type[Restorer]] = Extensions(
    kind="backend", own=BACKENDS, lack=_lack, reserved=("auto",), error=BackendError
)
"""Backends of other packages."""
