"""A backend of your own, in one file: removes noise and sharpens faces as programs did before there were networks.

    pip install ./examples/custom_backend
    facerestore backends list
    facerestore backends check classic
    facerestore enhance photo.jpg --backend classic

A backend is a class that a package names under the entry point ``facerestore.backends`` (see pyproject.toml). It says
what it is, gets faces that are found and cut out, and gives them back restored; detection, blending, files and reports
are not its business. ``backends check`` tells what it gets wrong.

A network with weights is a ``TensorRestorer``, which batches, checks and converts; the file's keys choose the backend
(``facerestore enhance photo.jpg --weights mine.safetensors``)::

    class MyRestorer(TensorRestorer):
        # The range is that of the network's input and output; faces are [0, 1].
        descriptor = Descriptor(name="mine", summary="what it is, in one line", network_range=(-1.0, 1.0))

        @classmethod
        def detect(cls, state_dict):  # from key names alone: no file but yours
            return "my_trunk.0.weight" in state_dict

        @classmethod
        def build(cls, state_dict, *, device="cpu"):  # sizes are read, not asked for
            network = MyNetwork(width=state_dict["my_trunk.0.weight"].shape[0])
            load_strictly(network, state_dict, name="mine")
            return cls(network, face_size=64, device=device)

with ``from facerestore import Descriptor, TensorRestorer, load_strictly``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerestore import AlignedFace, Descriptor, FaceImage, ParsingMap, Restorer

# Chosen by eye on the example photo.
SMOOTH_BELOW = 0.08  # smaller differences, of a range of 1, are smoothed away; larger ones are edges
SMOOTH_RADIUS_PX = 4.0
SHARPEN = 1.0  # share of the detail finer than SHARPEN_SIGMA_PX that is added once more
SHARPEN_SIGMA_PX = 2.0


class ClassicRestorer(Restorer):
    """A bilateral filter against noise (Tomasi and Manduchi, ICCV 1998), then an unsharp mask against blur."""

    descriptor = Descriptor(
        name="classic",
        summary="denoising and sharpening without a network",
        paper="Tomasi, Manduchi, Bilateral Filtering for Gray and Color Images, ICCV 1998",
        face_size=256,  # what restore() takes and gives, pixels
        needs_weights=False,
    )

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one (256, 256, 3) float32 RGB image in [0, 1] for each face, in order."""
        return [restore_crop(crop) for crop in self.crops(faces)]


def restore_crop(crop: FaceImage) -> FaceImage:
    """Return a float32 RGB crop in [0, 1] with less noise, and sharper."""
    import cv2  # what takes long to import is imported late: 'facerestore backends list' imports this module

    smooth = cv2.bilateralFilter(crop, 0, SMOOTH_BELOW, SMOOTH_RADIUS_PX)
    blurred = cv2.GaussianBlur(smooth, (0, 0), SHARPEN_SIGMA_PX)
    return np.clip(smooth + SHARPEN * (smooth - blurred), 0, 1).astype(np.float32)
