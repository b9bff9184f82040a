"""Boot and reboot, units, and the things of others that nib must not touch."""

import re

import pytest

from lab.errors import eventually
from lab.isp import Isp
from lab.traffic import How, connections, send_raw, server
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
UNITS = "nib-nftables.service nib-monitor.service"

# A user's own network, and other programs' state.
FOREIGN_NETWORK = "[Match]\nName=wan3\n\n[Network]\nAddress=10.66.0.2/24\n"
FOREIGN = """
nft add table inet other
nft add set inet other names '{ type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }'
nft add chain inet other marking '{ type filter hook prerouting priority -190; }'
nft add rule inet other marking iifname lan1 meta mark set meta mark or 0x00ff00ff
nft add rule inet other marking iifname lan1 ct mark set ct mark or 0x00ab00cd
nft add chain inet other seen '{ type filter hook postrouting priority 300; }'
nft add rule inet other seen meta mark and 0x80ffffff == 0x00ff00ff counter
nft add rule inet other seen ct mark and 0x80ffffff == 0x00ab00cd counter
ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup 52
ip rule add pref 29999 to 10.77.0.0/16 lookup 51820
ip route add 10.77.0.0/16 dev wan3 table 51820
ip route add 10.78.0.0/16 via 10.66.0.1 dev wan3 table 52
ip route add 10.79.0.0/16 via 10.66.0.1 dev wan3
"""
LIST_FOREIGN = (
    "nft -s list table inet other; ip rule show pref 5210; ip rule show pref 29999; "
    "ip route show table 51820; ip route show table 52; ip route show 10.79.0.0/16; "
    "ip -4 addr show dev wan3; cat /etc/systemd/network/70-mine.network"
)


def test_after_a_reboot_all_is_up_by_itself(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    for _ in range(2):
        lab.router.reboot()
        lab.until(within=20, cable="up", dsl="up")
        assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}
        assert lab.router.run("systemctl --failed --no-legend") == ""
        assert lab.router.run("systemctl is-system-running").strip() == "running"
        assert lab.complaints() == []
    assert lab.router.run(f"systemd-analyze verify {UNITS} 2>&1") == ""
    said = lab.router.run("journalctl -b -p warning -o cat --no-pager | grep -i nib || true")
    assert said == ""


def test_the_table_is_there_before_forwarding_and_before_any_link(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    done = "systemctl show -P {} {}"
    loaded = lab.router.run(done.format("ExecMainExitTimestampMonotonic", "nib-nftables.service"))
    for later in ("systemd-sysctl.service", "systemd-networkd.service"):
        started = lab.router.run(done.format("ExecMainStartTimestampMonotonic", later))
        assert int(loaded) < int(started), later


TABLE = "/etc/nib/nib.nft"
DROP_IN = "/etc/systemd/system/nib-nftables.service.d/10-broken.conf"


@pytest.mark.parametrize(
    ("path", "text", "mend"),
    [
        (TABLE, "this is no nft\n", "nib-gen --out /etc"),
        # the namespace for nft cannot be made
        (
            DROP_IN,
            "[Service]\nInaccessiblePaths=/nowhere\n",
            f"rm {DROP_IN}; systemctl daemon-reload",
        ),
    ],
    ids=["no nft", "no mount namespace"],
)
def test_a_table_that_cannot_load_leaves_the_router_closed(
    routers: Routers, path: str, text: str, mend: str
) -> None:
    lab = routers(EVEN + FAST)
    before = lab.router.read(path) if lab.router.exists(path) else ""
    lab.router.put(path, before + text)
    lab.router.boot()
    eventually(lambda: "198.51.102.2" in lab.router.run("ip -4 addr"))
    # the monitor asks for it once more, and while it tries it has not failed
    eventually(lambda: "nib-nftables.service" in lab.router.run("systemctl --failed --no-legend"))
    assert lab.router.run("nft list tables").splitlines() == ["table inet nib_stopped"]
    assert set(connections(lab.lans[0], 10, timeout=0.3)) & {"198.51.102.2"} == set()
    with server(lab.lans[0], tcp=[5000]), lab.isps[1].exposed(lab.lans[0].network):
        to = lab.lans[0].address
        assert set(connections(lab.inet, 10, dst=to, port=5000, timeout=0.3)) == {"timeout"}
    lab.router.run(mend)
    # a start would join one that the monitor asked for and that has read the broken file
    lab.router.run(f"systemctl restart {UNITS}")
    lab.until(cable="up", dsl="up")
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}


def test_a_stop_removes_only_nibs_table_and_opens_nothing(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lab.router.run("nft add table inet other; nft add table ip nib")
    lab.router.run("systemctl stop nib-nftables.service")
    tables = lab.router.run("nft list tables").splitlines()
    assert "table inet nib" not in tables
    assert {"table inet other", "table ip nib"} < set(tables)
    assert not set(lab.by_isp(connections(lab.lans[0], 10, timeout=0.3))) & {"isp1", "isp2"}
    lab.router.run(f"systemctl start {UNITS}")
    lab.until(cable="up", dsl="up")
    assert "table inet nib_stopped" not in lab.router.run("nft list tables").splitlines()
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == {"isp1", "isp2"}


def test_what_others_own_is_the_same_after_all_of_it(routers: Routers) -> None:
    lab = routers(
        EVEN + FAST,
        (Isp(), Isp("static"), Isp("static")),
        files={"/etc/systemd/network/70-mine.network": FOREIGN_NETWORK},
    )
    lab.start()
    lab.router.run("set -e" + FOREIGN)
    before = lab.router.run(LIST_FOREIGN)
    lab.isps[0].fail()
    lab.until(cable="down")
    lab.isps[0].restore()
    lab.until(cable="up")
    lab.isps[1].unplug()
    lab.until(dsl="down")
    lab.isps[1].plug()
    lab.until(dsl="up")
    for command in (
        "networkctl reload",
        "systemctl restart systemd-networkd.service",
        "systemctl reload nib-nftables.service",
        "systemctl restart nib-nftables.service",
        "systemctl restart nib-monitor.service",
        "nft delete table inet nib",
        "nib-gen --out /etc",
    ):
        lab.router.run(command)
        lab.until(cable="up", dsl="up")
    assert connections(lab.lans[0], 50).total() == 50
    assert lab.router.run(LIST_FOREIGN) == before
    # other people's bits came through prerouting, balancing and NAT untouched
    counted = lab.router.run("nft list chain inet other seen")
    assert all(int(n) > 100 for n in re.findall(r"packets (\d+)", counted)), counted
    lab.router.run("ip rule del pref 5210; ip rule del pref 29999; nft delete table inet other")


def test_a_program_that_marks_its_packets_chooses_its_uplink(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    for isp, device in zip(lab.isps, ("wan1", "wan2"), strict=True):
        assert lab.by_isp(connections(lab.router, 20, how=How(device=device))) == {isp.name: 20}
    bound = How(source=lab.isps[1].router_address)
    assert lab.by_isp(connections(lab.router, 20, how=bound)) == {"isp2": 20}


def test_spoofed_sources_are_dropped(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lan = lab.lans[0]

    before = lab.drops("spoofed")
    # from outside, with a source of the LAN or of the other provider
    for source in (lan.address, lab.isps[1].router_address):
        send_raw(
            lab.isps[0], "cpe", lab.isps[0].router_mac, source, lab.isps[0].router_address, n=5
        )
    assert lab.drops("spoofed") - before == 10
    # from the LAN, with a source that is not the LAN's
    send_raw(lan, "eth0", lan.router_mac, "192.0.2.99", lab.inet.address, n=5)
    assert lab.drops("spoofed") - before == 15
