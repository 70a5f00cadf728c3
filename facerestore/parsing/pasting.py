"""Which parts of a restored face are blended into the photo, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from facerestore.errors import ConfigError
from facerestore.face_parts import (
    FACE_CLASSES,
    WHOLE,
    classes_of,
    parse_mask,
    parse_region,
    region_words,
)
from facerestore.parsing.classes import class_shares
from facerestore.parsing.landmarks import LANDMARK_CLASSES, LandmarkParser
from facerestore.parsing.mask import face_is_parsed, face_mask, whole_mask
from facerestore.parsing.regions import strength_map
from facerestore.types import AlignedFace, Decision, FaceParser, Mask, Outcome, ParsingMap

if TYPE_CHECKING:
    from facerestore.config import RestoreConfig


@dataclass(frozen=True, slots=True)
class FacePasting:
    """The mask and the strength of pasted faces.

    Attributes:
        classes: what is pasted; None for the whole crop.
        regions: strength of each class that has its own.
        words: those regions in the user's words, with the classes of each.
        strength: of everything else.
        drawn: parsing maps are drawn from landmarks, which say nothing of the outline that the oval does not.
    """

    classes: frozenset[str] | None
    regions: Mapping[str, float]
    words: Mapping[str, frozenset[str]]
    strength: float
    drawn: bool

    @classmethod
    def asked(cls, config: RestoreConfig, *, drawn: bool = False) -> Self:
        """Return the settings of ``config``, whether or not its parser is there.

        Raises:
            ConfigError: the mask or the region is not written as it should be.
        """
        return cls(
            classes=parse_mask(config.mask),
            regions=parse_region(config.region),
            words=region_words(config.region),
            strength=config.strength,
            drawn=drawn,
        )

    @classmethod
    def of(cls, config: RestoreConfig, parser: FaceParser | None) -> Self:
        """Return the settings of ``config`` for a parser.

        Raises:
            ConfigError: the mask or the region needs parts that the parser does not label.
        """
        pasting = cls.asked(config, drawn=parser is not None and parser.name == LandmarkParser.name)
        if parser is None and (pasting.needs_parser or pasting.regions):
            option, value = ("mask", config.mask) if pasting.needs_parser else ("region", config.region)
            raise ConfigError(
                f"{option} '{value}' needs a face parser, and there is none; leave out --parser none, or name one"
            )
        if pasting.drawn:
            _check_drawable("mask", config.mask, [word.strip(" +-") for word in config.mask.split(",")])
            _check_drawable("region", config.region, pasting.words)
        return pasting

    @property
    def needs_parser(self) -> bool:
        """Whether the mask consists of parts that an oval cannot tell."""
        return self.classes is not None and self.classes != FACE_CLASSES

    @property
    def full_strength(self) -> float:
        """The largest strength anywhere: where it is 0, nothing needs to be restored."""
        return max([self.strength, *self.regions.values()])

    def can_paste(self, aligned: AlignedFace, parsing_map: ParsingMap | None) -> bool:
        """Say whether a mask can be made for a face: one of chosen parts needs a map that has found the face."""
        if not self.needs_parser or self.drawn:
            return True
        return parsing_map is not None and face_is_parsed(aligned, parsing_map)

    @staticmethod
    def refusal(parser: str) -> Decision:
        """Return the decision on a face that cannot be pasted, since its parts were not found."""
        reason = f"the parser '{parser}' found no face there, so the parts that the mask names are unknown"
        return Decision(Outcome.KEPT, "not-parsed", reason)

    def mask(self, aligned: AlignedFace, parsing_map: ParsingMap | None) -> Mask:
        """Return the (S, S) float32 soft mask in [0, 1] of a face.

        A mask of the whole face becomes the oval where there is no map, or one that has missed the face.

        Raises:
            BackendError: the map has missed the face, and chosen parts cannot be told.
        """
        if self.classes is None:
            return whole_mask(aligned.lq.shape[0])
        if self.mask_kind(aligned, parsing_map) == "oval":
            return face_mask(aligned)
        return face_mask(aligned, parsing_map, classes=self.classes)

    def mask_kind(self, aligned: AlignedFace, parsing_map: ParsingMap | None) -> str:
        """Return ``whole``, ``oval`` or ``parsed``: what the mask of a face is made from."""
        if self.classes is None:
            return WHOLE
        if self.needs_parser:
            return "parsed"
        known = parsing_map is not None and not self.drawn and face_is_parsed(aligned, parsing_map)
        return "parsed" if known else "oval"

    def strength_of(self, parsing_map: ParsingMap | None) -> float | Mask:
        """Return the strength of a face: one number, or (S, S) float32 where regions have their own."""
        if not self.regions or parsing_map is None:
            return self.strength
        return strength_map(parsing_map, self.regions, base=self.strength)

    def strength_of_crop(self, aligned: AlignedFace, parsing_map: ParsingMap | None) -> float | Mask:
        """Return the strength where the photo is the crop: there is no border to hide, so only chosen parts mask it."""
        strength = self.strength_of(parsing_map)
        return strength * self.mask(aligned, parsing_map) if self.needs_parser else strength

    def shares(self, parsing_map: ParsingMap) -> dict[str, float]:
        """Return for each region, in the user's words, what share of the crop it has; 0 where it was not found."""
        shares = class_shares(parsing_map)
        return {word: sum(shares.get(name, 0.0) for name in names) for word, names in self.words.items()}

    def facts(self, aligned: AlignedFace | None, parsing_map: ParsingMap | None) -> dict[str, Any]:
        """Return the mask and the regions of a restored face, ready for JSON."""
        if aligned is None:
            return {"mask": None, "regions": {}}
        shares = {} if parsing_map is None else self.shares(parsing_map)
        return {
            "mask": self.mask_kind(aligned, parsing_map),
            "regions": {word: round(share, 5) for word, share in shares.items()},
        }

    def notes(self, index: int, aligned: AlignedFace, parsing_map: ParsingMap | None) -> list[str]:
        """Return remarks for the user on how a face was pasted, one sentence each."""
        if parsing_map is None:
            return []
        notes = []
        if not self.drawn and self.classes == FACE_CLASSES and self.mask_kind(aligned, parsing_map) == "oval":
            notes.append(f"face {index}: the parser found no face there, so an oval was pasted")
        absent = [word for word, share in self.shares(parsing_map).items() if share == 0]
        if absent:
            notes.append(f"face {index}: no {' and no '.join(absent)} found, so that region changed nothing")
        return notes


def _check_drawable(option: str, value: str, words: Mapping[str, object] | list[str]) -> None:
    """Raise ConfigError where a word names nothing that can be drawn from landmarks."""
    for word in words:
        if word and word.lower() != WHOLE and not classes_of(word) & LANDMARK_CLASSES:
            raise ConfigError(
                f"{option} '{value}': where '{word}' is cannot be told from five landmarks; leave out --parser"
                " landmarks, or name a network"
            )
