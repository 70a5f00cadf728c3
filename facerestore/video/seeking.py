"""Where to begin to decode so that a frame, given by its number, is what it is when all before it are decoded.

Only packets are read up to there. Frames are numbered by the times of their packets, and a packet counts as a place to
begin at where its codec says that nothing shown after it refers to anything before it: of H.264 an IDR picture
(ITU-T H.264, 7.4.1.2.4), of HEVC any random access picture, whose leading pictures are left out (ITU-T H.265, 8.1.3).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, dropwhile
from typing import Any, NamedTuple

_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers, in FFmpeg's names, whose packets are whole pictures and are timed each."""

_BY_PACKET = frozenset({"vp9", "av1", "prores", "ffv1", "mjpeg", "dnxhd"})
"""Codecs of which a packet that the container calls a key depends on none before it."""

_REORDERED = 16
"""Most pictures that are decoded before one and shown after it (ITU-T H.264, A.3.1, and H.265, A.4.2)."""

_PROGRESSIVE = (0, 1)
"""FFmpeg's numbers of an unknown order of fields, and of none."""


class Entry(NamedTuple):
    """A packet to begin at.

    Attributes:
        pts: when its picture is shown, ticks.
        dts: when it is decoded, ticks, as far as the container tells.
        times: of it and of the frames after it, in the order in which they are shown, up to the one that is sought.
        number: of its frame.
    """

    pts: int
    dts: int
    times: Sequence[int]
    number: int


def entry_for(container: Any, stream: Any, number: int) -> Entry | None:
    """Return the last packet that a frame can be decoded from; None where all before it have to be decoded.

    Args:
        container: PyAV's, at its beginning.
        stream: of the pictures.
        number: of the frame.
    """
    context = stream.codec_context
    if container.format.name not in _FORMATS or int(context.field_order) not in _PROGRESSIVE:
        return None
    times, keys = list[int](), list[tuple[int, int]]()
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None or packet.is_corrupt:
            return None
        insort(times, packet.pts)
        if packet.is_keyframe and _is_entry(context, packet):
            keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if len(times) > number + _REORDERED + 1:
            break
    if len(times) <= number or not keys or times[0] != keys[0][0] or len(set(times)) < len(times):
        return None
    pts, dts = max(key for key in keys if key[0] <= times[number])
    index = bisect_left(times, pts)
    return Entry(pts, dts, times[index : number + 1], index) if index else None


def packets_from(container: Any, stream: Any, entry: Entry) -> Iterator[Any]:
    """Return the packets of a stream from an entry on; none where it does not come."""
    container.seek(entry.dts, stream=stream)
    return dropwhile(lambda packet: packet.pts != entry.pts, container.demux(stream))


def frames_from(decoded: Iterable[Any], entry: Entry) -> Iterator[Any] | None:
    """Return the decoded frames from the last of an entry's times on; None where they are not as its packets said.

    Args:
        decoded: what the packets from the entry on give.
        entry: where they begin.
    """
    shown = (frame for frame in decoded if frame.pts is None or frame.pts >= entry.pts)
    for time in entry.times:
        frame = next(shown, None)
        if frame is None or frame.pts != time or frame.interlaced_frame:
            return None
    return chain([frame], shown)


def _is_entry(context: Any, packet: Any) -> bool:
    """Say whether a key packet depends on none before it, nor what is shown after it."""
    if context.name in _BY_PACKET:
        return True
    facts, data = bytes(context.extradata or b""), bytes(packet)
    if context.name == "h264" and len(facts) > 4 and facts[0] == 1:
        return any(unit[0] & 31 == 5 for unit in _units(data, (facts[4] & 3) + 1))
    if context.name == "hevc" and len(facts) > 21 and facts[0] == 1:
        return any(16 <= unit[0] >> 1 & 63 <= 21 for unit in _units(data, (facts[21] & 3) + 1))
    return False


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the first byte of each unit of a picture, each behind its length (ISO/IEC 14496-15)."""
    place = 0
    while place + length_bytes < len(data):
        size = int.from_bytes(data[place : place + length_bytes], "big")
        yield data[place + length_bytes : place + length_bytes + 1]
        place += length_bytes + size
