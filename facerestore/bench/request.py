"""What a user asks to be measured, and the measuring of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facerestore.backends import backend_names
from facerestore.bench.line import LineRequest, LineResult, measure_line
from facerestore.bench.machine import describe_machine
from facerestore.bench.pairs import NetworkResult, OpenRunner, compare, measure
from facerestore.bench.report import BenchReport
from facerestore.bench.runner import remote_runner
from facerestore.bench.sides import Side, parse_against
from facerestore.bench.sources import drawable_names, parser_class, published_sizes
from facerestore.bench.spawn import spawned
from facerestore.config import RESTORE
from facerestore.errors import ConfigError, FaceRestoreError
from facerestore.fields import names_of
from facerestore.pipeline.installed import AUTO
from facerestore.weights import WeightsStore

LARGEST_PX = 512
"""Networks of larger faces are measured only if asked for: each run takes a minute and more on two cores."""

LINE_REPEATS, NETWORK_REPEATS, PAIR_REPEATS = 3, 5, 7
"""Timed runs unless given: few where a run is long; from six pairs on the median has an interval."""

DEFAULT_RANDOM = "lite"
"""The network of the line where weights are drawn and none is named: the one that comes with the program."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What is to be measured.

    Attributes:
        what: ``all``, ``line`` or ``networks``.
        networks: as in `Side`; none for what is installed, or with random weights for all that can be drawn. The line
            is measured with each that restores, and where none is named with the one that ``enhance`` takes.
        random: weights are drawn.
        sizes: sides of drawn networks' faces, pixels; empty for all published ones, None for those to `LARGEST_PX`.
        batch: faces in one call of a network.
        precision: what networks compute in.
        against: in the vocabulary of `parse_against`; None for no pair.
        photo: for the line; None draws one.
        megapixels: size of the drawn photo.
        faces: how many are drawn.
        detector: name of the detector.
        repeats: timed runs; None for the presets above.
        threads: CPU threads; 0 for automatic.
        device: where networks run.
        home: folder of the installed weights; the user's own when None.
    """

    what: Literal["all", "line", "networks"] = "all"
    networks: tuple[str, ...] = ()
    random: bool = False
    sizes: tuple[int, ...] | None = None
    batch: int = 1
    precision: str = "float32"
    against: str | None = None
    photo: Path | None = None
    megapixels: float = 12.0
    faces: int = 4
    detector: str = AUTO
    repeats: int | None = None
    threads: int = 0
    device: str = AUTO
    home: Path | None = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            ConfigError: options exclude each other, or a number is out of its range.
        """
        if self.repeats is not None and self.repeats < 1:
            raise ConfigError(f"repeats is {self.repeats}; give 1 or more")
        if self.sizes is not None and not self.random:
            raise ConfigError("--size is for networks with random weights; add --random, or leave it out")
        if self.what == "line" and (self.batch != 1 or self.precision != "float32"):
            raise ConfigError("--batch and --precision are for networks; leave them out with 'line'")
        if self.against is not None and self.what == "line":
            raise ConfigError("--against takes networks in turns, not the line; leave out 'line'")
        if self.against is not None and len(self.networks) > 1:
            raise ConfigError(
                f"--against takes one network, not {', '.join(self.networks)}; give one with --backend"
            )
        if self.against is not None and self.sizes is not None and len(self.sizes) != 1:
            raise ConfigError("--against takes one size; give it with --size")


def run_request(
    request: BenchRequest, *, open_runner: OpenRunner | None = None, tell: Tell | None = None
) -> BenchReport:
    """Measure what is asked for, each line and each network in a process of its own.

    Where one of several fails, the others are measured; a single one, or a pair, raises.

    Args:
        request: what.
        open_runner: makes what runs a side; None for `remote_runner`.
        tell: is told what is being done.

    Raises:
        FaceRestoreError: the photo, weights, a name or the device is at fault.
    """
    opener = open_runner or (lambda side: remote_runner(side, home=request.home))
    store = WeightsStore(request.home, offline=True)
    if request.against is not None:
        one = pair_side(request)
        other = parse_against(request.against, one)
        machine = describe_machine()
        repeats = request.repeats or PAIR_REPEATS
        return BenchReport(machine, pair=compare(one, other, repeats=repeats, open_runner=opener, tell=tell))
    # Both before anything is measured, so that a mistake shows at once.
    sides = [] if request.what == "line" else network_sides(request, store)
    planned = [] if request.what == "networks" else line_requests(request)
    machine, repeats, failures = describe_machine(), request.repeats or NETWORK_REPEATS, []
    lines: list[LineResult] = []
    networks: list[NetworkResult] = []
    wanted: list[LineRequest | Side] = [*planned, *sides]
    for item in wanted:
        try:
            if isinstance(item, Side):
                networks.append(measure(item, repeats=repeats, open_runner=opener, tell=tell))
            else:
                if tell is not None:
                    tell(item.label)
                lines.append(spawned(measure_line, item))
        except FaceRestoreError as error:
            if len(wanted) == 1:
                raise
            failures.append(f"{item.label}: {error}")
    return BenchReport(machine, tuple(lines), tuple(networks), failures=tuple(failures))


def pair_side(request: BenchRequest) -> Side:
    """Return the side of a pair that was asked about: the network that ``enhance`` takes unless one is named.

    Raises:
        ConfigError: random weights need a name.
    """
    network = request.networks[0] if request.networks else AUTO
    if request.random and network == AUTO:
        raise ConfigError(
            f"--random needs a network; give --backend with one of {', '.join(drawable_names())}"
        )
    size = request.sizes[0] if request.sizes else None
    if request.random and size is None:
        size = published_sizes(network.split("+")[0])[0]
    return _side_of(request, network, size)


def network_sides(request: BenchRequest, store: WeightsStore) -> list[Side]:
    """Return the networks that are to be measured one by one.

    Raises:
        ConfigError: a name is unknown, or a network has no such size.
    """
    if not request.random:
        names = request.networks or tuple(_installed_names(store)) or (AUTO,)
        return [_side_of(request, name, None) for name in names]
    sides = [
        _side_of(request, name, size)
        for name in request.networks or drawable_names()
        for size in _drawn_sizes(request, name)
    ]
    if not sides:
        sizes = ", ".join(f"{size} px" for size in request.sizes or ())
        raise ConfigError(
            f"no network can be drawn at {sizes}; give --backend and one of its sizes, or --size all"
        )
    return sides


def _installed_names(store: WeightsStore) -> list[str]:
    """Return the catalog names of installed weights that restore faces, each network once."""
    usable = set(backend_names())
    return [
        entry.name
        for entry in store.catalog.entries.values()
        if entry.purpose == RESTORE.purpose
        and entry.backend in usable
        and entry.detail_of is None
        and store.locate(entry.name) is not None
    ]


def _drawn_sizes(request: BenchRequest, name: str) -> list[int]:
    """Return the sizes at which a network is drawn; without any said, the small example is left out.

    Where no network is named, those sizes are taken of the asked ones that this one has.

    Raises:
        ConfigError: the network is named and does not have a size.
    """
    known = published_sizes(name.split("+")[0])
    if request.sizes and request.networks and parser_class(name) is not None:  # it takes faces of any size
        return list(request.sizes)
    if request.sizes:
        lacking = [size for size in request.sizes if size not in known]
        if lacking and request.networks:
            has = ", ".join(f"{size} px" for size in known)
            raise ConfigError(f"'{name}' cannot be drawn at {lacking[0]} px; give {has or 'its weights'}")
        return [size for size in request.sizes if size in known]
    published = known if parser_class(name) is None else known[:1]
    published = [size for size in published if request.sizes is not None or size <= LARGEST_PX]
    large = [size for size in published if size >= LEAST_PUBLISHED_PX]
    return large or published[:1]


LEAST_PUBLISHED_PX = 128
"""Examples are smaller, published networks are not."""


def _side_of(request: BenchRequest, network: str, size: int | None) -> Side:
    return Side(**{**_shared_fields(request, Side), "network": network, "size": size})


def _shared_fields(request: BenchRequest, record: type[Side | LineRequest]) -> dict[str, Any]:
    """Return what a request says of the fields of one of the things to be measured."""
    return {name: getattr(request, name) for name in names_of(record) if hasattr(request, name)}


def line_requests(request: BenchRequest) -> list[LineRequest]:
    """Return what is to be measured of the line: each network that is named, at each size, but for parsers alone.

    Raises:
        ConfigError: a network has no such size, or only parsers are named for the line.
    """
    names = request.networks or (DEFAULT_RANDOM if request.random else AUTO,)
    restoring = [name for name in names if parser_class(name) is None]
    if not restoring and request.what == "line":
        raise ConfigError(f"'{names[0]}' restores no faces; name a backend, such as gpen or psfr+parsenet")
    return [
        _line_request(request, name, size)
        for name in restoring
        for size in (_drawn_sizes(request, name) if request.random and request.sizes is not None else [None])
    ]


def _line_request(request: BenchRequest, network: str, size: int | None) -> LineRequest:
    repeats = request.repeats or LINE_REPEATS
    return LineRequest(
        **{**_shared_fields(request, LineRequest), "network": network, "size": size, "repeats": repeats}
    )
