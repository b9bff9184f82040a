"""How the lines are asked, and which targets count."""

from dataclasses import replace

from nib.monitor.events import Effect, Say, Watch
from nib.monitor.world import World, obstacle
from nib.targets import Target, family_of


def discount(world: World) -> tuple[World, list[Effect]]:
    """A target that answers on none of several uplinks, while others do on each: it is to blame."""
    found: dict[Target, list[bool]] = {}
    for key, health in world.healths.items():
        mute = world.silent.get(key, frozenset())
        # of a line that is dead nothing answers: it says nothing about a target
        if not obstacle(world, key) and (health.state == "up" or mute):
            for target in world.plan.uplink(key[0]).targets_of(key[1]):
                # each has a gateway of its own, and a program says what it likes
                if family_of(target):
                    found.setdefault(target, []).append(target in mute)
    blamed = {target for target, mute in found.items() if all(mute) and len(mute) > 1}
    kept = {target for target in world.discounted if all(found.get(target, ()))}
    blamed |= kept
    said: list[Effect] = [
        Say(f"{target} answers on no uplink, but others do: it is left out of account", True)
        for target in sorted(blamed - world.discounted, key=str)
    ]
    said += [
        Say(f"{target} answers again") for target in sorted(world.discounted - blamed, key=str)
    ]
    return replace(world, discounted=frozenset(blamed)), said


def watch(world: World, effects: list[Effect]) -> tuple[World, list[Effect]]:
    """Ask on every line as one asks on a line of which that is believed."""
    watched = dict(world.watched)
    for key, health in world.healths.items():
        uplink = world.plan.uplink(key[0])
        targets = uplink.targets_of(key[1])
        counted = len(targets) - len(world.discounted.intersection(targets))
        quorum = max(1, min(uplink.probe.quorum, counted))
        mode = "off" if obstacle(world, key) else health.state
        wish = Watch(*key, mode, quorum)
        if watched.get(key) != wish:
            watched[key] = wish
            effects.append(wish)
    return replace(world, watched=watched), effects
