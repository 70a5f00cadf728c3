"""The licence gate: terms that do not clearly allow commercial use are shown, and accepted once, before a download."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from facerestore.errors import WeightsError
from facerestore.weights.catalog import Licence, WeightsEntry
from facerestore.weights.files import write_json

_COMMERCIAL = {
    "yes": "Commercial use: allowed by the publisher.",
    "no": "Commercial use: NOT allowed.",
    "unclear": (
        "Commercial use: UNCLEAR. The licence is stated for the code; nobody states one for the trained weights, "
        "and the training data was published for research."
    ),
}


def terms(entry: WeightsEntry, licence: Licence) -> str:
    """Return the terms of an entry, as shown and as accepted; equal for all entries under the same terms."""
    lines = (
        f"Licence: {licence.name} ({licence.id})",
        licence.url,
        licence.notice,
        _COMMERCIAL[entry.commercial_use],
    )
    return "\n".join(lines)


def is_accepted(home: Path, text: str) -> bool:
    """Return whether exactly these terms were accepted on this machine."""
    return _acceptance_path(home, text).is_file()


def accept(home: Path, text: str) -> None:
    """Record, under ``home/licences``, that these terms were accepted now.

    Raises:
        WeightsError: the folder cannot be written.
    """
    write_json(
        _acceptance_path(home, text),
        {"accepted_at": datetime.now(UTC).isoformat(timespec="seconds"), "terms": text},
    )


def pass_gate(entry: WeightsEntry, text: str | None, *, home: Path, accepted: bool) -> None:
    """Record that terms are accepted; ``text`` is None where nothing is left to accept.

    Raises:
        WeightsError: they are not, or the folder cannot be written.
    """
    if text is None:
        return
    if not accepted:
        raise WeightsError(
            f"weights {entry.name!r} have terms that must be accepted first:\n{text}\n"
            f"Training data: {entry.training_data}\n"
            f"To accept: 'facerestore weights download {entry.name} --accept-license', or accept_licence=True"
        )
    accept(home, text)


def _acceptance_path(home: Path, text: str) -> Path:
    # Named by the text itself: changed terms are asked again, and processes never write the same file differently.
    return home / "licences" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
