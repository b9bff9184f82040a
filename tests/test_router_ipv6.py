"""Where IPv6 is off: nothing gets in by it, and nothing gets out past the balancing."""

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6
from lab.isp import Isp
from lab.traffic import connections, flow, scan, server
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

OFF = HOME.replace("address: dhcp", "address: dhcp, ipv6: off")
# Both providers announce an IPv6 network, and somebody has made the router an IPv6 one.
ISPS = (Isp(ipv6="ra"), Isp("static", ipv6="ra"))
FILES = {"/etc/sysctl.d/90-mine.conf": "net.ipv6.conf.all.forwarding = 1\n"}


def test_ipv6_neither_leaks_nor_lets_in(routers: Routers) -> None:
    # that no provider saw an IPv6 packet is asserted after every test
    lab = routers(OFF + FAST, ISPS, files=FILES)
    lab.start()
    lan = lab.lans[0]
    lan.use_ipv6()
    lab.router.run(f"ip -6 address add {lan.router_address6}/64 dev lan1 nodad")
    eventually(lambda: lan.attempt(f"ping -6 -c 1 -W 1 {lan.router_address6}").code == 0)
    for device in ("wan1", "wan2"):
        assert lab.router.run(f"ip -6 address show dev {device}") == ""
    failed = connections(lan, 10, dst=INTERNET6, timeout=0.5)
    assert not any(":" in seen for seen in failed), failed
    own = connections(lab.router, 10, dst=INTERNET6, timeout=0.5)
    assert not any(":" in seen for seen in own), own
    # not even if the router has got an address and a route there by other means
    lab.router.run(
        f"sysctl -qw net.ipv6.conf.wan1.disable_ipv6=0; "
        f"ip -6 address add {lab.isps[0].router_address6}/64 dev wan1 nodad; "
        f"ip -6 route add default via {lab.isps[0].gateway6}"
    )
    assert not any(":" in seen for seen in connections(lan, 10, dst=INTERNET6, timeout=0.5))
    with server(lab.router, tcp=[22, 80]):
        found = scan(lab.isps[0], lab.isps[0].router_address6, (22, 80), timeout=0.5)
        assert found.ports("open") == ()
    assert flow(lan).stop().answers
