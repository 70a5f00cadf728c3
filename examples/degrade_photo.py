"""Make the example photo: degrade a good photograph with facerestore's own degradation.

    python examples/degrade_photo.py astronaut.png examples/astronaut_degraded.jpg

The source is the portrait of astronaut Eileen Collins (NASA, public domain) that scikit-image carries as
``skimage.data.astronaut()``.
"""

import argparse
from pathlib import Path

import numpy as np

from facerestore.degradation import DegradationDraw, apply
from facerestore.io import read_image, write_image
from facerestore.types import DecodedImage

BLUR_SIGMA_PX = 1.6
DRAWN = DegradationDraw(
    blur_sigma_x_px=BLUR_SIGMA_PX,
    blur_sigma_y_px=BLUR_SIGMA_PX,
    blur_angle_rad=0.0,
    downsample=1.8,
    noise_sigma=6.0,
    jpeg_quality=70,
    grey=False,
)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", type=Path, help="a good, square photograph, 8 bit")
parser.add_argument("out", type=Path, help="the degraded photograph")
arguments = parser.parse_args()

photo = read_image(arguments.source)
pixels = apply(photo.pixels, DRAWN, kernel_size_px=13, rng=np.random.default_rng(0))
write_image(arguments.out, DecodedImage(pixels), quality=92, overwrite=True)
print(f"wrote {arguments.out}")
