"""What the front and the processes that restore say to each other; nothing here imports what computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from facerestore.config import OutputConfig, RestoreConfig

if TYPE_CHECKING:
    from facerestore.pipeline.restore import RestorePipeline
    from facerestore.serve.problems import Problem


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a process is set up.

    Attributes:
        config: what the service was started with.
        at_a_time: orders at a time; 0 for automatic.
        build: makes a pipeline, a function that another process can import; None for the one that restores.
    """

    config: RestoreConfig
    at_a_time: int = 0
    build: Callable[[RestoreConfig], RestorePipeline] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with a photo.

    Attributes:
        data: its file.
        restore: how.
        output: how the result is written.
        look: its faces are only found and judged.
    """

    data: bytes
    restore: RestoreConfig
    output: OutputConfig
    look: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order.

    Attributes:
        report: all facts of the photo.
        picture: the file of the result; None where faces were only looked at.
        format: upper-case Pillow name of its format.
    """

    report: dict[str, Any]
    picture: bytes | None = None
    format: str | None = None


class Ready(NamedTuple):
    """A process has its networks: which, and how many orders it does at a time."""

    description: str
    at_a_time: int


class Step(NamedTuple):
    """How far an order is; see ``facerestore.pipeline.progress.Progress``."""

    stage: str
    number: int
    stages: int


class Told(NamedTuple):
    """What a process tells of an order: how far it is, what came of it, or why nothing did."""

    number: int
    content: Step | Answer | Problem
