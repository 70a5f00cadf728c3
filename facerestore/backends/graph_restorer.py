"""The network of a weights file that holds its graph, as a restorer: run without torch, but for what only torch can."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from facerestore.backends.engine_restorer import EngineRestorer, usual_batch
from facerestore.backends.exported.record import record_from_json
from facerestore.engines.graph import open_graph
from facerestore.errors import CheckpointError
from facerestore.weights.mixing import detail_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from facerestore.backends.restorer import Descriptor, Restorer
    from facerestore.engines import Engine, Place
    from facerestore.types import AlignedFace, ParsingMap, Stage
    from facerestore.weights.mixing import Base, Mix
    from facerestore.weights.weights_file import WeightsFile

RECORD = "network"
"""Entry of the header that says how faces are given to the graph; a `NetworkRecord` as JSON."""


def load_graph(
    file: WeightsFile,
    place: Place,
    *,
    own: Descriptor,
    in_torch: Callable[[], Restorer],
    mix: Mix | None = None,
    base: Base | None = None,
) -> GraphRestorer:
    """Return a restorer that runs the graph of a weights file.

    Args:
        file: one that ``holds_graph``.
        place: where it runs.
        own: what its backend declares.
        mix: what its parameters are mixed with; None takes them as they are.
        base: what its network refines; None where it refines nothing.
        in_torch: makes the same network in torch.

    Raises:
        CheckpointError: the file is damaged, or does not say how faces are given to it.
        ConfigError: the provider is unknown or not available here.
        BackendError: ONNX Runtime is not installed, or the network takes something else than faces.
    """
    if RECORD not in file.metadata:
        raise CheckpointError(
            f"'{file.path}' holds a graph and does not say how faces are given to it; export it again"
        )
    record = record_from_json(file.metadata[RECORD], file.path)
    engine = open_graph(file, place, mix=mix, base=base)
    found = record.described(own.name, usual_batch(record.face_size, engine))
    # A graph is that of one task; a kind of network that knows others does those in torch.
    tasks = own.tasks if record.purpose in own.tasks else (record.purpose,)
    own = replace(own, detail=detail_of(mix, base), tasks=tasks)
    shared = (
        "face_size",
        "input_size",
        "network_range",
        "drawn_maps",
        "parser_weights",
        "precision",
        "max_batch",
    )
    own = replace(own, **{field: getattr(found, field) for field in shared})
    return GraphRestorer(own, engine, in_torch, purpose=record.purpose)


class GraphRestorer(EngineRestorer):
    """Restores faces with the graph of a weights file.

    What the graph cannot do, another number format or task, or showing its stages, the same network does in torch.
    """

    def __init__(
        self, descriptor: Descriptor, engine: Engine, in_torch: Callable[[], Restorer], *, purpose: str
    ) -> None:
        super().__init__(descriptor, engine)
        self._make_in_torch, self._purpose = in_torch, purpose

    @cached_property
    def in_torch(self) -> Restorer:
        """The same network in torch, loaded when it is first asked for."""
        return self._make_in_torch()

    def for_task(self, purpose: str) -> Restorer:
        """Return the restorer of a task."""
        return self if purpose == self._purpose else self.in_torch.for_task(purpose)

    def with_fidelity(self, value: float) -> Restorer:
        """Return the restorer with another weight between quality (0) and fidelity to the input (1)."""
        return self.in_torch.with_fidelity(value)

    def with_precision(self, precision: str) -> Restorer:
        """Return the restorer computing in another number format, which torch does."""
        return self if precision == "float32" else self.in_torch.with_precision(precision)

    def stages(self, face: AlignedFace, parsing_map: ParsingMap) -> list[Stage]:
        """Return what the network makes of a face at each scale, coarsest first; torch shows it."""
        return self.in_torch.stages(face, parsing_map)
