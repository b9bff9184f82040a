"""The IPv6 networks that providers delegate, and what the lans have of them.

networkd asks for a network, and gives the uplink an address in it whose half for the host says that
it is this one.  The rest is the monitor's: a route for each lan, and what is announced there.  A
network outlives its uplink's carrier, for clients keep their addresses: it is deprecated, and what
still comes from there leaves translated by another uplink.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

from nib.monitor.events import AddNetwork, Announced, Effect, Facts, LanNetwork, RemoveNetwork
from nib.plan import PREFIX_TOKEN, Plan, Uplink
from nib.state import Live, Prefixes, carriers, networks_in

_HOST = (1 << 64) - 1
_TOKEN = int(IPv6Address(PREFIX_TOKEN))


def learn(plan: Plan, facts: Facts, known: Prefixes) -> Prefixes:
    """The networks of every uplink that has or had some: now, at last, or before this monitor."""
    return {
        uplink.name: networks
        for uplink in plan.prefixed
        if uplink.delegated
        and (
            networks := _now(plan, uplink, facts)
            or known.get(uplink.name)
            or _before(plan, uplink, facts)
        )
    }


def wanted(plan: Plan, facts: Facts, prefixes: Prefixes) -> set[LanNetwork]:
    """What the lans ought to have."""
    devices = {device.name for device in facts.devices if device.up}
    return {
        LanNetwork(prefixes[uplink.name][lan.subnet], lan.device, uplink.id)
        for uplink in plan.routed
        if uplink.delegated and uplink.name in prefixes
        for lan in plan.lans
        if lan.subnet is not None and lan.device in devices
    }


def repairs(plan: Plan, facts: Facts, prefixes: Prefixes) -> Iterator[Effect]:
    """What makes the lans' routes right."""
    right = wanted(plan, facts, prefixes)
    devices = {device.name: device.addresses for device in facts.devices if device.up}
    present = {one for one in facts.networks if (6, one.address) in devices.get(one.device, ())}
    for network in sorted(right - present, key=str):
        yield AddNetwork(network)
    for network in facts.networks:
        if network not in right and network.device in devices:
            yield RemoveNetwork(network)


def announced(plan: Plan, live: Live, prefixes: Prefixes) -> tuple[Announced, ...]:
    """For each lan its networks; preferred are those whose uplink carries its flows now."""
    policies = {policy.name: policy for policy in plan.policies}
    return tuple(
        Announced(
            lan.device,
            tuple(
                (networks[lan.subnet], uplink.name in carrying)
                for uplink in plan.routed
                if uplink.delegated and (networks := prefixes.get(uplink.name))
            ),
        )
        for lan in plan.lans
        if lan.subnet is not None
        for shares in [carriers(policies[lan.policy], live.get(6, frozenset()))]
        for carrying in [{share.uplink for share in shares}]
    )


def _now(plan: Plan, uplink: Uplink, facts: Facts) -> tuple[str, ...]:
    """By the address in the last of its networks."""
    for device in facts.devices:
        for family, address in device.addresses:
            if device.name == uplink.device and family == 6:
                number = int(IPv6Address(address))
                if number & _HOST == _TOKEN:
                    return _counted(plan, number - _TOKEN, plan.last_subnet)
    return ()


def _before(plan: Plan, uplink: Uplink, facts: Facts) -> tuple[str, ...]:
    """By a route of a monitor before this one."""
    subnets = {lan.device: lan.subnet for lan in plan.lans}
    for network in facts.networks:
        subnet = subnets.get(network.device)
        if network.metric == uplink.id and subnet is not None:
            first = int(IPv6Network(network.network).network_address)
            return _counted(plan, first, subnet)
    return ()


def _counted(plan: Plan, network: int, number: int) -> tuple[str, ...]:
    """All networks of a prefix one of whose networks has that number."""
    first = (network - (number << 64)) % (1 << 128)
    return networks_in(IPv6Network((first, 64)), plan.last_subnet)
