"""A lan that the router is closed to: what it reaches all the same, and what it does not."""

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6
from lab.traffic import How, connections, flow, scan, server
from nib_lab import DUAL, DUAL_ISPS, FAST, NibLab, Routers

pytestmark = pytest.mark.lab

OPEN = (
    DUAL.replace(", weight: 3", "")
    + '  guests: {device: lan2, address: [192.168.20.1/24, "fd00:20::1/64"]'
    + ", dhcp_server: {dns: [192.168.20.1]}}\n"
    + 'forwarding: [[home, ":uplinks"], [guests, ":uplinks"]]\n'
    + FAST
)
CLOSED = (
    OPEN.replace("[192.168.20.1]}}", "[192.168.20.1]}, input: reject}")
    + "firewall:\n"
    + "  allow:\n"
    + "    - {service: ssh}\n"
    + "    - {protocol: tcp, port: 5000, lans: [guests]}\n"
    + "    - {protocol: tcp, port: 5001, lans: [':lans'], source: 192.168.20.11}\n"
    + "    - {protocol: tcp, port: 5002, uplinks: [dsl], lans: [guests]}\n"
)
TCP = (22, 53, 80, 5000, 5001, 5002, 5003)
UDP = (53, 123)
OPENED = ("tcp/53", "tcp/5000", "tcp/5002", "udp/53")


def started(lab: NibLab) -> list[str]:
    """Up in both families; every address of the router's.  It says each time that it refuses."""
    for lan in lab.lans:
        lan.run("sysctl -qw net.ipv6.conf.default.accept_ra=0")
    lab.start()
    lab.router.outside("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
    lab.until(within=20, family=6, cable="up", dsl="up")
    for lan in lab.lans:
        lan.use_ipv6()
        ask = f"ping -6 -c 1 -W 1 {lan.router_address6}"
        eventually(lambda lan=lan, ask=ask: lan.attempt(ask).code == 0)
    own = [str(state["address"]) for state in lab.status(6).values()]
    own += [isp.router_address for isp in lab.isps]
    return own + [one for lan in lab.lans for one in (lan.router_address, lan.router_address6)]


def test_guests_reach_the_internet_and_nothing_else(routers: Routers) -> None:
    lab = routers(CLOSED, DUAL_ISPS, lans=2)
    own = started(lab)
    home, guests = lab.lans
    with server(lab.router, tcp=TCP, udp=UDP), server(home, tcp=[80], udp=[80]):
        for to in own:
            # Told so, not left to wait.  (No time passes on these wires: an ICMPv6 error finds the
            # socket still busy with its SYN, and the next one is a second later.)
            found = scan(guests, to, TCP, UDP, timeout=2.5)
            assert found.ports("open") == OPENED, to
            assert found.ports("timeout") == found.ports("refused") == (), to
            guests.run(f"ping -c 1 -W 1 {to}")
            assert len(scan(home, to, TCP, UDP).ports("open")) == len(TCP + UDP)
        # a source is that of one family, and of nobody else there
        friend = How(source=guests.add_address(11))
        found = scan(guests, guests.router_address, TCP, UDP, how=friend)
        assert found.ports("open") == (*OPENED[:2], "tcp/5001", *OPENED[2:])
        # what is open to lans alone is closed outside
        one, two = (isp.router_address for isp in lab.isps)
        assert scan(lab.inet, one, TCP, UDP, timeout=0.5).ports("open") == ("tcp/22",)
        assert scan(lab.inet, two, TCP, UDP, timeout=0.5).ports("open") == ("tcp/22", "tcp/5002")
        for to in (home.address, home.address6):
            found = scan(guests, to, [80], [80], timeout=2.5)
            assert found.ports("open") == found.ports("timeout") == ()
        for to in (lab.inet.address, INTERNET6):
            assert set(lab.by_isp(connections(guests, 40, dst=to))) == {"isp1", "isp2"}
            assert lab.by_isp(connections(guests, 20, "udp", dst=to)).total() == 20
        # not a second open while nothing is forwarded at all
        lab.router.run("systemctl stop nib-monitor nib-nftables")
        for to in (guests.router_address, guests.router_address6, home.router_address):
            assert scan(guests, to, TCP, UDP).ports("open") == OPENED
        lab.router.run("systemctl start nib-nftables nib-monitor")
    # with an address of the router's, and by its name server
    told = guests.lease()
    assert (told["router"], told["dns"]) == ("192.168.20.1", "192.168.20.1")
    with server(lab.router, udp=[53]):
        assert connections(guests, 5, "udp", dst=told["dns"], port=53) == {told["ip"]: 5}
    lab.until(within=20, cable="up", dsl="up")
    assert set(lab.by_isp(connections(guests, 40))) == {"isp1", "isp2"}


def test_a_lan_is_closed_and_opened_again_under_way(routers: Routers) -> None:
    lab = routers(OPEN, DUAL_ISPS, lans=2)
    started(lab)
    guests = lab.lans[1]
    ends = (guests.router_address, guests.router_address6)
    with server(lab.router, tcp=[22, 80]):
        running = [flow(guests, dst=to, port=22) for to in ends]
        for text, open_ports in ((CLOSED, ()), (OPEN, ("tcp/22", "tcp/80"))):
            lab.router.put("/etc/nib/balance.yaml", text)
            done = lab.router.attempt("nib apply --yes")
            assert done.code == 0, done
            for to in ends:
                assert scan(guests, to, (22, 80)).ports("open") == open_ports
        # who is in stays in
        for recording in running:
            timeline = recording.stop()
            assert (timeline.resets, timeline.gaps_over(1)) == (0, ())
