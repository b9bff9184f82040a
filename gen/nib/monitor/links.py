"""The kernel's side of the facts: devices, addresses, routes and rules, over rtnetlink.

Nothing is mirrored.  Events only say that something of ours may have changed; then the kernel is
asked afresh (it removes routes silently when a link goes down).
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import (
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV6_RULE,
    RTMGRP_LINK,
)

from nib.families import Family
from nib.monitor.events import Default, Device, Facts, LanNetwork, NextHop, PresentRule
from nib.plan import PROTOCOL, Plan, Priority, Rule, Table

MAIN = Table(254)

# Of many events in a row only the last look counts; but look at least this often.
DEBOUNCE_S = 0.01
DEADLINE_S = 0.1

IFF_UP = 0x1
# Duplicate address detection goes on, or has found another one: it cannot be used.
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40
RT_SCOPE_LINK = 253
FR_ACT_TO_TBL = 1
FR_ACT_UNREACHABLE = 7
FIB_RULE_INVERT = 0x2
NONE = 0xFFFFFFFF

FAMILIES: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}


async def look(ipr: Any, plan: Plan) -> Facts:
    """Ask the kernel for everything the plan is about."""
    names = set(plan.devices)
    links = {
        link["index"]: link async for link in await ipr.link("dump") if link.get("ifname") in names
    }
    addresses: dict[int, list[tuple[Family, str]]] = {index: [] for index in links}
    for family in plan.families:
        async for entry in await ipr.addr("dump", family=FAMILIES[family]):
            if entry["index"] in addresses and _usable(entry):
                local = entry.get("local") or entry.get("address")
                addresses[entry["index"]].append((family, str(local)))
    devices = tuple(
        Device(
            name=link.get("ifname"),
            index=index,
            up=bool(link["flags"] & IFF_UP),
            carrier=bool(link.get("carrier")),
            addresses=tuple(sorted(addresses[index])),
        )
        for index, link in sorted(links.items())
    )
    device_of = {device.index: device.name for device in devices}
    tables = {MAIN, *(uplink.table for uplink in plan.uplinks)}
    defaults: list[Default] = []
    balance: dict[Family, tuple[NextHop, ...]] = {}
    rules: list[PresentRule] = []
    networks: list[LanNetwork] = []
    for family in plan.families:
        for table in tables:
            defaults += [
                Default(
                    family=family,
                    table=table,
                    device=device_of[way.get("oif")],
                    gateway=way.get("gateway"),
                    metric=route.get("priority") or 0,
                    ours=route["proto"] == PROTOCOL,
                )
                for route in await _defaults(ipr, family, table)
                for way in route.get("multipath") or (route,)
                if way.get("oif") in device_of
            ]
        for route in await _defaults(ipr, family, plan.balance_table):
            # the kernel's order: the first is what it would use
            balance.setdefault(family, _hops(route, device_of))
        rules += [
            rule
            async for entry in await ipr.rule("dump", family=FAMILIES[family])
            for rule in _known_rule(entry, family, plan)
        ]
    if any(uplink.delegated for uplink in plan.uplinks):
        networks = await _networks(ipr, device_of)
    return Facts(devices, tuple(defaults), tuple(balance.items()), tuple(rules), tuple(networks))


def _usable(entry: Any) -> bool:
    """Whether the world can answer to an address: one for the link alone is none here."""
    flags = entry.get("flags") or 0
    return entry["scope"] != RT_SCOPE_LINK and not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)


async def _defaults(ipr: Any, family: Family, table: Table) -> list[Any]:
    try:
        dump = await ipr.route("dump", family=FAMILIES[family], table=table)
        return [route async for route in dump if route["dst_len"] == 0]
    except NetlinkError as error:
        # no such table yet: the same as an empty one
        if error.code in (2, 19):
            return []
        raise


async def _networks(ipr: Any, device_of: Mapping[int, str]) -> list[LanNetwork]:
    """The networks that the monitor has given to devices."""
    dump = await ipr.route("dump", family=FAMILIES[6], table=MAIN, proto=PROTOCOL)
    return [
        LanNetwork(f"{route.get('dst')}/64", device_of[route.get("oif")], route.get("priority"))
        async for route in dump
        if route["dst_len"] == 64 and route["proto"] == PROTOCOL and route.get("oif") in device_of
    ]


def _hops(route: Any, device_of: Mapping[int, str]) -> tuple[NextHop, ...]:
    """The ways of a route; the kernel writes a single one flat, and weights less one."""
    ways = route.get("multipath")
    if not ways:
        return (NextHop(device_of.get(route.get("oif"), "?"), route.get("gateway"), 1),)
    return tuple(
        NextHop(device_of.get(way["oif"], "?"), way.get("gateway"), way["hops"] + 1) for way in ways
    )


def _known_rule(entry: Any, family: Family, plan: Plan) -> list[PresentRule]:
    """The rule that the kernel's `entry` is: of the plan, from an uplink's address, a monitor's."""
    action, table = entry["action"], entry.get("table")
    if action not in (FR_ACT_TO_TBL, FR_ACT_UNREACHABLE):
        return []
    if entry["dst_len"] or entry["src_len"] not in (0, 32, 128):
        return []
    if entry["flags"] & FIB_RULE_INVERT:
        return []
    suppress = entry.get("suppress_prefixlen")
    found = Rule(
        family,
        Priority(entry.get("priority") or 0),
        device="",
        table=_table(table) if action == FR_ACT_TO_TBL else None,
        suppress_prefixlength=None if suppress in (None, NONE) else suppress,
        oif=entry.get("oifname"),
        iif=entry.get("iifname"),
        source=entry.get("src"),
        mark=(entry.get("fwmark") or 0) if entry.get("fwmask") else None,
        mask=entry.get("fwmask"),
    )
    ours = entry.get("protocol") == PROTOCOL
    known = [rule for rule in plan.rules if replace(rule, device="", origin="") == found]
    kept = ours or (
        found.source and found.priority in {uplink.address_priority for uplink in plan.uplinks}
    )
    return [PresentRule(rule, ours) for rule in known or ([found] if kept else [])]


def _table(number: int) -> Table | Literal["main"]:
    return "main" if number == MAIN else Table(number)


async def watch(plan: Plan, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` soon after anything of ours may have changed, for ever.

    Events in quick succession lead to one call, but no later than `DEADLINE_S` after the first.
    Raises OSError if the kernel's events cannot be had.
    """
    stir = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_debounced(stir, changed))
        while True:
            try:
                await _listen(plan, stir)
            except OSError as error:
                # Too many events at once: some are lost, and the socket is of no more use.
                if error.errno != errno.ENOBUFS:
                    raise


async def _listen(plan: Plan, stir: asyncio.Event) -> None:
    groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE
    if 6 in plan.families:
        groups |= RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | RTMGRP_IPV6_RULE
    async with AsyncIPRoute() as ipr:
        await ipr.bind(groups=groups)
        names = set(plan.devices)
        indexes = {
            link["index"] async for link in await ipr.link("dump") if link.get("ifname") in names
        }
        # nobody listened until now
        stir.set()
        while True:
            async for message in ipr.get():
                if _ours(message, plan, indexes):
                    stir.set()


async def _debounced(stir: asyncio.Event, changed: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await stir.wait()
        deadline = loop.time() + DEADLINE_S
        while stir.is_set() and loop.time() < deadline:
            stir.clear()
            await asyncio.sleep(DEBOUNCE_S)
        stir.clear()
        await changed()


def _ours(message: Any, plan: Plan, indexes: set[int]) -> bool:
    """May this event change the facts?  `indexes`: the devices that are ours, or were."""
    match message.get("event"):
        case "RTM_NEWLINK" | "RTM_DELLINK":
            ours = message.get("ifname") in plan.devices
            known = message["index"] in indexes
            if ours:
                indexes.add(message["index"])
            return ours or known
        case "RTM_NEWADDR" | "RTM_DELADDR":
            return message["index"] in indexes
        case "RTM_NEWROUTE" | "RTM_DELROUTE":
            table = message.get("table")
            if message["proto"] == PROTOCOL and message["dst_len"] == 64:
                return True
            return message["dst_len"] == 0 and (
                table in (MAIN, plan.balance_table)
                or any(uplink.table == table for uplink in plan.uplinks)
            )
        case "RTM_NEWRULE" | "RTM_DELRULE":
            return True
        case _:
            return False
