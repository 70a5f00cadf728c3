"""OpenCV as decoder and as JPEG encoder, with no copy of the picture beside the one that is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facerestore.io._files import Buffer
from facerestore.io._source import Samples, Source

MEMORY_FILES = Path("/proc/self/fd")
"""Where Linux shows a process its open files (proc(5)), those in memory among them."""
_BAND_PIXELS = 2**20  # pixels whose channels are moved at a time: 3 MB


def opencv_pixels(source: Source, parts: Iterable[Buffer], flags: int) -> Samples:
    """Return a picture file's pixels as OpenCV decodes them: (H, W), (H, W, 3) or (H, W, 4), blue first by default.

    Args:
        source: names the picture in errors.
        parts: the file, or a cleaned copy of it, whole or in pieces.
        flags: ``cv2.IMREAD_*``.

    Raises:
        ImageError: the pixel data are damaged.
        cv2.error: they are, or there is not the memory for them.
    """
    import cv2

    with _as_file(parts) as (path, data):
        # Into an array of its own making: OpenCV's other ways decode first, and copy the picture then.
        decoded = cv2.imdecode(data, flags) if path is None else cv2.imread(str(path), None, flags)
    if decoded is None:
        raise source.damaged("the pixel data cannot be decoded")
    pixels: Samples = decoded
    return pixels


@contextmanager
def _as_file(parts: Iterable[Buffer]) -> Iterator[tuple[Path | None, Samples]]:
    """Make a file in memory of a picture's bytes; where the system has none, give them as one (N,) uint8 array."""
    if not hasattr(os, "memfd_create"):
        yield None, np.frombuffer(b"".join(parts), np.uint8)
        return
    descriptor = os.memfd_create("picture")
    with os.fdopen(descriptor, "w+b") as stream:
        stream.writelines(parts)
        stream.flush()
        path = MEMORY_FILES / str(descriptor)
        if path.exists():
            yield path, np.empty(0, np.uint8)
        else:  # no /proc, as in some sandboxes
            stream.seek(0)
            yield None, np.frombuffer(stream.read(), np.uint8)


def swap_red_and_blue(pixels: Samples) -> Samples:
    """Return (H, W, 3) pixels, turned in place from red first to blue first or back."""
    import cv2

    for band in _row_bands(pixels):
        pixels[band] = cv2.cvtColor(pixels[band], cv2.COLOR_BGR2RGB)
    return pixels


def with_blue_first(pixels: Samples) -> Samples:
    """Return a copy of (H, W, 3) RGB pixels as BGR."""
    import cv2

    swapped: Samples = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return swapped


def opencv_jpeg(samples: Samples, quality: int, *, progressive: bool = False) -> memoryview:
    """Return the JPEG of (H, W, 1) grey or (H, W, 3) BGR uint8 pixels, colour at full resolution.

    Raises:
        ValueError: OpenCV cannot encode them.
    """
    import cv2

    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    try:
        done, encoded = cv2.imencode(".jpg", samples, options)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if not done:
        raise ValueError("OpenCV gives no reason")
    return np.asarray(encoded, dtype=np.uint8).data


def without_alpha(pixels: Samples) -> tuple[Samples, Samples]:
    """Return (H, W, 3) RGB and (H, W) alpha of (H, W, 4) pixels, blue first, which are used up.

    Args:
        pixels: an array that owns its memory, in which the colours are moved together.
    """
    import cv2

    height, width = pixels.shape[:2]
    alpha: Samples = cv2.extractChannel(pixels, 3)
    colours = pixels.reshape(-1)[: height * width * 3].reshape(height, width, 3)
    for band in _row_bands(pixels):
        # Written before or at the place where it was read, and so never over rows that are still to come.
        colours[band] = cv2.cvtColor(pixels[band], cv2.COLOR_BGRA2RGB)
    return colours, alpha


def extracted(samples: Samples, channel: int) -> Samples:
    """Return (H, W) of one channel of contiguous (H, W, C) samples; numpy takes many times as long."""
    import cv2

    found: Samples = cv2.extractChannel(samples, channel)
    return found


def without_last(samples: Samples) -> Samples:
    """Return the first three channels of contiguous (H, W, 3) or (H, W, 4) samples, which are not changed."""
    import cv2

    if samples.shape[2] == 3:
        return samples
    colours: Samples = cv2.cvtColor(samples, cv2.COLOR_RGBA2RGB)
    return colours


def _row_bands(pixels: Samples) -> Iterator[slice]:
    """Yield the rows of a picture, some at a time."""
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    return (slice(top, top + rows) for top in range(0, pixels.shape[0], rows))
