"""The line of photos, frame after frame, with stages around its own that know what came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from facerestore.imaging.blending import Paste
from facerestore.pictures.result import RestoreResult
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import left_to_right
from facerestore.types import (
    Decision,
    DecodedImage,
    FoundFaces,
    Outcome,
    RestoredFace,
    search_of,
)
from facerestore.video.reading import Frame
from facerestore.video.steadying import Steadier, Steadying
from facerestore.video.tracking import Track, Tracks

WARM_FRAMES = 8
"""Frames before a segment that are gone through first, so that it begins as if it went on."""


GONE = Decision(Outcome.KEPT, "gone", "it was kept or not found in the frames before")
"""What is said of a face that has no share, though it is to be restored by this frame alone."""


def restored_frames(
    pipeline: RestorePipeline, frames: Iterable[Frame], *, begin: int, every: int
) -> Iterator[tuple[Frame, RestoreResult]]:
    """Yield each frame from ``begin`` on with what came of it.

    What is known of the frames before is forgotten every so often, and gathered anew from a few: so a segment is the
    same whether or not the ones before were made in the same run.

    Args:
        pipeline: of photos.
        frames: in their order.
        begin: number of the first one that is wanted.
        every: how many frames a segment has.
    """
    recent, line = deque[Frame](maxlen=WARM_FRAMES), ClipLine(pipeline)
    for frame in frames:
        if frame.index >= begin:
            if (frame.index - begin) % every == 0:
                line = ClipLine(pipeline, found=line.found)
                for earlier in recent:
                    line.run(earlier)
            yield frame, line.run(frame)
        recent.append(frame)


class ClipLine:
    """Restores the frames of a clip one after the other.

    Its stages are those of the pipeline, within others: faces that are found are followed, what is decided of them is
    eased, what restoring adds is steadied.

    Args:
        pipeline: of photos.
        found: faces of frames that were searched before, by their numbers.
        steadier: makes what steadies a face.
    """

    def __init__(
        self,
        pipeline: RestorePipeline,
        *,
        found: dict[int, FoundFaces] | None = None,
        steadier: Callable[[], Steadying] = Steadier,
    ) -> None:
        self.found = dict(found or {})
        self._base, self._guarded, self._tracks = pipeline.procedure, pipeline, Tracks(steadier)
        self._judged: Sequence[RestoredFace] = ()
        self._frame: Frame | None = None
        self._faces: list[Track] = []
        procedure = replace(
            pipeline.procedure,
            detect=self._detect,
            judge=self._judge,
            restore=self._restore,
            blend=self._blend,
        )
        self._pipeline = replace(pipeline, procedure=procedure, guard=None)

    def run(self, frame: Frame) -> RestoreResult:
        """Return what comes of the next frame."""
        self._frame = frame
        return self._pipeline.run(frame.image)

    def _detect(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with the faces that are followed."""
        frame = self._frame
        assert frame is not None, "a frame is run"
        found = self.found.get(frame.index)
        if found is None:
            faces = self._base.detect(parts, photo).found
            found = FoundFaces(faces, search=search_of(faces))
        self.found = {n: f for n, f in self.found.items() if n > frame.index - 2 * WARM_FRAMES} | {
            frame.index: found
        }
        if parts.config.aligned:
            self._faces = self._tracks.stay(found, frame.time_s)
        else:
            self._faces = self._tracks.follow(photo.pixels, found, frame.time_s)
        ordered = left_to_right([track.face for track in self._faces])
        self._faces.sort(key=lambda track: next(n for n, face in enumerate(ordered) if face is track.face))
        return replace(photo, found=FoundFaces(ordered, search=found.search))

    def _judge(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with its faces as the network is to have them."""
        photo = self._base.judge(parts, photo)
        self._judged = photo.faces
        pairs = zip(photo.faces, self._faces, strict=True)
        return replace(photo, faces=[self._settled(parts, photo, *pair) for pair in pairs])

    def _settled(self, parts: Parts, photo: Passage, face: RestoredFace, track: Track) -> RestoredFace:
        """Return a face for the network that has served it, and as to be restored where it was until now."""
        track.settle(face.choice)
        kept = face.decision.outcome is Outcome.KEPT
        if (kept and not track.shown) or (not kept and face.choice == track.choice):
            return face
        size = parts.restorer.face_size if track.choice is None else track.choice.face_size
        aligned = stages.cut(parts, photo, face.detected, size)
        still = Decision(
            Outcome.RESTORED, "restored", f"as in the frames before, though {face.decision.reason}"
        )
        return replace(face, decision=still if kept else face.decision, aligned=aligned, choice=track.choice)

    def _restore(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo, its restored faces steadied, and each with its share."""
        photo = self._base.restore(parts, photo)
        guarded = stages.guard(self._guarded, photo).faces
        each = zip(self._judged, photo.faces, guarded, self._faces, strict=True)
        return replace(photo, faces=[self._steadied(*one) for one in each])

    def _steadied(
        self, judged: RestoredFace, restored: RestoredFace, guarded: RestoredFace, track: Track
    ) -> RestoredFace:
        """Return a face as it is pasted in this frame.

        Args:
            judged: as it was judged in this frame alone.
            restored: by the network, where it was to be.
            guarded: as far as the guard lets it pass; of one that is refused, the past goes on and nothing is added.
            track: of the face.
        """
        kept = judged.decision.outcome is Outcome.KEPT
        track.ease(not kept and guarded.restored is not None)
        if track.share == 0 or restored.restored is None or restored.aligned is None:
            track.steadier.forget()
            if kept or guarded.restored is None:
                return judged if kept else guarded
            return replace(guarded, restored=None, decision=GONE)
        lq = restored.aligned.lq
        face = restored if guarded.restored is None else guarded
        passed = lq if guarded.restored is None else guarded.restored
        return replace(face, restored=track.steadier(passed, lq, track.lapse_s))

    def _blend(self, parts: Parts, photo: Passage) -> DecodedImage:
        """Return the frame with its faces in it, each as much as it has its share."""
        tracks = [
            track for track, face in zip(self._faces, photo.faces, strict=True) if face.restored is not None
        ]
        pastes = self._base.pastes(parts, photo)
        return stages.put_back(parts, photo, [self._eased(p, t) for p, t in zip(pastes, tracks, strict=True)])

    def _eased(self, paste: Paste, track: Track) -> Paste:
        """Return how a face goes back, its mask smoothed in time, and with its share."""
        mask = track.masks(paste.mask, track.lapse_s)
        return replace(paste, mask=mask, strength=paste.strength * track.share)
