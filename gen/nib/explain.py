"""`nib explain`: what becomes of a packet on this router, by its plan and by how it is now."""

import json
import time
from argparse import Namespace
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from nib import values
from nib.host import DIFFERS, FINE, Refused, Wrong, command, read_plan, say
from nib.hours import minute_of_week
from nib.oracle import Packet, Situation, Unanswerable, verdict
from nib.oracle.lookup import direct, owner
from nib.oracle.sentences import as_json, sentences
from nib.oracle.values import Address, Case, Interface
from nib.plan import Plan
from nib.state import Live, counting, everything
from nib.status import STATUS_FILE, Status
from nib.status import from_json as status_from_json


def explain(arguments: Namespace) -> int:
    """Print the verdict; DIFFERS if nothing of it gets anywhere."""
    plan = read_plan(arguments.plan)
    status = _status()
    live = everything(plan) if status is None else _live(plan, status)
    now = time.localtime()
    hours = counting(plan, minute_of_week(now.tm_wday, now.tm_hour, now.tm_min))
    situation = Situation(live, _addresses(plan), status is not None, hours)
    try:
        packet = _packet(arguments, plan, situation)
        ways = verdict(plan, situation, packet)
    except (values.Wrong, Unanswerable) as problem:
        raise Wrong(f"explain: {problem}") from None
    print(as_json(ways) if arguments.json else sentences(packet, ways), end="")
    return FINE if any(way.fate in ("leaves", "delivered") for way in ways) else DIFFERS


def _packet(arguments: Namespace, plan: Plan, situation: Situation) -> Packet:
    source = values.address(arguments.source) if arguments.source else None
    destination = values.address(arguments.to)
    dscp = arguments.dscp
    user = arguments.user
    packet = Packet(
        source=source,
        destination=destination,
        protocol=arguments.protocol,
        sport=arguments.sport,
        dport=arguments.dport,
        device=arguments.device,
        user=int(user) if user and user.isdigit() else user,
        dscp=values.dscp(int(dscp) if dscp.isdigit() else dscp),
    )
    if arguments.device or source is None:
        return packet
    return _placed(packet, Case(plan, situation, packet), source)


def _placed(packet: Packet, case: Case, source: Address) -> Packet:
    """With the device that a packet from there comes in by."""
    if owner(case, source) is not None:
        return packet
    behind = direct(case, source)
    if behind is None:
        raise Unanswerable(f"say with --in by which device a packet from {source} comes in")
    return replace(packet, device=behind.device)


# -- this router -----------------------------------------------------------------------------------


def _status() -> Status | None:
    try:
        return status_from_json(Path(STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        say("nib: without a status of nib-monitor every uplink counts as alive")
        return None


def _live(plan: Plan, status: Status) -> Live:
    """As the monitor's table has it: who has not answered yet still carries."""
    out = {
        (uplink.name, family.family)
        for uplink in status.uplinks
        for family in uplink.families
        if not uplink.may_carry(family)
    }
    return {
        family: frozenset(name for name in names if (name, family) not in out)
        for family, names in everything(plan).items()
    }


def _addresses(plan: Plan) -> dict[str, tuple[Interface, ...]]:
    """What others gave to devices of ours; nothing, where the kernel cannot be asked."""
    try:
        outcome = command(("ip", "-json", "address"), within_s=10)
        entries = json.loads(outcome.output or "[]")
    except (Refused, ValueError):
        return {}
    written = {one for uplink in plan.uplinks for one in uplink.addresses}
    written |= {one for lan in plan.lans for one in lan.addresses}
    written |= {modem.own for modem in plan.modems if modem.own is not None}
    found: dict[str, tuple[Interface, ...]] = {}
    for entry in entries:
        own = [
            f"{address['local']}/{address['prefixlen']}"
            for address in entry.get("addr_info", ())
            if address.get("scope") != "link" and "local" in address
        ]
        if entry.get("ifname") in plan.devices:
            found[entry["ifname"]] = tuple(ip_interface(one) for one in own if one not in written)
    return found
