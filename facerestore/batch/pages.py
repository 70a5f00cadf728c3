"""A TIFF of several pages: each restored in its turn, and put together as the TIFF that they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from facerestore.batch.plan import STREAM, PhotoJob
from facerestore.errors import ImageError
from facerestore.io import encode_page, fitting, joined
from facerestore.pipeline.report import writing_notes
from facerestore.types import DecodedImage

if TYPE_CHECKING:
    from facerestore.batch.undo import Crop


class Restored(NamedTuple):
    """A restored picture before it is written: its report, the files written beside it, and its faces as they were."""

    image: DecodedImage
    report: dict[str, Any]
    unchanged: bool
    extras: tuple[Path, ...]
    crops: tuple[Crop, ...] = ()


def check_pages(name: str, count: int, format: str) -> None:
    """Raise ImageError where pages are to go into a format that has none."""
    if format != "TIFF":
        raise ImageError(
            f"{name}: holds {count} pages, and {format} has only one; choose one with --page 1 to {count}, or write"
            " TIFF"
        )


def page_job(job: PhotoJob, number: int) -> PhotoJob:
    """Return the job that names the side products of one page."""
    target = job.target
    if target != STREAM:
        target = target.with_name(fitting(target.parent, target.stem, f"_page{number}{target.suffix}"))
    name = job.name.with_name(f"{job.name.name}_page{number}")
    return replace(job, target=target, name=name, page=number)


class RestoredPages(NamedTuple):
    """The pages of a TIFF, as `Restored` has a picture; ``encoded`` is all of them as a file."""

    encoded: bytes | bytearray
    report: dict[str, Any]
    unchanged: bool
    extras: tuple[Path, ...]
    crops: tuple[Crop, ...]


def restore_pages(data: bytes, count: int, *, restore: Callable[[int], Restored]) -> RestoredPages:
    """Restore pages in turn; return the TIFF of them, with one report of them all.

    Where nothing was changed, it is the very file.

    Args:
        data: the TIFF.
        count: how many pages it has.
        restore: restores one, the first of which is 1.
    """
    pages, reports, extras, unsaid = [], [], list[Path](), list[tuple[int, str]]()
    crops: list[Crop] = []
    changed = False
    for number in range(1, count + 1):
        found = restore(number)
        pages.append(encode_page(found.image, source=data))
        reports.append(found.report)
        extras += found.extras
        crops += found.crops
        if found.unchanged:
            unsaid += [(number, line) for line in writing_notes(found.image, format="TIFF")]
        changed |= not found.unchanged
    if not changed:
        return RestoredPages(data, merged(reports), True, tuple(extras), ())
    for number, line in unsaid:  # a page that was kept is written anew too, beside one that was not
        reports[number - 1]["notes"].append(line)
    return RestoredPages(joined(pages), merged(reports), False, tuple(extras), tuple(crops))


def merged(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the reports of pages as one: faces with their pages, counts and seconds as sums, notes with their pages.

    What was searched is told page by page, as ``searches``; what else a report tells is that of the first page.
    """
    kept: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for report in reports:
        kept.update(report["kept"])
        effects.update(report["effects"])
        seconds.update(report["stage_seconds"])
    numbered = list(enumerate(reports, 1))
    damage = [f"on page {number} {report['damage']}" for number, report in numbered if report["damage"]]
    return reports[0] | {
        "pages": len(reports),
        "found": sum(report["found"] for report in reports),
        "restored": sum(report["restored"] for report in reports),
        "kept": dict(kept),
        "effects": dict(effects),
        "damage": ", ".join(damage) or None,
        "search": None,
        "searches": [report["search"] for report in reports],
        "faces": [{**face, "page": number} for number, report in numbered for face in report["faces"]],
        "notes": [f"page {number}: {note}" for number, report in numbered for note in report["notes"]],
        "stage_seconds": {stage: round(total, 4) for stage, total in seconds.items()},
        "absent_indices": sorted({index for report in reports for index in report["absent_indices"]}),
    }
