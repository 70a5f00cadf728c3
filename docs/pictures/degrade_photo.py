"""Make the example photos: degrade good photographs with facerestore's own degradations.

    python docs/pictures/degrade_photo.py astronaut.png examples/astronaut_degraded.jpg
    python docs/pictures/degrade_photo.py grace_hopper.jpg noise.jpg --preset noise
    python docs/pictures/degrade_photo.py grace_hopper.jpg old.jpg --preset old-photo --seed 3
    python docs/pictures/degrade_photo.py astronaut.png grace_hopper.jpg two.jpg --preset small

Several sources are put side by side. The presets here are for whole photographs; those of ``facerestore data degrade``,
which are drawn by the seed, may be named too. The sources of the pictures in this folder are the portrait of astronaut
Eileen Collins (NASA, public domain) that scikit-image carries as ``skimage.data.astronaut()``, and that of Grace Hopper
(US Navy, public domain) that matplotlib carries as ``grace_hopper.jpg``.
"""

import argparse
from pathlib import Path

import numpy as np

from facerestore.degradation import PRESETS, DegradationDraw, Step, apply_steps
from facerestore.degradation.steps import GaussianBlur, Grey, Jpeg, Noise, Resize
from facerestore.io import read_image, write_image
from facerestore.types import DecodedImage, Image

QUALITY = 92
"""JPEG quality of the degraded photo; what the presets do to it is worse."""


def steps_of(name: str, side: int, rng: np.random.Generator) -> tuple[Step, ...] | DegradationDraw:
    """Return the steps of a preset for a square photo of ``side`` px; drawn ones with what is done to a target too."""
    steps = {
        # A soft lens, a reduction by 1.8, noise and JPEG, enlarged again.
        "soft": (
            GaussianBlur(13, 1.6, 1.6),
            Resize(int(side // 1.8), "linear"),
            Noise(6.0, coloured=True),
            Jpeg(70),
            Resize(side, "linear"),
        ),
        # A thumbnail: a third of the pixels each way, and strong compression.
        "low-resolution": (Resize(side // 3, "area"), Jpeg(50)),
        # A high ISO setting.
        "noise": (Noise(18.0, coloured=True), Jpeg(85)),
        # Faces far away: half of the pixels each way, some noise, compression.
        "small": (Resize(side // 2, "area"), Noise(4.0, coloured=True), Jpeg(60)),
        # A good print without colours.
        "black-and-white": (Grey(), Noise(4.0, coloured=False), Jpeg(90)),
    }
    return steps[name] if name in steps else PRESETS[name].draw(side, rng)


def degraded(pixels: Image, name: str, seed: int) -> Image:
    """Return a square photo degraded by a preset."""
    rng = np.random.default_rng(seed)
    steps = steps_of(name, pixels.shape[0], rng)
    if isinstance(steps, tuple):
        return apply_steps(pixels, steps, rng)
    return apply_steps(apply_steps(pixels, steps.target, rng), steps.steps, rng)


def square(pixels: Image) -> Image:
    """Return the largest square at the top of a photo, where heads are."""
    side = min(pixels.shape[:2])
    left = (pixels.shape[1] - side) // 2
    return pixels[:side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", help="good photographs, 8 bit; the last is the result"
    )
    parser.add_argument(
        "--preset",
        default="soft",
        help="soft, low-resolution, noise, small, black-and-white, or of data degrade",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn: noise, grain, scratches")
    arguments = parser.parse_args()
    *sources, out = arguments.sources
    pixels = [degraded(square(read_image(s).pixels), arguments.preset, arguments.seed) for s in sources]
    write_image(out, DecodedImage(np.concatenate(pixels, axis=1)), quality=QUALITY, overwrite=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
