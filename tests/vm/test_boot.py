"""The whole slice on the kernels that Debian has: from the boot to the monitor's crash."""

import re
import time
from collections.abc import Callable

import pytest

from lab.errors import eventually
from lab.hosts import TARGETS
from lab.isp import Provider
from lab.stats import chi_square_p
from lab.traffic import flow, fresh
from vm.world import NAMES, World

pytestmark = [pytest.mark.lab, pytest.mark.vm]

CHANCE = 1e-6
KERNELS = {"bookworm": "6.1.", "trixie": "6.12."}
WEIGHTS = {"isp1": 3.0, "isp2": 1.0, "isp3": 2.0}


def test_it_boots_and_balances(lab: World) -> None:
    router = lab.router
    assert router.run("uname -r").startswith(KERNELS[lab.suite])
    assert router.run("systemctl is-system-running").strip() == "running"
    home, guests = lab.lans
    # udev is here, and lets networkd's own VLANs have the hardware address of their port
    # (the router's own TCP: test_kernel.py)
    for node, proto in ((home, "tcp"), (guests, "udp"), (router, "udp")):
        shares = lab.shares(node, 120, proto)
        assert sum(shares.values()) == 120
        assert chi_square_p(shares, WEIGHTS) > CHANCE, f"{node} {proto}: {shares}"


def test_frames_are_tagged(lab: World) -> None:
    for vlan, host in ((30, lab.isps[2].router_address), (20, lab.lans[1].address)):
        seen = lab.switch.start(
            *("timeout", "20", "tcpdump", "-c1", "-enpi", "router", f"vlan {vlan} and host {host}")
        )
        eventually(lambda s=seen: "listening" in s.err())
        lab.shares(lab.lans[1], 60)
        assert f"vlan {vlan}" in seen.finish(20).out


def test_two_lans_share_a_wire(lab: World) -> None:
    """A macvlan beside its parent: each answers for its own address, and both are balanced."""
    client, to = lab.lans[0], TARGETS[0]
    client.run(
        "ip address add 192.168.30.10/24 dev eth0\n"
        f"ip route add {to} via 192.168.30.1 src 192.168.30.10"
    )
    received = "cat /sys/class/net/things/statistics/rx_packets"
    before = int(lab.router.run(received))
    assert set(lab.shares(client, 60, dst=to)) == NAMES.keys()
    assert int(lab.router.run(received)) > before + 60
    before = int(lab.router.run(received))
    assert set(lab.shares(client, 60)) == NAMES.keys()
    assert int(lab.router.run(received)) < before + 60
    client.run(f"ip route del {to}; ip address del 192.168.30.10/24 dev eth0")


CUTS: dict[str, tuple[Callable[[Provider], None], Callable[[Provider], None]]] = {
    "silent": (lambda isp: isp.fail(), lambda isp: isp.restore()),
    "carrier": (lambda isp: isp.unplug(), lambda isp: isp.plug()),
}


@pytest.mark.parametrize(("kind", "which"), [("silent", 1), ("carrier", 0)])
def test_a_provider_dies_and_comes_back(lab: World, kind: str, which: int) -> None:
    cut, mend = CUTS[kind]
    dead, client = lab.isps[which], lab.lans[0]
    flows = [flow(client, "udp", every=0.2) for _ in range(4)]
    cut(dead)
    lab.until(**{NAMES[dead.name]: "down"})
    others = NAMES.keys() - {dead.name}
    for node in (client, lab.router):
        assert set(lab.shares(node, 60, "udp")) == others
    # a reload by anybody does not bring it back
    lab.router.run("networkctl reload; systemctl reload nib-nftables")
    assert set(lab.shares(client, 60)) == others
    for recording in flows:
        eventually(lambda r=recording: lab.isp_of(r.so_far().seen[-1]) is not dead)
        recording.stop()
    mend(dead)
    lab.until(**{NAMES[dead.name]: "up"})
    assert set(lab.shares(client, 100)) == NAMES.keys()


def test_reloads_break_nothing(lab: World) -> None:
    before = lab.listing()
    flows = [flow(lab.lans[0], kind, every=0.2) for kind in ("tcp", "udp") * 2]
    # kernels before 6.18 miss what is in a map of ranges while it is filled anew
    new = fresh(lab.lans[0], every=0.02, timeout=3)
    for _ in range(8):
        lab.router.run("networkctl reload; systemctl reload nib-nftables")
        time.sleep(0.5)
    assert not new.stop().failed
    for recording in flows:
        record = recording.stop()
        assert len(record.seen) == 1 and record.resets == 0
        assert record.gaps_over(1.0) == ()
    lab.settled(before, within=5)


def test_the_monitor_is_killed(lab: World) -> None:
    kept = flow(lab.lans[0], every=0.2)
    pid = lab.router.run("systemctl show -P MainPID nib-monitor")
    lab.router.run("systemctl kill -s KILL nib-monitor")
    assert set(lab.shares(lab.lans[0], 100)) == NAMES.keys()
    eventually(
        lambda: lab.router.run("systemctl show -P MainPID nib-monitor") not in (pid, "0\n"), 10
    )
    # it is watched again: one that `kept` is not on
    dead = next(isp for isp in lab.isps if not isp.owns(kept.so_far().seen[-1]))
    dead.fail()
    lab.until(**{NAMES[dead.name]: "down"})
    assert set(lab.shares(lab.lans[0], 60)) == NAMES.keys() - {dead.name}
    dead.restore()
    lab.until(**{NAMES[dead.name]: "up"})
    assert kept.stop().resets == 0


def test_false_sources_are_dropped(lab: World) -> None:
    """Strict where the router forwards, and at every provider nothing ever came with one."""
    counter = "nft list counter inet nib drop_spoofed"
    before = int(re.findall(r"packets (\d+)", lab.router.run(counter))[0])
    lan = lab.lans[0]
    lan.run("ip address add 192.0.2.99/32 dev eth0")
    lan.attempt(f"ping -c 3 -i 0.2 -W 1 -I 192.0.2.99 {lab.inet.address}")
    lan.run("ip address delete 192.0.2.99/32 dev eth0")
    after = int(re.findall(r"packets (\d+)", lab.router.run(counter))[0])
    assert after - before == 3
    assert lab.spoofed() == {}
