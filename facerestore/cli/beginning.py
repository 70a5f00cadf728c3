"""The networks of one photo begin to be loaded while the rest of the program is imported: half a start is either."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

from facerestore.cli.request import ENGINES, PhotosRequest

if TYPE_CHECKING:
    from facerestore.pipeline.restore import RestorePipeline


TURN_S = 0.001
"""After so long Python gives another thread its turn, not after 5 ms: weights are mixed in many short calls, which take
48 ms beside imports, and else 66."""


def begun(request: PhotosRequest) -> PhotosRequest:
    """Return the request with its pipeline under way in a thread, where it is for one photo; others as they are.

    What is amiss is raised where the pipeline is asked for. Of several photos the plan says how many cores each has.
    """
    planned = request.dry_run or request.watch or request.files_from or request.build or request.sheet
    elsewhere = request.engine != ENGINES[0] or len(request.devices) > 1
    if planned or elsewhere or len(request.inputs) != 1 or not request.inputs[0].is_file():
        return request
    from facerestore.engines.device import one_heap
    from facerestore.pipeline.build import build_pipeline

    one_heap()  # before there are threads
    sys.setswitchinterval(TURN_S)
    pipeline: Future[RestorePipeline] = Future()

    def build() -> None:
        try:
            pipeline.set_result(build_pipeline(request.restore))
        except BaseException as error:  # raised where the pipeline is asked for
            pipeline.set_exception(error)

    Thread(target=build, daemon=True).start()
    return replace(request, build=lambda _: pipeline.result())
