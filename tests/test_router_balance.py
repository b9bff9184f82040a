"""Who carries what: shares, modes, and flows that stay where they began."""

import re

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET
from lab.isp import Isp
from lab.stats import chi_square_p
from lab.traffic import connections, flow, server
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

CHANCE = 1e-6
FLOWS, PACKETS = 6, 300
THREE = (Isp(), Isp("static"), Isp())


def test_new_flows_are_shared_by_weight_and_weight_0_carries_none(routers: Routers) -> None:
    lab = routers(
        HOME.replace("lans:", "  spare: {device: wan3, address: dhcp, weight: 0}\nlans:") + FAST,
        THREE,
    )
    lab.start()
    weights = {"isp1": 3.0, "isp2": 1.0}
    for node, proto in ((lab.lans[0], "tcp"), (lab.lans[0], "udp"), (lab.router, "tcp")):
        shares = lab.by_isp(connections(node, 2000, proto))
        assert sum(shares.values()) == 2000
        assert chi_square_p(shares, weights) > CHANCE, f"{node} {proto}: {shares}"


def test_failover_uses_only_the_best(routers: Routers) -> None:
    lab = routers("mode: failover\n" + HOME + FAST)
    lab.start()
    for node, proto in ((lab.lans[0], "tcp"), (lab.lans[0], "udp"), (lab.router, "tcp")):
        assert lab.by_isp(connections(node, 200, proto)) == {"isp1": 200}
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.lans[0], 200)) == {"isp2": 200}
    lab.isps[0].restore()
    lab.until(cable="up")
    assert lab.by_isp(connections(lab.lans[0], 200)) == {"isp1": 200}


def test_a_lower_tier_waits_until_the_first_is_dead(routers: Routers) -> None:
    lab = routers(
        HOME.replace("lans:", "  lte: {device: wan3, address: dhcp, tier: 2}\nlans:") + FAST, THREE
    )
    lab.start()
    assert set(lab.by_isp(connections(lab.lans[0], 300))) == {"isp1", "isp2"}
    for isp in lab.isps[:2]:
        isp.fail()
    lab.until(cable="down", dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 300)) == {"isp3": 300}


def test_a_flow_stays_on_its_uplink_for_its_life(routers: Routers) -> None:
    lab = routers(HOME.replace(", weight: 3", "") + FAST)
    lab.start()
    tcp = [flow(lab.lans[0]) for _ in range(8)]
    udp = [flow(lab.lans[0], "udp") for _ in range(8)]
    assert sum(connections(lab.lans[0], 1000).values()) == 1000
    records = [recording.stop() for recording in (*tcp, *udp)]
    assert {len(record.seen) for record in records} == {1}
    assert {lab.isp_of(record.seen[0]).name for record in records} == {"isp1", "isp2"}
    assert [record.gaps_over(0.5) for record in records if record.gaps_over(0.5)] == []


def test_a_flow_that_nobody_answers_keeps_its_uplink(routers: Routers) -> None:
    """A call that only one side speaks in, a log that is sent somewhere: chosen for once."""
    lab = routers(HOME + FAST)
    lab.start()
    lab.inet.run(
        "nft 'add table ip mute; add set ip mute heard { type ipv4_addr; flags dynamic; counter; };"
        "add chain ip mute in { type filter hook prerouting priority raw; };"
        "add rule ip mute in udp dport 9 update @heard { ip saddr } drop'"
    )
    client = (
        "import socket, time\n"
        "mute = socket.socket(type=socket.SOCK_DGRAM)\n"
        f"for _ in range({PACKETS}):\n"
        f"    mute.sendto(b'x', ('{INTERNET}', 9)); time.sleep(0.002)\n"
    )
    for _ in range(FLOWS):
        lab.lans[0].run("python3 -", stdin=client)
    listed = lab.inet.run("nft list set ip mute heard")
    heard = {a: int(n) for a, n in re.findall(r"([0-9.]+) counter packets (\d+)", listed)}
    assert sum(heard.values()) == FLOWS * PACKETS
    assert all(count % PACKETS == 0 for count in heard.values()), heard


@pytest.mark.parametrize("mode", ["balance", "failover"])
def test_answers_to_inbound_connections_leave_by_the_uplink_they_came_in_by(
    routers: Routers, mode: str
) -> None:
    """By one that waits for the other's death, too."""
    # A wrong way out would carry the other provider's address: dropped, and counted as spoofed.
    allow = "firewall: {allow: [{protocol: tcp, port: 5000}]}\n"
    lab = routers(f"mode: {mode}\n{HOME}{FAST}{allow}")
    lab.start()
    own = set(lab.by_isp(connections(lab.lans[0], 60)))
    assert own == ({"isp1"} if mode == "failover" else {"isp1", "isp2"})
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            to = isp.router_address
            assert connections(lab.inet, 100, dst=to, port=5000).total() == 100
            seen = connections(lab.inet, 100, dst=to, port=5000)
            assert set(seen) == {lab.inet.address}
    for isp in lab.isps:
        lab.inet.run(f"ping -c 3 -i 0.1 -W 1 {isp.router_address}")


def test_a_strict_reverse_path_check_of_others_drops_nothing(routers: Routers) -> None:
    """Hardening guides write it for all devices; answers come in by every line."""
    strict = "net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.default.rp_filter = 1\n"
    lab = routers(
        HOME.replace(", weight: 3", "")
        + FAST
        + "firewall: {allow: [{protocol: tcp, port: 5000}]}\n",
        files={"/etc/sysctl.d/99-strict.conf": strict},
    )
    lab.start()
    assert lab.router.run("sysctl -n net.ipv4.conf.all.rp_filter") == "1\n"
    shares = lab.by_isp(connections(lab.lans[0], 200))
    assert set(shares) == {"isp1", "isp2"} and shares.total() == 200
    shares = lab.by_isp(connections(lab.router, 100, "udp"))
    assert set(shares) == {"isp1", "isp2"} and shares.total() == 100
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            seen = connections(lab.inet, 40, dst=isp.router_address, port=5000)
            assert seen == {lab.inet.address: 40}


def test_a_single_host_without_lans_balances_its_own(routers: Routers) -> None:
    lab = routers(HOME.partition("lans:")[0] + FAST)
    lab.start()
    shares = lab.by_isp(connections(lab.router, 1000))
    assert chi_square_p(shares, {"isp1": 3.0, "isp2": 1.0}) > CHANCE, shares
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.router, 100)) == {"isp2": 100}
    # and it forwards for nobody
    assert lab.router.run("sysctl -n net.ipv4.ip_forward").strip() == "0"


def test_many_uplinks_are_found_by_short_cuts_and_without_them(routers: Routers) -> None:
    count = 18
    lines = [
        f"  u{n}: {{device: wan{n}, address: 198.51.{100 + n}.2/24, gateway: 198.51.{100 + n}.1}}"
        for n in range(1, count + 1)
    ]
    lan = HOME[HOME.index("lans:") :]
    lab = routers("\n".join(["uplinks:", *lines, lan]) + FAST, (Isp("static"),) * count)
    lab.start()

    def jumps() -> list[str]:
        found = [line for line in lab.router.run("ip rule").splitlines() if " goto " in line]
        assert found
        return found

    assert not [line for line in eventually(jumps) if "unresolved" in line]
    everyone = {isp.name for isp in lab.isps}
    assert set(lab.by_isp(connections(lab.lans[0], 40 * count))) == everyone
    lab.router.run("systemctl stop nib-monitor")
    for line in jumps():
        lab.router.run(f"ip rule delete pref {line.partition(':')[0]}")
    assert set(lab.by_isp(connections(lab.lans[0], 40 * count))) == everyone
    lab.router.run("systemctl start nib-monitor")
    eventually(jumps)
