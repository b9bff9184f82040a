"""The kernel's side of the facts: devices, addresses, routes and rules, over rtnetlink.

Nothing is mirrored.  Events only say that something of ours may have changed; then the kernel is
asked afresh (it removes routes silently when a link goes down).
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from nib.families import Family
from nib.ip_rules import MAIN, PROTOCOL, Priority, Rule, Table
from nib.monitor import rtnetlink
from nib.monitor.events import Default, Device, Facts, LanNetwork, NextHop, PresentRule
from nib.monitor.netlink import MOST_BYTES, Kernel, Message, listen, messages
from nib.monitor.rtnetlink import (
    FR_ACT_GOTO,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    RT_SCOPE_LINK,
    Address,
    Route,
    RuleEntry,
)
from nib.plan import Plan

# Of many events in a row only the last look counts; but look at least this often.
DEBOUNCE_S = 0.01
DEADLINE_S = 0.1

LOOKS = 5

IFF_UP = 0x1
# Duplicate address detection goes on, or has found another one: it cannot be used.
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40
FIB_RULE_INVERT = 0x2
NONE = -1

# linux/rtnetlink.h: what to be told of
LINKS = 0x1
ADDRESSES: dict[Family, int] = {4: 0x10, 6: 0x100}
ROUTES: dict[Family, int] = {4: 0x40, 6: 0x400}
RULES: dict[Family, int] = {4: 0x80, 6: 0x40000}


async def look(plan: Plan) -> Facts:
    """Ask the kernel for everything the plan is about.

    What changes while it is told is asked for again, a few times.  Raises OSError.
    """
    with Kernel() as kernel:
        for _ in range(LOOKS - 1):
            with suppress(InterruptedError):
                return await _look(kernel, plan)
        return await _look(kernel, plan)


async def _look(kernel: Kernel, plan: Plan) -> Facts:
    links = [link async for link in rtnetlink.links(kernel) if link.name in plan.devices]
    addresses: dict[int, list[tuple[Family, str]]] = {link.ifindex: [] for link in links}
    for family in plan.families:
        async for entry in rtnetlink.addresses(kernel, family):
            if entry.ifindex in addresses and _usable(entry):
                addresses[entry.ifindex].append((family, entry.address))
    devices = tuple(
        Device(
            name=link.name,
            index=link.ifindex,
            up=bool(link.flags & IFF_UP),
            carrier=link.carrier,
            addresses=tuple(sorted(addresses[link.ifindex])),
        )
        for link in sorted(links)
    )
    device_of = {device.index: device.name for device in devices}
    tables = {MAIN, *(uplink.table for uplink in plan.uplinks)}
    defaults: list[Default] = []
    balance: dict[Family, tuple[NextHop, ...]] = {}
    planned = _alike(plan.rules)
    rules: list[PresentRule] = []
    networks: list[LanNetwork] = []
    for family in plan.families:
        for table in tables:
            defaults += [
                default
                async for route in rtnetlink.routes(kernel, family, table, 0)
                for default in _defaults(route, device_of)
            ]
        async for route in rtnetlink.routes(kernel, family, plan.balance_table, 0):
            # the kernel's order: the first is what it would use
            balance.setdefault(family, _hops(route, device_of))
        rules += [
            rule
            async for entry in rtnetlink.rules(kernel, family)
            for rule in _known_rule(entry, plan, planned)
        ]
    if any(uplink.delegated for uplink in plan.uplinks):
        networks = [
            network
            async for route in rtnetlink.routes(kernel, 6, MAIN, 64)
            for network in _networks(route, device_of)
        ]
    return Facts(devices, tuple(defaults), tuple(balance.items()), tuple(rules), tuple(networks))


def _defaults(route: Route, device_of: Mapping[int, str]) -> list[Default]:
    """A default route, for each device of nib's that it leads by."""
    return [
        Default(
            family=route.family,
            table=Table(route.table),
            device=device_of[way.ifindex],
            gateway=way.gateway,
            metric=route.metric,
            ours=route.protocol == PROTOCOL,
        )
        for way in route.ways
        if way.ifindex in device_of
    ]


def _usable(entry: Address) -> bool:
    """Whether the world can answer to an address: one for the link alone is none here."""
    return entry.scope != RT_SCOPE_LINK and not entry.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)


def _networks(route: Route, device_of: Mapping[int, str]) -> list[LanNetwork]:
    """The network that the monitor has given to a device by this route."""
    index = route.ways[0].ifindex
    if route.protocol != PROTOCOL or index not in device_of:
        return []
    return [LanNetwork(f"{route.destination}/64", device_of[index], route.metric)]


def _hops(route: Route, device_of: Mapping[int, str]) -> tuple[NextHop, ...]:
    return tuple(
        NextHop(device_of.get(way.ifindex, "?"), way.gateway, way.weight) for way in route.ways
    )


def _alike(rules: Iterable[Rule]) -> dict[Rule, list[Rule]]:
    """The rules of a plan by what the kernel knows of them."""
    found: dict[Rule, list[Rule]] = {}
    for rule in rules:
        found.setdefault(replace(rule, device="", origin=""), []).append(rule)
    return found


def _known_rule(
    entry: RuleEntry, plan: Plan, planned: Mapping[Rule, list[Rule]]
) -> list[PresentRule]:
    """The rule that the kernel's `entry` is: of the plan, from an uplink's address, a monitor's."""
    if entry.action not in (FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_UNREACHABLE):
        return []
    if entry.destination_length or entry.source_length not in (0, 32, 128):
        return []
    if entry.flags & FIB_RULE_INVERT:
        return []
    found = Rule(
        entry.family,
        Priority(entry.priority),
        device="",
        table=_table(entry.table) if entry.action == FR_ACT_TO_TBL else None,
        suppress_prefixlength=None if entry.suppress == NONE else entry.suppress,
        oif=entry.oif,
        iif=entry.iif,
        source=entry.source,
        mark=entry.mark if entry.mask else None,
        mask=entry.mask or None,
        goto=None if entry.goto is None else Priority(entry.goto),
    )
    ours = entry.protocol == PROTOCOL
    kept = ours or (
        found.source and found.priority in {uplink.address_priority for uplink in plan.uplinks}
    )
    known = planned.get(found, [found] if kept else [])
    return [PresentRule(rule, ours) for rule in known]


def _table(number: int) -> Table | Literal["main"]:
    return "main" if number == MAIN else Table(number)


@dataclass(slots=True)
class _News:
    """Something may have changed; `seen` is what the last look saw, if nothing has since."""

    stir: asyncio.Event
    seen: Facts | None = None


async def watch(plan: Plan, look: Callable[[], Awaitable[Facts]]) -> None:
    """Call `look` soon after anything of ours may have changed, for ever.

    Events in quick succession lead to one call, but no later than `DEADLINE_S` after the first.
    What a provider announces again and again, and was there at the last look, is no change.
    Raises OSError if the kernel's events cannot be had.
    """
    news = _News(asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_debounced(news, look))
        while True:
            try:
                await _listen(plan, news)
            except OSError as error:
                # Too many events at once: some are lost, and the socket is of no more use.
                if error.errno != errno.ENOBUFS:
                    raise


async def _listen(plan: Plan, news: _News) -> None:
    groups = LINKS
    for family in plan.families:
        groups |= ADDRESSES[family] | ROUTES[family] | RULES[family]
    loop = asyncio.get_running_loop()
    with listen(groups) as listening:
        with Kernel() as kernel:
            links = [link async for link in rtnetlink.links(kernel)]
        indexes = {link.ifindex for link in links if link.name in plan.devices}
        # nobody listened until now
        news.stir.set()
        while True:
            packet = await loop.sock_recv(listening, MOST_BYTES)
            for message in messages(packet):
                if _ours(message, plan, indexes) and not _known(message, plan, news.seen):
                    news.seen = None
                    news.stir.set()


async def _debounced(news: _News, look: Callable[[], Awaitable[Facts]]) -> None:
    loop, stir = asyncio.get_running_loop(), news.stir
    while True:
        await stir.wait()
        deadline = loop.time() + DEADLINE_S
        while stir.is_set() and loop.time() < deadline:
            stir.clear()
            await asyncio.sleep(DEBOUNCE_S)
        stir.clear()
        facts = await look()
        if not stir.is_set():
            news.seen = facts


def _ours(message: Message, plan: Plan, indexes: set[int]) -> bool:
    """May this event change the facts?  `indexes`: the devices that are ours, or were."""
    match message.kind:
        case rtnetlink.RTM_NEWLINK | rtnetlink.RTM_DELLINK:
            link = rtnetlink.link(message)
            known = link.ifindex in indexes
            if link.name in plan.devices:
                indexes.add(link.ifindex)
            return known or link.ifindex in indexes
        case rtnetlink.RTM_NEWADDR | rtnetlink.RTM_DELADDR:
            return rtnetlink.address(message).ifindex in indexes
        case rtnetlink.RTM_NEWROUTE | rtnetlink.RTM_DELROUTE:
            length = rtnetlink.destination_length(message)
            if length not in (0, 64):
                return False
            route = rtnetlink.route(message)
            if length:
                return route.protocol == PROTOCOL
            return route.table in (MAIN, plan.balance_table) or any(
                uplink.table == route.table for uplink in plan.uplinks
            )
        case rtnetlink.RTM_NEWRULE | rtnetlink.RTM_DELRULE:
            return True
        case _:
            return False


def _known(message: Message, plan: Plan, seen: Facts | None) -> bool:
    """Does it only say once more what is `seen`?  Announcements renew an address and a route."""
    if seen is None:
        return False
    match message.kind:
        case rtnetlink.RTM_NEWADDR:
            entry = rtnetlink.address(message)
            held = [device.addresses for device in seen.devices if device.index == entry.ifindex]
            there = any((entry.family, entry.address) in addresses for addresses in held)
            return bool(held) and there == _usable(entry)
        case rtnetlink.RTM_NEWROUTE if rtnetlink.destination_length(message) == 0:
            route = rtnetlink.route(message)
            defaults = _defaults(route, {device.index: device.name for device in seen.devices})
            whole = len(defaults) == len(route.ways) and route.table != plan.balance_table
            return whole and all(default in seen.defaults for default in defaults)
        case _:
            return False
