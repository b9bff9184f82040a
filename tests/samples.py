"""Configurations and compiled files for tests, from the text that a user would write."""

from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

from nib.check import check
from nib.config import Config
from nib.document import parse
from nib.plan import Plan
from nib.planner import make_plan
from nib.render import Files, render
from nib.state import Live, everything

EXAMPLES = Path(__file__).parent.parent / "examples"

TWO = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl: {device: wan2, address: 198.51.100.2/24, gateway: 198.51.100.1}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""


def config(text: str = TWO) -> Config:
    """A checked balance.yaml."""
    return check(parse("balance.yaml", text.encode()))


def plan(text: str = TWO) -> Plan:
    """Its plan."""
    return make_plan(config(text))


def files(text: str = TWO) -> Files:
    """Everything that would be written for it."""
    return render(plan(text))


def uplinks(count: int, weights: list[int] | None = None) -> str:
    """A balance.yaml with that many uplinks."""
    weights = weights or [1] * count
    lines = [
        f"  u{number}: {{device: wan{number}, address: dhcp, weight: {weight}}}"
        for number, weight in enumerate(weights[:count])
    ]
    return "\n".join(["uplinks:", *lines]) + "\n"


def lives(plan: Plan) -> Iterator[Live]:
    """Every way in which uplinks can be alive and dead."""
    for family, names in everything(plan).items():
        ordered = sorted(names)
        for alive in chain.from_iterable(
            combinations(ordered, size) for size in range(len(ordered) + 1)
        ):
            yield {family: frozenset(alive)}
