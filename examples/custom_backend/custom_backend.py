"""A backend of your own, in one file: removes noise and sharpens faces as programs did before there were networks.

    pip install ./examples/custom_backend
    facerestore backends list
    facerestore backends check classic
    facerestore enhance photo.jpg --backend classic

A backend is a class that a package names under the entry point ``facerestore.backends`` (see pyproject.toml). It gets
faces that are found and cut out, and gives them back restored; detection, blending, files and reports are not its
business. ``backends check`` tells what it gets wrong.

A network with weights has less to write: ``TensorRestorer`` batches, resizes, checks and converts, and the file's keys
choose the backend (``facerestore enhance photo.jpg --weights mine.safetensors``)::

    class MyRestorer(TensorRestorer):
        name = "mine"
        network_range = (-1.0, 1.0)  # of the network's input and output; faces are [0, 1]
        summary = "what it is, for 'facerestore backends list'"

        @classmethod
        def detect(cls, state_dict):  # from key names alone: no file but yours
            return "my_trunk.0.weight" in state_dict

        @classmethod
        def config_from_state_dict(cls, state_dict):  # sizes are read, not asked for
            return {"width": state_dict["my_trunk.0.weight"].shape[0]}

        @classmethod
        def build(cls, state_dict, *, device="cpu"):
            network = MyNetwork(**cls.config_from_state_dict(state_dict))
            load_strictly(network, state_dict, name=cls.name)
            return cls(network, face_size=64, device=device)

with ``TensorRestorer`` from ``facerestore.backends.base`` and ``load_strictly`` from
``facerestore.weights.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerestore.backends.base import checked_crop
from facerestore.pixels import resize_face
from facerestore.types import AlignedFace, FaceImage, ParsingMap

# Chosen by eye on the example photo.
SMOOTH_BELOW = (
    0.08  # differences smaller than this share of the range are smoothed away, larger ones are edges
)
SMOOTH_RADIUS_PX = 4.0
SHARPEN = 1.0  # share of the detail finer than SHARPEN_SIGMA_PX that is added once more
SHARPEN_SIGMA_PX = 2.0


class ClassicRestorer:
    """A bilateral filter against noise (Tomasi and Manduchi, ICCV 1998), then an unsharp mask against blur."""

    name = "classic"
    face_size = 256  # what restore() takes and gives, pixels
    needs_parsing = False  # True asks for a map of each face's parts
    needs_weights = False  # so that create() makes it, and no file
    summary = "denoising and sharpening without a network"
    paper = "Tomasi, Manduchi, Bilateral Filtering for Gray and Color Images, ICCV 1998"

    @classmethod
    def create(cls, *, device: object = "cpu") -> ClassicRestorer:
        """Return the restorer; it runs on the CPU whatever the device."""
        return cls()

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one (256, 256, 3) float32 RGB image in [0, 1] for each face, in order.

        Raises:
            BackendError: an input is no face image.
        """
        return [restore_crop(resize_face(checked_crop(face, self.name), self.face_size)) for face in faces]


def restore_crop(crop: FaceImage) -> FaceImage:
    """Return a float32 RGB crop in [0, 1] with less noise, and sharper."""
    import cv2  # what takes long to import is imported late: 'facerestore backends list' imports this module

    smooth = cv2.bilateralFilter(crop, 0, SMOOTH_BELOW, SMOOTH_RADIUS_PX)
    blurred = cv2.GaussianBlur(smooth, (0, 0), SHARPEN_SIGMA_PX)
    return np.clip(smooth + SHARPEN * (smooth - blurred), 0, 1).astype(np.float32)
