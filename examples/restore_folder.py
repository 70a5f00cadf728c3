"""Restore many photos with one pipeline: the networks are loaded once and reused.

python examples/restore_folder.py photos restored
"""

import argparse
from pathlib import Path

import facerestore

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photos", type=Path)
parser.add_argument("out", type=Path)
arguments = parser.parse_args()

pipeline = facerestore.build_pipeline(facerestore.RestoreConfig(detector="embedded"))
for path in sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in SUFFIXES):
    try:
        result = pipeline.run(path)
    except facerestore.FaceRestoreError as error:
        print(f"{path}: {error}")
        continue
    facerestore.write_image(arguments.out / path.relative_to(arguments.photos), result.image)
    restored = sum(face.restored is not None for face in result.faces)
    print(f"{path}: {restored} of {len(result.faces)} faces restored")
