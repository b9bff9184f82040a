"""The world in words and numbers: reasons, status.json, the line for systemd."""

from nib.families import Family
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Announce,
    Effect,
    ForgetFlows,
    LoadState,
    LoadTable,
    Publish,
    RemoveDefault,
    RemoveNetwork,
    RemoveRule,
    Say,
    SetBalance,
)
from nib.monitor.world import Key, Tally, World, device_of, obstacle
from nib.plan import Uplink
from nib.state import carriers
from nib.status import VERSION, FamilyStatus, Shown, Status, UplinkStatus


def reason(world: World, key: Key) -> str:
    """Why an uplink is in its state, in one sentence without a full stop."""
    found = obstacle(world, key)
    if found:
        return found.reason
    health = world.healths[key]
    uplink = world.plan.uplink(key[0])
    probe = uplink.probe
    targets = ", ".join(map(str, uplink.targets_of(key[1])))
    match health.state:
        case "up":
            return "it answers"
        case "unknown":
            return "it has not answered yet"
        case "down" if health.streak >= probe.rise:
            return "it answers again, and waits out its hold_down"
        case "down" if health.streak:
            return f"it answers again, {health.streak} of {probe.rise} rounds"
        case "down":
            if refusals := world.refusals.get(key):
                target, why = refusals[0]
                return f"the link is fine, but {target} {why}"
            few = f"fewer than {probe.quorum}" if probe.quorum > 1 else "none"
            return f"the link is fine, but {few} of {targets} answered"


def change(world: World, key: Key) -> str:
    """What the journal hears of a new state."""
    name, family = key
    found = obstacle(world, key)
    why = reason(world, key)
    if found and found.absent:
        return f"{name} has no IPv6: {why}"
    of = " in IPv6" if family == 6 else ""
    return f"{name} is {world.healths[key].state}{of}: {why}"


def status(world: World, at_s: float) -> Status:
    """What status.json says at `at_s`."""
    return Status(
        VERSION, at_s, tuple(_uplink_status(world, uplink) for uplink in world.plan.uplinks)
    )


def news(published: Status | None, now: Status, age_s: float) -> bool:
    """Worth writing: more than measurements changed, or these are older than `age_s`."""
    if published is None or now.at_s >= published.at_s + age_s:
        return True
    return _essence(published) != _essence(now)


def line(now: Status) -> str:
    """For `systemctl status`: how many are up, and the names of those that are not."""
    others = [
        f"{uplink.name} is {family.health}" + (" in IPv6" if family.family == 6 else "")
        for uplink in now.uplinks
        for family in uplink.families
        if family.health not in ("up", "absent")
    ]
    well = [
        uplink
        for uplink in now.uplinks
        if all(family.health in ("up", "absent") for family in uplink.families)
    ]
    return ", ".join([f"{len(well)} of {len(now.uplinks)} uplinks up", *others])


def complaint(effect: Effect, error: str) -> str:
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
        case Publish():
            what = "status.json was not written"
        case Say():
            what = "the journal did not listen"
    return f"{what}: {error}"


def _uplink_status(world: World, uplink: Uplink) -> UplinkStatus:
    return UplinkStatus(
        name=uplink.name,
        device=uplink.device,
        weight=uplink.weight,
        tier=uplink.tier,
        families=tuple(_family_status(world, uplink, family) for family in uplink.families),
    )


def _family_status(world: World, uplink: Uplink, family: Family) -> FamilyStatus:
    key = (uplink.name, family)
    tally = world.tallies.get(key, Tally())
    shares = carriers(world.plan.policies[0], world.live[family])
    mine = sum(share.weight for share in shares if share.uplink == uplink.name)
    device = device_of(world, key)
    addresses = [address for of, address in (device.addresses if device else ()) if of == family]
    gateway, _ = world.upkeep.gateways.get(key, (None, None))
    shown, since_s = _shown(world, key)
    return FamilyStatus(
        family=family,
        health=shown,
        since_s=since_s,
        reason=reason(world, key),
        address=addresses[0] if addresses else None,
        gateway=gateway,
        loss=tally.loss,
        rtt_ms=tally.rtt_ms,
        share=mine / sum(share.weight for share in shares) if shares and shown != "absent" else 0.0,
    )


def _shown(world: World, key: Key) -> tuple[Shown, float]:
    """To people an uplink with something in its way is down, whatever is believed of it."""
    health = world.healths[key]
    found = obstacle(world, key)
    if found and found.absent:
        return "absent", world.obstructed.get(key, health.since_s)
    if health.state != "down" and key in world.obstructed:
        return "down", world.obstructed[key]
    return health.state, health.since_s


def _essence(of: Status) -> list[object]:
    return [
        (family.health, family.since_s, family.address, family.gateway, family.share)
        for uplink in of.uplinks
        for family in uplink.families
    ]
