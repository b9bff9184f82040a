"""What becomes of the connections of an uplink that runs no more.

The table resets or moves each with its next packet.  That is all for most; but there are clients
that send nothing, and flows that are not masqueraded, which the kernel does not end by itself.
And those of an uplink that runs, but is not the best any more: their policy may want them back.
"""

from collections.abc import Mapping

from nib.families import Family
from nib.monitor.events import Effect, Event, Failed, ForgetFlows, Poke, Poked
from nib.monitor.world import Place, World, outage
from nib.state import Live, Recalled, carriers


def pokes(world: World, before: Live) -> list[Effect]:
    """Ask the clients of each uplink that was among `before`, and runs no more."""
    assert world.facts
    return [
        Poke(
            family,
            name,
            own=tuple(a for one in world.facts.devices for of, a in one.addresses if of == family),
            outage=outage(world, (name, family)),
        )
        for family, names in before.items()
        for name in sorted(names - world.running.get(family, frozenset()))
    ]


def left(world: World, at_s: float) -> Mapping[Place, float]:
    """Where running flows of a policy are that has better uplinks again, and since when.

    Who is down by order is not live, and keeps his flows.  What leaves by a provider's own IPv6
    network can leave by no other.
    """
    return {
        place: world.left.get(place, at_s)
        for policy in world.plan.recalling
        for family, names in world.live.items()
        if (better := carriers(policy, names))
        for uplink in world.plan.members(policy, family)
        if uplink.name in names - {share.uplink for share in better}
        if not (family == 6 and uplink.prefixed)
        for place in ((policy.name, family, uplink.name),)
    }


def recalled(world: World, at_s: float, waits: list[float]) -> Recalled:
    """Those of them whose time is over, if one that is better has its whole share."""
    found: dict[tuple[str, Family], frozenset[str]] = {}
    for (name, family, uplink), since_s in world.left.items():
        policy = next(one for one in world.plan.recalling if one.name == name)
        assert policy.running
        due_s = since_s + policy.running.after_s
        better = {share.uplink for share in carriers(policy, world.live[family])}
        if at_s < due_s:
            waits.append(due_s)
        elif better - world.easing.get(family, {}).keys():
            found[name, family] = found.get((name, family), frozenset()) | {uplink}
    return found


def forgotten(world: World, event: Event) -> list[Effect]:
    """Once clients are asked, or cannot be: the flows to forget, if the uplink is still dead."""
    match event:
        case Poked(_, Poke(6, name)) | Failed(_, Poke(6, name)):
            dead = name not in world.running.get(6, frozenset())
            return [ForgetFlows(6, name)] if dead and world.plan.uplink(name).prefixed else []
        case _:
            return []
