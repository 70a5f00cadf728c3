"""The first photo of a run, read and decoded while its networks are loaded."""

from __future__ import annotations

from concurrent.futures import Future, wait
from threading import Thread
from typing import NamedTuple

from facerestore.batch.plan import STREAM, PhotoJob
from facerestore.config import RestoreConfig
from facerestore.io import DEFAULT_MAX_PIXELS, exists, page_count, picture_size, read_encoded
from facerestore.pipeline.restore import Procedure
from facerestore.types import DecodedImage


class Read(NamedTuple):
    """A photo that was read: its file and its pixels."""

    data: bytes
    image: DecodedImage


class Ahead:
    """Reads one photo in a thread of its own, which is through by the time that torch is imported.

    Measured on two cores from start to end, with the bundled restorer: a photo of 12 megapixels takes 4% less, one of
    100 megapixels a tenth.

    Args:
        job: whose photo it is; not one from standard input.
        config: says which page is wanted, and how many pixels it may have; of several pages none is read ahead.
    """

    def __init__(self, job: PhotoJob, config: RestoreConfig) -> None:
        self._job, self._config = job, config
        self._found: Future[Read | None] | None = Future()
        Thread(target=self._read, args=(self._found,), daemon=True).start()

    def _read(self, found: Future[Read | None]) -> None:
        try:
            name = str(self._job.source)
            data = read_encoded(self._job.source)
            if self._config.page is None and page_count(data, name=name) > 1:
                found.set_result(None)
                return
            limit = self._config.max_pixels or DEFAULT_MAX_PIXELS
            picture_size(data, name=name, max_pixels=limit, page=self._config.page)
            image = Procedure().decoded(data, self._config, name=name)
            found.set_result(Read(data, image))
        except BaseException as error:  # raised where the photo is asked for
            found.set_exception(error)

    def wait(self) -> None:
        """Return when the photo is read, whatever came of it."""
        if self._found is not None:
            wait([self._found])

    def take(self, job: PhotoJob) -> Read | None:
        """Return what was read, once, and only for its job; raises what reading and decoding raised.

        None where nothing was, and for a photo of several pages.
        """
        found = self._found
        if found is None or job != self._job:
            return None
        self._found = None
        return found.result()


def may_read(job: PhotoJob, *, overwrite: bool) -> bool:
    """Say whether a photo is sure to be wanted: it is no stream, and no result is in its way."""
    return STREAM not in (job.source, job.target) and (overwrite or not exists(job.target))
