"""Where inputs come from: our own altered files, Hypothesis, and atheris, which follows the code that they reach."""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from facerestore.errors import parse_toml
from fuzz.guard import Guard
from fuzz.kinds import Kind
from fuzz.mutation import altered, mutant, places

_MOST_BYTES = 1 << 20  # of an input of atheris
_AT_ONCE = 2000  # examples of one call of Hypothesis, which looks at the clock in between
_MOST_RUNS = 2**31 - 1  # that libFuzzer can be told
_STUCK_S = 600  # by the clock; the processor time has a limit of its own


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of an engine.

    Attributes:
        kinds: of files, at least one.
        guard: runs each input.
        seed: of all chance.
        first: number of the first input.
        runs: how many inputs at most, beginning with number 0.
        until: on ``time.monotonic``, when it ends.
    """

    kinds: Sequence[Kind]
    guard: Guard
    seed: int
    first: int
    runs: int
    until: float

    def over(self, number: int) -> bool:
        """Say whether there is to be no input of this number."""
        return number >= self.runs or time.monotonic() >= self.until


def run_mutants(turn: Turn) -> None:
    """Alter the examples by turns; each mutant is made again from the seed and its number."""
    examples = [(kind, example) for kind in turn.kinds for example in kind.examples]
    contents = [example for _, example in examples]
    number = turn.first
    while not turn.over(number):
        index, data = mutant(contents, turn.seed, number)
        turn.guard.run(number, examples[index][0], data)
        number += 1


def run_hypothesis(turn: Turn) -> None:
    """Draw values for the places of a text, and edits of other bytes, as Hypothesis likes them."""
    import hypothesis

    number = turn.first
    while not turn.over(number):
        size = min(_AT_ONCE, turn.runs - number)

        def run(chosen: tuple[Kind, bytes]) -> None:
            nonlocal number
            if not turn.over(number):
                turn.guard.run(number, *chosen)
                number += 1

        begun = number
        given = hypothesis.given(_inputs(turn.kinds))(run)
        hypothesis.seed(turn.seed * 1_000_003 + number)(
            hypothesis.settings(
                max_examples=size,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )(given)
        )()
        if number == begun:
            return


def _inputs(kinds: Sequence[Kind]) -> Any:
    """Return the strategy of kinds with an input each."""
    from hypothesis import strategies as st

    return st.one_of(
        [
            st.tuples(st.just(kind), (_values if kind.form else _edits)(kind, example))
            for kind in kinds
            for example in kind.examples
        ]
    )


def _values(kind: Kind, example: bytes) -> Any:
    """Return a strategy of texts with other values at some places."""
    from hypothesis import strategies as st

    right = _parsed(example, kind.form)
    words = sorted({str(key) for _, key in places(right)})
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-2, 70_000), st.floats(), st.text(max_size=20),
        st.sampled_from(words),
    )  # fmt: skip
    value = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(words) | st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=8,
    )

    @st.composite
    def texts(draw: Callable[[Any], Any]) -> bytes:
        made = copy.deepcopy(right)
        for _ in range(draw(st.integers(1, 3))):
            found = list(places(made))
            if found:
                holder, key = found[draw(st.integers(0, len(found) - 1))]
                holder[key] = draw(value)
        return _written(made, kind.form)

    return texts()


def _edits(_: Kind, example: bytes) -> Any:
    """Return a strategy of bytes with pieces replaced."""
    from hypothesis import strategies as st

    edit = st.tuples(st.integers(0, len(example)), st.integers(0, 12), st.binary(max_size=24))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(example)
        for place, size, piece in edits:
            data[place : place + size] = piece
        return bytes(data)

    return st.lists(edit, min_size=1, max_size=4).map(apply)


def _parsed(example: bytes, form: str) -> Any:
    text = example.decode()
    if form == "toml":
        return parse_toml(text)
    return [json.loads(line) for line in text.splitlines()] if form == "lines" else json.loads(text)


def _written(value: Any, form: str) -> bytes:
    if form == "json":
        return json.dumps(value).encode()
    if form == "lines":
        return "".join(f"{json.dumps(line)}\n" for line in value).encode()
    return "".join(f"{json.dumps(key)} = {_toml(inner)}\n" for key, inner in value.items()).encode(
        "utf-8", "surrogateescape"
    )


def _toml(value: Any) -> str:
    """Return a value as TOML in one line; what TOML has not, such as null, as what no reader takes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(text := json.dumps(value), text)


def run_atheris(turn: Turn) -> None:
    """Let atheris look for inputs that reach new code; the process ends with it.

    An input is a byte that chooses the kind, and the file behind it.
    """
    import atheris

    examples = [(index, example) for index, kind in enumerate(turn.kinds) for example in kind.examples]
    contents = [example for _, example in examples]
    number = turn.first

    def one(data: bytes) -> None:
        nonlocal number
        if data:
            turn.guard.run(number, turn.kinds[data[0] % len(turn.kinds)], data[1:])
            number += 1

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5 or len(data) < 3:
            return bytes(atheris.Mutate(data, most))
        return (data[:1] + altered(data[1:], rng, contents))[:most]

    seeds = Path(tempfile.mkdtemp(prefix="seeds"))
    for place, (index, example) in enumerate(examples):
        (seeds / str(place)).write_bytes(bytes([index]) + example)
    seconds = max(1, round(turn.until - time.monotonic()))
    options = [
        f"-seed={turn.seed}",
        f"-runs={max(1, min(turn.runs - number, _MOST_RUNS))}",
        f"-max_total_time={seconds}",
    ]
    fixed = ["-rss_limit_mb=0", f"-timeout={_STUCK_S}", f"-max_len={_MOST_BYTES}", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, *fixed, str(seeds)], one, custom_mutator=change)
    atheris.Fuzz()


ENGINES: Mapping[str, Callable[[Turn], None]] = MappingProxyType(
    {"mutants": run_mutants, "hypothesis": run_hypothesis, "atheris": run_atheris}
)
