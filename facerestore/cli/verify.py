"""``facerestore verify``: what a result has changed of its photo, and that it has changed nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from facerestore.cli.terminal import Terminal, print_json
from facerestore.errors import ConfigError, count, refusing

if TYPE_CHECKING:
    from facerestore.batch.verify import Area, Verdict
    from facerestore.types import DecodedImage

EPILOG = """Examples:
facerestore verify photo.png photo_restored.png
facerestore verify photo.jpg photo_restored.jpg --json
facerestore verify scan.tif out/scan.tif --report report.json"""


def verify(
    photo: Annotated[Path, typer.Argument(metavar="IN", help="The photo.")],
    result: Annotated[Path, typer.Argument(metavar="OUT", help="What was made of it.")],
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Take the areas from a report instead of the mark in the result."
        ),
    ] = None,
    page: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Only this page of a TIFF, or frame of an animation; OUT holds as many, or it alone. The first is 1.",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            metavar="1..100", help="Of an AVIF, HEIC or WebP that was written with another than 95."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")] = False,
) -> None:
    """Say which pixels of a photo a result has changed, and fail where it has changed others than it says.

    The areas are those of the mark in the result (see 'enhance'), or of a report. Exit code 1 where a pixel outside of
    them differs. Where the result's format is lossy, all pixels may: then each is held against what the encoder makes
    of the photo alone, and the largest difference is told. Where a network made the rest of the photo anew (--photo,
    --background), the area is all of it.
    """
    found = [*_verdicts(photo, result, report, page=page, quality=quality)]
    if as_json:
        holds = all(each.verdict.holds for each in found)
        print_json({"holds": holds, "pages": [_facts(each) for each in found]})
    else:
        terminal = Terminal(0)
        for each in found:
            _tell(each, terminal, name=f"{result}{each.page}")
    raise typer.Exit(0 if all(each.verdict.holds for each in found) else 1)


class _Page(NamedTuple):
    """A verdict on one page: its words for messages, the verdict, and where its areas are from."""

    page: str
    verdict: Verdict
    areas_from: str


def _verdicts(
    photo: Path, result: Path, report: Path | None, *, page: int | None, quality: int | None
) -> Iterator[_Page]:
    """Yield what became of each page of a photo, or of the one that is asked for."""
    from facerestore.batch.verify import verify_pictures
    from facerestore.io import decode_image, page_count, read_encoded
    from facerestore.video import is_clip

    if is_clip(result):
        raise ConfigError(
            f"'{result}' moves, and nothing says what was changed in which frame; 'facerestore verify' is for photos"
        )
    before, after = read_encoded(photo), read_encoded(result)
    count = page_count(before, name=str(photo))
    alone = page is not None and page_count(after, name=str(result)) == 1
    reported = None if report is None else _reported(report, result)
    for number in [page] if page or count == 1 else range(1, count + 1):
        words = "" if number is None else f", page {number}"
        made = decode_image(after, name=f"{result}{words}", page=None if alone else number)
        areas, source = (reported(number, made), "report") if reported else _marked(made)
        image = decode_image(before, name=f"{photo}{words}", page=number)
        yield _Page(words, verify_pictures(image, made, areas, quality=quality), source)


def _marked(made: DecodedImage) -> tuple[list[Area], str]:
    """Return the areas that a result's mark states, and that they are from there, or that there is none."""
    from facerestore.io import read_mark

    mark = read_mark(made.metadata.xmp or b"")
    if mark is None:
        return [], "none"
    return (mark.areas if mark.background is None else [_whole(made)]), "mark"


def _whole(made: DecodedImage) -> Area:
    """Return the area that is all of a picture."""
    height, width = made.pixels.shape[:2]
    return 0, 0, width, height


def _reported(report: Path, result: Path) -> Any:
    """Return what gives the areas of a page that a report states of a result.

    Raises:
        ConfigError: it cannot be read, or does not know the result.
    """
    with refusing(
        lambda why: ConfigError(f"report '{report}' cannot be read: {why}; give what --report has written")
    ):
        photos = json.loads(report.read_bytes())["photos"]
        named = [
            each for each in photos if each["output"] is not None and Path(each["output"]).name == result.name
        ]
        faces = [face for each in named for face in each.get("faces", []) if face["touched"] is not None]
        areas = [(face.get("page"), tuple(map(int, face["touched"]))) for face in faces]
    if len(named) != 1:
        raise ConfigError(
            f"report '{report}' tells of {count(len(named), 'result')} called '{result.name}'; give its own"
        )
    if named[0].get("background") is not None:
        return lambda _, made: [_whole(made)]
    return lambda page, _: [area for on, area in areas if on in (None, page) and len(area) == 4]


def _facts(page: _Page) -> dict[str, Any]:
    verdict = page.verdict
    regions = [region._asdict() for region in verdict.regions]
    return {**asdict(verdict), "regions": regions, "holds": verdict.holds, "areas_from": page.areas_from}


def _tell(page: _Page, terminal: Terminal, *, name: str) -> None:
    """Say what became of a page, and of each area of it."""
    verdict = page.verdict
    if page.areas_from == "none":
        terminal.say(f"{name} says of no area that it was changed: it has no mark, and no --report was given")
    terminal.say(
        f"{name}: {count(len(verdict.regions), 'area')} of {100 * verdict.within:.2f}% of the pixels,"
        f" {100 * verdict.touched:.2f}% changed; {verdict.words}"
    )
    for index, region in enumerate(verdict.regions):
        changed = "nothing changed" if region.changed is None else f"{_box(region.changed)} changed"
        pixels = count(region.pixels, "pixel")
        terminal.say(
            f"  {index}  {_box(region.area)}: {changed}, {pixels}, by at most {region.largest} levels"
        )


def _box(area: Sequence[int]) -> str:
    return ", ".join(map(str, area))
