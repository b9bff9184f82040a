"""Devices that the user's own files configure: nib adds to them by drop-ins."""

import pytest

from lab.errors import eventually
from lab.isp import Isp
from lab.traffic import connections
from nib_lab import FAST, NibLab, Routers

pytestmark = pytest.mark.lab

NETWORK = "/etc/systemd/network"
FILES = {
    # as a package or netplan would have it: nib's part is in /etc all the same
    "/usr/lib/systemd/network/10-made.network": """\
[Match]
Name=wan1

[Network]
Description=of the image
DHCP=yes
Address=100.64.1.77/32
""",
    f"{NETWORK}/20-office.network": """\
[Match]
Name=wan2

[Network]
Address=198.51.102.2/24
Address=2001:db8:2::2/64
""",
    f"{NETWORK}/30-home.network": """\
[Match]
Name=lan1

[Network]
Address=192.168.10.1/24
Address=fd00:10::1/64
""",
}
OWN = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl:
    device: wan2
    address: [198.51.102.2/24, "2001:db8:2::2/64"]
    gateway: [198.51.102.1, "2001:db8:2::1"]
lans:
  home:
    device: lan1
    address: [192.168.10.1/24, "fd00:10::1/64"]
    dhcp_server: true
"""
ADOPTED = (
    OWN.replace("wan1,", "wan1, network: 10-made.network,")
    .replace("wan2\n", "wan2\n    network: 20-office.network\n")
    .replace("lan1\n", "lan1\n    network: 30-home.network\n")
)
ISPS = (Isp(ipv6="ra"), Isp("static", ipv6="static"))
BOTH = {"isp1", "isp2"}


def works(lab: NibLab) -> None:
    """Both families are up on both, and new flows of a client and of the router use both."""
    lab.until(within=20, cable="up", dsl="up")
    lab.until(within=20, family=6, cable="up", dsl="up")
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 60))) == BOTH


def test_nib_adds_to_files_of_the_users(routers: Routers) -> None:
    lab = routers(ADOPTED + FAST, ISPS, files=FILES)
    # not with its own files beside them
    lab.router.put("/etc/nib/own.yaml", OWN)
    done = lab.router.attempt("nib-gen --out /etc /etc/nib/own.yaml")
    assert done.code == 2 and "20-office.network is for wan2" in done.err
    assert "by 10-made.network.d" in lab.router.run("nib-gen --show")
    before = {path: lab.router.read(path) for path in FILES}
    lab.start()
    client = lab.lans[0]
    works(lab)
    assert "100.64.1.77/32" in lab.router.run("ip address show dev wan1")
    assert client.lease()["router"] == "192.168.10.1"
    eventually(lambda: client.announced().startswith("fd00:10:"), 20)
    known = lab.listing()
    # the user edits a file of his, and networkd reads it anew
    lab.router.put(f"{NETWORK}/20-office.network", FILES[f"{NETWORK}/20-office.network"] + "#\n")
    lab.router.run("networkctl reload; systemctl restart systemd-networkd")
    works(lab)
    lab.settled(known, within=10)
    # silent, and by its carrier, with and without the monitor
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(client, 20)) == {"isp2": 20}
    lab.isps[0].restore()
    lab.until(cable="up")
    lab.router.run("systemctl stop nib-monitor")
    lab.isps[1].unplug()
    eventually(lambda: lab.by_isp(connections(client, 20)) == {"isp1": 20}, 5)
    lab.isps[1].plug()
    lab.router.run("systemctl start nib-monitor")
    works(lab)
    # given to nib after all: what was added goes away with its folders
    for path, text in before.items():
        assert lab.router.read(path).removesuffix("#\n") == text
        lab.router.run(f"rm {path}")
    lab.router.put("/etc/nib/balance.yaml", OWN + FAST)
    lab.router.run("nib apply --yes")
    works(lab)
    assert lab.router.run(f"ls -d {NETWORK}/*.d || true") == ""
    assert "100.64.1.77" not in lab.router.run("ip address show dev wan1")
