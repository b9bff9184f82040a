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
  cable: {device: wan1, address: dhcp, ipv6: off, weight: 3}
  dsl: {device: wan2, address: 198.51.100.2/24, gateway: 198.51.100.1}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""


DUAL = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl:
    device: wan2
    address: [198.51.100.2/24, "2001:db8:2::2/64"]
    gateway: [198.51.100.1, "2001:db8:2::1"]
  old: {device: wan3, address: dhcp, ipv6: off}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
  guests: {device: lan2, address: 192.168.20.1/24, ipv6: off}
  vpn: {device: tun0, address: external}
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
        f"  u{number}: {{device: wan{number}, address: dhcp, ipv6: off, weight: {weight}}}"
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
