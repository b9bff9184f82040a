"""Both families at once: each is shared, lives and dies by itself, as closed as the other."""

import time
from collections.abc import Callable

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6
from lab.isp import Isp, Provider
from lab.stats import chi_square_p
from lab.traffic import connections, flow, scan, server
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

CHANCE = 1e-6
WEIGHTS = {"isp1": 3.0, "isp2": 1.0}
EVEN = DUAL.replace(", weight: 3", "")
NAMES = {"isp1": "cable", "isp2": "dsl"}

Act = Callable[[Provider], None]
FAMILIES = {"ipv4": (4,), "ipv6": (6,)}  # others take both
INTERNETS = {4: INTERNET, 6: INTERNET6}
CUTS: dict[str, tuple[Act, Act]] = {
    "ipv4": (lambda isp: isp.fail("meta nfproto ipv4"), lambda isp: isp.restore()),
    "ipv6": (lambda isp: isp.fail("meta nfproto ipv6"), lambda isp: isp.restore()),
    "silent": (lambda isp: isp.fail(), lambda isp: isp.restore()),
    "carrier": (lambda isp: isp.unplug(), lambda isp: isp.plug()),
}


def started(lab: NibLab, **health6: str) -> NibLab:
    """Up in both families (or as said), and the client has an address."""
    lab.start()
    lab.until(within=20, family=6, **(health6 or dict.fromkeys(lab.plan_names(), "up")))
    eventually(lambda: lab.lans[0].announced().startswith("fd00:10:"), 20)
    return lab


def test_both_families_are_shared_by_weight(routers: Routers) -> None:
    lab = started(routers(DUAL + FAST, DUAL_ISPS))
    for node, proto in ((lab.lans[0], "tcp"), (lab.lans[0], "udp"), (lab.router, "tcp")):
        for to in (INTERNET6, lab.inet.address):
            shares = lab.by_isp(connections(node, 1000, proto, dst=to))
            assert sum(shares.values()) == 1000
            assert chi_square_p(shares, WEIGHTS) > CHANCE, f"{node} {proto} {to}: {shares}"
    assert lab.router.attempt("nib status").code == 0
    # a flow keeps its uplink while everything is loaded anew
    flows = [flow(lab.lans[0], kind, dst=INTERNET6) for kind in ("tcp", "udp") * 4]
    lab.router.run(
        "networkctl reload; systemctl reload nib-nftables; systemctl restart nib-monitor"
    )
    time.sleep(2)
    for recording in flows:
        record = recording.stop()
        assert len(record.seen) == 1 and not record.gaps_over(0.5), record.gaps
    # and nothing of all that, nor of what neighbours say, was taken for something else
    for reason in ("spoofed", "forward", "input"):
        assert lab.drops(reason) == 0, reason


@pytest.mark.parametrize("which", [0, 1], ids=["announced", "static"])
@pytest.mark.parametrize("kind", CUTS)
def test_a_provider_dies_and_comes_back(routers: Routers, kind: str, which: int) -> None:
    cut, mend = CUTS[kind]
    lab = started(routers(EVEN + FAST, DUAL_ISPS))
    client, dead, well = lab.lans[0], lab.isps[which], lab.isps[1 - which]
    name, cut_off = NAMES[dead.name], FAMILIES.get(kind, (4, 6))
    flows = [flow(client, "udp", dst=INTERNETS[family]) for family in cut_off for _ in range(8)]
    cut(dead)
    for family, to in INTERNETS.items():
        if family in cut_off:
            lab.until(family=family, **{name: "down"})
            assert lab.by_isp(connections(client, 100, dst=to)) == {well.name: 100}
            assert lab.by_isp(connections(lab.router, 50, dst=to)) == {well.name: 50}
    for recording in flows:
        eventually(lambda r=recording: lab.isp_of(r.so_far().seen[-1]) is well, 5)
    for family in INTERNETS.keys() - set(cut_off):
        assert lab.health(family)[name] == "up"
        shares = lab.by_isp(connections(client, 100, dst=INTERNETS[family]))
        assert set(shares) == {"isp1", "isp2"} and shares.total() == 100
    mend(dead)
    for family in cut_off:
        lab.until(within=20, family=family, **{name: "up"})
        for node in (client, lab.router):
            shares = lab.by_isp(connections(node, 100, dst=INTERNETS[family]))
            assert set(shares) == {"isp1", "isp2"}
    for recording in flows:
        assert lab.isp_of(recording.stop().seen[-1]) is well


def test_a_provider_without_ipv6_beside_one_that_has_it(routers: Routers) -> None:
    lab = started(
        routers(EVEN + FAST, (Isp(), Isp("static", ipv6="static"))), cable="absent", dsl="up"
    )
    assert lab.by_isp(connections(lab.lans[0], 100, dst=INTERNET6)) == {"isp2": 100}
    assert lab.by_isp(connections(lab.router, 50, dst=INTERNET6)) == {"isp2": 50}
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}
    said = lab.router.attempt("nib status")
    assert said.code == 0 and "no IPv6" in said.out
    # it was asked for there: not to have it is a fault
    lab.isps[1].fail("meta nfproto ipv6")
    lab.until(family=6, dsl="down")
    assert lab.router.attempt("nib status").code == 1
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}


def test_a_leased_ipv6_address(routers: Routers) -> None:
    lab = started(routers(EVEN + FAST, (Isp(ipv6="dhcp"), Isp("static", ipv6="static"))))
    assert lab.status(6)["cable"]["address"] == lab.isps[0].router_address6
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 100, dst=INTERNET6))) == {"isp1", "isp2"}


def test_answers_over_ipv6_leave_by_the_uplink_that_was_asked(routers: Routers) -> None:
    lab = started(
        routers(DUAL + FAST + "firewall: {allow: [{protocol: tcp, port: 5000}]}\n", DUAL_ISPS)
    )
    with server(lab.router, tcp=[5000]):
        for state in lab.status(6).values():
            seen = connections(lab.inet, 100, dst=str(state["address"]), port=5000)
            assert seen.total() == 100 and all(":" in address for address in seen), seen


def test_nobody_has_ipv6(routers: Routers) -> None:
    """As most were before: nothing of it may trouble anybody."""
    lab = routers(HOME + FAST)
    lab.start()
    lab.until(family=6, cable="absent")
    assert lab.router.attempt("nib status").code == 0
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}


def test_closed_from_outside_over_ipv6(routers: Routers) -> None:
    lab = started(routers(DUAL + FAST, DUAL_ISPS))
    client = lab.lans[0]
    ports = (22, 53, 80, 8080)
    with server(lab.router, tcp=ports[1:], udp=[53]), server(client, tcp=[80]):
        for isp, state in zip(lab.isps, lab.status(6).values(), strict=True):
            found = scan(isp, str(state["address"]), ports, [53], timeout=0.5)
            assert found.ports("refused") + found.ports("open") == ("tcp/22",), found
            isp.run(f"ping -6 -c 2 -i 0.2 -W 1 {state['address']}")
        inside = client.announced()
        lab.isps[1].run("ip -6 route add fd00:10::/64 via 2001:db8:2::2 dev cpe")
        assert scan(lab.isps[1], inside, (80,), timeout=0.5).tcp == {80: "timeout"}
        assert scan(lab.router, inside, (80,)).tcp == {80: "open"}
        # a client's address that comes from outside is false
        lab.isps[1].run("ip address add fd00:10::99/128 dev cpe; true")
        before = lab.drops("spoofed")
        lab.isps[1].attempt("ping -6 -c 2 -i 0.2 -W 1 -I fd00:10::99 2001:db8:2::2")
        assert lab.drops("spoofed") >= before + 2
        # a stop closes both families, and opens nothing
        outside = [str(state["address"]) for state in lab.status(6).values()]
        lab.router.run("systemctl stop nib-nftables")
        for isp, address in zip(lab.isps, outside, strict=True):
            assert scan(isp, address, (53, 80, 8080), [53], timeout=0.5).ports("open") == ()
        assert scan(lab.isps[1], inside, (80,), timeout=0.5).tcp == {80: "timeout"}
        for to in (INTERNET6, lab.inet.address):
            seen = connections(client, 10, dst=to, timeout=0.5)
            assert not {"isp1", "isp2"} & lab.by_isp(seen).keys(), seen


def test_what_others_remove_of_ipv6_returns(routers: Routers) -> None:
    lab = started(routers(EVEN + FAST, DUAL_ISPS))
    tables = [u["table"] for u in lab.planned()]
    for change in (
        f"ip -6 route flush table {tables[0]}",
        f"ip -6 route flush table {tables[1]}",
        "ip -6 route flush table 7000",
        "ip -6 rule del pref 30480; ip -6 rule del pref 30500",
        "nft flush ruleset",
    ):
        lab.router.run(change)

        def shared() -> bool:
            seen = [connections(n, 40, dst=INTERNET6) for n in (lab.lans[0], lab.router)]
            return all(set(lab.by_isp(one)) == {"isp1", "isp2"} for one in seen)

        time.sleep(1)
        assert shared(), change
    rules = lab.router.run("ip -6 rule")
    assert "30480:" in rules and "30500:" in rules


def test_without_the_monitor_ipv6_is_balanced_and_survives_a_lost_carrier(
    routers: Routers,
) -> None:
    lab = started(routers(EVEN + FAST, DUAL_ISPS))
    lab.router.run("systemctl stop nib-monitor")
    assert lab.router.run("ip -6 route show table 7000") == ""
    assert set(lab.by_isp(connections(lab.lans[0], 60, dst=INTERNET6))) == {"isp1", "isp2"}
    assert connections(lab.router, 20, dst=INTERNET6).total() == 20
    lab.isps[0].unplug()
    eventually(lambda: lab.by_isp(connections(lab.lans[0], 60, dst=INTERNET6)) == {"isp2": 60}, 5)
    lab.isps[0].plug()
    eventually(
        lambda: set(lab.by_isp(connections(lab.lans[0], 60, dst=INTERNET6))) == {"isp1", "isp2"},
        20,
    )
