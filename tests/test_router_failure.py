"""What becomes of everything when a provider dies, and when it comes back."""

import itertools
import re
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from lab.errors import eventually
from lab.isp import Isp, Provider
from lab.record import Timeline
from lab.traffic import Recording, connections, flow, fresh, server
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
GUESTS = "  guests: {device: lan2, address: 192.168.20.1/24}\n"

Act = Callable[[Provider], None]
CUTS: dict[str, tuple[Act, Act]] = {
    "silent": (lambda isp: isp.fail(), lambda isp: isp.restore()),
    "carrier": (lambda isp: isp.unplug(), lambda isp: isp.plug()),
}
NAMES = {"isp1": "cable", "isp2": "dsl"}


def flows_on_both(lab: NibLab, kind: str, n: int = 2) -> dict[str, list[object]]:
    """At least `n` running flows of the LAN on each provider."""
    found: dict[str, list[object]] = {isp.name: [] for isp in lab.isps}
    for _ in range(40):
        recording = flow(lab.lans[0], kind, stall=5, reconnect=kind == "tcp")  # type: ignore[arg-type]
        isp = lab.isp_of(recording.so_far().seen[0])
        assert isp
        found[isp.name].append(recording)
        if all(len(flows) >= n for flows in found.values()):
            return found
    raise AssertionError(f"40 {kind} flows did not spread over both: {found}")


@pytest.mark.parametrize("which", [0, 1], ids=["dhcp", "static"])
@pytest.mark.parametrize("kind", CUTS)
def test_a_provider_dies_and_comes_back(routers: Routers, kind: str, which: int) -> None:
    cut, mend = CUTS[kind]
    lab = routers(EVEN + FAST)
    lab.start()
    dead, well = lab.isps[which], lab.isps[1 - which]
    tcp, udp = flows_on_both(lab, "tcp"), flows_on_both(lab, "udp")
    ping = flow(lab.lans[0], "ping")
    stream = fresh(lab.lans[0], every=0.02, timeout=0.3)

    at = time.monotonic()
    cut(dead)
    lab.until(**{NAMES[dead.name]: "down"})
    assert lab.by_isp(connections(lab.lans[0], 200)) == {well.name: 200}
    assert lab.by_isp(connections(lab.router, 100)) == {well.name: 100}
    # everything of the dead one goes on by the other, without anybody's help
    for recording in (*udp[dead.name], *tcp[dead.name]):
        eventually(lambda r=recording: lab.isp_of(r.so_far().seen[-1]) is well, 5)
    eventually(lambda: ping.so_far().answered_after(time.monotonic() - 0.2), 5)
    assert stream.so_far().settled - at < 2

    mend(dead)
    lab.until(**{NAMES[dead.name]: "up"})
    back = lab.by_isp(connections(lab.lans[0], 400))
    assert set(back) == {"isp1", "isp2"} and min(back.values()) > 100, back

    for recording in (*udp[well.name], *tcp[well.name]):
        record = recording.stop()
        assert lab.by_isp(dict.fromkeys(record.seen, 1)) == {well.name: 1}
        assert record.resets == 0
        assert record.gaps_over(0.3) == ()
    # what had moved stays where it is: nothing is broken a second time
    for recording in udp[dead.name]:
        assert [lab.isp_of(seen) for seen in recording.stop().seen] == [dead, well]
    for recording in tcp[dead.name]:
        assert [lab.isp_of(seen) for seen in recording.stop().seen] == [dead, well]


@pytest.mark.parametrize("kind", CUTS)
def test_what_goes_by_no_uplink_does_not_notice_a_death(routers: Routers, kind: str) -> None:
    """To the router, to another lan, and to the page of a modem behind an uplink's port."""
    cut, mend = CUTS[kind]
    lab = routers(EVEN + GUESTS + FAST, lans=2)
    lab.start()
    client, other = lab.lans
    modems = [isp.gateway for isp in lab.isps]
    with ExitStack() as servers:
        for node in (lab.router, other, *lab.isps):
            servers.enter_context(server(node, tcp=[5000]))

        def reach(*hosts: str) -> list[Recording[Timeline]]:
            return [flow(client, dst=host, port=5000, stall=5) for host in hosts for _ in range(6)]

        inside = reach("192.168.10.1", other.address)
        for isp, modem in zip(lab.isps, modems, strict=True):
            page = reach(modem)
            cut(isp)
            lab.until(**{NAMES[isp.name]: "down"})
            if kind == "silent":
                assert connections(client, 20, dst=modem, port=5000).total() == 20
                page += reach(modem)
                time.sleep(0.5)
                for recording in page:
                    record = recording.stop()
                    assert record.resets == 0 and record.gaps_over(0.5) == (), record
            mend(isp)
            lab.until(within=20, **{NAMES[isp.name]: "up"})
        for recording in inside:
            record = recording.stop()
            assert record.resets == 0 and record.gaps_over(0.5) == (), record


@pytest.mark.parametrize("kind", CUTS)
def test_ten_cuts_in_a_row_all_recover(routers: Routers, kind: str) -> None:
    cut, mend = CUTS[kind]
    lab = routers(EVEN + FAST)
    lab.start()
    before = lab.listing()
    for isp in itertools.islice(itertools.cycle(lab.isps), 10):
        cut(isp)
        lab.until(**{NAMES[isp.name]: "down"})
        assert set(lab.by_isp(connections(lab.lans[0], 40))) == set(NAMES) - {isp.name}
        mend(isp)
        lab.until(cable="up", dsl="up")
        assert set(lab.by_isp(connections(lab.lans[0], 60))) == set(NAMES)
    lab.settled(before, within=3)


def test_both_die_and_one_comes_back(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    for isp in lab.isps:
        isp.fail()
    lab.until(cable="down", dsl="down")
    for isp in reversed(lab.isps):
        isp.restore()
        lab.until(**{NAMES[isp.name]: "up"})
        assert lab.by_isp(connections(lab.lans[0], 100)) == {isp.name: 100}
        isp.fail()
        lab.until(**{NAMES[isp.name]: "down"})


def test_both_lose_their_carrier_and_one_comes_back(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    for isp in lab.isps:
        isp.unplug()
    lab.until(cable="down", dsl="down")
    lab.isps[1].plug()
    lab.until(dsl="up")
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp2": 100}


def test_a_provider_dead_at_boot(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.isps[0].fail()
    lab.start(cable="down", dsl="up")
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp2": 100}
    lab.isps[0].restore()
    lab.until(cable="up")
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}


def test_no_provider_at_boot(routers: Routers) -> None:
    lab = routers(EVEN + FAST, (Isp(late=True), Isp("static", late=True)))
    lab.start(cable="down", dsl="down")
    # the LAN is served meanwhile, what is sent to all of it included
    lan = lab.lans[0]
    lan.run(f"ping -c 1 -W 2 {lan.router_address}")
    lan.run(
        "nft 'add table ip mdns; add counter ip mdns heard;"
        "add chain ip mdns in { type filter hook prerouting priority raw; };"
        "add rule ip mdns in ip daddr 224.0.0.251 udp dport 5353 counter name heard'"
    )
    speak = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(0, 32, {}); {}"
    index = "socket.inet_aton('192.168.10.1')"
    send = "s.sendto(b'x', ('224.0.0.251', 5353))"
    lab.router.run(f'python3 -c "{speak.format(index, send)}"')
    eventually(lambda: "packets 1 " in lan.run("nft list counter ip mdns heard"))
    assert lab.router.run("sysctl -n net.ipv4.ip_forward") == "1\n"
    for isp in lab.isps:
        isp.attach()
    lab.until(cable="up", dsl="up")
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}


@pytest.mark.parametrize("by", ["reconfigure", "carrier"])
def test_a_lease_that_changes_address_and_gateway(routers: Routers, by: str) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    other = flow(lab.lans[0], "udp")
    lab.isps[0].renumber("100.64.77", by=by)  # type: ignore[arg-type]
    eventually(lambda: lab.status()["cable"]["gateway"] == "100.64.77.1", 15)
    lab.until(cable="up")

    def served() -> bool:
        shares = lab.by_isp(connections(lab.lans[0], 60, timeout=1))
        return set(shares) == {"isp1", "isp2"}

    eventually(served, 5)
    eventually(lambda: set(lab.by_isp(connections(lab.router, 60))) == {"isp1", "isp2"}, 5)
    assert other.stop().answers
    # and the rule of the old address is gone
    assert re.findall(r"from (100\.\S+)", lab.router.run("ip rule")) == ["100.64.77.100"]


BLOCKING = """\
policies: {held: {tiers: [[dsl]], when_down: block}}
rules: [{match: {protocol: udp}, use: held}]
"""


@pytest.mark.parametrize("rules", ["", BLOCKING], ids=["", "all UDP by another"])
def test_a_lease_is_renewed_while_its_line_is_dead(routers: Routers, rules: str) -> None:
    """It is asked for at the address that gave it, which only that line leads to."""
    lab = routers(EVEN + FAST + rules)
    lab.start()
    line = lab.isps[0]
    line.fail()
    lab.until(cable="down")
    given = line.dhcp_log().count("DHCPACK")
    lab.router.run("networkctl renew wan1")
    eventually(lambda: line.dhcp_log().count("DHCPACK") > given, 4)
    assert lab.status()["cable"]["address"] == line.router_address
    line.restore()
    lab.until(cable="up")


def test_a_device_appears_late_and_is_renamed_away_and_back(routers: Routers) -> None:
    lab = routers(EVEN + FAST, (Isp(late=True), Isp("static")))
    lab.start(cable="down", dsl="up")
    assert lab.by_isp(connections(lab.lans[0], 50)) == {"isp2": 50}
    lab.isps[0].attach()
    lab.until(cable="up")
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}
    lab.isps[0].rename_device("else0")
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.lans[0], 50)) == {"isp2": 50}
    lab.isps[0].rename_device("wan1")
    lab.until(cable="up")
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}
