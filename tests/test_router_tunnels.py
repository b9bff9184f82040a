"""Tunnels that are uplinks themselves, each over a provider of its own."""

import pytest

from lab.traffic import ANYHOW, How, connections
from lab.tunnel import vpn_client, vpn_server
from nib_lab import FAST, HOME_ISPS, NibLab, Routers

pytestmark = pytest.mark.lab

# The providers carry nothing but the tunnels, and each of these its own alone.
TUNNELS = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 0}
  dsl: {device: wan2, address: 198.51.102.2/24, gateway: 198.51.102.1, weight: 0}
  one: {device: tun1, address: external}
  two: {device: tun2, address: external}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""
PINNED = """\
policies:
  over_cable: {tiers: [[cable]], when_down: block}
  over_dsl: {tiers: [[dsl]], when_down: block}
rules:
  - {match: {protocol: udp, dport: 1191}, use: over_cable}
  - {match: {protocol: udp, dport: 1192}, use: over_dsl}
"""
PORTS = {1: 1191, 2: 1192}
ONE, TWO = "10.9.1.2", "10.9.2.2"


def serve(lab: NibLab) -> None:
    """The servers in the internet."""
    for number, port in PORTS.items():
        vpn_server(lab.inet, f"tun{number}", port)
        lab.inet.run(
            f"ip address add 10.9.{number}.1 peer 10.9.{number}.2 dev tun{number}"
            f" && ip link set tun{number} mtu 1400 up"
        )


def dial(lab: NibLab, number: int, how: How = ANYHOW) -> None:
    """A client on the router, as OpenVPN is."""
    device = f"tun{number}"
    vpn_client(lab.router, device, lab.inet.address, PORTS[number], how)
    lab.router.run(
        f"ip address add 10.9.{number}.2 peer 10.9.{number}.1 dev {device}"
        f" && ip link set {device} mtu 1400 up"
    )


def outer(lab: NibLab, number: int) -> set[str]:
    """By which providers the packets of a tunnel's outside leave, or left a while ago."""
    flows = lab.router.run(f"conntrack -L -p udp --dport {PORTS[number]} 2>/dev/null")
    # the last destination is where answers go
    seen = {line.split("dst=")[-1].split()[0] for line in flows.splitlines()}
    return {isp.name if (isp := lab.isp_of(address)) else address for address in seen}


def test_tunnels_share_the_work_each_over_its_own_provider(routers: Routers) -> None:
    lab = routers(TUNNELS + PINNED + FAST, HOME_ISPS)
    lab.start(cable="up", dsl="up")
    serve(lab)
    for number in PORTS:
        dial(lab, number)
    lab.until(within=20, one="up", two="up")
    client = lab.lans[0]
    for node in (client, lab.router):
        assert set(connections(node, 60)) == {ONE, TWO}
    assert [outer(lab, number) for number in PORTS] == [{"isp1"}, {"isp2"}]
    # a provider dies silently, or without a carrier: its tunnel with it, and takes no other way
    cases = ((1, "cable", "one", TWO), (2, "dsl", "two", ONE))
    for number, name, tunnel, other in cases:
        provider = lab.isps[number - 1]
        for fail, restore in (
            (provider.fail, provider.restore),
            (provider.unplug, provider.plug),
        ):
            fail()
            lab.until(**{name: "down", tunnel: "down"})
            assert set(connections(client, 40)) == {other}
            restore()
            lab.until(within=20, **{name: "up", tunnel: "up"})
            assert outer(lab, number) == {provider.name}
    assert set(connections(client, 60)) == {ONE, TWO}


def test_a_tunnel_may_bind_its_socket_instead(routers: Routers) -> None:
    lab = routers(TUNNELS + FAST, HOME_ISPS)
    lab.start(cable="up", dsl="up")
    serve(lab)
    mark = next(u["mark"] for u in lab.planned() if u["name"] == "dsl")
    dial(lab, 1, How(device="wan1"))
    dial(lab, 2, How(mark=mark))
    lab.until(within=20, one="up", two="up")
    assert set(connections(lab.lans[0], 60)) == {ONE, TWO}
    assert [outer(lab, number) for number in PORTS] == [{"isp1"}, {"isp2"}]
    lab.isps[0].fail()
    lab.until(cable="down", one="down")
    assert set(connections(lab.lans[0], 40)) == {TWO}
    lab.isps[0].restore()
    lab.until(within=20, cable="up", one="up")
    assert outer(lab, 1) == {"isp1"}
