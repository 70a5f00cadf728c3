"""The parts of a face in its aligned crop: who labels them, and the masks and strengths made of them."""

from facerestore.face_parts import CLASS_NAMES, FACE_CLASSES
from facerestore.parsing.classes import PALETTE
from facerestore.parsing.mask import face_mask, geometric_mask, whole_mask

__all__ = ["CLASS_NAMES", "FACE_CLASSES", "PALETTE", "face_mask", "geometric_mask", "whole_mask"]
