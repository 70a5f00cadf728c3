"""Make the pictures of docs/gallery.md anew, by the very commands that stand there.

    python docs/pictures/make_gallery.py                       # all before/after pictures, from the degraded photos
    python docs/pictures/make_gallery.py --sources FOLDER      # the degraded photos too; FOLDER holds the two originals

Each line of a command block in docs/gallery.md is run in the root of the repository. Only weights that come with
facerestore are used, whatever is installed. What lands in ``out`` goes to a temporary folder, and each picture that the
page shows is taken from there, reduced to 1200 px of width and encoded as JPEG.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "pictures"

WIDTH_PX = 1200
QUALITY = 82
"""Chosen by size and by eye: a picture takes about 100 KB, and its JPEG is not seen beside that of the photos."""


def commands() -> list[str]:
    """Return the command lines of the page, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def shown() -> list[str]:
    """Return the names of the made pictures that the page shows."""
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    return [Path(link).name for link in links]


def run(line: str, out: Path, sources: Path | None) -> None:
    """Run one command line, with ``out`` and the originals in their places."""
    words = [re.sub(r"^out/", f"{out}/", word) for word in shlex.split(line)]
    if words[0] == "python":
        if sources is None:
            return
        words = [sys.executable, *(str(sources / w) if w in ORIGINALS else w for w in words[1:])]
    else:
        words = [sys.executable, "-m", *words]
    print("$", line, flush=True)
    environment = {**os.environ, "FACERESTORE_HOME": str(out / "home"), "FACERESTORE_OFFLINE": "1"}
    subprocess.run(words, cwd=ROOT, env=environment, check=True)


ORIGINALS = ("astronaut.png", "grace_hopper.jpg")
"""Of scikit-image (``skimage.data.astronaut()``) and of matplotlib (``mpl-data/sample_data``)."""


def take(name: str, out: Path) -> None:
    """Reduce a picture to what the gallery keeps."""
    made = [path for path in out.iterdir() if path.stem == Path(name).stem]
    if not made:
        return
    picture = Image.open(made[0]).convert("RGB")
    picture.thumbnail((WIDTH_PX, 4 * WIDTH_PX), Image.Resampling.LANCZOS)
    target = PICTURES / name
    picture.save(target, quality=QUALITY, optimize=True)
    print(
        f"{target.relative_to(ROOT)}: {picture.width} x {picture.height}, {target.stat().st_size // 1000} KB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, help="folder with astronaut.png and grace_hopper.jpg")
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for line in commands():
            run(line, out, arguments.sources)
        for name in dict.fromkeys(shown()):
            take(name, out)


if __name__ == "__main__":
    main()
