"""The walk of a packet through the router, as the plan has it.

An independent reading: nothing here knows the text of the nft table or the kernel's rules.  The
tests throw random packets at this and at a kernel with the real table, and compare.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from nib.oracle.firewall import (
    endpoint,
    forward_for,
    from_lan,
    inwards,
    page,
    through,
    translated,
    unanswered,
)
from nib.oracle.lookup import address_at, addresses, default, direct, owner, uplink_at
from nib.oracle.paths import CERTAIN, by_policy, by_rule, spread
from nib.oracle.values import (
    Address,
    Case,
    Choice,
    Fate,
    Hop,
    Packet,
    Reason,
    Situation,
    Unanswerable,
    Verdict,
    Way,
)
from nib.passages import Forward
from nib.plan import Lan, Plan, Uplink

NO_CHOICE = Choice(CERTAIN)


def verdict(plan: Plan, situation: Situation, packet: Packet) -> Verdict:
    """What becomes of the first packet of a flow: every way that is possible, with its chance.

    Raises Unanswerable for what the plan does not speak of.
    """
    _check(plan, packet)
    case = Case(plan, situation, packet)
    ways = _own(case) if packet.device is None else _arriving(case, packet.device)
    return tuple(_merged(ways))


def _check(plan: Plan, packet: Packet) -> None:
    for address in (packet.source, packet.destination):
        if address is None:
            continue
        if address.version != packet.family:
            raise Unanswerable(f"{packet.source} and {packet.destination} are of two families")
        special = address.is_multicast or address.is_loopback or address.is_unspecified
        if special or address.is_link_local or str(address) == "255.255.255.255":
            raise Unanswerable(f"{address} goes no further than its link")
    if packet.device is not None and packet.source is None:
        raise Unanswerable("what comes in has a source address")
    if packet.device is not None and packet.device not in (*plan.devices, *plan.outside):
        raise Unanswerable(f"{packet.device} is no device of nib's")


def _merged(ways: Iterable[Way]) -> Iterator[Way]:
    """Those that are the same thing are one."""
    chances: dict[Way, Fraction] = {}
    for way in ways:
        alike = replace(way, choice=replace(way.choice, chance=Fraction(0)))
        chances[alike] = chances.get(alike, Fraction(0)) + way.chance
    for way, chance in chances.items():
        yield replace(way, choice=replace(way.choice, chance=chance))


# -- what comes in ---------------------------------------------------------------------------------


def _arriving(case: Case, device: str) -> Iterator[Way]:
    plan, packet = case.plan, case.packet
    lan = next((lan for lan in plan.lans if lan.device == device), None)
    uplink = uplink_at(plan, device)
    if reason := _spoofed(case, device, lan, uplink):
        yield Way("dropped", NO_CHOICE, (reason,))
        return
    forward = forward_for(case)
    if owner(case, packet.destination) is not None and forward is None:
        fate, reason, limit = from_lan(case, lan) if lan else inwards(case)
        yield Way(fate, NO_CHOICE, (reason,), limit=limit)
        return
    destination = endpoint(forward, packet)[0] if forward else packet.destination
    said = (Reason(f"a forward leads to {destination}", forward.origin),) if forward else ()
    main = direct(case, destination)
    if main is not None:
        for choice in _holding(case, main, packet.source) if lan and not forward else (NO_CHOICE,):
            yield _chosen(case, choice, (*said, *choice.reasons, main.reason), forward, main)
    elif lan:
        for choice in _choices_of_lan(case, lan):
            yield _chosen(case, choice, (*said, *choice.reasons), forward)
    elif uplink and packet.family in uplink.families:
        back = Reason(f"what came by {uplink.name} goes by {uplink.name}", uplink.origin)
        yield _through(case, default(case, uplink), NO_CHOICE, (*said, back), forward)
    else:
        for choice in _kernels(case):
            yield _chosen(case, choice, (*said, *choice.reasons), forward)


def _spoofed(case: Case, device: str, lan: Lan | None, uplink: Uplink | None) -> Reason | None:
    """Why the source cannot be right, if it cannot."""
    packet = case.packet
    if uplink and _deaf(case, uplink):
        return Reason("there is no IPv4 on this way in", uplink.origin)
    checked = case.plan.firewall is not None and (lan or uplink)
    if owner(case, packet.source) is not None and (checked or packet.family == 4):
        return Reason(f"{packet.source} is the router's own address")
    if not checked or packet.source is None:
        return None
    if uplink and packet.protocol == "udp" and (packet.sport, packet.dport) == (67, 68):
        return None
    main = direct(case, packet.source)
    if main is not None:
        known = main.reason
        return None if main.device == device else replace(known, text=f"spoofed: {known.text}")
    if uplink and packet.family in uplink.families:
        return None
    return Reason(f"spoofed: {packet.source} is not behind {device}")


def _deaf(case: Case, uplink: Uplink) -> bool:
    """Whether the kernel takes no such packet: with `rp_filter` on, no IPv4 where there is none."""
    packet = case.packet
    if packet.family == 6 or 4 in uplink.families or packet.source is None:
        return False
    own = addresses(case.plan, case.situation)
    if any(device == uplink.device and one.version == 4 for device, one in own):
        return False
    main = direct(case, packet.source)
    return main is None or main.device != uplink.device


def _choices_of_lan(case: Case, lan: Lan) -> tuple[Choice, ...]:
    family = case.packet.family
    if family not in case.plan.families:
        return (replace(NO_CHOICE, reasons=(Reason(f"no uplink has IPv{family}"),)),)
    choices, said = by_rule(case, case.packet.source)
    choices = choices or by_policy(case, lan.policy, case.packet.source, said)
    # whoever uses an uplink's address, which no firewall forbids, goes where it belongs
    if all(choice.uplink is None and not choice.block for choice in choices):
        return _bound(case) or choices
    return choices


def _holding(case: Case, main: Hop, source: Address | None) -> tuple[Choice, ...]:
    """Main leads past all policies, but out of an uplink only what need not leave by another."""
    destination = case.packet.destination
    if main.device in case.plan.outside and not page(case.plan, main.device, destination):
        choices, _ = by_rule(case, source)
        if any(choice.block for choice in choices):
            return choices
    return (NO_CHOICE,)


def _chosen(
    case: Case,
    choice: Choice,
    said: tuple[Reason, ...],
    forward: Forward | None,
    main: Hop | None = None,
) -> Way:
    """By main's route, or by the uplink that was chosen, if any was."""
    if choice.uplink is None and (choice.block or main is None):
        fate: Fate = "reset" if choice.block and case.packet.protocol == "tcp" else "refused"
        return Way(fate, choice, said)
    if main is None:
        assert choice.uplink is not None
        main = default(case, case.plan.uplink(choice.uplink))
    return _through(case, main, choice, said, forward)


def _through(
    case: Case, hop: Hop, choice: Choice, said: tuple[Reason, ...], forward: Forward | None
) -> Way:
    """Forwarded to a hop, if the router forwards at all and the firewall lets it."""
    family = case.packet.family
    if family not in case.plan.lan_families:
        nobody = Reason(f"IPv{family} is not forwarded: no lan has it")
        return Way("dropped", choice, (*said, nobody))
    to = endpoint(forward, case.packet) if forward else None
    destination = to[0] if to else case.packet.destination
    fate, reason, limit = through(case, hop.device, destination, forward)
    if fate != "leaves":
        return Way(fate, choice, (*said, reason))
    way = _leaving(case, hop, choice, (*said, reason), to)
    return replace(way, limit=limit)


def _leaving(
    case: Case,
    hop: Hop,
    choice: Choice,
    said: tuple[Reason, ...],
    to: tuple[Address, int | None] | None = None,
) -> Way:
    """To a hop; `to` is where a forward sends it on to."""
    uplink = uplink_at(case.plan, hop.device)
    destination = to[0] if to else case.packet.destination
    elsewhere = uplink and choice.block and uplink.name != choice.uplink
    if elsewhere and not page(case.plan, hop.device, destination):
        return Way("dropped", choice, (*said, Reason(f"it may leave by {choice.uplink} alone")))
    masqueraded, source = translated(case, hop, destination, to is not None)
    if not masqueraded and unanswered(case, hop.device, source):
        return Way("dropped", choice, (*said, Reason(f"{source} would not be answered there")))
    name = uplink.name if uplink else None
    return Way("leaves", choice, said, hop.device, name, masqueraded, source, to)


# -- the router's own ------------------------------------------------------------------------------


def _own(case: Case) -> Iterator[Way]:
    """The kernel takes a way first, and with it a source; then rules and policies may move it."""
    packet = case.packet
    if owner(case, packet.destination) is not None:
        here = Reason(f"{packet.destination} is the router's own address")
        yield Way("delivered", NO_CHOICE, (here,))
        return
    main = direct(case, packet.destination)
    if main is not None:
        source = packet.source or address_at(case, main)
        for choice in _holding(case, main, source):
            said = (*choice.reasons, main.reason)
            if choice.block and choice.uplink is None:
                yield Way("reset" if packet.protocol == "tcp" else "refused", choice, said)
            else:
                yield _leaving(case, main, choice, said)
        return
    for first in _kernels(case):
        for choice in _moved(case, first):
            both = replace(choice, chance=first.chance * choice.chance)
            if choice.uplink is None:
                fate: Fate = "reset" if choice.block and packet.protocol == "tcp" else "refused"
                yield Way(fate, both, choice.reasons)
            else:
                hop = default(case, case.plan.uplink(choice.uplink))
                yield _leaving(case, hop, both, choice.reasons)


def _kernels(case: Case) -> tuple[Choice, ...]:
    """By the uplink whose address the socket is bound to; else by weight; else by metric."""
    family, situation = case.packet.family, case.situation
    if bound := _bound(case):
        return bound
    if situation.balanced:
        carried = spread(case)
        if situation.live.get(family, frozenset()) & {choice.uplink for choice in carried}:
            return carried
    having = [uplink for uplink in case.plan.uplinks if family in uplink.families]
    if not having:
        return (replace(NO_CHOICE, reasons=(Reason(f"no uplink has IPv{family}"),)),)
    best = min(having, key=lambda uplink: uplink.metric)
    return (Choice(CERTAIN, best.name, reasons=(Reason(f"{best.name} has the lowest metric"),)),)


def _bound(case: Case) -> tuple[Choice, ...]:
    """By the uplink whose address the source is, if it is one's."""
    bound = uplink_at(case.plan, owner(case, case.packet.source))
    if bound is None:
        return ()
    said = Reason(f"{case.packet.source} is an address of {bound.name}", bound.origin)
    return (Choice(CERTAIN, bound.name, reasons=(said,)),)


def _moved(case: Case, first: Choice) -> tuple[Choice, ...]:
    """What a rule says; else the kernel's way stands, if it is alive."""
    plan, packet = case.plan, case.packet
    stands = replace(first, chance=CERTAIN)
    if first.uplink is None:
        return (stands,)
    if packet.protocol == "udp" and (packet.sport, packet.dport) == (68, 67) and plan.flow_rules:
        lease = Reason("a lease is renewed where it was given")
        return (replace(stands, reasons=(*first.reasons, lease)),)
    source = packet.source or address_at(case, default(case, plan.uplink(first.uplink)))
    choices, said = by_rule(case, source)
    if choices:
        return choices
    stands = replace(stands, reasons=(*said, *first.reasons))
    further = {one for uplink in plan.uplinks for one in uplink.further_of(packet.family)}
    if str(source) in further or first.uplink in case.situation.live.get(packet.family, ()):
        return (stands,)
    dead = Reason(f"{first.uplink} is not alive")
    chosen = by_policy(case, "default", source, (*stands.reasons, dead))
    return tuple(stands if choice.uplink is None else choice for choice in chosen)
