"""Port forwards, extra routes, fragments, hooks and segment sizes, with real packets."""

import re

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6, PUBLIC6
from lab.node import Node
from lab.traffic import How, connections, flow, scan, server
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
TWO_LANS = EVEN + "  work: {device: lan2, address: 192.168.20.1/24}\n"
FORWARDS = """\
firewall:
  forwards:
    - {protocol: [tcp, udp], port: 443, to: 192.168.10.10}
    - {protocol: tcp, port: [80, 7000-7010], to: "192.168.10.10:5000"}
    - {protocol: tcp, port: 6000-6010, to: 192.168.10.10}
    - {protocol: tcp, port: 90, to: 192.168.10.10, uplinks: [dsl]}
    - {protocol: tcp, port: 91, to: 192.168.10.10, source: 203.0.113.11}
    - {protocol: tcp, port: 92, to: 192.168.10.10, limit: {rate: 1/minute, burst: 5}}
"""
TCP = (90, 91, 92, 443, 5000, 6005)


def test_forwards_are_reached_by_every_uplink_and_answered_by_the_same(routers: Routers) -> None:
    lab = routers(EVEN + FORWARDS + FAST)
    lab.start()
    home, inet = lab.lans[0], lab.inet
    with server(home, tcp=TCP, udp=[443]), server(lab.router, tcp=[443, 8000]):
        for isp in lab.isps:
            to = isp.router_address
            for port in (443, 80, 7003, 6005):
                assert connections(inet, 20, dst=to, port=port) == {inet.address: 20}, port
            assert connections(inet, 20, "udp", dst=to, port=443) == {inet.address: 20}
            found = scan(inet, to, (22, 5000, 6011, 8000), timeout=0.5)
            assert found.ports("open") == ()
        one, two = (isp.router_address for isp in lab.isps)
        assert scan(inet, one, (90, 91), timeout=0.5).ports("open") == ()
        assert scan(inet, two, (90, 91), timeout=0.5).ports("open") == ("tcp/90",)
        friend = How(source="203.0.113.11")
        assert scan(inet, one, (90, 91), how=friend, timeout=0.5).ports("open") == ("tcp/91",)
        tried = connections(inet, 20, dst=one, port=92, concurrency=20, timeout=0.5)
        assert tried == {inet.address: 5, "timeout": 15}
        # the router's own services stay its own for the lans
        assert connections(home, 5, dst=home.router_address, port=443) == {home.address: 5}
        # an uplink that is dead for new flows still answers what comes in by it
        long = flow(inet, dst=one, port=443)
        lab.isps[0].fail("meta l4proto icmp")
        lab.until(cable="down")
        assert connections(inet, 5, dst=one, port=443) == {inet.address: 5}
        assert long.stop().resets == 0
    assert "dport" not in lab.router.run("nft list chain inet nib forwards")


def test_the_lans_may_use_the_public_address_too(routers: Routers) -> None:
    groups = 'forwarding: [[home, ":uplinks"], [work, ":uplinks"]]\n'
    lab = routers(TWO_LANS + groups + FORWARDS + FAST, lans=2)
    lab.start()
    home, work = lab.lans
    with server(home, tcp=TCP, udp=[443]), server(lab.router, tcp=[443]):
        for isp in lab.isps:
            to = isp.router_address
            for kind in ("tcp", "udp"):
                # from the same lan the router stands in between, from another it need not
                seen = connections(home, 10, kind, dst=to, port=443)
                assert seen == {home.router_address: 10}
                seen = connections(work, 10, kind, dst=to, port=443)
                assert seen == {work.address: 10}
            assert connections(work, 10, dst=to, port=80) == {work.address: 10}
            # from a lan any uplink's address will do
            assert connections(work, 3, dst=to, port=90) == {work.address: 3}
        # what only looks like it goes to the router itself, or nowhere
        assert connections(work, 5, dst=work.router_address, port=443) == {work.address: 5}
        assert connections(work, 5, dst=home.router_address, port=443) == {work.address: 5}
        assert home.address not in connections(work, 3, dst=home.address, port=443, timeout=0.5)
        assert set(lab.by_isp(connections(work, 40))) == {"isp1", "isp2"}


DUAL_EVEN = DUAL.replace(", weight: 3", "")
TWO_DUAL = DUAL_EVEN + '  work: {device: lan2, address: [192.168.20.1/24, "fd00:20::1/64"]}\n'
SIX = How(source=INTERNET6)
FRIEND = PUBLIC6[0]
FORWARDS6 = f"""\
firewall:
  forwards:
    - {{protocol: [tcp, udp], port: 443, to: "fd00:10::10"}}
    - {{protocol: tcp, port: [80, 7000-7010], to: "[fd00:10::10]:5000"}}
    - {{protocol: tcp, port: 6000-6010, to: "fd00:10::10"}}
    - {{protocol: tcp, port: 90, to: "fd00:10::10", uplinks: [dsl]}}
    - {{protocol: tcp, port: 91, to: "[fd00:10::10]:5000", source: "{FRIEND}"}}
    - {{protocol: tcp, port: 92, to: "fd00:10::10", limit: {{rate: 1/minute, burst: 5}}}}
    - {{protocol: tcp, port: 94, to: 192.168.10.10}}
    - {{protocol: tcp, port: 95, to: 192.168.10.10, limit: {{rate: 1000/second}}}}
"""


def started(lab: NibLab) -> tuple[str, str]:
    """Up in both families, the clients with their IPv6 addresses; those of the uplinks."""
    for lan in lab.lans:
        lan.run("sysctl -qw net.ipv6.conf.default.accept_ra=0")  # one address is enough here
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    for lan in lab.lans:
        lan.use_ipv6()
        eventually(
            lambda lan=lan: lan.attempt(f"ping -6 -c 1 -W 1 {lan.router_address6}").code == 0
        )
    cable, dsl = (str(state["address"]) for state in lab.status(6).values())
    return cable, dsl


def test_forwards_over_ipv6(routers: Routers) -> None:
    lab = routers(DUAL_EVEN + FORWARDS6 + FAST, DUAL_ISPS)
    one, two = started(lab)
    home, inet = lab.lans[0], lab.inet
    with server(home, tcp=(*TCP, 94, 95), udp=[443]), server(lab.router, tcp=[443, 8000]):
        for to in (one, two):
            for port in (443, 80, 7003, 6005):
                assert connections(inet, 20, dst=to, port=port, how=SIX) == {INTERNET6: 20}, port
            assert connections(inet, 20, "udp", dst=to, port=443, how=SIX) == {INTERNET6: 20}
            # each is for its own family alone
            found = scan(inet, to, (22, 94, 95, 5000, 6011, 8000), timeout=0.5)
            assert found.ports("open") == ()
        for isp in lab.isps:
            assert scan(inet, isp.router_address, (94, 95), timeout=0.5).ports("open") == (
                "tcp/94",
                "tcp/95",
            )
            found = scan(inet, isp.router_address, (80, 90, 91, 92, 443, 6005), timeout=0.5)
            assert found.ports("open") == ()
        assert scan(inet, one, (90, 91), timeout=0.5).ports("open") == ()
        assert scan(inet, two, (90, 91), timeout=0.5).ports("open") == ("tcp/90",)
        friend = How(source=FRIEND)
        assert scan(inet, one, (90, 91), how=friend, timeout=0.5).ports("open") == ("tcp/91",)
        tried = connections(inet, 20, dst=one, port=92, how=SIX, concurrency=20, timeout=0.5)
        assert tried == {INTERNET6: 5, "timeout": 15}
        assert connections(home, 5, dst=home.router_address6, port=443) == {home.address6: 5}
        long = flow(inet, dst=one, port=443)
        lab.isps[0].fail("icmpv6 type { echo-request, echo-reply }")
        lab.until(family=6, cable="down")
        assert connections(inet, 5, dst=one, port=443, how=SIX) == {INTERNET6: 5}
        assert long.stop().resets == 0


def test_the_lans_may_use_the_public_ipv6_address_too(routers: Routers) -> None:
    groups = 'forwarding: [[home, ":uplinks"], [work, ":uplinks"]]\n'
    lab = routers(TWO_DUAL + groups + FORWARDS6 + FAST, DUAL_ISPS, lans=2)
    addresses = started(lab)
    home, work = lab.lans
    with server(home, tcp=TCP, udp=[443]), server(lab.router, tcp=[443]):
        for to in addresses:
            for kind in ("tcp", "udp"):
                seen = connections(home, 10, kind, dst=to, port=443)
                assert seen == {home.router_address6: 10}
                seen = connections(work, 10, kind, dst=to, port=443)
                assert seen == {work.address6: 10}
            assert connections(work, 10, dst=to, port=80) == {work.address6: 10}
            assert connections(work, 3, dst=to, port=90) == {work.address6: 3}
        assert connections(work, 5, dst=work.router_address6, port=443) == {work.address6: 5}
        assert connections(work, 5, dst=home.router_address6, port=443) == {work.address6: 5}
        seen = connections(work, 3, dst=home.address6, port=443, timeout=0.5)
        assert not any(":" in address for address in seen), seen
        assert set(lab.by_isp(connections(work, 40, dst=INTERNET6))) == {"isp1", "isp2"}


def test_ipv6_routes_to_networks_behind_others(routers: Routers) -> None:
    routes = (
        "routes:\n"
        '  - {to: "fd00:a::/48", via: "fd00:10::10"}\n'
        '  - {to: "fd00:b::/48", via: "fd00:10::10", masquerade: true}\n'
        '  - {to: "fd00:c::/48", via: "2001:db8:2::1"}\n'
        '  - {to: "fd00:d::/48", via: "fe80::1", device: wan1}\n'
        '  - {to: "fd00:e::/48", device: lan2}\n'
        'firewall: {forwards: [{protocol: tcp, port: 443, to: "fd00:a::5"}]}\n'
    )
    lab = routers(TWO_DUAL + routes + FAST, DUAL_ISPS, lans=2)
    _, to = started(lab)
    home, work = lab.lans
    home.run("ip address add fd00:a::5/128 dev lo; ip address add fd00:b::5/128 dev lo")
    table = lab.router.run("ip -6 route show table main")
    assert "fd00:c::/48 via 2001:db8:2::1 dev wan2" in table
    assert "fd00:d::/48 via fe80::1 dev wan1" in table
    assert "fd00:e::/48 dev lan2" in table
    with server(home, tcp=[443]):
        assert connections(work, 10, dst="fd00:a::5", port=443) == {work.address6: 10}
        assert connections(work, 10, dst="fd00:b::5", port=443) == {home.router_address6: 10}
        assert connections(lab.inet, 10, dst=to, port=443, how=SIX) == {INTERNET6: 10}


def test_routes_to_networks_behind_others(routers: Routers) -> None:
    routes = (
        "routes:\n"
        "  - {to: 10.20.0.0/16, via: 192.168.10.10}\n"
        "  - {to: 10.21.0.0/16, via: 192.168.10.10, masquerade: true}\n"
        "  - {to: 10.30.0.0/16, via: 198.51.102.1}\n"
        "  - {to: 10.31.0.0/16, via: 100.64.1.1, device: wan1}\n"
        "  - {to: 192.168.100.1, device: wan1}\n"
        "firewall: {forwards: [{protocol: tcp, port: 443, to: 10.20.0.5}]}\n"
    )
    lab = routers(TWO_LANS + routes + FAST, lans=2)
    lab.start()
    home, work = lab.lans
    home.run("ip addr add 10.20.0.5/32 dev lo && ip addr add 10.21.0.5/32 dev lo")
    table = eventually(lambda: lab.router.run("ip route show table main"))
    assert "10.30.0.0/16 via 198.51.102.1 dev wan2" in table
    assert "10.31.0.0/16 via 100.64.1.1 dev wan1" in table
    assert "192.168.100.1 dev wan1" in table
    with server(home, tcp=[443]):
        assert connections(work, 10, dst="10.20.0.5", port=443) == {work.address: 10}
        assert connections(work, 10, dst="10.21.0.5", port=443) == {home.router_address: 10}
        to = lab.isps[1].router_address
        assert connections(lab.inet, 10, dst=to, port=443) == {lab.inet.address: 10}
    behind = How(source="10.20.0.5")
    assert set(lab.by_isp(connections(home, 60, how=behind))) == {"isp1", "isp2"}


FRAGMENT = """\
# what the guests may not, what nib alone would not let in, and where the backup goes
add rule inet nib user_forward iifname "lan1" tcp dport 8080 ip daddr 203.0.113.11 drop
add rule inet nib user_input tcp dport 5000 accept
add rule inet nib user_prerouting iifname "lan1" ip saddr 192.168.10.11 goto new_dsl
table inet nib {
	chain user_output {
		ip daddr 203.0.113.53 counter drop
	}
	chain user_postrouting {
		ip daddr 203.0.113.54 counter
	}
}
"""
MINE = "/etc/nib/nft.d/10-mine.nft"


def test_fragments_are_part_of_the_table(routers: Routers) -> None:
    lab = routers(EVEN + FAST, files={})
    lab.router.run("mkdir -p /etc/nib/nft.d")
    lab.router.put(MINE, FRAGMENT)
    lab.start()
    _fragment_works(lab)
    # a reload does not double them, a mistake is refused before anything is loaded
    assert lab.router.attempt("systemctl reload nib-nftables").code == 0
    assert lab.router.run("nft list chain inet nib user_input").count("dport 5000") == 1
    listing = lab.listing()
    lab.router.put(MINE, FRAGMENT + "add rule inet nib user_input tcp dprot 1 accept\n")
    done = lab.router.attempt("nib apply --yes")
    assert done.code == 3 and f"{MINE}:13:" in done.err and "nothing was changed" in done.err
    assert lab.listing() == listing
    lab.router.run(f"chmod o= {MINE}")
    done = lab.router.attempt("nib apply --yes")
    assert done.code == 3 and f"chmod a+r {MINE}" in done.err
    # it stays closed if the boot finds one that is broken
    lab.router.run(f"chmod a+r {MINE}")
    lab.router.crash()
    lab.router.boot()
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            assert scan(lab.inet, isp.router_address, (5000,), timeout=0.5).ports("open") == ()
    assert connections(lab.lans[0], 3, timeout=0.3).total() == 3
    assert lab.spoofed() == {}
    assert "10-mine.nft" in lab.router.journal("nib-nftables")
    # and is mended by nib apply
    lab.router.put(MINE, FRAGMENT)
    done = lab.router.attempt("nib apply --yes")
    assert done.code == 0, done
    lab.until(within=20, cable="up", dsl="up")
    _fragment_works(lab)
    # an edited one is a change, and so is none
    lab.router.run("rm -r /etc/nib/nft.d")
    done = lab.router.attempt("nib apply --yes")
    assert done.code == 0, done
    assert "dport 5000" not in lab.router.run("nft list table inet nib")


def _fragment_works(lab: NibLab) -> None:
    home = lab.lans[0]
    if "192.168.10.11" not in home.run("ip addr"):
        home.add_address(11)
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            opened = scan(lab.inet, isp.router_address, (5000, 5001), timeout=0.5).ports("open")
            assert opened == ("tcp/5000",)
    assert lab.by_isp(connections(home, 40, how=How(source="192.168.10.11"))) == {"isp2": 40}
    assert set(lab.by_isp(connections(home, 40))) == {"isp1", "isp2"}
    assert connections(home, 3, dst="203.0.113.11", timeout=0.3) == {"timeout": 3}
    assert connections(lab.router, 3, dst="203.0.113.53", port=53, timeout=0.3).keys() <= {
        "timeout",
        "eperm",
    }


HOOK = "#!/bin/sh\necho hook $NIB_HOOK of $NIB_UPLINKS: $NIB_LAN_DEVICES\n"


def test_hooks_before_and_after_a_change(routers: Routers) -> None:
    lab = routers(EVEN + FAST + "hooks: {timeout: 1s}\n")
    lab.start()
    run = lab.router.run
    run("mkdir -p /etc/nib/hooks/pre-apply.d /etc/nib/hooks/post-apply.d")
    before, after = "/etc/nib/hooks/pre-apply.d/10-a", "/etc/nib/hooks/post-apply.d/20-b"
    lab.router.put(before, HOOK, 0o755)
    lab.router.put(after, HOOK + "grep -q 'weight\": 7' $NIB_PLAN && echo $NIB_CHANGED\n", 0o755)
    lab.router.put("/etc/nib/hooks/post-apply.d/30-c", HOOK)
    assert lab.router.attempt("nib apply --yes").code in (0, 1)
    quiet = lab.router.attempt("nib apply --yes")
    assert quiet.code == 0 and "hook" not in quiet.out  # nothing to do

    def weigh(weight: int) -> tuple[int, str]:
        text = EVEN.replace("address: dhcp", f"address: dhcp, weight: {weight}")
        lab.router.put("/etc/nib/balance.yaml", text + FAST + "hooks: {timeout: 1s}\n")
        done = lab.router.attempt("nib apply --yes")
        return done.code, done.out + done.err

    code, said = weigh(7)
    assert code == 0, said
    assert "hook pre-apply of cable dsl: lan1" in said
    assert "hook post-apply of cable dsl: lan1" in said and "/etc/nib/plan.json" in said
    assert "30-c is not executable" in said
    # one that fails afterwards is told, and the change stays
    code, said = weigh(8)
    assert code == 1 and f"{after} ended with status 1" in said
    plan = lab.router.read("/etc/nib/plan.json")
    assert '"weight": 8' in plan
    # one that fails or hangs before it: nothing is changed
    lab.router.put(before, HOOK + "exit 5\n", 0o755)
    code, said = weigh(9)
    assert code == 3 and "status 5" in said and "nothing was changed" in said
    lab.router.put(before, "#!/bin/sh\nsleep 30\n", 0o755)
    code, said = weigh(9)
    assert code == 3 and "1 s" in said
    assert lab.router.read("/etc/nib/plan.json") == plan


def segment(node: Node, port: int) -> set[int]:
    """The largest segments that the connections of a port send: without TCP's timestamps."""
    listing = node.run(f"ss -tinH state established '( sport = {port} or dport = {port} )'")
    return {int(found) + 12 for found in re.findall(r"\bmss:(\d+)", listing)}


def test_no_segment_is_larger_than_the_line_takes(routers: Routers) -> None:
    forward = (
        "firewall:\n  forwards:\n"
        "    - {protocol: tcp, port: 443, to: 192.168.10.10}\n"
        '    - {protocol: tcp, port: 443, to: "fd00:10::10"}\n'
    )
    both = DUAL_EVEN.replace("device: wan2", "device: wan2\n    mtu: 1400")
    lab = routers(both + forward + FAST, DUAL_ISPS)
    lab.router.run("mkdir -p /etc/nib/nft.d")
    lab.router.put(
        MINE,
        'add rule inet nib user_prerouting iifname "lan1" tcp dport 8080 goto new_dsl\n'
        'add rule inet nib user_prerouting iifname "lan1" tcp dport 443 goto new_cable\n',
    )
    _, dsl6 = started(lab)
    home, inet = lab.lans[0], lab.inet
    assert "mtu 1400" in lab.router.run("ip link show wan2")
    assert "mtu 1500" in lab.router.run("ip link show wan1")
    for to, most in ((inet.address, 1460), (inet.address6, 1440)):
        small, large = flow(home, dst=to, port=8080), flow(home, dst=to, port=443)
        assert (segment(home, 8080), segment(inet, 8080)) == ({most - 100}, {most - 100})
        assert (segment(home, 443), segment(inet, 443)) == ({most}, {most})
        small.stop()
        large.stop()
    with server(home, tcp=[443]):
        for to, size in ((lab.isps[1].router_address, 1360), (dsl6, 1340)):
            inward = flow(inet, dst=to, port=443)
            assert (segment(home, 443), segment(inet, 443)) == ({size}, {size})
            inward.stop()


def test_the_routers_own_segments_fit_the_line_that_a_rule_chose(routers: Routers) -> None:
    """The kernel says how large they may be before a rule leads them to a smaller line."""
    rule = "rules: [{match: {protocol: tcp, dport: 8080}, use: dsl}]\n"
    both = DUAL_EVEN.replace("device: wan2", "device: wan2\n    mtu: 1400")
    lab = routers(both + rule + FAST, DUAL_ISPS)
    started(lab)
    for to, most in ((lab.inet.address, 1360), (lab.inet.address6, 1340)):
        sessions = [flow(lab.router, dst=to, port=8080) for _ in range(6)]
        assert segment(lab.inet, 8080) == {most}
        for session in sessions:
            session.stop()
