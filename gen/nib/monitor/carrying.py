"""Who may take new flows, and who keeps those it has."""

from nib.monitor import admin
from nib.monitor.world import Key, World, obstacle
from nib.plan import Plan
from nib.state import Live, carriers, everything
from nib.status import Status


def usable(world: World) -> Live:
    """Not known to be dead, and with nothing in the way.  Who was not judged yet may carry.

    The operator's orders come before what is known, but not before what is in the way.
    """

    def may(key: Key) -> bool:
        well = world.healths[key].state != "down"
        return admin.takes(world.orders, key[0], well=well) and obstacle(world, key) is None

    return {
        family: frozenset(name for name in names if may((name, family)))
        for family, names in everything(world.plan).items()
    }


def running(world: World, live: Live) -> Live:
    """Who is down by order keeps its flows, as long as it is not dead."""

    def well(key: Key) -> bool:
        return world.healths[key].state != "down" and obstacle(world, key) is None

    down = admin.down(world.orders)
    return {
        family: names
        | {name for name in down if (name, family) in world.healths and well((name, family))}
        for family, names in live.items()
    }


def settled(plan: Plan, able: Live, before: Live) -> Live:
    """`able`; but where nobody in it would carry, nothing is better than the last state.

    That is the state of those who carry by default: the others live and die all the same.
    """
    default = plan.policies[0]
    members = {share.uplink for tier in default.tiers for share in tier}
    return {
        family: names if carriers(default, names) else names | (before[family] & members)
        for family, names in able.items()
    }


def last(plan: Plan, before: Status | None) -> Live:
    """Who carried when status.json was written; everyone, if it does not say."""
    carried = {
        (uplink.name, family.family)
        for uplink in (before.uplinks if before else ())
        for family in uplink.families
        if family.share
    }
    everyone = everything(plan)
    carriers_then = {
        family: frozenset(name for name in names if (name, family) in carried)
        for family, names in everyone.items()
    }
    return settled(plan, carriers_then, everyone)


def without(live: Live, names: frozenset[str]) -> Live:
    """`live` with nobody of `names`, in any family."""
    return {family: alive - names for family, alive in live.items()}
