"""Whatever bytes nib-gen is given: a Config, or problems with a place in them; never a traceback.

One hundred thousand inputs take about a minute; NIB_FUZZ=10 tries ten times as many, other ones.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

import samples
from configurations import configuration, text
from nib.check import check
from nib.document import Rejected, parse
from nib.planner import make_plan
from nib.problem import LINE_BREAK
from nib.shape import schema

TIMES = int(os.environ.get("NIB_FUZZ", "1"))
ERRORS = Path(__file__).parent / "errors"


def judge(raw: bytes) -> None:
    """Read one input as nib-gen does.  Fails unless every problem is at a place in it."""
    try:
        make_plan(check(parse("balance.yaml", raw)))
    except Rejected as rejected:
        lines = LINE_BREAK.split(rejected.text)
        assert rejected.problems
        for problem in rejected.problems:
            if problem.place:
                line, column = problem.place.line, problem.place.column
                assert 1 <= line <= len(lines), problem
                assert 1 <= column <= len(lines[line - 1]) + 1, problem
            else:
                assert problem.path == (), problem
        report = rejected.report()
        report.encode()
        assert all(line.isprintable() for line in report.splitlines())


# -- inputs --------------------------------------------------------------------------------------


@cache
def corpus() -> list[bytes]:
    """Files that people might write: every error fixture, every example, some that are right."""
    files = [*ERRORS.glob("*.yaml"), *samples.EXAMPLES.glob("*.yaml")]
    right = [text(configuration(Random(seed), 1 + seed % 2, seed % 2)) for seed in range(40)]
    return [path.read_bytes() for path in sorted(files)] + [one.encode() for one in right]


def _is_read(raw: bytes) -> bool:
    try:
        parse("balance.yaml", raw)
    except Rejected:
        return False
    return True


@cache
def readable() -> list[bytes]:
    """Of these the ones whose data is looked at."""
    return [raw for raw in corpus() if _is_read(raw)]


def _keys(rules: Any) -> Iterator[str]:
    if isinstance(rules, dict):
        yield from rules.get("properties", {})
        for inner in rules.values():
            yield from _keys(inner)


@cache
def words() -> list[str]:
    """What means something somewhere, and what is at the edge of it."""
    plain = "dhcp external off auto default lo wan1 home cable ssh :uplinks :lans @x any block"
    values = "1.1.1.1 ::1 fe80::1 10.0.0.1/24 2001:db8::2/64 0.0.0.0/0 500ms 0s 99h 5/minute 1-2"
    numbers = "0 1 -1 1.5 1e999 .nan 0x7f000000 0xffffffffff 65536 00 ~ null true no"
    odd = ["", " ", "\u0661", "é", "a" * 300, "\U0001f600", "\ud800", "\n", "'", '"', "\\"]
    return [*sorted(set(_keys(schema()))), *plain.split(), *values.split(), *numbers.split(), *odd]


SYNTAX = "\n  - :: :,[]{}#&a*a!t|>%@`'\"\\\t?---...\r\n\x00\x85\ufeff"


def noise(random: Random) -> bytes:
    """Bytes, or characters that mean something to YAML."""
    if random.random() < 0.3:
        return random.randbytes(random.randint(0, 40))
    parts = random.choices([*SYNTAX, *SYNTAX, *random.choices(words(), k=20)], k=25)
    return "".join(parts).encode("utf-8", "replace")


def damaged(random: Random) -> bytes:
    """A file with a few accidents."""
    raw = random.choice(corpus() if random.random() < 0.2 else readable())
    for _ in range(random.choice([1, 1, 1, 1, 3])):
        raw = random.choice(ACCIDENTS)(random, raw)
    return raw


def tree(random: Random) -> bytes:
    """Maps and lists of anything, mostly where the schema has maps and lists."""
    return json.dumps(_like(random, schema(), 0), ensure_ascii=random.random() < 0.5).encode(
        "utf-8", "replace"
    )


def _like(random: Random, rules: dict[str, Any], depth: int) -> Any:
    if "$ref" in rules:
        rules = schema()["$defs"][rules["$ref"].removeprefix("#/$defs/")]
    if depth > 8 or random.random() < 0.08:
        return _anything(random, 0)
    if "enum" in rules:
        return random.choice(rules["enum"])
    kinds = rules.get("type", "string")
    kind = random.choice(kinds) if isinstance(kinds, list) else kinds
    match kind:
        case "object" if "properties" in rules:
            known = rules["properties"]
            chosen = {*random.sample(list(known), random.randint(0, min(3, len(known))))}
            chosen |= {key for key in rules.get("required", ()) if random.random() < 0.9}
            return {key: _like(random, known[key], depth + 1) for key in known if key in chosen}
        case "object":
            names = [random.choice(["cable", "dsl", "home", "x", random.choice(words())])]
            names += ["lte"] if random.random() < 0.3 else []
            return {n: _like(random, rules["additionalProperties"], depth + 1) for n in names}
        case "array":
            items = rules["items"]
            return [_like(random, items, depth + 1) for _ in range(random.randint(0, 2))]
        case "integer":
            return random.choice([1, 1, 2, 7, random.randint(-1, 70000)])
        case _:
            return random.choice(words())


def _anything(random: Random, depth: int) -> Any:
    match random.randint(0, 6 if depth < 3 else 4):
        case 5:
            return [_anything(random, depth + 1) for _ in range(random.randint(0, 3))]
        case 6:
            names = random.choices(words(), k=random.randint(0, 3))
            return {name: _anything(random, depth + 1) for name in names}
        case number:
            return [None, True, -7, 1.5, random.choice(words())][number]


def _cut(random: Random, raw: bytes) -> bytes:
    at = random.randint(0, len(raw))
    return raw[:at] + raw[at + random.choice([1, 1, 4, 40]) :]


def _insert(random: Random, raw: bytes) -> bytes:
    at = random.randint(0, len(raw))
    part = random.choice([random.choice(SYNTAX), random.choice(words())])
    return raw[:at] + part.encode("utf-8", "replace") + raw[at:]


def _byte(random: Random, raw: bytes) -> bytes:
    at = random.randint(0, len(raw))
    return raw[:at] + random.randbytes(1) + raw[at + 1 :]


def _word(random: Random, raw: bytes) -> bytes:
    """Another word in the place of one."""
    parts = raw.split(b" ")
    parts[random.randrange(len(parts))] = random.choice(words()).encode("utf-8", "replace")
    return b" ".join(parts)


def _line(random: Random, raw: bytes) -> bytes:
    """A line again, or somewhere else."""
    lines = raw.split(b"\n")
    line = lines[random.randrange(len(lines))]
    lines.insert(random.randrange(len(lines)), random.choice([line, b"  " + line, line.lstrip()]))
    return b"\n".join(lines)


def _splice(random: Random, raw: bytes) -> bytes:
    other = random.choice(corpus())
    return raw[: random.randint(0, len(raw))] + other[random.randint(0, len(other)) :]


ACCIDENTS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_cut, _insert, _byte, _word, _word, _word, _line, _splice),
)


def inputs(make: Callable[[Random], bytes], seed: str) -> Iterator[bytes]:
    random = Random(seed)
    while True:
        yield make(random)


@pytest.mark.parametrize(
    ("make", "count"),
    [(noise, 30_000), (damaged, 40_000), (tree, 30_000)],
    ids=lambda v: getattr(v, "__name__", ""),
)
@pytest.mark.parametrize("part", range(TIMES))
def test_any_input_is_read_or_refused(
    make: Callable[[Random], bytes], count: int, part: int
) -> None:
    for raw in islice(inputs(make, f"{make.__name__} {part}"), count):
        try:
            judge(raw)
        except Exception as problem:
            # half a character cannot be sent to whoever gathers the reports
            pytest.fail(ascii((raw, problem)), pytrace=False)


def test_the_inputs_are_not_all_refused_at_once() -> None:
    """Many of the damaged files and most trees are read to their end: their data is checked."""
    for make, least in ((damaged, 300), (tree, 800)):
        read = sum(_is_read(raw) for raw in islice(inputs(make, "some"), 1000))
        assert read > least, make.__name__
