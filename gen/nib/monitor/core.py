"""The monitor's mind: (World, Event) -> (World, effects), pure; the time is in the event.

Level, not edge: what should be true is worked out afresh from the facts after every event, and the
difference to what is true is asked for.  A failed effect is an event, and leads to another try.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from nib.families import Family
from nib.monitor import admin, carrying, disputes, ladder, moving, prefixes, reports, upkeep
from nib.monitor.events import (
    Announce,
    Answer,
    Clock,
    Effect,
    Event,
    Facts,
    Failed,
    Inquired,
    Judged,
    Keep,
    LoadState,
    LoadTable,
    Looked,
    Ordered,
    Poked,
    Publish,
    Say,
    Silenced,
    TableTouched,
    Tallied,
    Woke,
)
from nib.monitor.health import Health, fall, measure, next_share_s, observe, recall, share
from nib.monitor.tally import Tally
from nib.monitor.watching import discount, watch
from nib.monitor.world import Key, World, obstacle, obstacles, outage
from nib.plan import Plan
from nib.state import counting, everything, render_state
from nib.status import Status

RETRY_S = 1.0  # at least this long between two loads of the whole table
# How old the measurements in status.json may be; and how old they are written anew at when there is
# something to think of anyhow: with the default interval that is so at every half of a second.
PUBLISH_S, RIPE_S = 2.5, 1.9
REPEAT_S = 60.0  # before the journal hears the same complaint again

EARLY = "nib-monitor has only just started: try again in a moment"

NO_ORDERS: admin.Orders = MappingProxyType({})

# A changing lease takes the address away for a moment; the kernel itself leads the flows around.
ADDRESS_GRACE_S = 1.0


def begin(
    plan: Plan,
    at_s: float,
    before: Status | None,
    minute: int = 0,
    kept: admin.Orders = NO_ORDERS,
) -> World:
    """The world at start: as the last monitor left it, if there was one, else all unknown.

    What it knew of an uplink that has another device now says nothing.  `minute` is that of the
    week, `kept` are the orders that outlive a reboot.
    """
    devices = {uplink.name: uplink.device for uplink in plan.uplinks}
    known = {
        (uplink.name, family.family): recall(family)
        for uplink in (before.uplinks if before else ())
        if uplink.device == devices.get(uplink.name)
        for family in uplink.families
    }
    everyone = everything(plan)
    states = {
        (name, family): known.get((name, family), Health("unknown", at_s))
        for family, names in everyone.items()
        for name in sorted(names)
    }
    orders = admin.before(plan, before, kept)
    alive = {
        family: frozenset(
            name
            for name in names
            if admin.takes(orders, name, well=states[(name, family)].state != "down")
        )
        for family, names in everyone.items()
    }
    live = carrying.settled(
        plan, alive, carrying.without(carrying.last(plan, before), admin.down(orders))
    )
    loads, disputed = disputes.recall(before)
    hours, memory = counting(plan, minute), upkeep.recall(before, disputed)
    return World(plan, states, live, orders, live, hours, loads=loads, upkeep=memory)


def step(world: World, event: Event) -> tuple[World, tuple[Effect, ...]]:
    """Take in one event; give the world after it and what must be done."""
    before = world
    at_s = event.at_s
    answers = moving.forgotten(world, event)
    orders, said = admin.expire(world.orders, at_s)
    if orders is not world.orders:
        world = replace(world, orders=orders)
    match event:
        case Looked(_, facts):
            world = _look(world, facts, at_s)
        case Judged() if _asks(world, (event.uplink, event.family)):
            world = _judge(world, event)
        case Tallied(_, name, family, rtts, burst=False, full=False) if _asks(
            world, (name, family)
        ):
            key, probe = (name, family), world.plan.uplink(name).probe
            tally = world.tallies.get(key, Tally()).add(rtts)
            world = replace(world, tallies={**world.tallies, key: tally})
            health = measure(world.healths[key], tally, at_s, probe)
            if health != world.healths[key]:
                world = replace(world, healths={**world.healths, key: health})
        case Silenced(_, name, family, targets):
            world = replace(world, silent={**world.silent, (name, family): frozenset(targets)})
        case Inquired(_, name, family, found):
            world, heard_of = ladder.learn(world, (name, family), found)
            said = [*said, *heard_of]
        case TableTouched(_, reloaded):
            world = replace(world, stale=True, table_gone=world.table_gone or not reloaded)
        case Clock(_, minute):
            world = replace(world, hours=counting(world.plan, minute))
        case Ordered():
            world, answers, heard = _obey(world, event)
            said = [*said, *heard]
        case Failed(_, LoadState()):
            # Most likely the table itself is missing: the next try loads all of it.
            world = replace(world, stale=True, table_gone=True, retry_at=at_s + RETRY_S)
        case Failed(_, LoadTable()):
            # it was never there, so nobody removed it
            world = replace(world, stale=True, loads=disputes.NONE, retry_at=at_s + RETRY_S)
        case Failed(_, effect):
            world = replace(world, upkeep=upkeep.refused(world.upkeep, effect))
        case Judged() | Tallied() | Woke() | Poked():
            pass
    if world.facts is None:
        return world, tuple(answers)
    world = _cut(world, at_s)
    if at_s < world.due_at and _dull(before, world, event):
        ripe = world.published is None or at_s >= world.published.at_s + RIPE_S
        return _publish(world, at_s) if ripe else (world, ())
    world, more = _once(world, _said(before, world, event), at_s)
    world, effects = _settle(world, at_s, [*said, *more])
    world, published = _publish(world, at_s)
    effects = (*effects, *published)
    if (kept := admin.persistent(world.orders)) != admin.persistent(before.orders):
        answers.insert(0, Keep(kept))
    return world, (*effects, *answers)


def _obey(world: World, order: Ordered) -> tuple[World, list[Effect], list[Say]]:
    """Do what the operator orders, unless there is something against it; he is told either way."""
    usable = carrying.usable(world) if world.facts else None
    refusal = EARLY if usable is None else admin.refusal(world.plan, order.command, usable)
    answers: list[Effect] = [Answer(order.asker, refusal)]
    if refusal is not None:
        return world, answers, []
    orders, heard = admin.obey(world.orders, order)
    drills = admin.drills(world.drills, order)
    return replace(world, orders=orders, drills=drills), answers, [heard]


def _asks(world: World, key: Key) -> bool:
    """Does what is heard say anything?  Of a line that is not there it does not."""
    return not obstacle(world, key)


def _judge(world: World, event: Judged) -> World:
    """A verdict; what was lost while a line was down says nothing of it when it is back."""
    key = event.uplink, event.family
    before, probe = world.healths[key], world.plan.uplink(event.uplink).probe
    health = observe(before, event.ok, event.at_s, probe, event.asked_s)
    tallies = world.tallies
    if health.state == "up" and before.state == "down":
        tallies = {**tallies, key: Tally()}
    return replace(
        world,
        healths={**world.healths, key: health},
        refusals={**world.refusals, key: event.refusals},
        tallies=tallies,
    )


def _look(world: World, facts: Facts, at_s: float) -> World:
    """New facts; and what stands in the way of an uplink."""
    if facts == world.facts:
        return world
    memory = upkeep.learn(world.plan, facts, world.upkeep)
    world = replace(world, facts=facts, upkeep=memory)
    return replace(world, obstacles=obstacles(world, at_s))


def _cut(world: World, at_s: float) -> World:
    """Who has no device or carrier, or no address for a while, is down without being asked."""
    fallen = {
        key: fall(health, at_s, world.plan.uplink(key[0]).probe)
        for key, found in world.obstacles.items()
        if found.hard or at_s >= found.since_s + ADDRESS_GRACE_S
        if (health := world.healths[key]).state != "down" or health.streak
    }
    return replace(world, healths={**world.healths, **fallen}) if fallen else world


def _dull(before: World, world: World, event: Event) -> bool:
    """Nothing has happened that anything but the measurements follows from."""
    match event:
        case Judged() | Tallied() | Woke():
            same = world.healths is before.healths
            return same or _states(world) == _states(before)
        case Looked():
            return world is before
        case _:
            return False


def _states(world: World) -> list[object]:
    return [health.state for health in world.healths.values()]


def _said(before: World, world: World, event: Event) -> list[Say]:
    """What the journal should know of."""
    said = [
        Say(
            reports.change(world, key, event.at_s), outage=outage(world, key) or outage(before, key)
        )
        for key, health in world.healths.items()
        if health.state != before.healths[key].state
    ]
    said += [
        Say(f"rules of {one.text} {'count now' if one.name in world.hours else 'count no more'}")
        for one in world.plan.hours
        if (one.name in world.hours) != (one.name in before.hours)
    ]
    match event:
        case TableTouched() if not world.loads.contested:
            said.append(Say("somebody changed nib's nft table: loading it again", warning=True))
        case Failed(_, effect, error):
            said.append(Say(reports.complaint(effect, error), warning=True))
        case Poked(_, wish, tcp, others) if tcp or others:
            said.append(Say(reports.moved(wish, tcp, others), outage=wish.outage))
        case _:
            pass
    return said


def _once(world: World, said: list[Say], at_s: float) -> tuple[World, list[Say]]:
    """What fails again and again is tried again and again, but not complained of each time."""
    recent = {text: since for text, since in world.complaints.items() if at_s < since + REPEAT_S}
    fresh = [line for line in said if line.text not in recent]
    recent |= {line.text: at_s for line in fresh if line.warning}
    return replace(world, complaints=recent), fresh


def _settle(world: World, at_s: float, said: Iterable[Effect]) -> tuple[World, tuple[Effect, ...]]:
    """What should be true, against what is."""
    facts = world.facts
    assert facts
    effects = list(said)
    contested = reports.contested(world)
    waits = list(admin.ends(world.orders))
    world, more = watch(*discount(world))
    effects += more
    world, more = _ease(world, at_s, waits)
    effects += more
    world, more = _flip(world, at_s, waits)
    effects += more
    announced = prefixes.announced(world.plan, world.live, world.upkeep.prefixes)
    if world.upkeep.prefixes and announced != world.announced:
        effects.append(Announce(announced))
        world = replace(world, announced=announced)

    if at_s >= world.loads.peace_s:
        world = replace(world, loads=disputes.NONE)
    elif world.loads.contested:
        waits.append(world.loads.peace_s)
    memory, repairs, look_at = upkeep.repair(
        world.plan, facts, world.live, world.upkeep, at_s, easing=world.easing
    )
    effects += repairs
    if look_at is not None:
        waits.append(look_at)
    waits += [
        found.since_s + ADDRESS_GRACE_S
        for key, found in world.obstacles.items()
        if world.healths[key].state != "down"
    ]

    world = replace(world, upkeep=memory)
    effects += disputes.news(contested, reports.contested(world))
    world, inquiries, again = ladder.inquire(world, at_s)
    waits += again
    world = replace(world, due_at=min(waits, default=math.inf))
    return world, (*effects, *inquiries)


def _publish(world: World, at_s: float) -> tuple[World, tuple[Effect, ...]]:
    """What people and programs see of it, if it is worth writing."""
    status = reports.status(world, at_s)
    news = reports.news(world.published, status, RIPE_S)
    if world.published and not news:
        status = world.published
    wake_at = min(world.due_at, status.at_s + PUBLISH_S)
    effects = (Publish(status, reports.line(status)),) if news else ()
    return replace(world, published=status, wake_at=wake_at), effects


def _flip(world: World, at_s: float, waits: list[float]) -> tuple[World, list[Effect]]:
    """The nft table: who takes new flows, and who keeps those that he has."""
    effects: list[Effect] = []
    # the one before may have died after its flip: whoever is dead is asked for once more
    before = world.running if world.sent else everything(world.plan)
    down = admin.down(world.orders)
    live = carrying.settled(world.plan, carrying.usable(world), carrying.without(world.live, down))
    world = replace(world, live=live, running=carrying.running(world, live))
    world = replace(world, left=moving.left(world, at_s))
    recalled = moving.recalled(world, at_s, waits)
    state = world.running, world.hours, world.upkeep.prefixes, world.easing
    wanted = (*state, recalled, down)
    text = partial(render_state, world.plan, *state, recalled=recalled, drained=down)
    # Whoever changes the table all the time is answered, but not at any speed; a flip must be.
    pause_s = world.loads.pause_s if wanted == world.sent else 0.0
    load_s = max(world.retry_at, world.loads.last_s + pause_s)
    if world.stale and at_s < load_s:
        waits.append(load_s)
    elif world.stale:
        effects.append(LoadTable(text()))
        loads = world.loads.again(at_s) if world.table_gone else world.loads
        world = replace(world, sent=wanted, stale=False, table_gone=False)
        world = replace(world, loads=loads, retry_at=at_s + RETRY_S)
    elif wanted != world.sent:
        effects.append(LoadState(text()))
        world = replace(world, sent=wanted)
    # behind the flip: what is moved before it would be chosen as before
    return world, [*effects, *moving.pokes(world, before)]


def _ease(world: World, at_s: float, waits: list[float]) -> tuple[World, list[Effect]]:
    """Who came back a moment ago takes less than its share, beside others."""
    healths = dict(world.healths)
    easing: dict[Family, dict[str, int]] = {}
    said: list[Effect] = []
    for key, health in world.healths.items():
        probe = world.plan.uplink(key[0]).probe
        if health.returned_s is None:
            continue
        part = share(health, at_s, probe)
        if part < 100:
            easing.setdefault(key[1], {})[key[0]] = part
            waits.append(next_share_s(health, at_s, probe) or at_s)
        else:
            said.append(Say(reports.whole(key), outage=outage(world, key)))
            healths[key] = replace(health, returned_s=None)
    return replace(world, healths=healths, easing=easing), said
