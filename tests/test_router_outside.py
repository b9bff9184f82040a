"""What the outside finds: only what `firewall.allow` opens."""

import re
import time

import pytest

from lab.errors import eventually
from lab.traffic import connections, scan, send_raw, server
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
TCP = (22, 23, 25, 53, 80, 111, 443, 2222, 5000, 8080)
STRANGER = "192.0.2.99"
UDP = (53, 67, 68, 123, 161, 500, 5001, 51820)


def test_a_scan_finds_ssh_alone_by_default(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lan = lab.lans[0]
    with server(lab.router, tcp=TCP), server(lan, tcp=TCP):
        for isp in lab.isps:
            found = scan(lab.inet, isp.router_address, TCP, UDP, timeout=0.5)
            assert found.ports("open") == ("tcp/22",)
            assert found.ports("refused") == ()
            with isp.exposed(lan.network):
                for target in (lan.address, lan.router_address):
                    found = scan(lab.inet, target, TCP, UDP, timeout=0.5)
                    # the router answers for itself whatever its address
                    own = ("tcp/22",) if target == lan.router_address else ()
                    assert found.ports("open") == own
                    assert found.ports("refused") == ()
        # from inside the router is open, and says so where nothing listens
        inside = scan(lan, lan.router_address, (22, 80, 81), timeout=0.5)
        assert inside.tcp == {22: "open", 80: "open", 81: "refused"}


def test_neither_a_flag_nor_a_source_port_opens_anything(routers: Routers) -> None:
    """An answer to nothing is none, and what comes from port 53 need not be of a name server."""
    lab = routers(EVEN + FAST)
    lab.start()
    lan, isp = lab.lans[0], lab.isps[1]
    mac = lab.router.run("cat /sys/class/net/wan2/address").strip()
    for one in lab.isps:
        one.run(
            "nft 'add table ip back; add counter ip back answers;"
            "add chain ip back in { type filter hook prerouting priority raw; };"
            f"add rule ip back in ip daddr {STRANGER} counter name answers'"
        )

    def answers() -> int:
        listed = [one.run("nft list counter ip back answers") for one in lab.isps]
        return sum(int(re.findall(r"packets (\d+)", text)[0]) for text in listed)

    with server(lab.router, tcp=[80], udp=[7000]), server(lan, tcp=[80], udp=[7000]):
        for to in (isp.router_address, lan.address):
            for flags in ("A", "SA", "FA", "R", "FP"):
                send_raw(
                    isp, "cpe", mac, STRANGER, to, proto="tcp", flags=flags, sport=53, dport=80, n=3
                )
            for port in (53, 67, 123):
                send_raw(isp, "cpe", mac, STRANGER, to, sport=port, dport=7000, n=3)
        # who asks for what is open is answered: answers are seen, and those were none
        send_raw(isp, "cpe", mac, STRANGER, isp.router_address, proto="tcp", dport=22)
        eventually(lambda: answers() > 0)
        assert answers() == 1


def test_only_what_is_allowed_is_open(routers: Routers) -> None:
    allow = (
        "firewall: {allow: [{protocol: tcp, port: [80, 5000-5001], uplinks: [dsl]}, "
        "{protocol: tcp, port: 443, source: 203.0.113.11}]}\n"
    )
    lab = routers(EVEN + FAST + allow)
    lab.start()
    with server(lab.router, tcp=TCP):
        one, two = (isp.router_address for isp in lab.isps)
        assert scan(lab.inet, one, TCP, timeout=0.5).ports("open") == ()
        assert scan(lab.inet, two, TCP, timeout=0.5).ports("open") == ("tcp/80", "tcp/5000")


def test_ssh_is_rate_limited_for_each_source(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    to = lab.isps[1].router_address
    with server(lab.router, tcp=[22]):
        tried = connections(lab.inet, 30, dst=to, port=22, concurrency=30, timeout=0.8)
        # 5 at once; the retries of the others find that a minute is long
        assert tried[lab.inet.address] in (5, 6)
        assert tried["timeout"] == 30 - tried[lab.inet.address]
        assert lab.drops("limit") >= tried["timeout"]
        assert lab.drops("input") == 0


LOGGED = """\
firewall:
  allow: [{protocol: udp, port: 7000, limit: {rate: 1/hour, burst: 5, per: all}}]
  forwards:
    - {protocol: udp, port: 7001, to: 192.168.10.10, limit: {rate: 1/hour, burst: 3}}
"""


def test_drops_are_logged_so_often_and_no_more(routers: Routers) -> None:
    """What a namespace logs gets nowhere, so the rules are made to count what they log."""
    lab = routers(EVEN + FAST + LOGGED)
    lab.start()
    lan, isp = lab.lans[0], lab.isps[1]
    _count_logged(lab)
    begun = time.monotonic()
    reasons = ("input", "forward", "spoofed", "limit")
    before = {reason: lab.drops(reason) for reason in reasons}
    assert _logged(lab) == dict.fromkeys(reasons, 0)

    def send(source: str, to: str, dport: int) -> None:
        send_raw(isp, "cpe", isp.router_mac, source, to, dport=dport, n=30)

    send(STRANGER, isp.router_address, 7777)
    send(STRANGER, lan.address, 7777)
    send(lan.address, isp.router_address, 7777)
    dropped = {reason: lab.drops(reason) - before[reason] for reason in reasons}
    assert dropped == {"input": 30, "forward": 30, "spoofed": 30, "limit": 0}
    # of an opening 25 are too many, of a forward those who come after its third
    send(STRANGER, isp.router_address, 7000)
    assert lab.drops("limit") - before["limit"] == 25
    with server(lan, udp=[7001]):
        tried = connections(lab.inet, 10, "udp", dst=isp.router_address, port=7001, timeout=0.5)
    assert tried == {lab.inet.address: 3, "timeout": 7}
    assert lab.drops("limit") - before["limit"] == 32
    # five at once and ten a minute, but one and one a minute of what is over a limit
    logged = _logged(lab)
    minutes = (time.monotonic() - begun) / 60
    for reason in ("input", "forward", "spoofed"):
        assert 5 <= logged[reason] <= 5 + 10 * minutes, (logged, minutes)
    assert 1 <= logged["limit"] <= 1 + minutes, (logged, minutes)


def _count_logged(lab: NibLab) -> None:
    """Each rule that logs, as it is in the kernel, counts behind that.

    The monitor would put the rules back, and is not needed.
    """
    lab.router.run("systemctl stop nib-monitor")
    chain = ""
    for line in lab.router.run("nft -a list table inet nib").splitlines():
        if opened := re.match(r"\tchain (\S+) \{", line):
            chain = opened[1]
        elif " log prefix " in line:
            rule, handle = line.strip().split(" # handle ")
            where = f"inet nib {chain} handle {handle}"
            lab.router.run(f"nft 'replace rule {where} {rule} counter'")


def _logged(lab: NibLab) -> dict[str, int]:
    """How many packets each prefix was written for."""
    listed = lab.router.run("nft list table inet nib")
    found = re.findall(r'log prefix "nib (\w+): " counter packets (\d+)', listed)
    return {prefix: int(count) for prefix, count in found}


def test_the_lans_reach_what_their_forwarding_groups_say(routers: Routers) -> None:
    config = (
        EVEN
        + "  guests: {device: lan2, address: 192.168.20.1/24}\n"
        + "forwarding: [[home, ':uplinks'], [guests, dsl]]\n"
        + FAST
    )
    lab = routers(config, lans=2)
    lab.start()
    home, guests = lab.lans
    with server(home, tcp=[5000]), server(guests, tcp=[5000]):
        assert set(lab.by_isp(connections(home, 60))) == {"isp1", "isp2"}
        across = connections(guests, 5, dst=home.address, port=5000, timeout=0.5)
        assert not any(seen.startswith("192.168.") for seen in across)
        across = connections(home, 5, dst=guests.address, port=5000, timeout=0.5)
        assert not any(seen.startswith("192.168.") for seen in across)
        # the guests are balanced over what they may use
        assert lab.by_isp(connections(guests, 60)) == {"isp2": 60}
        # and have no other way when that is gone
        for cut in (lab.isps[1].fail, lab.isps[1].unplug):
            cut()
            lab.until(dsl="down")
            assert "isp1" not in lab.by_isp(connections(guests, 20, timeout=0.3))
            assert lab.by_isp(connections(home, 20)) == {"isp1": 20}


def test_firewall_off_leaves_filtering_to_others_and_still_balances(routers: Routers) -> None:
    lab = routers(EVEN + FAST + "firewall: off\n")
    lab.start()
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            assert (
                connections(lab.inet, 20, dst=isp.router_address, port=5000)[lab.inet.address] == 20
            )
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.lans[0], 60)) == {"isp2": 60}
