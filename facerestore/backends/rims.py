"""What fills holes where no network for it is installed: their rims alone, see `facerestore.imaging.filling.fill`."""

from __future__ import annotations

from collections.abc import Sequence

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.types import AlignedFace, FaceImage, ParsingMap

TELEA = "telea"
"""What ``--weights`` of ``facerestore inpaint`` calls it."""


class RimFiller(Restorer):
    """Leaves what fills holes from their rims as it is."""

    descriptor = Descriptor(
        name=TELEA,
        summary="fills holes from their rims, without a network",
        paper='A. Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004',
        needs_weights=False,
        tasks=("inpaint",),
        face_size=256,
        sees_filled=True,
    )

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return the crops."""
        return [face.lq for face in faces]
