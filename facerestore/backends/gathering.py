"""Faces of many photos in one call of the network: what keeps an accelerator busy while photos come one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from facerestore.errors import BackendError
from facerestore.types import AlignedFace, FaceImage, ParsingMap, Restorer


class _Request:
    """Faces of one photo that wait for the network, and what became of them."""

    def __init__(self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None) -> None:
        self.faces = list(faces)
        self.parsing_maps = parsing_maps
        self.restored: list[FaceImage] | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.restored is not None or self.error is not None


class GatheringRestorer:
    """A restorer for several threads: whoever finds the network free takes along all faces that wait.

    Nobody waits for others to come: while the network works for one caller, those that arrive gather, and the next
    call serves them all. What a backend's batches hold is its own affair (``max_batch``). A face's result is that of
    the restorer inside, which does not depend on the faces beside it but for rounding.

    Args:
        restorer: runs the network; one call at a time.
    """

    def __init__(self, restorer: Restorer) -> None:
        self.name = restorer.name
        self.face_size = restorer.face_size
        self.needs_parsing = restorer.needs_parsing
        self._restorer = restorer
        self._waiting: list[_Request] = []
        self._arrival = threading.Lock()
        self._network = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Return what else the restorer inside has: its fidelity, its stages."""
        if name.startswith("_"):  # its own, and not yet there: a copy is being made
            raise AttributeError(name)
        return getattr(self._restorer, name)

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one restored face per face, as the restorer inside gives them.

        Raises:
            BackendError: the network failed with these faces.
        """
        if not faces:
            return []
        own = _Request(faces, parsing_maps)
        with self._arrival:
            self._waiting.append(own)
        with self._network:
            if not own.done:
                with self._arrival:
                    batch, self._waiting = self._waiting, []
                self._serve(batch)
        if own.error is not None:
            raise own.error
        return own.restored or []

    def _serve(self, batch: Sequence[_Request]) -> None:
        """Run the network for all requests; where that fails, for each alone, so that only the faulty one fails."""
        with_maps = [request for request in batch if request.parsing_maps is not None]
        without = [request for request in batch if request.parsing_maps is None]
        for requests in (with_maps, without):
            if len(requests) > 1 and self._serve_together(requests):
                continue
            for request in requests:
                self._serve_alone(request)

    def _serve_together(self, requests: Sequence[_Request]) -> bool:
        """Run the network once for several photos; say whether that went well."""
        faces = [face for request in requests for face in request.faces]
        maps = [one for request in requests for one in request.parsing_maps or ()]
        try:
            restored = self._restorer.restore(faces, maps or None)
        except Exception:  # whose fault it was, and what to tell whom, each photo's own call will say
            return False
        if len(restored) != len(faces):
            return False
        for request in requests:
            request.restored, restored = restored[: len(request.faces)], restored[len(request.faces) :]
        return True

    def _serve_alone(self, request: _Request) -> None:
        try:
            request.restored = list(self._restorer.restore(request.faces, request.parsing_maps))
        except Exception as error:  # belongs to the thread whose faces these are, which raises it
            request.error = error
        except BaseException:
            request.error = BackendError(f"backend '{self.name}' was interrupted; run it again")
            raise
