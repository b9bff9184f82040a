"""The plan: every number and name that nib uses, as values, to and from JSON.

`planner.py` makes it; it is also all that the monitor knows, and travels as `plan.json`.
"""

import json
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

from nib import codec
from nib.families import Family
from nib.hours import Hours
from nib.ip_rules import Mark, Marks, Priority, Rule, Table
from nib.notices import Notices
from nib.passages import Allow, Firewall, Modem, Netdev, Route, Segment
from nib.policies import AddressSet, FlowRule, Policy
from nib.probe import Probe
from nib.targets import Target, of_family

Kind = Literal["dhcp", "static", "external"]
Leaving6 = Literal["off", "masquerade", "routed", "nptv6"]

VERSION = 1
GENERATED_BY = "nib-gen from balance.yaml. Do not edit."

STATE_DIRECTORY = "/run/nib"

# The host's half of the address that an uplink has in the network delegated to it ("nib").
PREFIX_TOKEN = "::6e:6962"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a line carries, in bits a second."""

    down_bits: int
    up_bits: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """A way out with its numbers.  `metric` is its default's in main: lower is preferred.

    `addresses` and the probe's targets are of all its `families`.  `address_priority` is that of
    the ip rules `from ADDRESS`: the static ones are among the plan's rules, the monitor keeps
    those of addresses that come and go.  `ipv6` is how the family leaves; `prefix` is the network
    that is routed or exchanged by it, None where there is none or where it is delegated.
    `budget_bytes` is what probes may cost in 30 days: the probe's interval is long enough for it.
    """

    name: str
    id: int
    device: str
    kind: Kind
    families: tuple[Family, ...]
    addresses: tuple[str, ...]
    ipv6: Leaving6
    prefix: str | None
    gateway: str | None
    gateway6: str | None
    weight: int
    tier: int
    mark: Mark
    table: Table
    metric: int
    address_priority: Priority
    network: str | None
    mtu: int | None
    bandwidth: Bandwidth | None
    budget_bytes: int | None
    probe: Probe
    origin: str

    def addresses_of(self, family: Family) -> tuple[str, ...]:
        """The static addresses of one family, with their prefix length."""
        return _of(family, self.addresses)

    def further_of(self, family: Family) -> tuple[str, ...]:
        """The static addresses of one family but the first, which is the source of what leaves."""
        return tuple(address.partition("/")[0] for address in self.addresses_of(family)[1:])

    def targets_of(self, family: Family) -> tuple[Target, ...]:
        """What is asked in one family."""
        return of_family(self.probe.targets, family)

    def optional(self, family: Family) -> bool:
        """Nobody asked for the family: without address or gateway it is absent, not broken."""
        asked = bool(self.addresses_of(6)) or self.gateway6 is not None
        return family == 6 and 4 in self.families and not asked

    @property
    def prefixed(self) -> bool:
        """The provider gives IPv6 networks: some sources belong to this uplink."""
        return self.ipv6 in ("routed", "nptv6")

    @property
    def delegated(self) -> bool:
        """These networks are asked for by DHCP."""
        return self.prefixed and self.prefix is None


@dataclass(frozen=True, slots=True)
class DhcpServer:
    """Leases of a lan: `pool_size` addresses, `pool_offset` after that of the network.

    `address` is the router's own there, with its prefix length.
    """

    address: str
    pool_offset: int
    pool_size: int
    dns: tuple[str, ...]
    lease_s: int

    @property
    def first(self) -> IPv4Address:
        """The lowest address that is leased."""
        return IPv4Interface(self.address).network[self.pool_offset]

    @property
    def last(self) -> IPv4Address:
        """The highest."""
        return IPv4Interface(self.address).network[self.pool_offset + self.pool_size - 1]


@dataclass(frozen=True, slots=True)
class Lan:
    """A network behind the router, with the router's `addresses` there.

    `policy` spreads its new flows: `default`, or one of its own if it may not use every uplink.
    `announced` are the IPv6 networks that clients make addresses in, `dns` name servers that are
    announced, too; `link_local`: the device has IPv6 at all.  `subnet` is the number of its network
    in the prefixes of uplinks; without one it gets none.  With neither that nor `addresses` others
    configure its device.
    """

    name: str
    device: str
    families: tuple[Family, ...]
    addresses: tuple[str, ...]
    announced: tuple[str, ...]
    link_local: bool
    network: str | None
    mtu: int | None
    dhcp_server: DhcpServer | None
    subnet: int | None
    policy: str
    origin: str
    dns: tuple[str, ...] = ()

    @property
    def external(self) -> bool:
        """Others configure its device."""
        return not self.addresses and self.subnet is None

    def addresses_of(self, family: Family) -> tuple[str, ...]:
        """The router's addresses of one family, with their prefix length."""
        return _of(family, self.addresses)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is written, loaded and watched.

    `policies` begins with `default`.  `state_file` is where the monitor keeps the run-time state of
    the nft table; its name carries a hash of uplinks and policies, so that a state made for others
    is never included.
    """

    version: int
    generated_by: str
    marks: Marks
    uplinks: tuple[Uplink, ...]
    lans: tuple[Lan, ...]
    rules: tuple[Rule, ...]
    balance_table: Table
    policies: tuple[Policy, ...]
    sets: tuple[AddressSet, ...]
    hours: tuple[Hours, ...]
    flow_rules: tuple[FlowRule, ...]
    modems: tuple[Modem, ...]
    netdevs: tuple[Netdev, ...]
    routes: tuple[Route, ...]
    segments: tuple[Segment, ...]
    firewall: Firewall | None
    notices: Notices
    state_file: str
    history_bytes: int = 0
    metrics_listen: str = ""

    def members(self, policy: Policy, family: Family) -> tuple[Uplink, ...]:
        """All uplinks of a policy that have the family."""
        uplinks = [self.uplink(share.uplink) for tier in policy.tiers for share in tier]
        return tuple(uplink for uplink in uplinks if family in uplink.families)

    def uplink(self, name: str) -> Uplink:
        """The uplink called `name`; KeyError if there is none."""
        for uplink in self.uplinks:
            if uplink.name == name:
                return uplink
        raise KeyError(name)

    @property
    def first_priority(self) -> Priority:
        """That of the first of nib's ip rules: the others are counted from it."""
        return min(rule.priority for rule in self.rules)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that any uplink has."""
        return tuple(sorted({family for uplink in self.uplinks for family in uplink.families}))

    @property
    def blocks(self) -> bool:
        """Whether flows of any policy must leave by no other uplink than theirs."""
        return any(policy.when_down == "block" for policy in self.policies)

    @property
    def keeping(self) -> tuple[Policy, ...]:
        """The policies some of whose running flows stay with an uplink that dies."""
        return tuple(one for one in self.policies if one.running and one.running.kept)

    @property
    def recalling(self) -> tuple[Policy, ...]:
        """The policies some of whose running flows leave an uplink when a better one is back."""
        return tuple(one for one in self.policies if one.running and one.running.recalled)

    @property
    def lan_policies(self) -> tuple[str, ...]:
        """The policies of lans for what no rule names, each once."""
        return tuple(dict.fromkeys(lan.policy for lan in self.lans))

    @property
    def kept_mask(self) -> int:
        """The bits of its mark that say how a flow goes on."""
        return self.marks.mask if self.blocks else self.marks.id_mask

    @property
    def prefixed(self) -> tuple[Uplink, ...]:
        """The uplinks that some IPv6 sources belong to."""
        return tuple(uplink for uplink in self.uplinks if uplink.prefixed)

    @property
    def routed(self) -> tuple[Uplink, ...]:
        """The uplinks whose networks the lans have."""
        return tuple(uplink for uplink in self.uplinks if uplink.ipv6 == "routed")

    @property
    def last_subnet(self) -> int:
        """The highest number that a lan has in the prefixes of uplinks."""
        return max((lan.subnet for lan in self.lans if lan.subnet is not None), default=0)

    def flow_rules_of(self, family: Family) -> tuple[FlowRule, ...]:
        """The lines of one family, in their order."""
        return tuple(rule for rule in self.flow_rules if rule.family == family)

    def forward_pairs(self, family: Family) -> tuple[tuple[str, str], ...]:
        """From which device to which the firewall forwards a family: where both have it."""
        having = {u.device for u in self.uplinks if family in u.families}
        having |= {lan.device for lan in self.lans if family in lan.families}
        pairs = self.firewall.forward_pairs if self.firewall else ()
        return tuple(pair for pair in pairs if having.issuperset(pair))

    @property
    def lan_families(self) -> tuple[Family, ...]:
        """The families that any lan has."""
        return tuple(sorted({family for lan in self.lans for family in lan.families}))

    @property
    def forwarded_families(self) -> tuple[Family, ...]:
        """The families that any forward has."""
        forwards = self.firewall.forwards if self.firewall else ()
        return tuple(sorted({forward.family for forward in forwards}))

    @property
    def masqueraded_families(self) -> tuple[Family, ...]:
        """The families of the routes that are masqueraded."""
        return tuple(sorted({route.family for route in self.routes if route.masquerade}))

    def openings(self, *, inside: bool) -> tuple[Allow, ...]:
        """What may reach the router itself: from lans that it is closed to, or by uplinks."""
        lans = {lan.device for lan in self.lans}
        allow = self.firewall.allow if self.firewall else ()
        return tuple(one for one in allow if lans.isdisjoint(one.devices) != inside)

    @property
    def closed(self) -> tuple[Lan, ...]:
        """The lans that reach only what an opening says; each has some, for DHCP and DNS."""
        known = {device for one in self.openings(inside=True) for device in one.devices}
        return tuple(lan for lan in self.lans if lan.device in known)

    @property
    def adopted(self) -> dict[str, str]:
        """The devices that files of the user's own configure, which nib adds to: their names."""
        owners: tuple[Uplink | Lan, ...] = (*self.uplinks, *self.lans)
        return {owner.device: owner.network for owner in owners if owner.network}

    @property
    def further_addresses(self) -> tuple[tuple[Uplink, Family, tuple[str, ...]], ...]:
        """Those of every uplink and family that has any."""
        return tuple(
            (uplink, family, further)
            for uplink in self.uplinks
            for family in uplink.families
            if (further := uplink.further_of(family))
        )

    @property
    def outside(self) -> tuple[str, ...]:
        """The devices that lead out: nothing gets in by them unless it is allowed."""
        return (
            *(uplink.device for uplink in self.uplinks),
            *(modem.device for modem in self.modems if modem.extra),
            *self.ports,
        )

    @property
    def ports(self) -> tuple[str, ...]:
        """The parents of netdevs that are nothing else: raised, without addresses."""
        known = {*self.devices, *(modem.device for modem in self.modems)}
        parents = sorted({netdev.parent for netdev in self.netdevs})
        return tuple(parent for parent in parents if parent not in known)

    @property
    def on_shared_wires(self) -> tuple[str, ...]:
        """The macvlans and their parents: each hears what is for the others."""
        macvlans = [netdev for netdev in self.netdevs if netdev.vlan is None]
        pairs = ((netdev.parent, netdev.device) for netdev in macvlans)
        return tuple(dict.fromkeys(device for pair in pairs for device in pair))

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that nib names, uplinks first."""
        return (*(u.device for u in self.uplinks), *(lan.device for lan in self.lans))


def _of(family: Family, addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(address for address in addresses if (":" in address) == (family == 6))


# -- to and from JSON --------------------------------------------------------------------------


def to_json(plan: Plan) -> str:
    """The text of plan.json: indented, with a final newline, the same bytes for the same plan."""
    return json.dumps(asdict(plan), indent=1) + "\n"


def from_json(text: str) -> Plan:
    """Read plan.json back.  Raises ValueError for what is no plan or one of another version."""
    data = json.loads(text)
    if not isinstance(data, dict) or "generated_by" not in data:
        raise ValueError("this is not a plan of nib-gen")
    if data.get("version") != VERSION:
        raise ValueError(f"plan version {data.get('version')!r}, but this nib reads {VERSION}")
    return codec.decode(Plan, data)
