"""Random packets for a plan, and what the plan cannot know: such that much of it is touched."""

from ipaddress import IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from random import Random

from nib.families import Family
from nib.oracle import Packet, Situation
from nib.oracle.lookup import addresses
from nib.oracle.values import Address, Interface, Protocol
from nib.plan import PREFIX_TOKEN, Plan, Uplink
from nib.state import Live, Prefixes, everything, networks_in

OWN_PORTS = 20_000
"""The source ports of the router's own begin here; nobody else uses these."""

_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "tcp", "udp", "udp", "icmp", "gre", "esp")


def situation(plan: Plan, random: Random) -> Situation:
    """Some uplinks alive, half of the time all of them; an address wherever the plan has none."""
    given: dict[str, tuple[Interface, ...]] = {}
    for number, uplink in enumerate(plan.uplinks):
        if uplink.kind != "static":
            both = {4: f"198.19.{number}.9/24", 6: f"2001:db8:d{number:03x}::9/64"}
            given[uplink.device] = tuple(ip_interface(both[f]) for f in uplink.families)
    for number, lan in enumerate(plan.lans):
        if lan.external:
            both = {4: f"10.200.{number}.1/24", 6: f"fd0a:{number:x}::1/64"}
            given[lan.device] = tuple(ip_interface(both[f]) for f in lan.families)
    for name, networks in delegated(plan).items():
        if random.random() < 0.7:
            _delegate(plan, given, plan.uplink(name), networks)
    live = everything(plan) if random.random() < 0.5 else _some_alive(plan, random)
    hours = frozenset(one.name for one in plan.hours if random.random() < 0.5)
    return Situation(live, given, random.random() < 0.8, hours)


def delegated(plan: Plan) -> Prefixes:
    """What each provider delegates that is asked to."""
    return {
        uplink.name: networks_in(IPv6Network(f"2001:db8:c{number:03x}::/56"), plan.last_subnet)
        for number, uplink in enumerate(plan.uplinks)
        if uplink.delegated
    }


def _delegate(
    plan: Plan, given: dict[str, tuple[Interface, ...]], uplink: Uplink, networks: tuple[str, ...]
) -> None:
    """As the monitor does: an address of the uplink's in the last network, one of each lan's."""
    token = ip_interface(f"{IPv6Network(networks[-1])[int(IPv6Address(PREFIX_TOKEN))]}/64")
    given[uplink.device] = (*given.get(uplink.device, ()), token)
    for lan in plan.lans:
        if lan.subnet is not None and uplink in plan.routed:
            router = ip_interface(f"{IPv6Network(networks[lan.subnet])[1]}/64")
            given[lan.device] = (*given.get(lan.device, ()), router)


def there(plan: Plan, known: Situation) -> Prefixes:
    """The delegations whose address the uplink has."""
    return {
        name: networks
        for name, networks in delegated(plan).items()
        for own in [known.addresses.get(plan.uplink(name).device, ())]
        if any(one.version == 6 and one.ip in IPv6Network(networks[-1]) for one in own)
    }


def _some_alive(plan: Plan, random: Random) -> Live:
    return {
        family: frozenset(random.sample(sorted(names), random.randint(0, len(names))))
        for family, names in everything(plan).items()
    }


def packets(plan: Plan, known: Situation, random: Random, count: int) -> dict[int, Packet]:
    """So many packets of as many flows, each with its number."""
    pools = {family: Pool(plan, known, family) for family in plan.families}
    made: dict[int, Packet] = {}
    flows: set[tuple[object, ...]] = set()
    for number in range(1, count + 1):
        packet = _packet(plan, pools[random.choice(plan.families)], random, number)
        # the same flow twice is not a new one
        ends = (packet.protocol, packet.source, packet.destination)
        keys: set[tuple[object, ...]]
        keys = {(*ends, packet.sport, packet.dport, packet.protocol == "icmp" and number)}
        if packet.protocol in ("gre", "esp"):
            # without ports only one of those that are masqueraded can go to a host, and what comes
            # from that host is its answer
            keys = {(packet.protocol, end) for end in (packet.source, packet.destination)}
        if flows.isdisjoint(keys):
            flows |= keys
            made[number] = packet
    return made


class Pool:
    """Addresses and ports of one family that a plan speaks of."""

    def __init__(self, plan: Plan, known: Situation, family: Family) -> None:
        own = [(at, one) for at, one in addresses(plan, known) if one.version == family]
        self.own = {one.ip for _, one in own}
        self.networks = {at: one.network for at, one in own}
        self.ends = {
            end
            for _, one in own
            for end in (one.network.network_address, one.network.broadcast_address)
        }
        self.family = family
        rules = plan.flow_rules_of(family)
        self.sources = [element for rule in rules for element in rule.source]
        self.destinations = [element for rule in rules for element in rule.destination]
        self.destinations += [route.to for route in plan.routes if route.family == family]
        self.destinations += [modem.address for modem in plan.modems if family == 4]
        for one in plan.sets:
            if one.family == family:
                self.sources += one.elements
                self.destinations += one.elements
        self.dports = [port for rule in rules for port in rule.dport] + ["22", "443", "179"]
        self.sports = [port for rule in rules for port in rule.sport] + ["1024-8999"] * 5
        self.dscps = [dscp for rule in rules for dscp in rule.dscp] + [0, 0, 46]
        self.users = [rule.user for rule in rules if rule.user is not None] + [None, 7]
        firewall = plan.firewall
        self.open = [port for allow in firewall.allow for port in allow.ports] if firewall else []
        if firewall:
            self.open += [port for forward in firewall.forwards for port in forward.ports]
        world = {4: ["100.66.0.0/16", "203.0.113.0/24"], 6: ["2001:db8:f000::/40"]}
        self.world = world[family]

    def neighbour(self, random: Random, device: str) -> Address | None:
        """A host beside a device; None, if it has no network of the family."""
        network = self.networks.get(device)
        return self.inside(random, str(network)) if network else None

    def inside(self, random: Random, element: str) -> Address:
        """An address within an element, and not the end of a network."""
        low, _, high = element.partition("-")
        if high:
            first, last = int(ip_address(low)), int(ip_address(high))
        else:
            network = ip_network(element)
            first, last = int(network[0]), int(network[-1])
        for _ in range(20):
            found = ip_address(self._number(random.randint(first, min(last, first + 300))))
            if found not in self.ends:
                break
        else:
            found = self.inside(random, self.world[0])
        return found

    def _number(self, number: int) -> int | bytes:
        return number if self.family == 4 else number.to_bytes(16, "big")


def _packet(plan: Plan, pool: Pool, random: Random, number: int) -> Packet:
    lans = [lan.device for lan in plan.lans]
    kind = random.choice([*(["lan"] * 3 if lans else []), "outside", "own"])
    protocol = random.choice(_PROTOCOLS if kind != "own" else ("tcp", "udp", "icmp"))
    sport = dport = None
    if protocol in ("tcp", "udp"):
        dport = _port(random, pool.dports if kind != "outside" else pool.dports + pool.open * 3)
        sport = _port(random, pool.sports)
    dscp = random.choice(pool.dscps)
    match kind:
        case "lan":
            device = random.choice(lans)
            source = pool.neighbour(random, device) or _anywhere(random, pool)
            if random.random() < 0.3:
                source = _anywhere(random, pool, pool.sources)
            destination = _target(random, pool)
            if random.random() < 0.15 and pool.open and dport:
                destination, dport = random.choice(sorted(pool.own)), _port(random, pool.open)
            return Packet(source, destination, protocol, sport, dport, device, None, dscp)
        case "outside":
            device = random.choice(plan.outside)
            source = pool.inside(random, random.choice(pool.world))
            if random.random() < 0.2:
                source = _anywhere(random, pool)
            destination = _target(random, pool)
            if random.random() < 0.7:
                destination = random.choice(sorted(pool.own))
            return Packet(source, destination, protocol, sport, dport, device, None, dscp)
        case _:
            bound = random.choice(sorted(pool.own)) if random.random() < 0.2 else None
            user = random.choice(pool.users)
            sport = OWN_PORTS + number if protocol == "tcp" else sport
            user = None if protocol == "icmp" else user
            destination = _target(random, pool)
            return Packet(bound, destination, protocol, sport, dport, None, user, dscp)


def _target(random: Random, pool: Pool) -> Address:
    if random.random() < 0.4:
        return pool.inside(random, random.choice(pool.world))
    return _anywhere(random, pool, pool.destinations)


def _anywhere(random: Random, pool: Pool, elements: list[str] | None = None) -> Address:
    choice = random.random()
    if elements and choice < 0.5:
        return pool.inside(random, random.choice(elements))
    if choice < 0.7:
        return random.choice(sorted(pool.own))
    beside = pool.neighbour(random, random.choice([*pool.networks]))
    assert beside is not None
    return beside


def _port(random: Random, elements: list[str]) -> int:
    low, _, high = random.choice(elements).partition("-")
    return random.randint(int(low), int(high or low))
