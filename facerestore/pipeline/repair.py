"""Repair: what is damaged in faces is found and filled before they are judged and restored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from facerestore.config import RestoreConfig
from facerestore.engines.graph import TORCH
from facerestore.imaging.blending import touched_area
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.tasks.inpaint import damaged_share, with_damage

if TYPE_CHECKING:
    from facerestore.pipeline.restore import RestorePipeline
    from facerestore.pipeline.tasks.damage import FoundDamage


def filling(config: RestoreConfig) -> RestoreConfig:
    """Return the configuration of the line that fills damage before faces are restored by ``config``."""
    return RestoreConfig(
        aligned=config.aligned,
        faces=config.faces,
        min_face=config.min_face,
        force=config.force,
        device=config.device,
        # Other providers are chosen for restorers; some run no file but one of theirs.
        provider=TORCH if config.provider == TORCH else None,
        threads=config.threads,
        max_pixels=config.max_pixels,
        mask="whole",
        parser="none",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Repair:
    """Fills the damage that a network finds.

    Attributes:
        line: fills it, as ``facerestore inpaint`` does.
        source: finds it.
    """

    line: RestorePipeline
    source: FoundDamage

    @property
    def name(self) -> str:
        """Who fills."""
        return self.line.facts.weights or self.line.restorer.name

    def __call__(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo, whose faces were found, with the damage of its faces filled; the very same without any."""
        line, do = self.line, self.line.procedure
        looked = with_damage(line, photo, self.source)
        judged = do.judge(line, replace(looked, spent=False))
        filled = do.restore(line, judged)
        return replace(
            photo, image=do.blend(line, filled), damage=looked.damage, repaired=tuple(filled.faces)
        )

    def told(self, photo: Passage, report: dict[str, Any]) -> dict[str, Any]:
        """Return the report of a photo with what was repaired.

        Args:
            photo: at the end of its way.
            report: of it, with its faces.
        """
        line, name = self.line, self.name
        notes, faces = [], []
        for entry, face in zip(report["faces"], photo.repaired, strict=True):
            share = None
            if face.restored is not None and face.aligned is not None:
                share = round(damaged_share(line, photo, face.aligned), 4)
                notes.append(
                    f"face {entry['index']}: damage in {share:.1%} of its crop was filled by {name} first"
                )
                size = face.aligned.lq.shape[0]
                touched = touched_area(
                    face.aligned.affine, size, shape=photo.pixels.shape, upscale=report["upscale"]
                )
                entry = entry | {"touched": touched}
            faces.append(entry | {"repaired": share})
        found = photo.damage is not None and bool(photo.damage.holes.any())
        if report["found"] and not found:
            notes.append("no damage was found in its faces")
        facts = {
            "source": self.source.description,
            "weights": name,
            "sha256": line.facts.sha256,
            "share": 0.0 if photo.damage is None else round(float(photo.damage.holes.mean()), 6),
            "faces": sum(face["repaired"] is not None for face in faces),
        }
        return report | {"repair": facts, "faces": faces, "notes": [*notes, *report["notes"]]}
