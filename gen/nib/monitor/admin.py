"""What the operator ordered of uplinks, beside what is believed of them.

An order stands until it is taken back or its time is over.  Nothing that happens overrides it: who
is down by order carries no new flows even if nobody else does.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from nib import codec
from nib.columns import duration
from nib.monitor.events import Ordered, Say
from nib.plan import Plan
from nib.state import Live, carriers
from nib.status import AUTO, Admin, Status
from nib.stream import Command

VERSION = 1

Orders = Mapping[str, Admin]
"""By uplink; who is left to its probes has none."""

Drills = Mapping[str, float]
"""When the last drill of an uplink ends."""


def before(plan: Plan, status: Status | None, kept: Orders) -> Orders:
    """The orders at start: those of the last monitor, else those kept across the reboot."""
    known = {uplink.name: uplink.admin for uplink in status.uplinks} if status else kept
    names = {uplink.name for uplink in plan.uplinks}
    return {name: one for name, one in known.items() if name in names and one.state != "auto"}


def obey(orders: Orders, event: Ordered) -> tuple[Orders, Say]:
    """The orders after one more, and what the journal hears of it."""
    command = event.command
    if command.do == "drill":
        cut_off = f"{command.uplink} is cut off for {duration(command.for_s or 0)}"
        return orders, Say(f"{cut_off}: a drill (says {command.who})")
    others = {name: one for name, one in orders.items() if name != command.uplink}
    said_by = f"(says {command.who})"
    if command.do == "auto":
        return others, Say(f"{command.uplink} {_AUTO} {said_by}")
    until_s = None if command.for_s is None else event.at_s + command.for_s
    one = Admin(command.do, event.at_s, until_s, command.who, command.persist)
    span = "" if command.for_s is None else f" for {duration(command.for_s)}"
    text = f"{command.uplink} is {command.do} by hand{span}: {_MEANING[command.do]} {said_by}"
    return {**others, command.uplink: one}, Say(text)


def drills(ends: Drills, event: Ordered) -> Drills:
    """When the drills end, after one more order."""
    command = event.command
    if command.do != "drill" or command.for_s is None:
        return ends
    return {**ends, command.uplink: event.at_s + command.for_s}


_AUTO = "is left to its probes again"
_MEANING = {"down": "it takes no new flows", "up": "whatever its probes say, it takes new flows"}


def refusal(plan: Plan, command: Command, usable: Live) -> str | None:
    """Why an order is not obeyed.  `usable` are those who can carry new flows now."""
    names = [uplink.name for uplink in plan.uplinks]
    if command.uplink not in names:
        return f"there is no uplink {command.uplink}: there are {', '.join(names)}"
    if command.do not in ("down", "drill") or command.force:
        return None
    last = [
        f"IPv{family}"
        for family, able in sorted(usable.items())
        if command.family in (None, family)
        if command.uplink in {share.uplink for share in carriers(plan.policies[0], able)}
        if not carriers(plan.policies[0], able - {command.uplink})
    ]
    if not last:
        return None
    return (
        f"{command.uplink} is the last uplink that carries {' and '.join(last)}: "
        "nobody would get a new connection; --force does it all the same"
    )


def expire(orders: Orders, at_s: float) -> tuple[Orders, list[Say]]:
    """The orders whose time is not over; and what the journal hears of the others."""
    over = [name for name, one in orders.items() if one.until_s and at_s >= one.until_s]
    if not over:
        return orders, []
    said = [Say(f"{name} {_AUTO}: the time of the order is over") for name in over]
    return {name: one for name, one in orders.items() if name not in over}, said


def ends(orders: Orders) -> Iterator[float]:
    """When the orders end that do."""
    return (one.until_s for one in orders.values() if one.until_s is not None)


def down(orders: Orders) -> frozenset[str]:
    """The uplinks that are down by order."""
    return frozenset(name for name, one in orders.items() if one.state == "down")


def takes(orders: Orders, name: str, well: bool) -> bool:
    """Does an uplink take new flows, if its link carries and its probes find it well or not?"""
    match orders.get(name, AUTO).state:
        case "auto":
            return well
        case "up":
            return True
        case "down":
            return False


# -- across a reboot -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kept:
    orders: tuple[tuple[str, Admin], ...]


def persistent(orders: Orders) -> tuple[tuple[str, Admin], ...]:
    """Those that outlive a reboot, by uplink."""
    return tuple((name, one) for name, one in sorted(orders.items()) if one.persist)


def to_json(orders: tuple[tuple[str, Admin], ...], epoch_s: float) -> str:
    """The text of a file.  Its times are wall clock; `epoch_s` is what that shows at 0."""
    kept = tuple((name, _shifted(one, epoch_s)) for name, one in orders)
    return json.dumps({"version": VERSION, **asdict(_Kept(kept))}, indent=1) + "\n"


def from_json(text: str, epoch_s: float) -> Orders:
    """Read that file.  Raises ValueError for anything else."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("not orders of this version of nib-monitor")
    return {name: _shifted(one, -epoch_s) for name, one in codec.decode(_Kept, data).orders}


def _shifted(one: Admin, by_s: float) -> Admin:
    def moved(at_s: float | None) -> float | None:
        return None if at_s is None else at_s + by_s

    return replace(one, since_s=moved(one.since_s), until_s=moved(one.until_s))
