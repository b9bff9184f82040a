"""The providers' own IPv6 networks on the lans, exchanged, or nothing but IPv6 at all."""

from ipaddress import IPv6Address, IPv6Network

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6, Lan
from lab.isp import Isp, Provider
from lab.traffic import How, connections, flow, scan, server
from nib_lab import FAST, NibLab, Routers

pytestmark = pytest.mark.lab

DELEGATING = Isp(ipv6="ra", delegates=True)
BOTH = (DELEGATING, DELEGATING)
ROUTED = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed, weight: 3}
  dsl: {device: wan2, address: dhcp, ipv6: routed}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""
NPTV6 = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: nptv6}
  dsl: {device: wan2, address: dhcp, ipv6: nptv6}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
"""


def own(lan: Lan, isp: Provider) -> str:
    """The client's address in the network that the provider delegated, or nothing."""
    start = isp.delegated.partition("100::")[0] + "1"
    return next((address for address in lan.addresses6() if address.startswith(start)), "")


def started(lab: NibLab) -> tuple[str, str]:
    """Up, and the client's address in each provider's network."""
    lab.start()
    lab.until(within=20, family=6, **dict.fromkeys(lab.plan_names(), "up"))
    client = lab.lans[0]
    eventually(lambda: all(own(client, isp) for isp in lab.isps), 20)
    one, two = (own(client, isp) for isp in lab.isps)
    return one, two


def seen(lab: NibLab, source: str, count: int = 30) -> set[str]:
    """Whom the internet sees when the client sends from this address."""
    return set(connections(lab.lans[0], count, dst=INTERNET6, how=How(source=source)))


@pytest.mark.parametrize("kind", ["silent", "carrier"])
def test_what_is_delegated_leaves_as_it_is(routers: Routers, kind: str) -> None:
    lab = routers(ROUTED + FAST, BOTH)
    addresses = started(lab)
    client, (cable, dsl) = lab.lans[0], lab.isps
    # a prefix is preferred again one announcement after its uplink came up
    eventually(lambda: all(client.addresses6().values()), 5)
    for address in addresses:
        assert seen(lab, address) == {address}
    # other lans' hosts, and what is nobody's network, are masqueraded and shared as ever
    assert set(lab.by_isp(connections(lab.router, 60, dst=INTERNET6))) == {"isp1", "isp2"}
    assert set(lab.by_isp(connections(client, 60))) == {"isp1", "isp2"}

    from_cable = How(source=addresses[0])
    moving = flow(client, "udp", dst=INTERNET6, how=from_cable)
    talking = flow(client, "tcp", dst=INTERNET6, how=from_cable, reconnect=True)
    staying = flow(client, "tcp", dst=INTERNET6, how=How(source=addresses[1]))
    cable.fail() if kind == "silent" else cable.unplug()
    lab.until(family=6, cable="down")
    eventually(lambda: lab.isp_of(moving.so_far().seen[-1]) is dsl, 3)
    eventually(lambda: lab.isp_of(talking.so_far().seen[-1]) is dsl, 5)
    assert moving.so_far().seen == (addresses[0], lab.status(6)["dsl"]["address"])
    assert lab.by_isp(dict.fromkeys(seen(lab, addresses[0]), 1)) == {"isp2": 1}
    assert seen(lab, addresses[1]) == {addresses[1]}
    eventually(lambda: client.addresses6() == {addresses[0]: False, addresses[1]: True}, 5)

    cable.restore() if kind == "silent" else cable.plug()
    lab.until(within=20, family=6, cable="up")
    eventually(lambda: client.addresses6() == {addresses[0]: True, addresses[1]: True}, 10)
    assert seen(lab, addresses[0]) == {addresses[0]}
    assert staying.stop().seen == (addresses[1],)
    assert lab.isp_of(moving.stop().seen[-1]) is dsl
    talking.stop()


def test_what_is_delegated_is_as_closed_as_all_else(routers: Routers) -> None:
    lab = routers(ROUTED + FAST, BOTH)
    addresses = started(lab)
    client = lab.lans[0]
    with server(client, tcp=[80], udp=[53]), server(lab.router, tcp=[80], udp=[53]):
        for isp, inside in zip(lab.isps, addresses, strict=True):
            assert scan(lab.inet, inside, (80,), [53], timeout=0.5).ports() == ()
            at_router = isp.delegated.partition("::")[0] + "::6e:6962"
            assert scan(lab.inet, at_router, (80,), [53], timeout=0.5).ports() == ()
        assert scan(lab.router, addresses[0], (80,)).tcp == {80: "open"}
    # what answers gets in
    assert client.attempt(f"ping -6 -c 1 -W 1 -I {addresses[0]} {INTERNET6}").code == 0


def test_the_monitor_is_away_and_comes_back(routers: Routers) -> None:
    lab = routers(ROUTED + FAST, BOTH)
    addresses = started(lab)
    lab.router.run("systemctl stop nib-monitor")
    for address in addresses:
        assert seen(lab, address) == {address}
    lab.isps[0].unplug()
    lab.router.run("systemctl start nib-monitor")
    lab.until(family=6, cable="down")
    # of a network that it never saw itself it knows by what the one before it left
    eventually(lambda: lab.by_isp(dict.fromkeys(seen(lab, addresses[0]), 1)) == {"isp2": 1}, 5)
    assert seen(lab, addresses[1]) == {addresses[1]}
    lab.router.run("networkctl reload; systemctl reload nib-nftables; nft flush ruleset")
    eventually(lambda: seen(lab, addresses[1]) == {addresses[1]}, 5)
    before = lab.router.run("ip -6 route show proto 110 table main")
    lab.router.run("ip -6 route flush proto 110 table main")
    eventually(lambda: lab.router.run("ip -6 route show proto 110 table main") == before, 3)


def test_networks_are_exchanged_one_to_one(routers: Routers) -> None:
    lab = routers(NPTV6 + FAST, BOTH)
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    client = lab.lans[0]
    eventually(lambda: client.announced().startswith("fd00:10:"), 20)
    inside = client.announced()
    host = int(IPv6Address(inside)) % (1 << 64)
    expected = {str(IPv6Network(isp.delegated)[host]): isp for isp in lab.isps}
    eventually(lambda: seen(lab, inside) == {*expected}, 5)
    moving = flow(client, "udp", dst=INTERNET6)
    first = lab.isp_of(moving.so_far().seen[-1])
    assert first
    other = next(isp for isp in lab.isps if isp is not first)
    first.fail()
    eventually(lambda: lab.isp_of(moving.so_far().seen[-1]) is other, 5)
    assert [expected.get(address) for address in moving.stop().seen] == [first, other]
    assert seen(lab, inside) == {a for a, isp in expected.items() if isp is other}


def test_a_network_of_one_provider_is_exchanged_at_the_other(routers: Routers) -> None:
    """One provider routes a written network here, the other one's is delegated to the lan."""
    config = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed}
  dsl:
    device: wan2
    address: [198.51.102.2/24, "2001:db8:2::2/64"]
    gateway: [198.51.102.1, "2001:db8:2::1"]
    ipv6: nptv6
    prefix: 2001:db8:2:100::/56
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""
    lab = routers(config + FAST, (DELEGATING, Isp("static", ipv6="static", delegates=True)))
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    client = lab.lans[0]
    eventually(lambda: own(client, lab.isps[0]), 20)
    inside = own(client, lab.isps[0])
    assert seen(lab, inside) == {inside}
    lab.isps[0].fail()
    lab.until(family=6, cable="down")
    assert seen(lab, inside) == {inside.replace("2001:db8:1:", "2001:db8:2:")}


def test_a_written_network_is_routed(routers: Routers) -> None:
    config = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl:
    device: wan2
    address: [198.51.102.2/24, "2001:db8:2::2/64"]
    gateway: [198.51.102.1, "2001:db8:2::1"]
    prefix: 2001:db8:2:100::/56
lans:
  home: {device: lan1, address: [192.168.10.1/24, "2001:db8:2:107::1/64"]}
"""
    isps = (Isp(ipv6="ra"), Isp("static", ipv6="static", delegates=True))
    lab = routers(config + FAST, isps)
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    client = lab.lans[0]
    eventually(lambda: own(client, lab.isps[1]), 20)
    inside = own(client, lab.isps[1])
    assert seen(lab, inside) == {inside}
    lab.isps[1].fail()
    lab.until(family=6, dsl="down")
    assert lab.by_isp(dict.fromkeys(seen(lab, inside), 1)) == {"isp1": 1}


def test_ipv6_by_one_uplink_and_ipv4_by_the_other(routers: Routers) -> None:
    config = """\
uplinks:
  village: {device: wan1, address: dhcp, ipv4: off}
  hamlet: {device: wan2, address: "2001:db8:2::2/64", gateway: "2001:db8:2::1"}
  lte: {device: wan3, address: dhcp, ipv6: off}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
"""
    isps = (Isp(ipv6="ra"), Isp("static", ipv6="static"), Isp(ipv6="ra"))
    lab = routers(config + FAST, isps)
    lab.router.boot()
    lab.until(within=20, lte="up")
    lab.until(within=20, family=6, village="up", hamlet="up")
    assert lab.health() == {"lte": "up"}
    client = lab.lans[0]
    eventually(lambda: client.announced().startswith("fd00:10:"), 20)
    for node in (client, lab.router):
        assert lab.by_isp(connections(node, 40)) == {"isp3": 40}
        assert set(lab.by_isp(connections(node, 60, dst=INTERNET6))) == {"isp1", "isp2"}
    lab.isps[0].fail()
    lab.until(family=6, village="down")
    assert lab.by_isp(connections(client, 40, dst=INTERNET6)) == {"isp2": 40}
    assert lab.by_isp(connections(client, 40)) == {"isp3": 40}
    lab.isps[2].unplug()
    lab.until(lte="down")
    assert not {"isp1", "isp2"} & lab.by_isp(connections(client, 10, timeout=0.5)).keys()
    # what must be up and is not is said; nothing else is
    said = lab.router.attempt("nib status")
    assert said.code == 1 and "no IPv6" not in said.out
