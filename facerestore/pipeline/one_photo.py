"""The functions for one photo: each takes a configuration, or single fields of one as keywords.

What keywords there are is declared by ``RestoreConfig`` alone. A type checker knows them by `Keywords`, whose
parameters are handed on, and ``help`` by the signature that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from facerestore.config import RestoreConfig, make_config

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
    """

    config: RestoreConfig | None = None
    channels: Channels = field(default="rgb", kw_only=True)


class OnePhoto(Generic[P]):
    """Makes a function of a photo, a configuration and the order of channels take `Keywords` in place of the two."""

    def __init__(self, keywords: Callable[P, object], **presets: object) -> None:
        """Take the class of the keywords, and the fields that have another default where no configuration is given."""
        self._keywords = {
            name: each.replace(default=presets.get(name, each.default))
            for name, each in signature(keywords).parameters.items()
        }
        self._presets = presets

    @overload
    def __call__(
        self, function: Callable[[Photo, RestoreConfig, Channels], Result]
    ) -> Callable[Concatenate[Photo, P], Result]: ...

    @overload
    def __call__(
        self, function: Callable[[Photo, More, RestoreConfig, Channels], Result]
    ) -> Callable[Concatenate[Photo, More, P], Result]: ...

    def __call__(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return the function that takes `Keywords` after its photo, and hands a configuration to ``function``."""
        own = signature(function)
        *photo, _, _ = own.parameters.values()
        taken = own.replace(parameters=[*photo, self._keywords["config"], self._keywords["channels"]])

        @wraps(function)
        def called(*given: Any, **options: Any) -> Result:
            bound = taken.bind(
                *given, **{name: options.pop(name) for name in taken.parameters if name in options}
            )
            bound.apply_defaults()
            config, channels = bound.arguments.pop("config"), bound.arguments.pop("channels")
            fields = self._presets if config is None else asdict(config)
            return function(
                *bound.arguments.values(), make_config(RestoreConfig, {**fields, **options}), channels
            )

        called.__signature__ = own.replace(parameters=[*photo, *self._keywords.values()])  # type: ignore[attr-defined]
        return called
