"""Devices that others make: a line that is dialled, a VPN server's tunnel."""

import re

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6
from lab.isp import Isp
from lab.node import Node
from lab.traffic import How, connections, flow, server
from lab.tunnel import line
from nib_lab import FAST, NibLab, Routers

pytestmark = pytest.mark.lab

DIALLED = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl: {device: ppp2, address: external}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
firewall: {allow: [{protocol: tcp, port: 5000}]}
"""
BOTH = {"isp1", "isp2"}


def index(lab: NibLab, device: str) -> int:
    """The kernel's number of a device."""
    return int(lab.router.read(f"/sys/class/net/{device}/ifindex"))


def works(lab: NibLab) -> None:
    """Balanced, bound by address or device, and answered by the line that was asked."""
    dsl = lab.isps[1]
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 60))) == BOTH
    for how in (How(source=dsl.router_address), How(device="ppp2")):
        assert lab.by_isp(connections(lab.router, 20, how=how)) == {"isp2": 20}
    with server(lab.router, tcp=[5000]):
        seen = connections(lab.inet, 40, dst=dsl.router_address, port=5000)
        assert seen == {lab.inet.address: 40}


def test_a_line_comes_late_ends_and_returns_as_another(routers: Routers) -> None:
    lab = routers(DIALLED + FAST, (Isp(), Isp("dialled", late=True)))
    lab.start(cable="up")
    client, (cable, dsl) = lab.lans[0], lab.isps
    assert lab.by_isp(connections(client, 40)) == {"isp1": 40}
    dsl.attach()
    lab.until(dsl="up")
    works(lab)
    # silence, as when the session hangs
    flows = [flow(client, "udp") for _ in range(8)]
    dsl.fail()
    lab.until(dsl="down")
    assert lab.by_isp(connections(client, 40)) == {"isp1": 40}
    dsl.restore()
    lab.until(dsl="up")
    # the device vanishes, and what comes is another one of that name; every time it does
    for host in (77, 78, 77):
        old, address = index(lab, "ppp2"), dsl.router_address
        dsl.detach()
        lab.until(dsl="down")
        assert lab.by_isp(connections(client, 40)) == {"isp1": 40}
        assert lab.by_isp(connections(lab.router, 40)) == {"isp1": 40}
        for recording in flows:
            eventually(lambda r=recording: lab.isp_of(r.so_far().seen[-1]) is cable, 5)
        dsl.redial(host)
        lab.until(dsl="up")
        assert index(lab, "ppp2") != old and dsl.router_address != address
        works(lab)
        rules = lab.router.run("ip rule")
        assert f"from {dsl.router_address} " in rules and f"from {address} " not in rules
    for recording in flows:
        recording.stop()
    # the program's address outlives networkd
    lab.router.run("systemctl restart systemd-networkd")
    works(lab)


def test_a_line_with_gateways_of_both_families(routers: Routers) -> None:
    config = DIALLED.replace(
        "external}", 'external, gateway: [100.64.2.1, "2001:db8:2::1"]}'
    ).replace("192.168.10.1/24}", '[192.168.10.1/24, "fd00:10::1/64"]}')
    lab = routers(config + FAST, (Isp(ipv6="ra"), Isp("dialled", ipv6="static", late=True)))
    lab.start(cable="up")
    lab.isps[1].attach()
    lab.until(dsl="up")
    lab.until(within=20, family=6, cable="up", dsl="up")
    eventually(lambda: lab.lans[0].announced().startswith("fd00:10:"), 20)
    for to in (INTERNET6, lab.inet.address):
        assert set(lab.by_isp(connections(lab.lans[0], 60, dst=to))) == BOTH
    lab.isps[1].fail("meta nfproto ipv6")
    lab.until(family=6, dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 40, dst=INTERNET6)) == {"isp1": 40}
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == BOTH


def test_the_clients_of_a_vpn_server_get_out(routers: Routers) -> None:
    config = DIALLED.replace("lans:\n", "lans:\n  vpn: {device: tun0, address: external}\n")
    lab = routers(config + FAST, (Isp(), Isp("dialled")))
    lab.start(cable="up", dsl="up")
    client = Node(lab.holder, "client")
    client.create()
    tunnel = line(lab.router, "tun0", client, "tun0")
    lab.router.run("ip address add 10.8.0.1/24 dev tun0 && ip link set tun0 mtu 1400 up")
    client.run("ip address add 10.8.0.2/24 dev tun0 && ip link set tun0 mtu 1400 up")
    client.run("ip route add default via 10.8.0.1")
    assert set(lab.by_isp(connections(client, 60))) == BOTH
    with server(lab.router, tcp=[8000]), server(lab.lans[0], tcp=[8000]):
        assert connections(client, 5, dst="10.8.0.1", port=8000) == {"10.8.0.2": 5}
        assert connections(client, 5, dst=lab.lans[0].address, port=8000) == {"10.8.0.2": 5}
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(client, 40)) == {"isp2": 40}
    # nib's files are not about that device, and nothing of it is kept when it goes
    lab.router.run("systemctl restart systemd-networkd")
    assert lab.by_isp(connections(client, 40)) == {"isp2": 40}
    tunnel.stop()
    assert not re.search("tun0", lab.router.run("ip route show table all"))
    assert lab.by_isp(connections(lab.lans[0], 40)) == {"isp2": 40}
