"""The tables of `nib-gen --show`: the plan for people."""

from collections.abc import Iterable, Iterator, Sequence

from nib.columns import columns, duration, percent
from nib.families import Family
from nib.guarantees import Guarantee, guarantees
from nib.passages import Allow, Forward, Limit
from nib.plan import Plan, Uplink
from nib.policies import FlowRule, Sticky
from nib.state import carriers, everything


def plan_report(plan: Plan) -> str:
    """What the plan says, for a person; ends with a newline."""
    sections = [
        ("uplinks", _uplinks(plan)),
        *([("lines", _lines(plan))] if any(u.bandwidth for u in plan.uplinks) else []),
        ("lans", _lans(plan)),
        ("forwarding", _forwarding(plan)),
        *([("policies", _policies(plan))] if len(plan.policies) > 1 or plan.flow_rules else []),
        *([("rules, the first that matches", _rules(plan))] if plan.flow_rules else []),
        ("firewall", _firewall(plan)),
        *([("forwards", _forwards(plan))] if plan.firewall and plan.firewall.forwards else []),
        *([("made by nib", _netdevs(plan))] if plan.netdevs else []),
        *([("added to files of yours", _adopted(plan))] if plan.adopted else []),
        *([("routes", _routes(plan))] if plan.routes else []),
        *([("modems", _modems(plan))] if plan.modems else []),
        ("probes", _probes(plan)),
        ("if it is down", _losses(plan)),
    ]
    return "\n".join(f"{title}\n{_indented(body)}" for title, body in sections)


def _uplinks(plan: Plan) -> str:
    share = {
        name: text for policy in plan.policies[:1] for name, text in _shares(plan, policy.name)
    }
    head = (
        *("name", "device", "ip", "id", "mark", "table", "metric"),
        *("tier", "weight", "share", "address", "gateway"),
    )
    rows = [
        (
            uplink.name,
            uplink.device,
            _families(uplink.families),
            str(uplink.id),
            f"{uplink.mark:#010x}",
            str(uplink.table),
            str(uplink.metric),
            str(uplink.tier),
            str(uplink.weight),
            share.get(uplink.name, "by rule"),
            ", ".join(uplink.addresses) or _ADDRESS[uplink.kind],
            ", ".join(one for one in (uplink.gateway, uplink.gateway6) if one) or "-",
        )
        for uplink in plan.uplinks
    ]
    return columns(head, rows)


def _families(families: Iterable[Family]) -> str:
    return "+".join(f"v{family}" for family in families)


_ADDRESS = {"dhcp": "by DHCP", "external": "by others", "static": "-"}


def _shares(plan: Plan, name: str) -> Iterable[tuple[str, str]]:
    """The share of new flows while all is well; in later tiers: spare."""
    policy = next(policy for policy in plan.policies if policy.name == name)
    for tier in policy.tiers:
        for share in tier:
            yield share.uplink, "spare"
    alive = frozenset(name for names in everything(plan).values() for name in names)
    first = carriers(policy, alive)
    total = sum(share.weight for share in first)
    for share in first:
        yield share.uplink, percent(share.weight / total)


def _lans(plan: Plan) -> str:
    rows = [
        (
            lan.name,
            lan.device,
            _families(lan.families),
            ", ".join(lan.addresses) or ("by others" if lan.external else "by delegation"),
            f"leases {dhcp.first} to {dhcp.last}" if (dhcp := lan.dhcp_server) else "",
        )
        for lan in plan.lans
    ]
    return columns(("name", "device", "ip", "address", ""), rows) if rows else "none\n"


def _lines(plan: Plan) -> str:
    rows = [
        (uplink.name, _speed(line.down_bits), _speed(line.up_bits))
        for uplink in plan.uplinks
        if (line := uplink.bandwidth)
    ]
    return columns(("uplink", "down", "up"), rows)


def _adopted(plan: Plan) -> str:
    return columns((), [(device, f"by {file}.d") for device, file in plan.adopted.items()])


def _netdevs(plan: Plan) -> str:
    rows = [
        (
            netdev.device,
            "a macvlan" if netdev.vlan is None else f"the VLAN {netdev.vlan}",
            f"on {netdev.parent}",
        )
        for netdev in plan.netdevs
    ]
    return columns((), rows)


def _forwarding(plan: Plan) -> str:
    """From which lan to what; only the firewall filters it."""
    if not plan.lans:
        return "none: there are no lans\n"
    if plan.firewall is None:
        return "whatever others' filters allow (firewall: off)\n"
    names = {item.device: item.name for item in plan.uplinks}
    names |= {item.device: item.name for item in plan.lans}
    to: dict[str, list[str]] = {lan.device: [] for lan in plan.lans}
    for source, destination in plan.firewall.forward_pairs:
        to[source].append(names[destination])
    rows = [
        (f"from {names[source]}", f"to {', '.join(ends) or 'nothing'}")
        for source, ends in to.items()
    ]
    return columns((), rows)


_WHEN_DOWN = {"stay": "as if all lived", "any": "where others go", "block": "refused"}


def _policies(plan: Plan) -> str:
    rows = [
        (
            policy.name,
            ", then ".join(" + ".join(share.uplink for share in tier) for tier in policy.tiers),
            _WHEN_DOWN[policy.when_down],
            _sticky(policy.sticky) if policy.sticky else "-",
        )
        for policy in plan.policies
    ]
    return columns(("name", "uplinks", "all dead", "sticky"), rows)


def _sticky(sticky: Sticky) -> str:
    return f"by {'pair' if sticky.pair else 'source'} for {duration(sticky.for_s)}"


def _rules(plan: Plan) -> str:
    """A row for each rule; the lines of both families say the same but for the addresses."""
    uses = {rule.origin: rule.policy for rule in plan.flow_rules}
    rows = [
        (origin, "; ".join(_match(plan, rules)), uses[origin])
        for origin in uses
        for rules in [[rule for rule in plan.flow_rules if rule.origin == origin]]
    ]
    return columns(("rule", "match", "use"), rows)


def _match(plan: Plan, rules: Sequence[FlowRule]) -> Iterator[str]:
    names = {lan.device: lan.name for lan in plan.lans}
    names |= {one.name: f"@{one.origin.removeprefix('sets.')}" for one in plan.sets}
    first = rules[0]
    if first.devices:
        yield f"lan {', '.join(names[d] for d in _distinct(r.devices for r in rules))}"
    if first.hours:
        yield next(hours.text for hours in plan.hours if hours.name == first.hours)
    if first.user is not None:
        yield f"user {first.user}"
    if first.protocols:
        yield ", ".join(first.protocols)
    if first.dport:
        yield f"to port {', '.join(first.dport)}"
    if first.sport:
        yield f"from port {', '.join(first.sport)}"
    if first.dscp:
        yield f"dscp {', '.join(map(str, first.dscp))}"
    for word, ends in (
        ("from", [(rule.source, rule.source_set) for rule in rules]),
        ("to", [(rule.destination, rule.destination_set) for rule in rules]),
    ):
        if found := _distinct((names[name],) if name else listed for listed, name in ends):
            yield f"{word} {', '.join(found)}"


def _distinct(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(one for group in groups for one in group))


def _firewall(plan: Plan) -> str:
    if plan.firewall is None:
        return "off: others filter, nib marks and masquerades\n"
    rows = [_opening(plan, allow) for allow in plan.firewall.allow]
    log = "logged, rate limited" if plan.firewall.log_drops else "not logged"
    rest = f"{'everything else' if rows else 'everything'} from the uplinks is dropped"
    if plan.closed:
        rest += f", from {', '.join(lan.name for lan in plan.closed)} refused"
    table = columns(("open", "from", "on", "at most"), rows) if rows else ""
    return f"{table}{rest}, {log}\n"


def _opening(plan: Plan, allow: Allow) -> tuple[str, str, str, str]:
    names = {item.device: item.name for item in plan.uplinks}
    names |= {item.device: item.name for item in plan.lans}
    return (
        f"{allow.protocol} {', '.join(allow.ports)}",
        ", ".join((*allow.sources, *allow.sources6)) or "anywhere",
        ", ".join(names[device] for device in allow.devices) or "every uplink",
        _limit(allow.limit),
    )


def _limit(limit: Limit | None) -> str:
    if limit is None:
        return "no limit"
    return f"{limit.rate}{' per source' if limit.per_source else ''}, {limit.burst} at once"


def _forwards(plan: Plan) -> str:
    assert plan.firewall
    head = ("port", "to", "from", "on", "at most")
    return columns(head, [_passed(plan, forward) for forward in plan.firewall.forwards])


def _passed(plan: Plan, forward: Forward) -> tuple[str, str, str, str, str]:
    on = [u.name for u in plan.uplinks if u.device not in forward.except_devices]
    host = forward.to if forward.family == 4 else f"[{forward.to}]"
    return (
        f"{'+'.join(forward.protocols)} {', '.join(forward.ports)}",
        f"{host}:{forward.to_port}" if forward.to_port else forward.to,
        ", ".join(forward.sources) or "anywhere",
        ", ".join(on) if forward.except_devices else "every uplink",
        _limit(forward.limit),
    )


def _routes(plan: Plan) -> str:
    names = {item.device: item.name for item in plan.uplinks}
    names |= {item.device: item.name for item in plan.lans}
    rows = [
        (
            route.to,
            f"via {route.via}" if route.via else "directly",
            f"in {names[route.device]}",
            "masqueraded" if route.masquerade else "",
        )
        for route in plan.routes
    ]
    return columns((), rows)


def _modems(plan: Plan) -> str:
    names = {lan.device: lan.name for lan in plan.lans}
    rows = [
        (
            modem.name,
            modem.address,
            f"by {modem.device}",
            f"as {modem.own}" if modem.own else "",
            f"from {', '.join(names[device] for device in modem.visitors) or 'the router alone'}",
        )
        for modem in plan.modems
    ]
    return columns((), rows)


def _probes(plan: Plan) -> str:
    head = (
        *("uplink", "targets", "every", "timeout", "quorum"),
        *("down within", "at worst", "back within", "if it flaps", "in 30 days"),
    )
    pairs = zip(plan.uplinks, guarantees(plan), strict=True)
    return columns(head, [_probe(uplink, guarantee) for uplink, guarantee in pairs])


def _probe(uplink: Uplink, guarantee: Guarantee) -> tuple[str, ...]:
    probe = uplink.probe
    return (
        uplink.name,
        ", ".join(map(str, probe.targets)),
        _seconds(probe.interval_ms),
        _seconds(probe.timeout_ms),
        f"{probe.quorum} of {len(uplink.targets_of(uplink.families[0]))}",
        _seconds(guarantee.detection_ms),
        _worst(guarantee),
        _seconds(guarantee.return_ms),
        _seconds(guarantee.return_flapping_ms) if guarantee.return_flapping_ms else "the same",
        _data(guarantee.probe_bytes)
        + (f" of {_data(uplink.budget_bytes)}" if uplink.budget_bytes else ""),
    )


def _worst(guarantee: Guarantee) -> str:
    full_ms, unused_ms = guarantee.detection_full_ms, guarantee.detection_unused_ms
    return (
        _seconds(guarantee.detection_worst_ms)
        + (f", full {_seconds(full_ms)}" if full_ms else "")
        + (f", unused {_seconds(unused_ms)}" if unused_ms else "")
    )


def _losses(plan: Plan) -> str:
    rows = [
        (one.uplink, ", ".join(one.carriers) or "nobody", "; ".join(one.stops) or "nothing")
        for one in guarantees(plan)
    ]
    return columns(("uplink", "new flows go to", "what stops"), rows)


# -- text ----------------------------------------------------------------------------------------


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"


def _data(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _speed(bits: int) -> str:
    return f"{bits / 1e6:g} Mbit/s"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
