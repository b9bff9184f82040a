"""The IPv6 networks that belong to an uplink: written, or delegated and there."""

from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from nib.oracle.values import Address, Case
from nib.plan import PREFIX_TOKEN, Uplink

_HOST = (1 << 64) - 1


def belongs(case: Case, address: Address | None, uplink: Uplink) -> bool:
    """Whether an address is in the networks of an uplink."""
    if address is None or not uplink.prefixed:
        return False
    if uplink.prefix is not None:
        return address in ip_network(uplink.prefix)
    return any(address in network for network in _networks(case, uplink))


def exchanged(case: Case, address: Address | None, uplink: Uplink) -> Address | None:
    """What an uplink with `nptv6` makes of a source; None, if it has nothing for it.

    That is the same host in the network with the number of the lan.
    """
    if address is None or uplink.ipv6 != "nptv6":
        return None
    to = _networks(case, uplink)
    for lan in case.plan.lans:
        if lan.subnet is None or lan.subnet >= len(to):
            continue
        theirs = [IPv6Network(one) for one in lan.announced]
        for other in case.plan.routed:
            if other.prefix is None:
                theirs += _networks(case, other)[lan.subnet : lan.subnet + 1]
        if any(address in network for network in theirs):
            return ip_address((int(to[lan.subnet][0]) | int(address) & _HOST).to_bytes(16, "big"))
    return None


def _networks(case: Case, uplink: Uplink) -> tuple[IPv6Network, ...]:
    """By the number that a lan has in them."""
    first = _first(case, uplink)
    if first is None:
        return ()
    count = case.plan.last_subnet + 1
    return tuple(IPv6Network((first + (number << 64), 64)) for number in range(count))


def _first(case: Case, uplink: Uplink) -> int | None:
    if uplink.prefix is not None:
        return int(IPv6Network(uplink.prefix).network_address)
    # a delegation shows by the uplink's address in the last network that is needed
    for one in case.situation.addresses.get(uplink.device, ()):
        if one.version == 6 and int(one.ip) & _HOST == int(IPv6Address(PREFIX_TOKEN)):
            return (int(one.ip) & ~_HOST) - (case.plan.last_subnet << 64)
    return None
