"""What others do to the router's state is right again within a second, dead uplinks stay dead."""

import re

import pytest

from lab.errors import eventually
from lab.isp import Isp
from lab.traffic import How, connections, flow, fresh, scan, server
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
LEASED = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl: {device: wan2, address: dhcp}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""

RELOADS = {
    "networkctl reload": "networkctl reload",
    "restart networkd": "systemctl restart systemd-networkd.service",
    "reload the table": "systemctl reload nib-nftables.service",
}
REMOVALS = {
    "flush ruleset": "nft flush ruleset",
    "delete the table": "nft delete table inet nib",
    "a map element": "nft delete element inet nib restore4 { 0x$(ip -4 rule | "
    "sed -n 's/.*fwmark 0x\\([0-9a-f]*\\)\\/.*lookup 70.*/\\1/p' | head -n 1) }",
    "a rule of the table": "nft flush chain inet nib mark_forwarded",
    "the balance route": "ip route flush table 7000",
    "an uplink's route": "ip route del default dev wan2 table "
    "$(ip -4 rule | sed -n 's/.*oif wan2 lookup \\([0-9]*\\).*/\\1/p')",
    "a route of a lease": "ip route del default dev wan1 table "
    "$(ip -4 rule | sed -n 's/.*oif wan1 lookup \\([0-9]*\\).*/\\1/p')",
    "main's default": "ip route del default dev wan2",
    "a mark's rule": "ip rule del pref $(ip -4 rule | "
    "sed -n 's/^\\([0-9]*\\):.*fwmark.*lookup 70.*/\\1/p' | head -n 1)",
    "a device's rule": "ip rule del pref $(ip -4 rule | "
    "sed -n 's/^\\([0-9]*\\):.*oif wan2.*/\\1/p')",
    "an address's rule": "ip rule del from 198.51.102.2",
    "a leased address's rule": "ip rule del from 100.64.1.100",
    "the first rule": "ip rule del pref 30000",
    "the routing guard": "ip rule del pref 30480",
    "what leads past the guard": "ip rule del pref 30470",
    "the balance rule": "ip rule del pref 30500",
}


IP_MONITOR = "timeout 4 ip monitor rule | grep -v Deleted || true"


def essence(lab: NibLab) -> list[str]:
    """The listing, whoever put things there."""
    text = lab.listing()
    for origin in ("static", "dhcp", "110"):
        text = text.replace(f" proto {origin}", "")
    lines = [re.sub(r" src \S+", "", line).strip() for line in text.splitlines()]
    return sorted(line.replace("lookup main unreachable", "unreachable") for line in lines)


def unmoved(lab: NibLab, before: list[str]) -> bool:
    assert essence(lab) == before
    return True


def test_reloads_disturb_nothing_and_resurrect_nobody(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lab.isps[0].fail()
    lab.until(cable="down")
    before = essence(lab)
    tcp, udp = flow(lab.lans[0]), flow(lab.lans[0], "udp")
    stream = fresh(lab.lans[0], every=0.02, timeout=0.5)
    for command in RELOADS.values():
        lab.router.run(command)
        assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp2": 100}
        eventually(lambda: unmoved(lab, before), 2)
    assert stream.stop().failed == ()
    for record in (tcp.stop(), udp.stop()):
        assert record.resets == 0 and len(record.seen) == 1
        assert record.gaps_over(0.3) == ()


def test_what_others_remove_is_put_back_within_a_second(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lab.isps[0].fail()
    lab.until(cable="down")
    before = essence(lab)
    for name, command in REMOVALS.items():
        lab.router.run(command)
        try:
            eventually(lambda: unmoved(lab, before), 1)
        except Exception as problem:
            raise AssertionError(f"{name}: {problem}") from problem
        shares = lab.by_isp(connections(lab.lans[0], 40))
        assert shares == {"isp2": 40}, f"{name}: {shares}"
        assert lab.health() == {"cable": "down", "dsl": "up"}, name
    lab.isps[0].restore()
    lab.until(cable="up")
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}
    # networkd's own comes back in the end, and what the monitor lent is taken away again
    lab.router.run("systemctl restart systemd-networkd.service")
    lab.until(cable="up", dsl="up")


@pytest.mark.parametrize(
    ("removal", "name", "there"),
    [
        ("ip rule del pref 30500", "the ip rule 30500", "ip rule show pref 30500 | grep ."),
        ("nft delete table inet nib", "nib's nft table", "nft list table inet nib"),
    ],
    ids=["a rule", "the table"],
)
def test_who_removes_things_in_a_loop_is_not_fought_for_ever(
    routers: Routers, removal: str, name: str, there: str
) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    loop = f"while :; do {removal}; sleep 0.1; done"
    lab.router.run(f"systemd-run --unit=remover sh -c '{loop}'")

    def said() -> list[str]:
        lines = lab.router.run("journalctl -u nib-monitor.service -o cat").splitlines()
        return [line for line in lines if f"removing {name}" in line or "nothing removes" in line]

    eventually(said, 15)
    assert name in lab.router.attempt("nib status").out
    before = lab.router.run(
        "timeout 4 nft monitor tables || true" if "nft" in removal else IP_MONITOR
    )
    assert before.count("new table" if "nft" in removal else "30500:") <= 4
    lab.router.run("systemctl stop remover.service")
    eventually(lambda: lab.router.attempt(there).code == 0, 35)
    eventually(lambda: len(said()) == 2, 20)
    assert "something keeps" not in lab.router.attempt("nib status").out
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}


@pytest.mark.parametrize("command", ["nft flush ruleset", RELOADS["reload the table"]])
def test_files_of_another_plan_on_disk_cut_nobody_off(routers: Routers, command: str) -> None:
    # nib-gen wrote them, and they meet a table and a monitor that nobody has told
    lab = routers(EVEN + FAST)
    lab.start()
    lab.configure(EVEN.replace("dsl:", "adsl:") + FAST)
    lab.router.run(command)
    eventually(lambda: "adsl" in lab.health(), 5)
    lab.until(cable="up", adsl="up")

    def served() -> bool:
        return set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}

    eventually(served, 3)
    lab.isps[0].fail()
    lab.until(cable="down", adsl="up")
    assert lab.by_isp(connections(lab.lans[0], 60)) == {"isp2": 60}


@pytest.mark.parametrize("config", [EVEN, LEASED], ids=["one lease", "two leases"])
def test_a_flushed_ruleset_leaks_nothing(routers: Routers, config: str) -> None:
    # the monitor is away, so nothing puts the table back: the routing guard alone stands for the
    # LAN, and the rules of its addresses for what the router itself sends, whatever main prefers
    isps = (Isp(), Isp() if config is LEASED else Isp("static"))
    lab = routers(config + FAST + "firewall: {allow: [{protocol: tcp, port: 5000}]}\n", isps)
    lab.start()
    flows = [flow(lab.lans[0], kind) for kind in ("tcp", "udp", "ping") for _ in range(4)]
    with server(lab.router, tcp=[5000]):
        inbound = [flow(lab.inet, dst=isp.router_address, port=5000) for isp in lab.isps]
        lab.router.run("systemctl stop nib-monitor.service && nft flush ruleset")
        assert not set(lab.by_isp(connections(lab.lans[0], 20, timeout=0.3))) & {"isp1", "isp2"}
        for isp in lab.isps:
            bound = How(source=isp.router_address)
            assert lab.by_isp(connections(lab.router, 20, how=bound)) == {isp.name: 20}
            # resets and errors of the router's own
            closed = scan(lab.inet, isp.router_address, tcp=range(7000, 7005), udp=[7000])
            assert {*closed.tcp.values(), *closed.udp.values()} == {"refused"}
        for recording in inbound:
            record = recording.stop()
            assert record.resets == 0 and len(record.seen) == 1
            assert record.gaps_over(0.3) == ()
    assert lab.spoofed() == {}
    lab.router.run("systemctl reload nib-nftables.service && systemctl start nib-monitor.service")
    lab.until(cable="up", dsl="up")
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}
    for recording in flows:
        recording.stop()
