"""Where what decoders raise becomes one of our own errors: all of it, and here alone.

Pillow, OpenCV, numpy, zlib and our own parsers meet every byte that a hostile file can hold, and raise what comes of
it: beside the errors that they document also AssertionError, OverflowError, KeyError, RecursionError and others.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from facerestore.errors import HEADLESS, FaceRestoreError, ImageError, lacks_display

# What is raised where data end early or contradict themselves.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,
)
_NO_MEMORY = -4  # cv2.Error.StsNoMem


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what reading and decoding a picture raises into ImageError.

    Args:
        name: what to call the picture.

    Raises:
        ImageError: in the place of any other error.
    """
    try:
        yield
    except FaceRestoreError:
        raise
    except Exception as error:
        raise _as_image_error(name, error) from error


@contextmanager
def within_memory() -> Iterator[None]:
    """Turn a lack of memory for a photo that was decoded into ImageError; also a decorator.

    Raises:
        ImageError: there is not the memory.
    """
    try:
        yield
    except Exception as error:
        if not _lacks_memory(error):
            raise
        raise ImageError(
            "there is not enough memory to restore a photo of this size; close other programs, or make it smaller"
        ) from error


def _lacks_memory(error: Exception) -> bool:
    """Say whether an error is of Python's, numpy's or OpenCV's memory."""
    return isinstance(error, MemoryError) or (_of_opencv(error) and getattr(error, "code", 0) == _NO_MEMORY)


def _of_opencv(error: Exception) -> bool:
    """Say whether an error is OpenCV's, which need not be imported for it."""
    return type(error).__name__ == "error" and type(error).__module__.startswith("cv2")


def _as_image_error(name: str, error: Exception) -> ImageError:
    """Return what to raise in an error's place."""
    opencv = _of_opencv(error)
    if _lacks_memory(error):
        return ImageError(
            f"{name}: there is not enough memory to decode it; close other programs, or make the picture smaller"
        )
    if opencv and "CV_IO_MAX_IMAGE" in str(error):
        return ImageError(
            f"{name}: larger than OpenCV decodes (2^20 pixels a side, 2^30 in all); make the picture smaller"
        )
    if lacks_display(error):
        return ImageError(f"{name}: OpenCV cannot be loaded ({error}); {HEADLESS}")
    reason = " ".join(str(error).split()) or type(error).__name__
    if opencv or isinstance(error, _DAMAGE):
        return ImageError(f"{name}: damaged or truncated ({reason}); get a whole copy of the file")
    return ImageError(
        f"{name}: cannot be decoded ({type(error).__name__}: {reason}); get a whole copy of the file, or save it anew"
    )
