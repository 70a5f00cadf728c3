"""The parts of a face in its aligned crop: who labels them, and the masks and strengths made of them."""

from facerestore.face_parts import CLASS_NAMES, FACE_CLASSES
from facerestore.parsing.classes import PALETTE, class_shares, colour_map
from facerestore.parsing.landmarks import LANDMARK_CLASSES, LandmarkParser
from facerestore.parsing.mask import face_is_parsed, face_mask, geometric_mask, whole_mask
from facerestore.parsing.network_parser import NetworkParser
from facerestore.parsing.networks import BiSeNetParser, ParseNetParser, PartsParser, load_parser
from facerestore.parsing.pasting import FacePasting
from facerestore.parsing.regions import strength_map

__all__ = [
    "CLASS_NAMES",
    "FACE_CLASSES",
    "LANDMARK_CLASSES",
    "PALETTE",
    "BiSeNetParser",
    "FacePasting",
    "LandmarkParser",
    "NetworkParser",
    "ParseNetParser",
    "PartsParser",
    "class_shares",
    "colour_map",
    "face_is_parsed",
    "face_mask",
    "geometric_mask",
    "load_parser",
    "strength_map",
    "whole_mask",
]
