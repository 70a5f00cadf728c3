"""Make the example photo: degrade a good photograph with facerestore's own degradation.

    python examples/degrade_photo.py astronaut.png examples/astronaut_degraded.jpg

The source is the portrait of astronaut Eileen Collins (NASA, public domain) that scikit-image carries as
``skimage.data.astronaut()``.
"""

import argparse
from pathlib import Path

import numpy as np

from facerestore.degradation import apply_steps
from facerestore.degradation.steps import GaussianBlur, Jpeg, Noise, Resize
from facerestore.io import read_image, write_image
from facerestore.types import DecodedImage

BLUR_SIGMA_PX, DOWNSAMPLE = 1.6, 1.8

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", type=Path, help="a good, square photograph, 8 bit")
parser.add_argument("out", type=Path, help="the degraded photograph")
arguments = parser.parse_args()

photo = read_image(arguments.source)
size = photo.pixels.shape[0]
steps = (
    GaussianBlur(13, BLUR_SIGMA_PX, BLUR_SIGMA_PX),
    Resize(int(size // DOWNSAMPLE), "linear"),
    Noise(6.0, coloured=True),
    Jpeg(70),
    Resize(size, "linear"),
)
pixels = apply_steps(photo.pixels, steps, np.random.default_rng(0))
write_image(arguments.out, DecodedImage(pixels), quality=92, overwrite=True)
print(f"wrote {arguments.out}")
