"""Random configurations that are right: whatever nib-gen makes of one must work.

`configuration(random, uplinks=3, lans=2)` is balance.yaml as data.  Each key of the file has one
function here, called with what has been made so far; a new key needs one more, and its place in
`KEYS`.  One that returns None leaves its key out.
"""

import json
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from random import Random
from typing import Any

from hypothesis import strategies as st

from nib.planner import highest_id
from nib.services import SERVICES

Data = dict[str, Any]

MOST_UPLINKS = 62
MOST_LANS = 100

OTHER_TARGETS: list[Data] = [
    {"ping": "gateway"},
    {"arp": "gateway"},
    {"tcp": "192.0.2.1:443"},
    {"tcp": "[2001:db8:ffff::1]:443"},
    {"dns": "192.0.2.1", "name": "example.com"},
    {"dns": "192.0.2.1:5353", "name": "a.example", "answer": "2001:db8:ffff::2"},
    {"http": "http://192.0.2.1/x?y", "status": 204},
    {"http": "https://example.com", "address": "2001:db8:ffff::1", "body": "welcome"},
    {"command": "/usr/local/libexec/ask"},
]
TARGETS = {
    4: ["1.1.1.1", "9.9.9.9", "8.8.8.8", "193.0.0.1", "208.67.222.222", "4.2.2.1"],
    6: ["2606:4700:4700::1111", "2620:fe::fe", "2001:4860:4860::8888", "2001:db8:53::1"],
}


def text(data: Data) -> str:
    """The data as the text of a file."""
    return json.dumps(data, indent=1)


def configurations(
    uplinks: int = MOST_UPLINKS, lans: int = MOST_LANS, smallest: int = 1
) -> st.SearchStrategy[Data]:
    """Configurations with at most so many uplinks and lans, most of them small.

    A seed decides all but the numbers, so there is little to shrink.
    """
    seeds = st.integers(0, 1 << 32).map(Random)
    several = st.sampled_from([n for n in (1, 2, 3, 4, 20, 62) if smallest <= n <= uplinks])
    behind = st.sampled_from([n for n in (0, 1, 2, 3, 20, 100) if n <= lans])
    return st.builds(configuration, seeds, several, behind)


def configuration(random: Random, uplinks: int, lans: int) -> Data:
    """One configuration with so many uplinks and lans."""
    made: Data = {}
    counts = {"uplinks": uplinks, "lans": lans}
    for key, make in KEYS.items():
        value = make(random, made, counts.get(key, 0))
        if value is not None:
            made[key] = value
    # nobody keeps to an order
    return dict(random.sample(list(made.items()), len(made)))


# -- the keys ------------------------------------------------------------------------------------


def _mode(random: Random, _: Data, __: int) -> str | None:
    return random.choice([None, "balance", "failover"])


def _uplinks(random: Random, _: Data, count: int) -> Data:
    made = {_name(random, "u", i): _uplink(random, i) for i in range(count)}
    next(iter(made.values()))["weight"] = random.randint(1, 256)
    numbers = random.sample(range(1, MOST_UPLINKS + 1), count)
    for uplink, number in zip(made.values(), numbers, strict=True):
        if random.random() < 0.1:
            uplink["id"] = number
    return made


def _uplink(random: Random, number: int) -> Data:
    made: Data = {"device": _device(random, "wan", number)}
    made |= random.choice([_dhcp, _static, _static, _external])(random, number)
    _maybe(random, made, "weight", random.choice([0, 1, 2, 3, 100, 256]))
    _maybe(random, made, "tier", random.choice([1, 1, 1, 2, 3, 100]))
    _maybe(random, made, "probe", _probe(random))
    if random.random() < 0.2:
        made["network"] = f"10-{made['device']}.network"
    _maybe(random, made, "mtu", random.choice([1280, 1492, 9000]))
    _maybe(random, made, "bandwidth", {"down": "1Gbit", "up": random.choice(["800kbit", "7Mbit"])})
    if random.random() < 0.2:
        made["metered"] = {"budget": random.choice(["90MB", "999999999GB", "60000kB"])}
    if "network" not in made and random.random() < 0.2:
        made["modem"] = _modem(random, number)
        written = made["address"] if isinstance(made["address"], list) else [made["address"]]
        if made.get("ipv4") == "off" or all(":" in one for one in written):
            made["modem"]["own"] = f"192.168.{number}.2/24"
    if "network" not in made and made["address"] != "external" and random.random() < 0.2:
        made["netdev"] = _netdev(random, number)
    return made


def _modem(random: Random, number: int) -> Data:
    made: Data = {"address": f"192.168.{number}.1"}
    _maybe(random, made, "own", f"192.168.{number}.2/24")
    if "own" in made:
        _maybe(random, made, "device", f"modem{number}")
    return made


def _netdev(random: Random, number: int) -> Data:
    """On one of a few ports that are nothing else."""
    port = f"port{number % 3}"
    return random.choice([{"macvlan": port}, {"vlan": port, "id": number + 1}])


def _dhcp(random: Random, number: int) -> Data:
    """The first has IPv4 in any case: forwards may be for it."""
    made: Data = {"address": "dhcp"}
    words = ["auto", "off", "masquerade", "routed", "nptv6"]
    _maybe(random, made, "ipv6", random.choice(words))
    if number and made.get("ipv6") != "off":
        _maybe(random, made, "ipv4", random.choice(["auto", "off"]))
    return made


def _external(random: Random, number: int) -> Data:
    made: Data = {"address": "external"}
    if random.random() < 0.3:
        made["gateway"] = _one_or_list(random, [f"198.18.{number}.1"])
    elif random.random() < 0.3:
        made["gateway"] = f"fd02:{number:x}::1"
    else:
        _maybe(random, made, "ipv6", random.choice(["auto", "off", "masquerade"]))
    return made


def _static(random: Random, number: int) -> Data:
    network = IPv4Network(f"198.18.{number}.0/{random.choice([24, 29, 30, 31])}")
    gateway, *own = network.hosts()
    length = random.choice([network.prefixlen, network.prefixlen, 32])
    addresses = [f"{one}/{length}" for one in own[: random.choice([1, 1, 3])]]
    gateways = [str(gateway)]
    if random.random() < 0.4:
        network6 = IPv6Network(f"2001:db8:{number:x}::/{random.choice([48, 64, 127])}")
        addresses.append(f"{network6[1]}/{random.choice([network6.prefixlen, 128])}")
        gateways.append(random.choice([str(network6[0]), f"fe80::{number:x}"]))
        made = random.choice([{}, _routed(random, number)])
        if number and random.random() < 0.3:
            addresses, gateways = addresses[-1:], gateways[-1:]
    else:
        made = {}
    return made | {
        "address": _one_or_list(random, addresses),
        "gateway": _one_or_list(random, gateways),
    }


def _routed(random: Random, number: int) -> Data:
    made: Data = {"prefix": f"2001:db8:{number:x}:8000::/{random.choice([49, 52, 57])}"}
    _maybe(random, made, "ipv6", random.choice(["auto", "routed", "nptv6"]))
    return made


def _probe(random: Random) -> Data:
    made: Data = {}
    targets = random.sample(TARGETS[4], random.randint(2, len(TARGETS[4])))
    targets += random.choice([[], random.sample(TARGETS[6], random.randint(2, 4))])
    # one alone of its family would be too few for a quorum of two
    others = [one for one in OTHER_TARGETS if any(":" in t for t in targets) or not _is_ipv6(one)]
    targets += random.sample(others, random.choice([0, 0, 1, 3]))
    _maybe(random, made, "targets", targets)
    _maybe(random, made, "interval", random.choice(["100ms", "500ms", "1h"]))
    _maybe(random, made, "timeout", random.choice(["50ms", "999ms", "1m"]))
    _maybe(random, made, "quorum", random.randint(1, 2))
    _maybe(random, made, "fall", random.randint(1, 100))
    _maybe(random, made, "rise", random.randint(1, 100))
    _maybe(random, made, "hold_down", random.choice(["0s", "1m", "24h"]))
    _maybe(random, made, "damping", random.choice(["0s", "1m", "1h"]))
    _maybe(random, made, "canary", random.choice(["0s", "10s", "1h"]))
    _maybe(random, made, "loss", {"down": "99%", "up": random.choice(["1%", "98%"])})
    # less than any timeout, whichever of the two is said for all uplinks
    _maybe(random, made, "rtt", {"down": "49ms", "up": random.choice(["1ms", "48ms"])})
    _maybe(random, made, "jitter", {"down": "2ms", "up": "1ms"})
    return made


def _is_ipv6(target: Data) -> bool:
    return "[" in str(target.get("tcp")) or ":" in target.get("address", "")


def _lans(random: Random, made: Data, count: int) -> Data | None:
    ipv6 = any(_has_ipv6(uplink) for uplink in made["uplinks"].values())
    prefixes = [
        uplink["prefix"]
        for uplink in made["uplinks"].values()
        # some networks of uplinks hold their prefix
        if "prefix" in uplink and not str(_list(uplink["address"])[-1]).endswith("/48")
    ]
    lans = {_name(random, "l", i): _lan(random, i, ipv6, prefixes) for i in range(count)}
    if _delegated(made):
        for lan in lans.values():
            if str(lan["address"]).strip("[']").startswith("fd01:") and random.random() < 0.7:
                del lan["address"]
    with4 = _with_ipv4(lans)
    for uplink in made["uplinks"].values():
        if "modem" in uplink and lans:
            visitors = random.choice([[":lans"], _some(random, with4) if with4 else []])
            _maybe(random, uplink["modem"], "from", visitors)
    if all(lan.get("address") == "external" or lan.get("ipv6") == "off" for lan in lans.values()):
        for uplink in made["uplinks"].values():
            if uplink.get("ipv6") in ("routed", "nptv6") and "prefix" not in uplink:
                uplink["ipv6"] = "masquerade"
    return lans if lans or random.random() < 0.5 else None


def _lan(random: Random, number: int, ipv6: bool, prefixes: list[str]) -> Data:
    made: Data = {"device": _device(random, "lan", number)}
    if random.random() < 0.2:
        made["address"] = "external"
        _maybe(random, made, "ipv6", random.choice(["auto", "off"]))
        return made
    if random.random() < 0.1:
        made["netdev"] = _netdev(random, 100 + number)
    prefix = random.choice([16, 24, 30])
    addresses = [f"10.{number}.0.{last}/{prefix}" for last in range(1, random.choice([2, 2, 3]))]
    alone = ipv6 and random.random() < 0.15
    if alone:
        addresses = []
    if alone or (ipv6 and random.random() < 0.4):
        addresses.append(f"fd01:{number:x}::1/64")
        if prefixes and random.random() < 0.3:
            # the hosts' addresses are of the provider that routes them here
            routed = IPv6Network(random.choice(prefixes))
            addresses.append(f"{IPv6Network((int(routed[0]) + (number << 64), 64))[1]}/64")
    else:
        _maybe(random, made, "ipv6", random.choice(["auto", "off"]))
    if random.random() < 0.2:
        made["network"] = f"10-{made['device']}.network"
    _maybe(random, made, "mtu", random.choice([1280, 1500, 9000]))
    if any(":" in address for address in addresses):
        _maybe(random, made, "dns", ["2620:fe::fe", f"fd01:{number:x}::1"][: random.randint(1, 2)])
    if prefix < 30 and not alone:
        _maybe(random, made, "dhcp_server", _dhcp_server(random, number))
    return made | {"address": _one_or_list(random, addresses)}


def _dhcp_server(random: Random, number: int) -> Data | bool:
    if random.random() < 0.6:
        return random.choice([True, True, False])
    made: Data = {}
    _maybe(random, made, "pool", f"10.{number}.0.3-10.{number}.0.3")
    _maybe(random, made, "dns", [f"10.{number}.0.1", "192.0.2.53"][: random.randint(1, 2)])
    _maybe(random, made, "lease", random.choice(["2m", "1000h"]))
    return made


def _forwarding(random: Random, made: Data, _: int) -> list[list[str]] | None:
    names = [*made["uplinks"], *made.get("lans", {}), ":uplinks"]
    names += [":lans"] if made.get("lans") else []
    groups = [
        random.sample(names, random.randint(1, len(names))) for _ in range(random.randint(0, 3))
    ]
    return random.choice([None, groups])


def _firewall(random: Random, made: Data, _: int) -> Data | str | None:
    """Before anything else it says which lans the router is closed to, where it can be."""
    if random.random() < 0.2:
        return random.choice([None, "off"])
    lans = made.get("lans", {})
    for lan in lans.values():
        _maybe(random, lan, "input", random.choice(["accept", "reject", "reject"]))
    closed = [name for name, lan in lans.items() if lan.get("input") == "reject"]
    firewall: Data = {}
    _maybe(random, firewall, "log", random.choice(["off", "drops"]))
    allow = [_allow(random, made["uplinks"], closed) for _ in range(random.randint(0, 4))]
    _maybe(random, firewall, "allow", allow)
    by = [name for name, uplink in made["uplinks"].items() if _has_ipv4(uplink)]
    forwards = [_forward(random, number, host, by) for number, host in enumerate(_hosts(made))]
    forwards = forwards[:10]
    forwards += [_forward6(random, number, host) for number, host in enumerate(_hosts6(made))][:10]
    _maybe(random, firewall, "forwards", forwards)
    return firewall


def _forward(random: Random, number: int, host: str, names: list[str]) -> Data:
    port = 40_000 + 10 * number
    made: Data = {
        "protocol": random.choice(["tcp", "udp", ["tcp", "udp"]]),
        "port": _one_or_list(random, _some(random, [port, f"{port + 1}-{port + 8}", port + 9])),
        "to": random.choice([host, f"{host}:8080"]),
    }
    _maybe(random, made, "source", _one_or_list(random, ["203.0.113.0/24"]))
    _maybe(random, made, "uplinks", _some(random, names))
    _maybe(random, made, "limit", {"rate": "5/minute"})
    return made


def _forward6(random: Random, number: int, host: str) -> Data:
    port = 40_000 + 10 * number
    made: Data = {
        "protocol": random.choice(["tcp", "udp", ["tcp", "udp"]]),
        "port": _one_or_list(random, _some(random, [port, f"{port + 1}-{port + 8}", port + 9])),
        "to": random.choice([host, f"[{host}]:8080"]),
    }
    _maybe(random, made, "source", ["2001:db8:f000::/36"])
    _maybe(random, made, "limit", {"rate": "5/minute"})
    return made


def _sets(random: Random, _: Data, __: int) -> Data | None:
    """Parts of the lans, and of the world."""
    made: Data = {}
    for number in range(random.randint(0, 3)):
        spans = random.choice(
            [
                [f"10.{number}.0.64/27", f"fd01:{number:x}::40/122"],
                [f"10.{number}.0.70-10.{number}.0.90", f"192.0.2.{number}"],
                ["203.0.113.0/25", "2001:db8:f000::/44", "192.0.2.64-192.0.2.99"],
            ]
        )
        made[_name(random, "s", number)] = spans
    return made or None


def _policies(random: Random, made: Data, _: int) -> Data | None:
    policies: Data = {}
    names = [*made["uplinks"]]
    for number in range(random.randint(0, 3)):
        name = "default" if random.random() < 0.2 else _name(random, "p", number)
        policies[name] = _policy(random, names)
        if name == "default":
            policies[name].pop("when_down", None)
    return policies or None


def _policy(random: Random, names: list[str]) -> Data:
    made: Data = {}
    chosen = _some(random, names)[:6]
    at = random.randint(1, len(chosen))
    tiers = [tier for tier in (chosen[:at], chosen[at:]) if tier]
    _maybe(random, made, "tiers", random.choice([tiers, [[":uplinks"]]]))
    _maybe(random, made, "when_down", random.choice(["any", "block", "block"]))
    if random.random() < 0.2:
        sticky: Data = {}
        _maybe(random, sticky, "by", random.choice(["source", "pair"]))
        _maybe(random, sticky, "for", random.choice(["1s", "10m", "24h"]))
        made["sticky"] = sticky
    if random.random() < 0.2:
        made["on_down"] = {random.choice(["tcp", "udp"]): "keep"}
    if random.random() < 0.2:
        made["on_return"] = {"tcp": "reset"}
        _maybe(random, made["on_return"], "udp", random.choice(["keep", "move"]))
        _maybe(random, made["on_return"], "after", random.choice(["0s", "10m", "24h"]))
    return made


def _rules(random: Random, made: Data, _: int) -> list[Data] | None:
    """No rule hides another: each asks for something that no other asks for."""
    if random.random() < 0.2:
        return None
    names = [*made.get("policies", {}), *made["uplinks"], "default"]
    count = random.choice([1, 2, 5, 10, 30])
    return [_rule(random, made, number, names) for number in range(count)]


def _rule(random: Random, made: Data, number: int, names: list[str]) -> Data:
    use = random.choice(names)
    if _only6(made, use):
        match: Data = {"destination": f"2001:db8:e000:{number:x}::/64"}
        _maybe(random, match, "protocol", random.choice(["tcp", "icmp", ["gre", "esp"]]))
        return {"match": match, "use": use}
    match = random.choice(
        [
            {"protocol": random.choice(["tcp", ["udp", "tcp"]]), "dport": 7000 + number},
            {
                "protocol": "tcp",
                "dport": [7000 + number, f"{7100 + 10 * number}-{7105 + 10 * number}"],
            },
            {"protocol": "udp", "sport": [9000 + number]},
            {
                "source": [
                    f"10.{number % 4}.0.{100 + number}",
                    f"fd01:{number % 4:x}::{100 + number:x}",
                ]
            },
            {"source": f"10.{number % 4}.0.{150 + number}"},
            {"destination": [f"100.64.{number}.0/24", f"2001:db8:e000:{number:x}::/64"]},
            {"destination": f"100.65.0.{number}-100.65.0.{number + 3}"},
            {"dscp": number},
            {"user": random.choice([2000 + number])},
        ]
    )
    if number == 0:
        match = random.choice([match, {"user": "daemon"}])
    extra = random.choice(["none", "none", "lan", "protocol", "set", "dscp"])
    lans = _with_ipv4(made.get("lans", {}))
    if extra == "lan" and lans and "user" not in match and use in ("default", *_allowed(made)):
        match["lan"] = _one_or_list(random, _some(random, lans)[:3])
    elif extra == "protocol" and "protocol" not in match:
        match["protocol"] = random.choice(["tcp", "udp", "icmp", ["gre", "esp"], "sctp"])
    elif extra == "set" and made.get("sets"):
        end = random.choice(["source", "destination"])
        match.setdefault(end, f"@{random.choice([*made['sets']])}")
    elif extra == "dscp":
        match.setdefault("dscp", ["ef", "cs0", 10 + number])
    times = ["01:00-05:00", "Mon-Fri 22:00-06:00", "Sat,Sun", "Sun-Mon 00:00-24:00"]
    _maybe(random, match, "time", _one_or_list(random, _some(random, times)))
    return {"match": match, "use": use}


def _only6(made: Data, use: str) -> bool:
    """Whether a policy, or an uplink, has nothing but IPv6."""
    uplinks = made["uplinks"]
    tiers = made.get("policies", {}).get(use, {}).get("tiers", [[":uplinks"]])
    names = [use] if use in uplinks else [name for tier in tiers for name in tier]
    return not any(name == ":uplinks" or _has_ipv4(uplinks[name]) for name in names)


def _allowed(made: Data) -> list[str]:
    """What rules of any lan may use."""
    everybody = made.get("forwarding") is None
    return [*made.get("policies", {}), *made["uplinks"]] if everybody else []


def _routes(random: Random, made: Data, _: int) -> list[Data] | None:
    routes = [{"to": f"172.16.{i}.0/24", "via": host} for i, host in enumerate(_hosts(made))]
    for route in routes:
        _maybe(random, route, "masquerade", random.choice([True, False]))
    return random.choice([None, routes[:10]])


def _allow(random: Random, uplinks: Data, closed: list[str]) -> Data:
    made: Data = {}
    if random.random() < 0.5:
        made["service"] = random.choice(list(SERVICES))
    else:
        low, high = sorted(random.sample(range(1, 40_000), 2))  # what is above is forwarded
        made["protocol"] = random.choice(["tcp", "udp"])
        made["port"] = _one_or_list(random, [low, f"{low}-{high}", random.randint(1, 39_999)])
    named = _some(random, [*uplinks])
    by = [uplinks[name] for name in named]
    sources = ["203.0.113.0/24", "203.0.113.7", "0.0.0.0/0"] if any(map(_has_ipv4, by)) else []
    sources += ["2001:db8::/32", "::/0"] if any(map(_has_ipv6, by)) else []
    _maybe(random, made, "uplinks", random.choice([[":uplinks"], named]))
    if closed:
        _maybe(random, made, "lans", random.choice([[":lans"], _some(random, closed)]))
        sources += ["10.0.0.0/9", "fd01::/16"]
    if sources:
        _maybe(random, made, "source", _one_or_list(random, _some(random, sources)))
    if random.random() < 0.5:
        unit = random.choice(["second", "minute", "hour", "day"])
        made["limit"] = {"rate": f"{random.choice([1, 5, 999_999])}/{unit}"}
        _maybe(random, made["limit"], "burst", random.choice([1, 5, 65535]))
        _maybe(random, made["limit"], "per", random.choice(["source", "all"]))
    return made


def _marks(random: Random, made: Data, _: int) -> Data | None:
    """A mask with room for all uplinks and all pinned ids, wherever it lies."""
    needed = max([len(made["uplinks"]), *(u.get("id", 1) for u in made["uplinks"].values())])
    blocks = any(one.get("when_down") == "block" for one in made.get("policies", {}).values())
    widths = range(3, 8 if blocks else 9)
    width = random.choice([w for w in widths if highest_id((1 << w) - 1) >= needed])
    mask = ((1 << width) - 1) << random.randint(0, 32 - width)
    return random.choice([None, {"mask": random.choice([mask, f"{mask:#x}"])}])


KEYS: dict[str, Callable[[Random, Data, int], Any]] = {
    "mode": _mode,
    "uplinks": _uplinks,
    "lans": _lans,
    "forwarding": _forwarding,
    "firewall": _firewall,
    "routes": _routes,
    "sets": _sets,
    "policies": _policies,
    "rules": _rules,
    "probe": lambda random, _, __: random.choice([None, _probe(random)]),
    "hooks": lambda random, _, __: random.choice([None, {}, {"timeout": "30s"}]),
    "notify": lambda random, _, __: random.choice(
        [None, {}, {"mail": "root"}, {"webhook_file": "/etc/nib/webhook", "long_down": "90s"}]
    ),
    "metrics": lambda random, _, __: random.choice([None, {}, "off", {"listen": "[::1]:9100"}]),
    "history": lambda random, _, __: random.choice([None, {}, "off", {"keep": "2MB"}]),
    "marks": _marks,
}
"""In the order in which they are made: a later one may ask for the earlier ones."""


# -- parts ---------------------------------------------------------------------------------------


def _name(random: Random, kind: str, number: int) -> str:
    """A name that no other number of its kind gives."""
    return f"{kind}{number}{random.choice(['', '_x', 'Office', '_' * (13 - len(str(number)))])}"


def _device(random: Random, kind: str, number: int) -> str:
    return random.choice([f"{kind}{number}", f"{kind}.{number}", f"{kind}-{number:011}"])


def _has_ipv6(uplink: Data) -> bool:
    if isinstance(uplink["address"], str) and uplink["address"] in ("dhcp", "external"):
        return uplink.get("ipv6") != "off"
    return any(":" in address for address in _list(uplink["address"]))


def _has_ipv4(uplink: Data) -> bool:
    if isinstance(uplink["address"], str) and uplink["address"] in ("dhcp", "external"):
        return uplink.get("ipv4") != "off"
    return any("." in address for address in _list(uplink["address"]))


def _delegated(made: Data) -> bool:
    """Whether lans are given networks of a provider's."""
    uplinks = made["uplinks"].values()
    return any(one.get("ipv6") == "routed" and "prefix" not in one for one in uplinks)


def _with_ipv4(lans: Data) -> list[str]:
    return [name for name, lan in lans.items() if "." in str(lan.get("address", ""))]


def _hosts(made: Data) -> list[str]:
    """One in each lan that is large enough."""
    written = [lan for lan in made.get("lans", {}).values() if "address" in lan]
    first = [_list(lan["address"])[0] for lan in written]
    own = [address for address in first if address.endswith(("/16", "/24"))]
    return [address.partition("/")[0].removesuffix(".1") + ".77" for address in own]


def _hosts6(made: Data) -> list[str]:
    """One in each lan that has IPv6."""
    written = [lan for lan in made.get("lans", {}).values() if "address" in lan]
    addresses = [address for lan in written for address in _list(lan["address"]) if ":" in address]
    return [address.partition("/")[0].removesuffix("1") + "77" for address in addresses]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _one_or_list(random: Random, values: list[Any]) -> Any:
    return values[0] if len(values) == 1 and random.random() < 0.5 else values


def _some(random: Random, values: list[Any]) -> list[Any]:
    return random.sample(values, random.randint(1, len(values)))


def _maybe(random: Random, made: Data, key: str, value: Any) -> None:
    if random.random() < 0.5:
        made[key] = value
