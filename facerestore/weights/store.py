"""The store: where weights lie on this machine, and the verbs that put them there, check them and take them away."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from facerestore.errors import WeightsError
from facerestore.weights import checks, licence, own, records
from facerestore.weights.catalog import Catalog, WeightsEntry, is_name, load_catalog
from facerestore.weights.checks import Verdict, check_fit, use_of
from facerestore.weights.files import (
    copy_hashed,
    default_home,
    exclusive,
    packaged,
    remove_files,
    sha256_of,
    unpacked,
)
from facerestore.weights.records import Pin
from facerestore.weights.transfer import DownloadProgress, Report, TransferPolicy, truthy
from facerestore.weights.weights_file import look_at


class WeightsStore:
    """The weights on this machine: bundled ones in the package, downloaded and imported ones under ``home/weights``.

    Holds paths and options only; several threads and processes may use the same home.

    Args:
        home: by default `default_home`.
        offline: never touch the network; FACERESTORE_OFFLINE says the same.
        mirror: base address that replaces all URLs of the catalog, files directly under it; by default
            FACERESTORE_MIRROR.
        catalog: by default the one that comes with facerestore.
        transfer: patience of downloads.
        examine: says whether a file was looked into and is fit for an entry, and raises where it is not; by default
            ``checks.EXAMINER``.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        offline: bool = False,
        mirror: str | None = None,
        catalog: Catalog | None = None,
        transfer: TransferPolicy | None = None,
        examine: checks.Examiner | None = None,
    ) -> None:
        self.home = home or default_home()
        self.folder = self.home / "weights"
        self.offline = offline or truthy(os.environ, "FACERESTORE_OFFLINE")
        self.mirror = mirror or os.environ.get("FACERESTORE_MIRROR") or None
        published = catalog or load_catalog()
        self._published = frozenset(published.entries)
        self.catalog = own.with_own(published, self.home)
        self._transfer = transfer or TransferPolicy()
        self._examine = examine

    def entry(self, name: str) -> WeightsEntry:
        """Return the catalog entry of that name.

        Raises:
            WeightsError: no such entry; the message lists close matches.
        """
        return self.catalog.entry(name)

    def path_of(self, name: str) -> Path:
        """Return where a file lies, or would lie once downloaded or imported; an imported one before a package's."""
        entry = self.entry(name)
        path = (self.catalog.folder if entry.bundled else self.folder) / entry.file
        if entry.package_file is None or path.is_file():
            return path
        return packaged(entry.package_file) or path

    def comes_along(self, entry: WeightsEntry) -> bool:
        """Say whether an entry's file is part of this or another installed package, and no affair of the store's."""
        return entry.bundled or self.path_of(entry.name).parent != self.folder

    def locate(self, name: str) -> Path | None:
        """Return the file, bundled or installed, or None; looks whether it is there, not what it holds."""
        path = self.path_of(name)
        return path if os.path.isfile(path) else None  # noqa: PTH113 - Path.is_file raises where it may not look

    def require(self, name: str) -> Path:
        """Return the file, checked.

        An installed file is hashed once; as long as its size and time of change stay, the verdict holds. One that
        came with the program or another package has only its size looked at; `verify` hashes it.

        Raises:
            WeightsError: it is not here or not what it must be; the message gives the remedy.
        """
        entry, path = self._here(name)
        if self.comes_along(entry):
            size = path.stat().st_size
            if entry.size_bytes not in (None, size):
                raise WeightsError(
                    f"bundled weights {entry.name!r} ({path}) have {size} bytes, expected {entry.size_bytes}; "
                    f"install {entry.package or 'facerestore'} again"
                )
        else:
            found = records.stamped_sha256(path) or self._hash_file(entry, path)
            self._demand_hash(entry, path, found)
            self._keep_hash(entry, path, found, str(path))
        return path

    def installed(self) -> list[WeightsEntry]:
        """Return the entries whose file is on this machine, bundled ones included, in catalog order."""
        return [entry for name, entry in self.catalog.entries.items() if self.locate(name)]

    def best(self, purpose: str, *, backends: Collection[str] | None = None) -> WeightsEntry | None:
        """Return the entry to use for a purpose when the user names none, or None.

        Those that the automatic choice may take come first, then downloaded and imported weights before bundled ones,
        then the lower ``quality_rank``; entries without a rank are never chosen.

        Args:
            purpose: one of the catalog's purposes.
            backends: only these; by default all.
        """
        return next(iter(self.ranked(purpose, backends=backends)), None)

    def ranked(self, purpose: str, *, backends: Collection[str] | None = None) -> list[WeightsEntry]:
        """Return what `best` chooses from, the best first; looks whether files are there, not what they hold."""
        fit = [
            entry
            for entry in self.catalog.of(purpose)
            if entry.quality_rank is not None
            and (backends is None or entry.backend in backends)
            and self.locate(entry.name)
        ]
        return sorted(fit, key=lambda entry: entry.choice_order)

    def fault(self, name: str) -> str | None:
        """Return what keeps installed weights from being used, with the remedy; None where nothing does.

        Bundled files came with the program and are taken as they are. Of others that have no hash in the catalog the
        network is looked at too, once as long as the file stays.
        """
        entry = self.entry(name)
        try:
            path = self.require(name)
            if not entry.bundled and entry.sha256 is None and records.stamped_use(path) != use_of(entry):
                fit = check_fit(entry, path, examine=self._examine, remedy=self._way_out(entry))
                self._note_fit(entry, path, fit=fit)
        except WeightsError as error:
            return str(error)
        except OSError as error:
            return f"weights {name!r} cannot be read: {error}; see who owns {self.path_of(name)}"
        return None

    def pin(self, name: str) -> Pin | None:
        """Return the hash pinned at the first download or import of a file, or None."""
        return records.read_pin(self.home, self.entry(name).name)

    def urls(self, name: str) -> tuple[str, ...]:
        """Return where a download would look: the mirror alone where one is set, else the catalog's URLs."""
        entry = self.entry(name)
        if self.mirror is None:
            return entry.urls
        from facerestore.weights.download import mirrored

        return (mirrored(self.mirror, entry.file),)

    def fetchable(self, name: str) -> bool:
        """Say whether a download of these weights has an address to look at."""
        return bool(self.entry(name).urls or self.mirror)

    def terms_to_accept(self, name: str) -> str | None:
        """Return the licence terms that a download of these weights still asks for, or None."""
        entry = self.entry(name)
        text = licence.terms(entry, self.catalog.licence_of(entry))
        return None if entry.permissive or licence.is_accepted(self.home, text) else text

    def download(
        self,
        name: str,
        *,
        force: bool = False,
        accept_licence: bool = False,
        progress: Callable[[DownloadProgress], None] | None = None,
    ) -> Path:
        """Return the file, fetched if it is not here yet.

        Args:
            name: catalog name.
            force: fetch it again even if it is here; the old file stays until the new one is whole and right.
            accept_licence: accept terms that forbid, or may forbid, commercial use; recorded once per terms.
            progress: called as the bytes come.

        Raises:
            WeightsError: offline, terms not accepted, no room, not reachable, or a wrong size or hash.
        """
        entry = self.entry(name)
        if entry.bundled or (self.locate(name) and not force):
            return self.require(name)
        checks.check_may_fetch(entry, self.urls(name), offline=self.offline)
        licence.pass_gate(entry, self.terms_to_accept(name), home=self.home, accepted=accept_licence)
        return self._fetch_locked(entry, force, progress or _silent)

    def verify(self, name: str) -> Verdict:
        """Hash a file anew and say whether it is what it must be; a file without any known hash is pinned.

        Raises:
            WeightsError: it is not here, or cannot be read.
        """
        entry, path = self._here(name)
        found, expected = self._hash_file(entry, path), self._expected(entry)
        basis = "pinned now" if expected is None else "catalog" if entry.sha256 else "first copy"
        verdict = Verdict(name, path, found, expected, basis)
        if verdict.ok:
            self._keep_hash(entry, path, found, str(path))
        elif not self.comes_along(entry):
            records.stamp_path(path).unlink(missing_ok=True)  # an old verdict must not outlive this one
        return verdict

    def describe_corrupt(self, verdict: Verdict) -> str:
        """Return the message, with the remedy, for a file that is not what it must be."""
        entry = self.entry(verdict.name)
        held = f"({verdict.path}) have sha256 {verdict.sha256}, expected {verdict.expected}"
        if self.comes_along(entry):
            return f"weights {entry.name!r} {held}; install {entry.package or 'facerestore'} again"
        basis = records.explain(entry.name, self._pin(entry))
        return f"weights {entry.name!r} {held} ({basis}); {self._way_out(entry)}"

    def import_file(self, name: str, path: Path) -> Path:
        """Copy a file that the user already has into the store; returns where it lies.

        A published file goes under its catalog name, once it was found to hold the network that the catalog describes;
        out of the wheel of the package that it is part of, it is taken. A hash that was pinned of a copy that does not
        is replaced. A file that ``facerestore train export`` wrote may have a name of its own, ``backend.tag``, which
        the store knows from then on, once its network could be made.

        Raises:
            WeightsError: it is no such file, or of another purpose, network or size, or its network cannot be made, or
                its hash is not the known one, or the name is taken; nothing is installed then.
        """
        if self.is_own(name):
            entry = self.entry(name)
            installed = self.folder / entry.file
            if installed.is_file() and path.is_file() and look_at(path, hashed=True).sha256 == entry.sha256:
                return installed  # the same file once more, as after a kill
            raise WeightsError(
                f"the name {name!r} is taken by weights of your own; give another, or run"
                f" 'facerestore weights remove {name}' first"
            )
        if is_name(name) and not path.is_file():
            raise WeightsError(f"cannot import {path} as {name!r}: there is no such file")
        found = (
            None
            if name in self.catalog.entries or not path.is_file()
            else own.examine(name, path, self.catalog)
        )
        if found is not None:
            checks.check_opens(own.entry_of(found, self.catalog), path, self)
            target = own.install(
                found, path, self.folder, home=self.home, timeout_s=self._transfer.lock_timeout_s
            )
            self.catalog = own.with_own(self.catalog, self.home)
            return target
        try:
            entry = self.entry(name)
        except WeightsError as error:
            raise WeightsError(
                f"{error}; a name of its own is only for a file that 'facerestore train export' wrote for a backend"
            ) from error
        if entry.bundled:
            raise WeightsError(
                f"weights {name!r} come with facerestore and are never replaced; import others by their name"
            )
        target = self.folder / entry.file
        with self._exclusively(entry, _silent):
            try:
                with unpacked(path, entry.package_file) as file:
                    self._import_locked(entry, file, target)
            except OSError as error:
                raise WeightsError(f"cannot import {path} as {name!r}: {error}") from error
        return target

    def is_own(self, name: str) -> bool:
        """Say whether a name is that of weights of one's own."""
        return name in self.catalog.entries and name not in self._published

    def remove(self, name: str, *, forget_pin: bool = False) -> Path:
        """Delete an installed file and its part file; returns where it lay.

        Args:
            name: catalog name.
            forget_pin: forget its pinned hash too, so that the next download may be another file.

        Raises:
            WeightsError: it is bundled, not installed, or the folder cannot be written.
        """
        entry, path = self.entry(name), self.path_of(name)
        if entry.bundled:
            raise WeightsError(f"weights {name!r} come with facerestore and cannot be removed")
        if self.comes_along(entry):
            raise WeightsError(f"weights {name!r} are part of a package; run 'pip uninstall {entry.package}'")
        pin = records.pin_path(self.home, name)
        is_own = self.is_own(name)
        extra = [own.record_path(self.home, name)] * is_own + [pin] * forget_pin
        remove_files(path, extra, name=name)
        if is_own:
            left = {key: value for key, value in self.catalog.entries.items() if key != name}
            self.catalog = replace(self.catalog, entries=left)
        return path

    def _fetch_locked(self, entry: WeightsEntry, force: bool, report: Report) -> Path:
        from facerestore.weights import download

        target = self.folder / entry.file
        with self._exclusively(entry, report):
            if target.is_file() and not force:
                return self.require(entry.name)  # another process was faster
            pin = None if force and self._is_bad_pin(entry, imported_too=True) else self._pin(entry)
            fits: list[bool] = []
            wanted = download.Wanted(
                name=entry.name,
                target=target,
                urls=self.urls(entry.name),
                size_bytes=entry.size_bytes,
                sha256=pin.sha256 if pin else entry.sha256,
                hash_basis=records.explain(entry.name, pin),
                examine=lambda part: fits.append(check_fit(entry, part, examine=self._examine)),
            )
            received = download.fetch(wanted, policy=self._transfer, report=report)
            self._keep_hash(entry, target, received.sha256, received.url, replace_pin=pin is None)
            self._note_fit(entry, target, fit=any(fits))
        return target

    def _exclusively(self, entry: WeightsEntry, report: Report) -> AbstractContextManager[None]:
        waiting = DownloadProgress(entry.name, "waiting", "", 0, None, 0)
        target, timeout_s = self.folder / entry.file, self._transfer.lock_timeout_s
        return exclusive(target, timeout_s=timeout_s, on_wait=lambda: report(waiting))

    def _import_locked(self, entry: WeightsEntry, source: Path, target: Path) -> None:
        checks.check_kind(entry, source)
        fit = check_fit(entry, source, examine=self._examine)
        pin = None if self._is_bad_pin(entry) else self._pin(entry)
        found = copy_hashed(
            source, target, demand=lambda sha256: checks.demand_import(entry, source, sha256, pin)
        )
        self._keep_hash(entry, target, found, str(source.absolute()), replace_pin=pin is None)
        self._note_fit(entry, target, fit=fit)

    def _note_fit(self, entry: WeightsEntry, path: Path, *, fit: bool) -> None:
        """Remember that a file was examined and found fit."""
        if fit and os.access(path.parent, os.W_OK):
            records.stamp_use(path, use_of(entry))

    def _is_bad_pin(self, entry: WeightsEntry, *, imported_too: bool = False) -> bool:
        return checks.is_bad_pin(
            entry, self.home, self.locate(entry.name), examine=self._examine, imported_too=imported_too
        )

    def _here(self, name: str) -> tuple[WeightsEntry, Path]:
        """Return an entry and its file; raises WeightsError where that is not here."""
        entry, path = self.entry(name), self.locate(name)
        if path is not None:
            return entry, path
        if entry.bundled:
            raise WeightsError(
                f"bundled weights {name!r} are missing: {self.path_of(name)} does not exist; install facerestore again"
            )
        way_in = checks.way_in(entry, self.fetchable(name))
        raise WeightsError(f"weights {name!r} are not installed; {way_in}")

    def _way_out(self, entry: WeightsEntry) -> str:
        return checks.way_out(entry, self.fetchable(entry.name), own=self.is_own(entry.name))

    def _pin(self, entry: WeightsEntry) -> Pin | None:
        """Return the pin, where no hash of the catalog stands above it."""
        return None if entry.sha256 else records.read_pin(self.home, entry.name)

    def _expected(self, entry: WeightsEntry) -> str | None:
        pin = self._pin(entry)
        return pin.sha256 if pin else entry.sha256

    def _hash_file(self, entry: WeightsEntry, path: Path) -> str:
        """Hash a file; one that would be pinned, but cannot be weights at all, is refused instead."""
        if self._expected(entry) is None:
            checks.check_kind(entry, path, remedy=self._way_out(entry))
        return sha256_of(path)

    def _demand_hash(self, entry: WeightsEntry, path: Path, sha256: str) -> None:
        expected = self._expected(entry)
        if expected not in (None, sha256):
            raise WeightsError(self.describe_corrupt(Verdict(entry.name, path, sha256, expected, "")))

    def _keep_hash(
        self, entry: WeightsEntry, path: Path, sha256: str, origin: str, *, replace_pin: bool = False
    ) -> None:
        """Remember the hash of a file that is right, and pin it where none was known, or none that is to stay."""
        if self.comes_along(entry) or not os.access(path.parent, os.W_OK):
            return  # a read-only home, as in a container, is checked anew each time
        if entry.sha256 is None and (replace_pin or self._pin(entry) is None):
            records.write_pin(self.home, entry.name, sha256=sha256, origin=origin)
        records.stamp(path, sha256)


def _silent(_: DownloadProgress) -> None:
    """Report to nobody."""
