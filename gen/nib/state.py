"""The run-time state of the nft table: who is alive, how new flows are spread, what hours it is.

`nib-gen` ends the ruleset with this text for "every uplink alive, no hours"; the monitor renders it
again for what it knows and sends it alone.  One text, two senders.  Each map, and each chain that
spreads, is flushed and filled anew in one transaction, so the text may be sent at any time, any
number of times.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Network
from math import gcd
from types import MappingProxyType

from nib.families import Family
from nib.plan import Plan, Uplink
from nib.policies import Policy, Share

# Any weight to 1/65536.  A smaller modulus rounds visibly: 100:1 becomes 253:3 with 256.
SLOTS = 65536
SEED = 0x6E6962  # of hashes: the same client, the same way

HEAVIEST = 256  # a way of a route

Live = Mapping[Family, frozenset[str]]
"""For each family the names of the uplinks that are alive."""

Easing = Mapping[Family, Mapping[str, int]]
"""Those of them that take less than their share of new flows, in percent of it."""

EVENLY: Easing = {}


Recalled = Mapping[tuple[str, Family], frozenset[str]]
"""For each policy and family the uplinks that its running flows leave for better ones."""

NOBODY: Recalled = {}


def everything(plan: Plan) -> Live:
    """Every uplink alive, in each of its families."""
    return {
        family: frozenset(u.name for u in plan.uplinks if family in u.families)
        for family in plan.families
    }


def eased(shares: Iterable[Share], easing: Mapping[str, int]) -> tuple[Share, ...]:
    """The shares with the weights that they have for now."""
    return tuple(Share(s.uplink, s.weight * easing.get(s.uplink, 100)) for s in shares)


def route_weights(weights: Sequence[int]) -> list[int]:
    """The same proportions in numbers that a route takes, 1 to 256: the smallest that do."""
    if not weights:
        return []
    common = gcd(*weights)
    scale = max(1, max(weights) / common / HEAVIEST)
    return [max(1, round(weight / common / scale)) for weight in weights]


def carriers(policy: Policy, live: frozenset[str]) -> tuple[Share, ...]:
    """Who takes new flows: the live members of the first tier that has any; nobody if none has."""
    for tier in policy.tiers:
        if shares := tuple(share for share in tier if share.uplink in live):
            return shares
    return ()


def slots(shares: Iterable[Share]) -> list[tuple[int, int, str]]:
    """Weights as ranges of 0..65535: `(first, last, uplink)`, without a gap, each at least one."""
    shares = list(shares)
    total = sum(share.weight for share in shares)
    ranges = []
    first = passed = 0
    for share in shares:
        passed += share.weight
        last = SLOTS * passed // total - 1
        ranges.append((first, last, share.uplink))
        first = last + 1
    return ranges


def counting(plan: Plan, minute: int) -> frozenset[str]:
    """The names of the hours that a minute of the week is in: their rules count."""
    return frozenset(hours.name for hours in plan.hours if hours.hold(minute))


Prefixes = Mapping[str, tuple[str, ...]]
"""The IPv6 networks that belong to an uplink, by the number that a lan has in them."""
NONE: Prefixes = MappingProxyType({})


def _written(plan: Plan) -> Prefixes:
    """The networks of balance.yaml."""
    return {
        uplink.name: networks_in(IPv6Network(uplink.prefix), plan.last_subnet)
        for uplink in plan.prefixed
        if uplink.prefix is not None
    }


def networks_in(prefix: IPv6Network, last: int) -> tuple[str, ...]:
    """The networks of 64 bits with the numbers 0 to `last`; the prefix has that many."""
    first = int(prefix.network_address)
    return tuple(str(IPv6Network((first + (n << 64), 64))) for n in range(last + 1))


def render_state(
    plan: Plan,
    live: Live,
    hours: frozenset[str] = frozenset(),
    delegated: Prefixes = NONE,
    easing: Easing = EVENLY,
    *,
    recalled: Recalled = NOBODY,
    drained: frozenset[str] = frozenset(),
) -> str:
    """The nft commands that make `live` true, spread by `easing`, and the rules of `hours` count.

    `delegated` are the networks that uplinks have now.  Who is `drained` keeps the flows that it
    has, while it is alive, and those of programs that are bound to it, but is given no new ones.
    By `recalled` the flows of a policy leave uplinks that are alive.

    Of a policy none of whose uplinks is alive: the chain is empty, and what stands behind it in the
    policy's chain decides; or, where there is nothing better, it is spread as if all were alive.
    """
    prefixes = {**delegated, **_written(plan)}
    lines: list[str] = []
    kept = [(0, "use"), *([(plan.marks.block, "hold")] if plan.blocks else [])]
    for family in sorted(live):
        alive = live[family]
        members = [uplink for uplink in plan.uplinks if family in uplink.families]
        left = {name for (_, of), names in recalled.items() if of == family for name in names}
        lines += _refill(
            f"restore{family}",
            [
                f"{uplink.mark | bit:#010x} : goto "
                f"{'recall' if uplink.name in left else chain}_{uplink.name}"
                for uplink in members
                if uplink.name in alive
                for bit, chain in kept
            ]
            + [f"{plan.marks.local:#010x} : accept"],
        )
        lines += _refill(
            f"leave{family}",
            [
                f'"{uplink.device}" : goto new_{uplink.name}'
                for uplink in members
                if uplink.name in alive
            ],
        )
        for policy in plan.policies:
            shares = carriers(policy, alive - drained)
            if policy.when_down == "stay":
                anyone = frozenset(uplink.name for uplink in members) - drained
                shares = shares or carriers(policy, anyone)
            to = {share.uplink: _entrance(policy, share.uplink, family) for share in shares}
            ways = [
                (str(first) if first == last else f"{first}-{last}") + f" : goto {to[uplink]}"
                for first, last, uplink in slots(eased(shares, easing.get(family, {})))
            ]
            lines += _spread(f"balance_{policy.name}{family}", f"numgen random mod {SLOTS}", ways)
            if policy.sticky:
                by = f"jhash {policy.sticky.key(family)} mod {SLOTS} seed {SEED:#x}"
                lines += _spread(f"hash_{policy.name}{family}", by, ways)
            if family == 6 and plan.routed:
                own = [
                    f"{network} : goto {to[uplink.name]}"
                    for uplink in plan.routed
                    if uplink.name in to
                    for network in _sources(uplink, prefixes)
                ]
                lines += _refill(f"own_{policy.name}6", own)
            if policy in plan.recalling:
                marks = [
                    f"{plan.uplink(name).mark:#010x} : goto again_{policy.name}{family}"
                    for name in sorted(recalled.get((policy.name, family), ()))
                ]
                lines += _refill(f"better_{policy.name}{family}", marks)
            if policy.sticky:
                marks = [f"{plan.uplink(u).mark:#010x} : goto {chain}" for u, chain in to.items()]
                lines += _refill(f"stay_{policy.name}{family}", marks)
    for one in plan.hours:
        lines.append(f"flush set inet nib {one.name}")
        if one.name in hours:
            lines.append(f"add element inet nib {one.name} {{ ipv4, ipv6 }}")
    for uplink in plan.prefixed:
        lines += _refill(f"prefix_{uplink.name}", list(_sources(uplink, prefixes)), kind="set")
        if uplink.ipv6 == "nptv6":
            lines += _refill(f"exchange_{uplink.name}", _exchanged(plan, uplink, prefixes))
    return "\n".join(lines) + "\n"


def _sources(uplink: Uplink, prefixes: Prefixes) -> tuple[str, ...]:
    return (uplink.prefix,) if uplink.prefix else prefixes.get(uplink.name, ())


def _exchanged(plan: Plan, uplink: Uplink, prefixes: Prefixes) -> list[str]:
    """Each network of a lan, its own or another provider's, and what it is exchanged for here."""
    to = prefixes.get(uplink.name, ())
    others = [prefixes.get(other.name, ()) for other in plan.routed if other.prefix is None]
    return [
        f"{network} : {to[lan.subnet]}"
        for lan in plan.lans
        if lan.subnet is not None and lan.subnet < len(to)
        for network in (*lan.announced, *(other[lan.subnet] for other in others if other))
    ]


def _entrance(policy: Policy, uplink: str, family: Family) -> str:
    """The chain that gives a new flow of the policy to an uplink."""
    if policy.sticky:
        return f"stick_{policy.name}.{uplink}{family}"
    return f"{'bind' if policy.when_down == 'block' else 'new'}_{uplink}"


def _spread(chain: str, by: str, ways: list[str]) -> list[str]:
    """A chain of one rule, or of none.

    No map that is filled anew: kernels before 6.18 miss ranges of one while they tell others of it.
    """
    flush = f"flush chain inet nib {chain}"
    return (
        [flush, f"add rule inet nib {chain} {by} vmap {{ {', '.join(ways)} }}"] if ways else [flush]
    )


def _refill(name: str, elements: list[str], kind: str = "map") -> list[str]:
    flush = f"flush {kind} inet nib {name}"
    if not elements:
        return [flush]
    return [flush, f"add element inet nib {name} {{ {', '.join(elements)} }}"]
