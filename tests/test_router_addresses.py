"""Addresses that are many, the same, or alone."""

import pytest

from lab.hosts import INTERNET6
from lab.isp import Isp
from lab.traffic import How, connections, flow, server
from nib_lab import FAST, NibLab, Routers

pytestmark = pytest.mark.lab

SEVERAL = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl:
    device: wan2
    address: [198.51.102.2/24, 198.51.102.3/24, 198.51.102.66/32,
              "2001:db8:2::2/64", "2001:db8:2::3/64"]
    gateway: [198.51.102.1, "2001:db8:2::1"]
lans:
  home: {device: lan1, address: 192.168.10.1/24}
firewall: {allow: [{protocol: tcp, port: 5000}]}
"""
FURTHER = ("198.51.102.3", "198.51.102.66", "2001:db8:2::3")
TWINS = {
    "leased": ("dhcp", "dhcp"),
    "static": ("192.168.1.2/24, gateway: 192.168.1.1", "192.168.1.3/24, gateway: 192.168.1.1"),
}
BOTH = {"isp1", "isp2"}


def outside(address: str, lab: NibLab) -> str:
    return lab.inet.address6 if ":" in address else lab.inet.address


def test_several_addresses_on_one_uplink(routers: Routers) -> None:
    lab = routers(SEVERAL + FAST, (Isp(), Isp("static", ipv6="static")))
    lab.start()
    lab.until(within=20, family=6, dsl="up")
    cable, dsl = lab.isps
    # the first is the source of what leaves
    for node in (lab.lans[0], lab.router):
        seen = connections(node, 60)
        assert set(seen) == {cable.router_address, dsl.router_address}
    # each of the others answers, and is kept by programs that are bound to it
    with server(lab.router, tcp=[5000]):
        for address in FURTHER:
            to = outside(address, lab)
            asked = connections(lab.inet, 20, dst=address, port=5000, how=How(source=to))
            assert asked == {to: 20}
    for address in FURTHER:
        how = How(source=address)
        seen = connections(lab.router, 20, dst=outside(address, lab), how=how)
        assert seen == {address: 20}
    # nowhere else, also when their uplink is dead, without a carrier, or without anything
    bound = [flow(lab.router, "udp", how=How(source=address)) for address in FURTHER[:2]]
    dsl.fail()
    lab.until(dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 40)) == {"isp1": 40}
    dsl.unplug()
    lab.until(dsl="down")
    dsl.plug()
    dsl.restore()
    lab.until(within=20, dsl="up")
    for recording, address in zip(bound, FURTHER, strict=False):
        assert set(recording.stop().seen) == {address}


@pytest.mark.parametrize("kind", TWINS)
def test_two_routers_in_front_with_the_same_network(routers: Routers, kind: str) -> None:
    """The same gateway, the same network, and by DHCP even the same address of the router."""
    one, two = TWINS[kind]
    config = f"""\
uplinks:
  cable: {{device: wan1, address: {one}}}
  dsl: {{device: wan2, address: {two}}}
lans:
  home: {{device: lan1, address: 192.168.10.1/24}}
firewall: {{allow: [{{protocol: tcp, port: 5000}}]}}
"""
    spec = Isp("dhcp" if kind == "leased" else "static", home="192.168.1")
    lab = routers(config + FAST, (spec, spec))
    lab.start()
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 60))) == BOTH
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            assert lab.by_isp(connections(lab.router, 20, how=How(device=isp.device))) == {
                isp.name: 20
            }
            how = How(source=lab.inet.address)
            asked = connections(lab.inet, 20, dst=isp.public, port=5000, how=how)
            assert asked == {lab.inet.address: 20}
            lab.router.run(f"ping -c 2 -i 0.2 -W 1 -I {isp.device} 192.168.1.1")
    for dead, well, name in ((0, 1, "cable"), (1, 0, "dsl")):
        lab.isps[dead].fail()
        lab.until(**{name: "down"})
        for node in (lab.lans[0], lab.router):
            assert lab.by_isp(connections(node, 40)) == {lab.isps[well].name: 40}
        lab.isps[dead].restore()
        lab.until(**{name: "up"})
    lab.isps[0].unplug()
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.lans[0], 40)) == {"isp2": 40}


ALONE = {
    "leased": ("dhcp", Isp(single=True)),
    "static": (
        '["198.51.102.2/32", "2001:db8:2::2/128"], gateway: ["198.51.102.1", "2001:db8:2::1"]',
        Isp("static", ipv6="static"),
    ),
    "external": (
        'external, gateway: ["198.51.102.1", "2001:db8:2::1"]',
        Isp("static", ipv6="static"),
    ),
}


@pytest.mark.parametrize("kind", ALONE)
def test_an_address_without_a_network(routers: Routers, kind: str) -> None:
    address, isp = ALONE[kind]
    config = f"""\
uplinks:
  cable: {{device: wan1, address: dhcp}}
  lte: {{device: wan2, address: {address}}}
lans:
  home: {{device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}}
firewall: {{allow: [{{protocol: tcp, port: 5000}}]}}
"""
    lab = routers(config + FAST, (Isp(ipv6="ra"), isp))
    lab.start(cable="up")
    lte = lab.isps[1]
    if kind == "external":
        lab.router.run("ip address add 198.51.102.2/32 dev wan2")
        lab.router.run("ip address add 2001:db8:2::2/128 dev wan2 && ip link set wan2 up")
    lab.until(within=20, lte="up")
    if kind != "leased":
        lab.until(within=20, family=6, cable="up", lte="up")
        for node in (lab.lans[0], lab.router):
            assert set(lab.by_isp(connections(node, 60, dst=INTERNET6))) == BOTH
    assert f"{lte.router_address}/32" in lab.router.run("ip -4 address show dev wan2")
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 60))) == BOTH
    with server(lab.router, tcp=[5000]):
        to = lte.router_address
        assert connections(lab.inet, 20, dst=to, port=5000) == {lab.inet.address: 20}
    how = How(source=lte.router_address)
    assert lab.by_isp(connections(lab.router, 20, how=how)) == {"isp2": 20}
    for cut, mend in ((lte.fail, lte.restore), (lte.unplug, lte.plug)):
        cut()
        lab.until(lte="down")
        assert lab.by_isp(connections(lab.lans[0], 40)) == {"isp1": 40}
        mend()
        lab.until(within=20, lte="up")
        assert set(lab.by_isp(connections(lab.lans[0], 60))) == BOTH
