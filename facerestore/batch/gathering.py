"""Faces of many photos in one call of a network: what gives an accelerator work enough while photos come one by one.

Several threads take a photo each through the line. On an accelerator they share the networks through what is here: one
call of a network for the faces of all threads that wait for it, so that its batches are as full as the photos under way
allow. On CUDA a second call is prepared and handed over while the faces of the first are fetched; the kernels of both
go to one stream, where they run one after the other, and networks keep nothing between calls but recordings, which have
a lock (``facerestore.archs.replay``). Everywhere else there is one call at a time.

How busy that keeps a GPU has not been measured, since it was written without one: ``python -m benchmarks.batch RESULTS
--device cuda`` does that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from facerestore.backends.half import RestoredFaces, precisions_of
from facerestore.backends.restorer import Restorer
from facerestore.errors import BackendError
from facerestore.parsing.network_parser import NetworkParser
from facerestore.pipeline.per_face import FirstRestorer, Lines, per_face
from facerestore.pipeline.restore import RestorePipeline
from facerestore.types import AlignedFace, FaceImage, ParsingMap, Stage

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    """What one thread waits for, and what became of it."""

    def __init__(self, items: Sequence[Item], kind: Hashable) -> None:
        self.items = list(items)
        self.kind = kind
        self.results: list[Result] | None = None
        self.error: Exception | None = None
        self.over = threading.Event()

    def answer(self, results: list[Result] | None, error: Exception | None = None) -> None:
        """Let the thread go on."""
        self.results, self.error = results, error
        self.over.set()


class Gatherer(Generic[Item, Result]):
    """One network for several threads: whoever finds it free takes along all that wait.

    Nobody waits for others to come: while the network works for one caller, those that arrive gather, and the next call
    serves them all. A result is that of the network alone, which does not depend on its neighbours but for rounding.

    Args:
        serve: runs the network for items of one kind.
        name: of the network, for messages.
        calls: of the network at a time.
    """

    def __init__(
        self, serve: Callable[[Sequence[Item]], Sequence[Result]], *, name: str, calls: int = 1
    ) -> None:
        self._run, self._name = serve, name
        self._waiting: list[_Waiting[Item, Result]] = []
        self._arrival = threading.Lock()
        self._calls = threading.BoundedSemaphore(calls)

    def ask(self, items: Sequence[Item], *, kind: Hashable = None) -> list[Result]:
        """Return one result for each item; only items of one kind go into one call.

        Raises:
            Exception: what the network raised for these items.
        """
        if not items:
            return []
        own = _Waiting[Item, Result](items, kind)
        with self._arrival:
            self._waiting.append(own)
        with self._calls:
            self._serve(self._taken_with(own))
        own.over.wait()  # where another thread has taken it along, which may be under way
        if own.error is not None:
            raise own.error
        return own.results or []

    def _taken_with(self, own: _Waiting[Item, Result]) -> list[_Waiting[Item, Result]]:
        """Return all requests that wait; none where another thread has taken ``own`` along."""
        with self._arrival:
            if own not in self._waiting:
                return []
            batch, self._waiting = self._waiting, []
            return batch

    def _serve(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        """Run the network for all requests; where that fails, for each alone, so that only the faulty one fails."""
        try:
            for kind in dict.fromkeys(request.kind for request in batch):
                requests = [request for request in batch if request.kind == kind]
                if len(requests) > 1 and self._serve_together(requests):
                    continue
                for request in requests:
                    self._serve_alone(request)
        finally:  # of a thread that is broken off, the others are told
            for request in batch:
                if not request.over.is_set():
                    request.answer(None, BackendError(f"'{self._name}' was interrupted; run it again"))

    def _serve_together(self, requests: Sequence[_Waiting[Item, Result]]) -> bool:
        """Run the network once for several threads; say whether that went well."""
        items = [item for request in requests for item in request.items]
        try:
            results = list(self._run(items))
        except Exception:  # whose fault it was, and what to tell whom, each thread's own call will say
            return False
        if len(results) != len(items):
            return False
        for request in requests:
            own, results = results[: len(request.items)], results[len(request.items) :]
            request.answer(own)
        return True

    def _serve_alone(self, request: _Waiting[Item, Result]) -> None:
        try:
            request.answer(list(self._run(request.items)))
        except Exception as error:  # belongs to the thread whose items these are, which raises it
            request.answer(None, error)


def calls_at_a_time(network: Restorer | NetworkParser) -> int:
    """Return how many calls of a network may be under way: a second one where it waits for its device by itself."""
    return 2 if network.overlaps else 1


_Face = tuple[AlignedFace, ParsingMap | None]
_Computed = tuple[FaceImage, str | None]


class GatheringRestorer(Restorer):
    """A restorer for several threads: all faces that wait go into one call of its network.

    Args:
        restorer: runs the network.

    Attributes:
        alone: that restorer.
    """

    def __init__(self, restorer: Restorer) -> None:
        self.descriptor = restorer.descriptor
        self.alone = restorer
        calls = calls_at_a_time(restorer)
        self._gatherer = Gatherer[_Face, _Computed](self._serve, name=restorer.name, calls=calls)

    @property
    def remarks(self) -> Sequence[str]:
        """What the restorer remarks."""
        return self.alone.remarks

    def stages(self, face: AlignedFace, parsing_map: ParsingMap) -> list[Stage]:
        """Return the stages of the restorer, which has them of one face at a time."""
        return self.alone.stages(face, parsing_map)

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> RestoredFaces:
        """Return one restored face per face, as the restorer gives them.

        Raises:
            BackendError: the network failed with these faces.
        """
        maps = [None] * len(faces) if parsing_maps is None else list(parsing_maps)
        if len(maps) != len(faces):
            return RestoredFaces(self.alone.restore(faces, parsing_maps))  # which says what is wrong
        computed = self._gatherer.ask(list(zip(faces, maps, strict=True)), kind=parsing_maps is None)
        precisions = [precision for _, precision in computed]
        known = None if None in precisions else [str(precision) for precision in precisions]
        return RestoredFaces((face for face, _ in computed), precisions=known)

    def _serve(self, faces: Sequence[_Face]) -> list[_Computed]:
        maps = [one for _, one in faces if one is not None]
        restored = self.alone.restore([face for face, _ in faces], maps or None)
        if len(restored) != len(faces):
            raise BackendError(f"'{self.name}' gave {len(restored)} results for {len(faces)} faces")
        return list(zip(restored, precisions_of(restored), strict=True))


class GatheringParser:
    """A parser network for several threads: all faces that wait go into one call.

    Args:
        parser: runs the network.
    """

    def __init__(self, parser: NetworkParser) -> None:
        self.name = parser.name
        calls = calls_at_a_time(parser)
        self._gatherer = Gatherer[AlignedFace, ParsingMap](parser.parse, name=parser.name, calls=calls)

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one map per face; see ``NetworkParser.parse``."""
        return self._gatherer.ask(faces)


def gathered(pipeline: RestorePipeline) -> RestorePipeline:
    """Return a pipeline whose networks serve all threads that wait in one call; the one given stays as it is."""
    if isinstance(pipeline.restorer, FirstRestorer):
        own = pipeline.restorer.lines
        lines = Lines(own.available, lambda name: gathered(own.get(name)))
        return replace(pipeline, restorer=FirstRestorer(lines), procedure=per_face(lines))
    parser = pipeline.parser
    return replace(
        pipeline,
        restorer=GatheringRestorer(pipeline.restorer),
        parser=GatheringParser(parser) if isinstance(parser, NetworkParser) else parser,
    )
