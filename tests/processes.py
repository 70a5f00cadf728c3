"""Real processes that tests stop or kill: each says by a word that it is where the test wants it."""

import subprocess
import sys
import threading
from pathlib import Path

LONGEST_S = 120
"""When a test gives up; nothing waits for it."""

HERE = Path(__file__).parent

PROLOGUE = f"""
import os, signal, sys, threading
if os.name == "posix":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
from facerestore.cli.stopping import listen
listen()
def here(word):
    sys.stderr.write(word + "\\n"); sys.stderr.flush()
def told():  # until the test writes a character, from whichever thread, or kills
    os.read(0, 1)
"""

RESTORING = """
import facerestore.pipeline.build
from fakes import Brightener, face_at, pipeline
from facerestore.cli.app import main
class Restorer(Brightener):
    def restore(self, faces, parsing_maps=None):
        {at}
        return super().restore(faces)
restorer = Restorer()
facerestore.pipeline.build.build_pipeline = lambda config, **_: pipeline(
    face_at(10, 20), config=config, restorer=restorer)
"""
"""Makes ``main`` restore one face of each photo, and do what stands for ``at`` before."""


def started(code, *arguments, cwd=None):
    """Return the process of a program that may call ``here`` and ``told``."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROLOGUE + code, *arguments]
    return subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def wait_for(process, word):
    """Return once a process has said a word to standard error."""
    late = threading.Timer(LONGEST_S, process.kill)
    late.start()
    try:
        for line in process.stderr:
            if word in line:
                return
        process.communicate()  # closes what it wrote to
    finally:
        late.cancel()
    raise AssertionError(f"the process ended with {process.returncode} and never said '{word}'")


def ended(process, said=None):
    """Return the exit code, standard output and standard error of a process, after it is told what it waits for."""
    try:
        out, err = process.communicate(said, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()  # or it is found unclosed in a test that knows nothing of it
        process.communicate()
        raise
    return process.returncode, out, err
