"""What becomes of the connections of an uplink that runs no more.

The table resets or moves each with its next packet.  That is all for most; but there are clients
that send nothing, and flows that are not masqueraded, which the kernel does not end by itself.
"""

from nib.monitor.events import Effect, ForgetFlows, Poke
from nib.monitor.world import World, outage
from nib.state import Live


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


def forgotten(world: World, wish: Poke) -> list[Effect]:
    """Once they are asked: the flows that must be forgotten, if the uplink is still dead."""
    if wish.family != 6 or wish.uplink in world.running.get(6, frozenset()):
        return []
    return [ForgetFlows(6, one.name) for one in world.plan.prefixed if one.name == wish.uplink]
