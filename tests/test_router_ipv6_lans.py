"""Lans of IPv6 alone: balanced, failed over and as closed as others; nothing of IPv4 is there."""

from collections.abc import Callable

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6, Lan
from lab.isp import Isp, Provider
from lab.stats import chi_square_p
from lab.traffic import How, connections, flow, name_servers, scan, server
from nib_lab import DUAL, DUAL_ISPS, FAST, NibLab, Routers

pytestmark = pytest.mark.lab

# `phones` have an address of IPv6 and no other
WRITTEN = DUAL + '  phones: {device: lan2, address: "fd00:20::1/64"}\n'
# `phones` have what is delegated and nothing else
DELEGATED = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed}
  dsl: {device: wan2, address: dhcp, ipv6: routed}
lans:
  phones: {device: lan1, dns: ["2620:fe::fe"]}
"""
DELEGATING = Isp(ipv6="ra", delegates=True)

Act = Callable[[Provider], None]
CUTS: dict[str, tuple[Act, Act]] = {
    "silent": (lambda isp: isp.fail(), lambda isp: isp.restore()),
    "carrier": (lambda isp: isp.unplug(), lambda isp: isp.plug()),
}


def started(lab: NibLab, phone: Lan) -> NibLab:
    """Up in both families, and the phone has the address that it made itself."""
    lab.start()
    lab.until(within=20, family=6, **dict.fromkeys(lab.plan_names(), "up"))
    eventually(phone.announced, 20)
    return lab


def nothing_of_ipv4(lab: NibLab, phone: Lan, device: str) -> None:
    """Neither an address nor a way out, even for who makes himself an address and knows ours."""
    assert lab.router.run(f"ip -4 address show dev {device}") == ""
    assert phone.attempt("busybox udhcpc -i eth0 -n -q -t 3 -T 1 -s /bin/true").code != 0
    phone.run(f"ip neigh replace {phone.router_address} lladdr {phone.router_mac} dev eth0")
    for proto in ("tcp", "udp"):
        seen = connections(phone, 10, proto, timeout=0.5)
        assert not {"isp1", "isp2"} & lab.by_isp(seen).keys(), seen


def test_its_clients_are_balanced_and_nothing_is_of_ipv4(routers: Routers) -> None:
    lab = routers(WRITTEN + FAST, DUAL_ISPS, lans=2)
    home, phone = lab.lans
    started(lab, phone)
    for proto in ("tcp", "udp"):
        shares = lab.by_isp(connections(phone, 1000, proto, dst=INTERNET6))
        assert chi_square_p(shares, {"isp1": 3.0, "isp2": 1.0}) > 1e-6, shares
    nothing_of_ipv4(lab, phone, "lan2")
    assert name_servers(phone) == {"2620:fe::fe", "2606:4700:4700::1111"}
    assert name_servers(home) == set()
    # beside a lan that has it
    assert set(lab.by_isp(connections(home, 60))) == {"isp1", "isp2"}
    assert phone.attempt(f"ping -6 -c 1 -W 1 {lab.lans[0].announced()}").code == 0
    # the same without the monitor, and after everything was loaded again
    lab.router.run("systemctl stop nib-monitor; networkctl reload; systemctl reload nib-nftables")
    assert set(lab.by_isp(connections(phone, 60, dst=INTERNET6))) == {"isp1", "isp2"}


@pytest.mark.parametrize("kind", CUTS)
def test_a_provider_of_a_lan_of_ipv6_alone_dies(routers: Routers, kind: str) -> None:
    cut, mend = CUTS[kind]
    lab = routers(WRITTEN.replace(", weight: 3", "") + FAST, DUAL_ISPS, lans=2)
    phone = lab.lans[1]
    started(lab, phone)
    moving = [flow(phone, "udp", dst=INTERNET6) for _ in range(6)]
    talking = [flow(phone, "tcp", dst=INTERNET6, reconnect=True) for _ in range(6)]
    cut(lab.isps[0])
    lab.until(family=6, cable="down")
    assert lab.by_isp(connections(phone, 60, dst=INTERNET6)) == {"isp2": 60}
    for recording in (*moving, *talking):
        eventually(lambda r=recording: lab.isp_of(r.so_far().seen[-1]) is lab.isps[1], 5)
    mend(lab.isps[0])
    lab.until(within=20, family=6, cable="up")
    assert set(lab.by_isp(connections(phone, 60, dst=INTERNET6))) == {"isp1", "isp2"}
    for recording in (*moving, *talking):
        recording.stop()


def test_a_lan_of_ipv6_alone_is_closed_from_outside(routers: Routers) -> None:
    forward = 'firewall: {forwards: [{protocol: tcp, port: 443, to: "fd00:20::10"}]}\n'
    lab = routers(WRITTEN + FAST + forward, DUAL_ISPS, lans=2)
    phone = lab.lans[1]
    started(lab, phone)
    phone.run(f"ip address add {phone.address6}/64 dev eth0")
    lab.isps[1].run("ip -6 route add fd00:20::/64 via 2001:db8:2::2 dev cpe")
    with server(phone, tcp=[80, 443]), server(lab.router, tcp=[81]):
        assert scan(lab.isps[1], phone.address6, (80, 443), timeout=0.5).ports("open") == ()
        assert scan(lab.router, phone.address6, (80, 443)).tcp == {80: "open", 443: "open"}
        # what was asked for leads there by either uplink
        for state in lab.status(6).values():
            assert scan(lab.inet, str(state["address"]), (443,)).tcp == {443: "open"}
        # the router itself: all from inside, nothing from outside
        assert scan(phone, phone.router_address6, (81,)).tcp == {81: "open"}
        assert scan(lab.isps[1], "2001:db8:2::2", (81,), timeout=0.5).ports("open") == ()
    # from a lan that it does not have, a phone says nothing
    phone.run("ip address add fd00:10::99/128 dev eth0")
    forged = How(source="fd00:10::99")
    assert not connections(phone, 5, dst=INTERNET6, how=forged, timeout=0.5).keys() - {"timeout"}


@pytest.mark.parametrize("kind", CUTS)
def test_it_lives_on_delegated_networks_alone(routers: Routers, kind: str) -> None:
    cut, mend = CUTS[kind]
    lab = routers(DELEGATED + FAST, (DELEGATING, DELEGATING))
    phone, (cable, dsl) = lab.lans[0], lab.isps
    started(lab, phone)

    def own(isp: Provider) -> str:
        start = isp.delegated.partition("100::")[0]
        return next((a for a in phone.addresses6() if a.startswith(start)), "")

    def seen(source: str) -> set[str]:
        return set(connections(phone, 30, dst=INTERNET6, how=How(source=source)))

    eventually(lambda: own(cable) and own(dsl), 20)
    one, two = own(cable), own(dsl)
    # each leaves where it belongs, as it is
    assert (seen(one), seen(two)) == ({one}, {two})
    assert lab.router.run("sysctl -n net.ipv4.ip_forward").strip() == "0"
    nothing_of_ipv4(lab, phone, "lan1")
    assert name_servers(phone) == {"2620:fe::fe"}
    # the router's own IPv4 is balanced as ever
    assert set(lab.by_isp(connections(lab.router, 60))) == {"isp1", "isp2"}

    moving = flow(phone, "udp", dst=INTERNET6, how=How(source=one))
    cut(cable)
    lab.until(family=6, cable="down")
    eventually(lambda: lab.isp_of(moving.so_far().seen[-1]) is dsl, 5)
    assert lab.by_isp(dict.fromkeys(seen(one), 1)) == {"isp2": 1}
    assert seen(two) == {two}
    eventually(lambda: phone.addresses6() == {one: False, two: True}, 5)
    mend(cable)
    lab.until(within=20, family=6, cable="up")
    eventually(lambda: seen(one) == {one}, 5)
    moving.stop()
