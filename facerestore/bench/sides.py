"""What is measured, in words: one side of a comparison, and the vocabulary of ``--against``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from facerestore.engines.device import PRECISIONS
from facerestore.errors import ConfigError, parse_whole, refusing
from facerestore.weights.weights_file import looks_like_path

Form: TypeAlias = Literal["shipped", "eager", "reference"]
"""``shipped``: the network as facerestore runs it; ``eager``: as it is trained, before it is made quick for inference;
``reference``: the plain published maths. All with the same weights."""

FORMS: tuple[Form, ...] = ("shipped", "eager", "reference")

TF32 = "tf32"
ALL_PRECISIONS = (*PRECISIONS, TF32)
"""What networks compute in. ``tf32`` is float32 whose products on CUDA round their factors."""

SETTINGS = ("form", "threads", "device", "precision", "batch", "size", "provider")
"""What ``NAME=VALUE`` of ``--against`` may set."""

RANDOM = "random"
WEIGHTS = (RANDOM, "installed")
"""Which weights a network has: drawn ones, or those that are installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One network as it is run.

    Attributes:
        network: a backend (``gpen``), catalog weights (``gpen.bfr-512``), a file, an exported network
            (``onnx:gpen.onnx``), or a parser network (``parsenet``); with ``+`` a restorer and its parser
            (``psfr+parsenet``), which then run one after the other.
        random: the weights are drawn; else they are those that are installed.
        size: side of the faces, pixels; None where the weights tell it.
        form: how the network is computed.
        threads: CPU threads; 0 leaves the choice to torch.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: one of `ALL_PRECISIONS`.
        batch: faces that are handed over in one call.
        provider: what runs an exported network; None follows the device.
    """

    network: str
    random: bool = False
    size: int | None = None
    form: Form = "shipped"
    threads: int = 0
    device: str = "auto"
    precision: str = "float32"
    batch: int = 1
    provider: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without looking at the network.

        Raises:
            ConfigError: a value is unknown or out of its range.
        """
        if not self.network:
            raise ConfigError("no network is named; give a backend, weights or a parser")
        if self.form not in FORMS:
            raise ConfigError(f"form is '{self.form}'; give {' or '.join(FORMS)}")
        if self.precision not in ALL_PRECISIONS:
            raise ConfigError(f"precision is '{self.precision}'; give one of {', '.join(ALL_PRECISIONS)}")
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; give 0 for automatic, or a positive number")
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}; give 1 face or more")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"size is {self.size} px; give a positive number")

    @property
    def words(self) -> list[str]:
        """The networks, one by one; a file is one, whatever its name holds."""
        is_file = ":" in self.network or looks_like_path(self.network)
        return [self.network] if is_file else self.network.split("+")

    @property
    def same_maths(self) -> tuple[object, ...]:
        """What two sides must share so that their outputs should be equal."""
        return self.network, self.random, self.size, self.batch

    @property
    def settings(self) -> list[str]:
        """All that is not as usual, for people."""
        words = [RANDOM] if self.random else []
        words += [self.form] if self.form != "shipped" else []
        words += [f"{self.threads} threads" if self.threads > 1 else "1 thread"] if self.threads else []
        words += [self.device] if self.device != "auto" else []
        words += [self.precision] if self.precision != "float32" else []
        words += [f"batch {self.batch}"] if self.batch > 1 else []
        return words + ([self.provider] if self.provider is not None else [])

    @property
    def label(self) -> str:
        """All that sets it apart, for people."""
        name = self.network if self.size is None else f"{self.network} {self.size} px"
        return ", ".join([name, *self.settings])


def parse_against(text: str, side: Side) -> Side:
    """Return the other side of a comparison: ``side`` with what the words of ``--against`` change.

    Words are separated by commas. ``reference``, ``eager`` and ``shipped`` are forms; ``random`` and ``installed`` say
    which weights; ``NAME=VALUE`` sets one of `SETTINGS`; any other word is a network: a backend, weights or a parser,
    for which the size is that of its own weights unless set.

    Raises:
        ConfigError: a word is empty, given twice or no such setting, a value is no number, or nothing is changed.
    """
    changes: dict[str, object] = {}
    for word in (part.strip() for part in text.split(",")):
        name, value = _word_meaning(word, text)
        if name in changes:
            raise ConfigError(f"--against '{text}' says twice what '{name}' is; say it once")
        changes[name] = value
    if "network" in changes and "size" not in changes:
        changes["size"] = None
    other = replace(side, **changes)  # type: ignore[arg-type]  # checked in __post_init__
    if other == side:
        raise ConfigError(f"--against '{text}' changes nothing of '{side.label}'; name what is to differ")
    return other


def _word_meaning(word: str, text: str) -> tuple[str, object]:
    """Return the field of a side that a word sets, and its value."""
    if not word:
        raise ConfigError(f"--against '{text}' has an empty word; {_VOCABULARY}")
    if word in FORMS:
        return "form", word
    if word in WEIGHTS:
        return "random", word == RANDOM
    name, mark, value = word.partition("=")
    if not mark:
        return "network", word
    if name not in SETTINGS:
        raise ConfigError(f"--against '{text}': '{name}' is no setting; {_VOCABULARY}")
    if name not in ("threads", "batch", "size"):
        return name, value
    with refusing(lambda why: ConfigError(f"--against '{text}': {name} is '{value}'; give a whole number")):
        return name, parse_whole(value)


_VOCABULARY = (
    "give words such as reference, eager, a backend or weights, threads=1, device=cpu, precision=bf16, batch=1, size=64"
    " or provider=cpu, separated by commas"
)
