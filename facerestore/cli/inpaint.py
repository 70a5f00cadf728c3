"""``facerestore inpaint``: fill what is damaged in faces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facerestore.cli.options import FILES, SETTING, command
from facerestore.cli.request import SMALL, PhotosRequest
from facerestore.config import INPAINT
from facerestore.errors import ConfigError
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.pipeline.tasks.build import MaskFile, Strokes

EPILOG = """Examples:
facerestore inpaint torn.jpg --mask torn_mask.png
facerestore inpaint scratched.jpg --save-damaged found
facerestore inpaint scans -o filled --mask masks
facerestore inpaint photo.jpg --strokes --seed 3 --compare
facerestore inpaint crop.png --aligned --strokes --save-damaged damaged
Other weights, which draw more and may not be used commercially (their terms are shown first):
facerestore weights download gpen.inpainting-1024"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is damaged: it is found, a picture says it, or strokes are drawn."""

    damage: Path | None = option(None, flags=("--mask",), metavar="FILE|DIR")
    """White where the photo is damaged, black elsewhere, of the photo's size; or a directory of such masks that have
    the names of their photos. Without it, a network looks for damage in the faces.
    """

    strokes: bool = option(False)
    """Damage the photo itself with random brush strokes across each face, to try what is made of them."""

    seed: int | None = option(None, least=0, metavar="N")
    """Other strokes; the same number and name of a photo give the same. 0 unless given."""

    @property
    def source(self) -> MaskFile | Strokes | None:
        """What says what is damaged; None where it is to be found.

        Raises:
            ConfigError: two things say it, or the mask does not exist.
        """
        from facerestore.pipeline.tasks.build import MaskFile, Strokes

        if self.strokes and self.damage is not None:
            raise ConfigError("--mask and --strokes exclude each other; give one of them")
        if self.strokes:
            return Strokes(self.seed or 0)
        if self.seed is not None:
            raise ConfigError("--seed is for --strokes; give that too, or leave the seed out")
        if self.damage is None:
            return None
        if not self.damage.exists():
            raise ConfigError(
                f"the mask '{self.damage}' does not exist; give a picture, or a directory of them"
            )
        return MaskFile(self.damage)


@command(
    {
        "Restoration": "damage strokes seed damage_finder weights detector detect_size rotations faces min_face force"
        " aligned colour_match",
        "Files": FILES,
        **SETTING,
    },
    without="sheet save_stages provider tile dial engine address",
    texts={"force": SMALL},
)
def inpaint(damage: Damage, request: PhotosRequest) -> None:
    """Fill scratches, creases, tears, stains and dust in faces.

    What is damaged a mask says, which any paint program draws: as large as the photo, white on what is damaged, black
    on the rest. Without one a network looks for cracks, scratches and creases in each face; it misses some, and takes
    hairpins and the like for damage, so look at what it has found (--save-damaged DIR shows it, white). Faces are found
    in the photo as it is. Only the damage is changed, with a narrow feather around it: every other pixel stays (JPEG
    and lossy WebP files are encoded anew; the others keep them bit for bit). What is drawn there is invented.

    Only faces are looked at and filled. Damage of a mask outside them stays, and how much there is of it is said. A
    photo without damage in its faces stays byte for byte. With --compare and --mask or --strokes the picture before is
    that with the damage white.

    Without --weights the best installed weights for inpainting fill it: those of the authors of GPEN where they are
    installed (see below), else lite.inpaint-256, which comes with facerestore and is good for cracks, scratches, dust
    and strokes; of an eye that is gone it knows little. With --weights telea it is filled inwards from its rims without
    a network (Telea 2004).
    """
    from facerestore.cli.photos import execute
    from facerestore.pipeline.tasks.build import build_inpainter

    source = damage.source
    asked = replace(
        request,
        task=INPAINT,
        build=lambda config: build_inpainter(source, config),
        check=None if source is None else source.for_photo,
        aside=() if damage.damage is None else (damage.damage,),
    )
    raise typer.Exit(execute(asked))
