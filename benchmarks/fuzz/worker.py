"""The process that reads mutants, and that one may end: it says before each which it is, and after it how it went.

python -m benchmarks.fuzz.worker SEED FIRST STEP COUNT SUFFIX[,SUFFIX...]
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence

import psutil

from benchmarks.fuzz.corpus import OF_FILES, files, pictures
from benchmarks.fuzz.mutation import mutant
from benchmarks.fuzz.targets import TARGETS
from facerestore.errors import FaceRestoreError

LIMIT_SECONDS = 5.0
"""Of processor time for one mutant."""

_MEMORY_BYTES = 2**30  # beside what is held before the first mutant
_REFUSED, _READ = "refused", "read"


def corpus(suffixes: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return name and content of the files with these suffixes; of all for none."""
    made = [*pictures(), *([] if suffixes and not set(suffixes) & set(OF_FILES) else files())]
    return [(name, data) for name, data in made if not suffixes or name[name.rindex(".") :] in suffixes]


def outcome(name: str, data: bytes) -> str:
    """Return what became of one mutant: ``read``, ``refused``, or the exception that left the tree and where."""
    try:
        TARGETS[name[name.rindex(".") :]](data)
    except FaceRestoreError as error:
        return "no memory" if "not enough memory" in str(error) else _REFUSED
    except Exception as error:  # what is looked for
        frames = traceback.extract_tb(error.__traceback__)[-2:]
        places = " < ".join(
            f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno}" for frame in reversed(frames)
        )
        return f"{type(error).__name__} at {places}: {' '.join(str(error).split())[:120]}"
    return _READ


def main(arguments: Sequence[str]) -> None:
    """Read mutants one by one until there are no more, or one ends the process."""
    seed, first, step, count = (int(value) for value in arguments[:4])
    chosen = corpus([suffix for suffix in arguments[4].split(",") if suffix])
    contents = [data for _, data in chosen]
    outcome(*chosen[0])  # imports
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    mapped = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY_BYTES, mapped + _MEMORY_BYTES))
    print("held", held, flush=True)
    for number in range(first, count, step):
        index, data = mutant(contents, seed, number)
        print("begin", number, chosen[index][0], flush=True)
        # Whoever takes longer is ended by the signal, in whatever library it is.
        signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
        start = time.process_time()
        result = outcome(chosen[index][0], data)
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        print("end", number, f"{seconds:.4f}", result, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1:])
