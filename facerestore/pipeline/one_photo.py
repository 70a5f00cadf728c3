"""The functions for one photo: each takes a configuration, or single fields of one as keywords.

What keywords there are is declared by ``RestoreConfig`` alone. A type checker knows them by `Keywords`, whose
parameters are handed on, and ``help`` by the signature that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar, overload

from facerestore.config import RestoreConfig, make_config
from facerestore.pipeline.progress import Cancel, OnProgress

Channels: TypeAlias = Literal["rgb", "bgr"]

P = ParamSpec("P")
Photo = TypeVar("Photo")
More = TypeVar("More")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Keywords(RestoreConfig):
    """What a function for one photo takes after the photo: its parameters are the keywords.

    Attributes:
        config: fields that are given beside it win over it.
        channels: order of the colours of an array.
        on_progress: told as each stage begins, and of each tile of the background.
        cancel: gives the photo up before its next stage or tile.
    """

    config: RestoreConfig | None = None
    channels: Channels = field(default="rgb", kw_only=True)
    on_progress: OnProgress | None = field(default=None, kw_only=True)
    cancel: Cancel | None = field(default=None, kw_only=True)


class Asked(NamedTuple):
    """What is asked for with a photo beside its configuration; see `Keywords`."""

    channels: Channels
    on_progress: OnProgress | None
    cancel: Cancel | None


class OnePhoto(Generic[P]):
    """Makes a function of a photo, a configuration and what else is asked take `Keywords` in place of the two."""

    def __init__(self, keywords: Callable[P, object], **presets: object) -> None:
        """Take the class of the keywords, and the fields that have another default where no configuration is given."""
        self._keywords = {
            name: each.replace(default=presets.get(name, each.default))
            for name, each in signature(keywords).parameters.items()
        }
        self._presets = presets

    @overload
    def __call__(
        self, function: Callable[[Photo, RestoreConfig, Asked], Result]
    ) -> Callable[Concatenate[Photo, P], Result]: ...

    @overload
    def __call__(
        self, function: Callable[[Photo, More, RestoreConfig, Asked], Result]
    ) -> Callable[Concatenate[Photo, More, P], Result]: ...

    def __call__(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return the function that takes `Keywords` after its photo, and hands a configuration to ``function``."""
        own = signature(function)
        *photo, _, _ = own.parameters.values()
        beside = [self._keywords[name] for name in ("config", *Asked._fields)]
        taken = own.replace(parameters=[*photo, *beside])

        @wraps(function)
        def called(*given: Any, **options: Any) -> Result:
            bound = taken.bind(
                *given, **{name: options.pop(name) for name in taken.parameters if name in options}
            )
            bound.apply_defaults()
            config, *asked = (bound.arguments.pop(each.name) for each in beside)
            fields = self._presets if config is None else asdict(config)
            return function(
                *bound.arguments.values(), make_config(RestoreConfig, {**fields, **options}), Asked(*asked)
            )

        called.__signature__ = own.replace(parameters=[*photo, *self._keywords.values()])  # type: ignore[attr-defined]
        return called
