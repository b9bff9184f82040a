"""How far a line that is down still reaches: gateway, first hop, internet.  Pure.

The verdict comes first, and what is found after it changes no verdict: it only says why.
"""

from dataclasses import replace

from nib.monitor.events import Effect, Inquire, Say
from nib.monitor.found import Found
from nib.monitor.world import Key, World, obstacle, outage
from nib.targets import Query

AGAIN_S = 60.0  # a line that stays down is looked at again: what a modem answers changes


def inquire(world: World, at_s: float) -> tuple[World, list[Effect], list[float]]:
    """Whom to look at now, and when to look again; what was found of others is over."""
    due: list[Effect] = []
    inquired = {}
    for key, health in world.healths.items():
        if health.state != "down" or obstacle(world, key):
            continue
        last_s = world.inquired.get(key)
        if last_s is None or at_s >= last_s + AGAIN_S:
            due.append(Inquire(*key))
            last_s = at_s
        inquired[key] = last_s
    found = {key: one for key, one in world.found.items() if key in inquired}
    waits = [last_s + AGAIN_S for last_s in inquired.values()]
    return replace(world, inquired=inquired, found=found), due, waits


def learn(world: World, key: Key, found: Found) -> tuple[World, list[Say]]:
    """Take note of what was found; the journal hears of it once in an outage."""
    if key not in world.inquired:
        return world, []
    fresh = key not in world.found
    world = replace(world, found={**world.found, key: found})
    text = f"{key[0]}{' in IPv6' if key[1] == 6 else ''}: {missing(world, key)}"
    return world, [Say(text, outage=outage(world, key))] if fresh else []


def missing(world: World, key: Key) -> str:
    """The first rung that is missing above the link, as far as that is known."""
    uplink = world.plan.uplink(key[0])
    targets = uplink.targets_of(key[1])
    if refusals := world.refusals.get(key):
        target, why = refusals[0]
        return f"the link is fine, but {target} {why}"
    few = f"fewer than {uplink.probe.quorum}" if uplink.probe.quorum > 1 else "none"
    silence = f"{few} of {', '.join(map(str, targets))} answered"
    gateway, _ = world.upkeep.gateways.get(key, (None, None))
    match world.found.get(key, Found()):
        case Found(internet=True):
            dns = "DNS does not work: " if all(isinstance(t, Query) for t in targets) else ""
            return f"the internet answers pings, but {dns}{silence}"
        case Found(gateway=False, hop=None):
            return f"the link is fine, but the gateway {gateway} does not answer"
        case Found(hop=str(hop)):
            return f"the gateway works and {hop} behind it answers, but nothing beyond: {silence}"
        case Found(gateway=True):
            return f"the gateway {gateway} answers, but nothing beyond it: {silence}"
        case _:
            return f"the link is fine, but {silence}"
