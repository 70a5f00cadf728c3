"""``facerestore weights``: see, fetch, check and remove the files that hold trained networks."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerestore.cli.helping import paragraphs, subcommand
from facerestore.cli.terminal import console, download_progress, is_plain, megabytes, print_json
from facerestore.errors import WeightsError

if TYPE_CHECKING:
    from facerestore.weights import WeightsEntry, WeightsStore
    from facerestore.weights.records import Pin

NO_ADDRESS = "no address"
"""What is said of weights that no program can fetch."""

weights_app = typer.Typer(
    no_args_is_help=True,
    help=paragraphs(
        "See, fetch, check and remove weights: the files that hold trained networks.",
        "facerestore restores faces without any download, with the weights that come with it. Better ones can be "
        "fetched; each face then has the one that suits its size and damage.",
        "Weights lie in one folder ('facerestore weights path'). FACERESTORE_HOME moves it, FACERESTORE_OFFLINE=1 "
        "forbids the network, FACERESTORE_MIRROR names a server that has all files in one folder. Proxies are taken "
        "from https_proxy and http_proxy.",
    ),
    epilog=paragraphs(
        "To begin:",
        "facerestore weights list",
        "facerestore weights info gpen.bfr-512",
        "facerestore weights download gpen.bfr-512",
    ),
)


class LicenceFilter(StrEnum):
    """Which weights the user wants to see or fetch."""

    ANY = "any"
    PERMISSIVE = "permissive"


_NameOrFile = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A name of 'facerestore weights list', a file, or a backend that has no published weights.",
    ),
]
_ALWAYS_TOLD = ("purpose", "backend", "size_bytes", "sha256")
"""What every file has, so that it is said where it is not known."""

_Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of 'facerestore weights list'.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]
_License = Annotated[
    LicenceFilter,
    typer.Option(
        "--license",
        "--licence",
        help="'permissive': only weights whose publisher clearly allows commercial use.",
    ),
]


@subcommand(
    weights_app,
    "list",
    "facerestore weights list --purpose restore",
    "facerestore weights list --license permissive",
    "facerestore weights list --installed --json",
)
def list_command(
    purpose: Annotated[
        str | None,
        typer.Option(
            help="Only one purpose: restore, colorize, inpaint, synthesize, discriminator, parse, detect, landmarks,"
            " identity, features, lpips, inception or background."
        ),
    ] = None,
    installed: Annotated[bool, typer.Option("--installed", help="Only what is on this machine.")] = False,
    license_filter: _License = LicenceFilter.ANY,
    as_json: _Json = False,
) -> None:
    """List all weights: what each is for, whether it is here, its size, and its terms; and what auto takes now."""
    store = _store()
    _check_purpose(purpose)
    entries = [
        entry
        for entry in store.catalog.entries.values()
        if purpose in (None, entry.purpose)
        and (license_filter is LicenceFilter.ANY or entry.permissive)
        and (not installed or store.locate(entry.name))
    ]
    if as_json:
        print_json([_facts_of(store, entry) for entry in entries])
        return
    _print_table(store, entries)
    typer.echo(automatic_choice(store))


@subcommand(
    weights_app,
    "info",
    "facerestore weights info gpen.bfr-512",
    "facerestore weights info lite.safetensors",
)
def info_command(name: _NameOrFile, as_json: _Json = False) -> None:
    """Show all about one file: terms, training data, source, paper, addresses, hash, and where it lies.

    Of a file that has no name here, what it says of itself, or whose network it is; nothing in it is run.
    """
    store = _store()
    facts = _facts_of_any(store, name)
    if as_json:
        print_json(facts)
        return
    width = max(len(key) for key in facts) + 2
    for key, value in facts.items():
        for number, line in enumerate(_fact_lines(key, value)):
            typer.echo(f"{'' if number else key.replace('_', ' '):<{width}}{line}")


@subcommand(
    weights_app,
    "download",
    "facerestore weights download gpen.bfr-512",
    "facerestore weights download yunet.2023mar --license permissive",
    "facerestore weights download psfr.ffhq-512 parsenet.psfr-90000 --accept-license",
)
def download_command(
    names: _Names,
    force: Annotated[
        bool,
        typer.Option("--force", help="Fetch again, even if the file is here."),
    ] = False,
    accept_license: Annotated[
        bool,
        typer.Option(
            "--accept-license",
            "--accept-licence",
            help="Accept the terms without being asked; needed where no terminal can ask.",
        ),
    ] = False,
    license_filter: _License = LicenceFilter.ANY,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only the path of each file.")] = False,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Plain lines instead of a progress bar.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Fail instead of using the network, as FACERESTORE_OFFLINE=1 does."),
    ] = False,
) -> None:
    """Fetch weights, and check them as they come.

    A download that breaks off goes on where it stopped when you run the command again. Where no hash is published, the
    first copy is looked into and pinned: a later copy that differs is refused, unless the first was none of these
    weights, or your own import and --force is given. Terms that forbid commercial use, or leave it unclear, are shown
    first and must be accepted once. Prints the path of each file.
    """
    store = _store(offline=offline)
    for name in names:
        _check_permissive(store, name, license_filter)
    for name in names:
        accepted = accept_license or _ask_for_licence(store, name, force=force)
        had_pin = _pin_before(store, name)
        with download_progress(quiet=quiet, plain=no_progress) as report:
            path = store.download(name, force=force, accept_licence=accepted, progress=report)
        if not quiet:
            _say_basis(store, name, is_new_pin=store.pin(name) != had_pin)
        typer.echo(str(path))


@subcommand(weights_app, "verify", "facerestore weights verify", "facerestore weights verify gpen.bfr-512")
def verify_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names to check; all that are here, bundled ones too, if none."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Hash weights anew and compare with the catalog, or with the hash pinned at their first copy.

    Exit code 4 if any is corrupt.
    """
    store = _store()
    verdicts = [store.verify(name) for name in names or [entry.name for entry in store.installed()]]
    if as_json:
        rows = [
            {"name": v.name, "ok": v.ok, "path": str(v.path), "sha256": v.sha256, "basis": v.basis}
            for v in verdicts
        ]
        print_json(rows)
    else:
        for verdict in verdicts:
            typer.echo(
                f"{verdict.name}: {'ok' if verdict.ok else 'CORRUPT'} ({verdict.basis}) {verdict.path}"
            )
    if not verdicts:
        typer.echo("no weights are here; 'facerestore weights list' shows what there is", err=True)
    if corrupt := [store.describe_corrupt(verdict) for verdict in verdicts if not verdict.ok]:
        raise WeightsError("\n".join(corrupt))


@subcommand(weights_app, "path", 'ls "$(facerestore weights path)"')
def path_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Weights that must be here; without it, the folder."),
    ] = None,
) -> None:
    """Print where weights lie: the folder, or one file (checked, and exit code 4 if it is not here)."""
    store = _store()
    typer.echo(str(store.require(name) if name else store.folder))


@subcommand(
    weights_app,
    "import",
    "facerestore weights import gpen.bfr-1024 ~/Downloads/pytorch_model.pt",
    "facerestore weights import lite.mine lite.safetensors",
)
def import_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name of 'facerestore weights list', or a new one, BACKEND.WORD, for weights that you trained.",
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that you have; it is copied.")],
) -> None:
    """Install weights from a file that you fetched or trained yourself."""
    from facerestore.weights.licence import terms

    store = _store()
    had_pin = _pin_before(store, name) if name in store.catalog.entries else None
    path = store.import_file(name, file)
    entry = store.entry(name)
    if store.is_own(name):
        typer.echo(
            f"{name}: weights of your own, for the purpose {entry.purpose}, licence {entry.licence}", err=True
        )
        typer.echo(str(path))
        return
    if not entry.permissive:
        typer.echo(terms(entry, store.catalog.licence_of(entry)), err=True)
    _say_basis(store, name, is_new_pin=store.pin(name) != had_pin)
    typer.echo(str(path))


@subcommand(weights_app, "remove", "facerestore weights remove gpen.bfr-512")
def remove_command(
    names: _Names,
    forget_pin: Annotated[
        bool,
        typer.Option("--forget-pin", help="Forget the pinned hash too: the next copy may be another file."),
    ] = False,
) -> None:
    """Delete downloaded weights, and what a broken download left. Bundled weights stay."""
    store = _store()
    for name in names:
        typer.echo(f"removed {store.remove(name, forget_pin=forget_pin)}")


def _store(*, offline: bool = False) -> WeightsStore:
    from facerestore.weights import WeightsStore

    return WeightsStore(offline=offline)


def _pin_before(store: WeightsStore, name: str) -> Pin | None:
    """Return the pinned hash before a file comes; None also for a damaged record, which that file may replace."""
    try:
        return store.pin(name)
    except WeightsError:
        return None


def _check_purpose(purpose: str | None) -> None:
    from facerestore.weights.catalog import PURPOSES

    if purpose not in (None, *PURPOSES):
        raise typer.BadParameter(f"{purpose!r} is none of {', '.join(PURPOSES)}", param_hint="--purpose")


def _check_permissive(store: WeightsStore, name: str, wanted: LicenceFilter) -> None:
    entry = store.entry(name)
    if wanted is LicenceFilter.PERMISSIVE and not entry.permissive:
        raise WeightsError(
            f"weights {name!r} are under {entry.licence}, commercial use: {entry.commercial_use}; --license permissive "
            f"refuses them. 'facerestore weights list --license permissive' shows what it allows"
        )


def _ask_for_licence(store: WeightsStore, name: str, *, force: bool) -> bool:
    """Show terms that are still to be accepted and ask, where somebody can answer; else leave it to the library."""
    will_fetch = (force or not store.locate(name)) and not store.offline and store.urls(name)
    text = store.terms_to_accept(name) if will_fetch else None
    if text is None or not _can_ask():
        return False
    typer.echo(f"{name}\n{text}\nTraining data: {store.entry(name).training_data}", err=True)
    if not typer.confirm("Do you accept these terms?", err=True):
        raise WeightsError(f"weights {name!r} were not fetched: their terms were not accepted")
    return True


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _say_basis(store: WeightsStore, name: str, *, is_new_pin: bool) -> None:
    pin = store.pin(name)
    if is_new_pin and pin:
        typer.echo(
            f"{name}: nobody has published a hash of this file, so nothing proves that this copy is the publisher's. "
            f"Its sha256 {pin.sha256} is pinned now, and later copies are checked against it.",
            err=True,
        )
    elif store.entry(name).sha256:
        typer.echo(f"{name}: sha256 as in the catalog", err=True)


def _facts_of_any(store: WeightsStore, name: str) -> dict[str, Any]:
    """Return what is known of weights by their name, of a backend without any, or of a file."""
    from facerestore.weights.weights_file import looks_like_path

    if (notes := store.catalog.unpublished.get(name)) is not None:
        return {"backend": name, "notes": notes}
    if name in store.catalog.entries or not looks_like_path(name):
        return _facts_of(store, store.entry(name))
    from facerestore.pipeline.file_facts import file_facts

    return file_facts(Path(name).expanduser(), store)


def _fact_lines(key: str, value: object) -> list[str]:
    """Return the lines of a fact for people: none for what weights need not have, and have not."""
    if value in (None, ""):
        return ["unknown"] if key in _ALWAYS_TOLD else []
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return value if isinstance(value, list) else [str(value)]


def _facts_of(store: WeightsStore, entry: WeightsEntry) -> dict[str, Any]:
    """Return what is known of an entry, in the order in which people want it."""
    path, licence = store.locate(entry.name), store.catalog.licence_of(entry)
    pin = None if entry.sha256 else store.pin(entry.name)
    return {
        "name": entry.name,
        "purpose": entry.purpose,
        "backend": entry.backend,
        "state": _state_words(store, entry),
        "path": str(path or store.path_of(entry.name)),
        "size_bytes": _size_bytes(store, entry),
        "face_size": entry.face_size,
        "character": entry.character,
        "detail_of": entry.detail_of,
        "refines": entry.refines,
        "licence": entry.licence,
        "licence_name": licence.name,
        "licence_url": licence.url,
        "licence_notice": licence.notice,
        "commercial_use": entry.commercial_use,
        "training_data": entry.training_data,
        "source": entry.source,
        "paper": entry.paper,
        "fetchable": store.fetchable(entry.name),
        "urls": list(store.urls(entry.name)),
        "package": entry.package,
        "file": entry.file,
        "sha256": entry.sha256 or (pin.sha256 if pin else None),
        "sha256_source": f"pinned {pin.pinned_at} from {pin.origin}" if pin else entry.sha256_source,
        "notes": entry.notes,
    }


def _state_words(store: WeightsStore, entry: WeightsEntry) -> str:
    if store.locate(entry.name) is None:
        return "missing" if entry.bundled else "not installed"
    if entry.package is not None and store.comes_along(entry):
        return f"in package {entry.package}"
    return "bundled" if entry.bundled else "installed"


def _size_bytes(store: WeightsStore, entry: WeightsEntry) -> int | None:
    path = store.locate(entry.name)
    return path.stat().st_size if path else entry.size_bytes


def _print_table(store: WeightsStore, entries: list[WeightsEntry]) -> None:
    """Print what there is, a row for each."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.ASCII2 if is_plain(sys.stdout) else box.SIMPLE, pad_edge=False)
    for heading in ("name", "purpose", "state", "size", "licence", "commercial use"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for entry in entries:
        state, size = _state_words(store, entry), megabytes(_size_bytes(store, entry))
        state = NO_ADDRESS if _by_hand_only(store, entry) else state
        table.add_row(entry.name, entry.purpose, state, size, entry.licence, entry.commercial_use)
    console().print(table)
    if any(_by_hand_only(store, entry) for entry in entries):
        typer.echo(
            f"{NO_ADDRESS}: no program can fetch the file; 'facerestore weights info NAME' says where people get it,"
            " and 'facerestore weights import NAME FILE' installs it"
        )


def _by_hand_only(store: WeightsStore, entry: WeightsEntry) -> bool:
    """Say whether weights are not here, and come only by import."""
    return not (entry.bundled or entry.package or store.locate(entry.name) or store.fetchable(entry.name))


def automatic_choice(store: WeightsStore) -> str:
    """Return in one line which installed weights the automatic choice takes, for which faces."""
    from facerestore.config import RestoreConfig
    from facerestore.pipeline.candidates import usable

    return usable(RestoreConfig(), store).words
