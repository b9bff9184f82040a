"""The world in words and numbers: reasons, status.json, the line for systemd."""

import math
from collections.abc import Mapping

from nib.families import Family
from nib.monitor import disputes, ladder
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Announce,
    Deed,
    ForgetFlows,
    Keep,
    LoadState,
    LoadTable,
    Poke,
    Publish,
    RemoveDefault,
    RemoveNetwork,
    RemoveRule,
    Say,
    SetBalance,
)
from nib.monitor.health import damped_s, share
from nib.monitor.tally import Tally
from nib.monitor.world import Key, World, device_of, obstacle, outage
from nib.plan import Uplink
from nib.sentence import headline, sentence
from nib.state import carriers, eased
from nib.status import AUTO, VERSION, Disputed, FamilyStatus, Shown, Status, UplinkStatus


def reason(world: World, key: Key, at_s: float) -> str:
    """Why an uplink is in its state, in one sentence without a full stop."""
    found = obstacle(world, key)
    if found:
        return found.reason
    if world.healths[key].state == "down" and at_s < world.drills.get(key[0], at_s):
        return f"a drill cuts it off: {_reason(world, key, at_s)}"
    return _reason(world, key, at_s)


def _reason(world: World, key: Key, at_s: float) -> str:
    """What the probes say."""
    health = world.healths[key]
    probe = world.plan.uplink(key[0]).probe
    match health.state:
        case "up":
            part = share(health, at_s, probe)
            return (
                "it answers"
                if part == 100
                else f"it answers, and takes {part}% of its share beside others"
            )
        case "unknown":
            return "it has not answered yet"
        case "down" if health.streak >= probe.rise and health.poor:
            return f"it answers, but {' and '.join(_beyond(world, key))}"
        case "down" if health.streak >= probe.rise and damped_s(health, at_s, probe):
            left = math.ceil(damped_s(health, at_s, probe))
            return f"it answers again, but went down too often: it is held down for {left} s"
        case "down" if health.streak >= probe.rise:
            return "it answers again, and waits out its hold_down"
        case "down" if health.streak:
            return f"it answers again, {health.streak} of {probe.rise} rounds"
        case "down" if health.poor:
            return f"it answers, but {' and '.join(_beyond(world, key))}"
        case "down":
            return ladder.missing(world, key)


def _beyond(world: World, key: Key) -> list[str]:
    """The measures that are worse than they may be."""
    probe, tally = world.plan.uplink(key[0]).probe, world.tallies.get(key, Tally())
    lost = None if tally.common_loss is None else 100 * tally.common_loss
    words = {
        "loss": (probe.loss, lost, "{:.0f}% of the questions are lost", "%"),
        "rtt": (probe.rtt, tally.rtt_ms, "answers take {:.0f} ms", " ms"),
        "jitter": (probe.jitter, tally.jitter_ms, "answers differ by {:.0f} ms", " ms"),
    }
    said = []
    for name in world.healths[key].poor:
        limits, value, text, unit = words[name]
        if limits:
            # a monitor before this one measured it
            what = f"its {name} is not measured anew yet" if value is None else text.format(value)
            said.append(f"{what} ({name}: down {limits.down}{unit}, up {limits.up}{unit})")
    return said


def change(world: World, key: Key, at_s: float) -> str:
    """What the journal hears of a new state."""
    name, family = key
    found = obstacle(world, key)
    health: Shown = "absent" if found and found.absent else world.healths[key].state
    return sentence(headline(name, health, family), reason(world, key, at_s))


def whole(key: Key) -> str:
    """What the journal hears when an uplink that came back is trusted as before."""
    return f"{key[0]} takes its whole share again" + (" in IPv6" if key[1] == 6 else "")


def moved(wish: Poke, tcp: int, others: int) -> str:
    """What the journal hears when an uplink's connections were taken care of."""
    of = " in IPv6" if wish.family == 6 else ""
    connections = f"{tcp} TCP connection{'s' * (tcp != 1)}"
    flows = f"{others} other flow{'s' * (others != 1)}"
    return f"{wish.uplink} had {connections} (reset) and {flows} (moved){of}"


def status(world: World, at_s: float) -> Status:
    """What status.json says at `at_s`."""
    shares = {family: _shares(world, family) for family in world.live}
    return Status(
        VERSION,
        at_s,
        tuple(_uplink_status(world, uplink, shares, at_s) for uplink in world.plan.uplinks),
        discounted=tuple(sorted(map(str, world.discounted))),
        contested=contested(world),
        disputes=disputed(world),
    )


def contested(world: World) -> tuple[str, ...]:
    """What somebody else removes again and again, by its name."""
    return tuple(one.thing for one in disputed(world))


def disputed(world: World) -> tuple[Disputed, ...]:
    """The same, and how long that goes on."""
    named = {**world.upkeep.disputed, disputes.TABLE: world.loads}
    return disputes.contested(world.upkeep.disputes, named)


def news(published: Status | None, now: Status, age_s: float) -> bool:
    """Worth writing: more than measurements changed, or these are older than `age_s`."""
    if published is None or now.at_s >= published.at_s + age_s:
        return True
    return _essence(published) != _essence(now)


def line(now: Status) -> str:
    """For `systemctl status`: how many are up, and the names of those that are not."""
    others = [
        f"{uplink.name} is {uplink.admin.state} by hand"
        for uplink in now.uplinks
        if uplink.admin.state != "auto"
    ]
    others += [
        f"{uplink.name} is {family.health}" + (" in IPv6" if family.family == 6 else "")
        for uplink in now.uplinks
        if uplink.admin.state != "down"
        for family in uplink.families
        if family.health not in ("up", "absent")
    ]
    well = [
        uplink
        for uplink in now.uplinks
        if uplink.admin.state != "down"
        if all(family.health in ("up", "absent") for family in uplink.families)
    ]
    if now.contested:
        others.append(f"something keeps removing {disputes.listed(list(now.contested))}")
    return ", ".join([f"{len(well)} of {len(now.uplinks)} uplinks up", *others])


def complaint(effect: Deed | Poke, error: str) -> str:
    """What did not work and why, in one sentence."""
    match effect:
        case LoadState() | LoadTable():
            what = "the nft table or its state file is not in place"
        case SetBalance():
            what = "the balance table was not set"
        case AddDefault(default):
            what = f"the default route by {default.device} was not put back"
        case RemoveDefault(default):
            what = f"the default route by {default.device} was not taken back"
        case AddRule(rule):
            what = f"the ip rule {rule.priority} was not put back"
        case RemoveRule(rule):
            what = f"the ip rule {rule.priority} was not taken back"
        case AddNetwork(network):
            what = f"{network.device} was not given {network.network}"
        case RemoveNetwork(network):
            what = f"{network.network} was not taken away from {network.device}"
        case Announce():
            what = "the lans were not told their networks"
        case ForgetFlows(_, uplink):
            what = f"old IPv6 flows of {uplink} are not forgotten"
        case Poke(_, uplink):
            what = f"silent clients of {uplink} do not learn that it is dead"
        case Keep():
            what = "orders are not kept across a reboot"
        case Publish():
            what = "status.json was not written"
        case Say():
            what = "the journal did not listen"
    return f"{what}: {error}"


def _shares(world: World, family: Family) -> dict[str, float]:
    """What part of the new flows of the default policy each uplink takes, 0..1."""
    carrying = carriers(world.plan.policies[0], world.live[family])
    eased_now = eased(carrying, world.easing.get(family, {}))
    whole = sum(share.weight for share in eased_now)
    return {share.uplink: share.weight / whole for share in eased_now}


def _uplink_status(
    world: World, uplink: Uplink, shares: Mapping[Family, Mapping[str, float]], at_s: float
) -> UplinkStatus:
    return UplinkStatus(
        name=uplink.name,
        device=uplink.device,
        weight=uplink.weight,
        tier=uplink.tier,
        families=tuple(
            _family_status(world, uplink, f, shares[f].get(uplink.name, 0.0), at_s)
            for f in uplink.families
        ),
        admin=world.orders.get(uplink.name, AUTO),
    )


def _family_status(
    world: World, uplink: Uplink, family: Family, part: float, at_s: float
) -> FamilyStatus:
    key = (uplink.name, family)
    tally = world.tallies.get(key, Tally())
    device = device_of(world, key)
    addresses = [address for of, address in (device.addresses if device else ()) if of == family]
    gateway, _ = world.upkeep.gateways.get(key, (None, None))
    shown, since_s = _shown(world, key)
    health = world.healths[key]
    return FamilyStatus(
        family=family,
        health=shown,
        since_s=since_s,
        reason=reason(world, key, at_s),
        address=addresses[0] if addresses else None,
        gateway=gateway,
        loss=tally.loss,
        rtt_ms=tally.rtt_ms,
        jitter_ms=tally.jitter_ms,
        share=part if shown != "absent" else 0.0,
        outage=outage(world, key) if shown != "absent" else None,
        missed_s=health.missed_s,
        outages=health.outages,
        penalty=health.penalty,
        fell_s=health.fell_s,
        poor=health.poor,
        returned_s=health.returned_s,
    )


def _shown(world: World, key: Key) -> tuple[Shown, float]:
    """To people an uplink with something in its way is down, whatever is believed of it."""
    health = world.healths[key]
    found = obstacle(world, key)
    if found and found.absent:
        return "absent", found.since_s
    if found and health.state != "down":
        return "down", found.since_s
    return health.state, health.since_s


def _essence(of: Status) -> list[object]:
    # outages: a name that one had must not be given to the next by a monitor that starts then
    return [
        of.disputes,
        *(
            (
                *(uplink.admin, one.health, one.since_s, one.outages),
                *(one.address, one.gateway, one.share),
            )
            for uplink in of.uplinks
            for one in uplink.families
        ),
    ]
