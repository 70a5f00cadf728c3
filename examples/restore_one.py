"""Restore one photo from Python, and say what became of each face.

python examples/restore_one.py photo.jpg restored.jpg
"""

import argparse
from pathlib import Path

import facerestore

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("out", type=Path)
arguments = parser.parse_args()

result = facerestore.restore(arguments.photo)
for number, face in enumerate(result.faces):
    print(f"face {number}: {face.decision.outcome}: {face.decision.reason}")
facerestore.write_image(arguments.out, result.image)
