"""How parsing maps look: the colour of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE: NDArray[np.uint8] = np.array(
    [
        (0, 0, 0),
        (204, 0, 0),
        (76, 153, 0),
        (204, 204, 0),
        (51, 51, 255),
        (204, 0, 204),
        (0, 255, 255),
        (255, 204, 204),
        (102, 51, 0),
        (255, 0, 0),
        (102, 204, 0),
        (255, 255, 0),
        (0, 0, 153),
        (0, 0, 204),
        (255, 51, 153),
        (0, 204, 204),
        (0, 51, 0),
        (255, 153, 51),
        (0, 204, 0),
    ],
    dtype=np.uint8,
)
"""(19, 3) RGB with which CelebAMask-HQ and PSFR-GAN draw the classes, in the order of ``CLASS_NAMES``."""
PALETTE.setflags(write=False)
