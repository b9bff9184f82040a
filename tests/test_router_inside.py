"""What leaves by no uplink: to a VPN, whose tunnel has an uplink of its own."""

import pytest

from lab.traffic import flow
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
VPN = "  vpn: {device: vx0, address: external}\n"
DSL = "198.51.102.2"


def tunnelled(lab: NibLab) -> NibLab:
    """Up, with a tunnel from dsl's address to a host of the world, which answers in it."""
    lab.router.boot()
    how = "type vxlan id 7 dstport 4789 srcport 4789 4790"
    lab.router.run(f"""
        ip link add vx0 {how} local {DSL} remote {lab.inet.address}
        ip address add 10.99.0.1/24 dev vx0; ip link set vx0 up""")
    lab.inet.run(f"""
        ip link add vx0 {how} local {lab.inet.address} remote {DSL}
        ip address add 10.99.0.2/24 dev vx0; ip link set vx0 up
        ip route add 192.168.10.0/24 via 10.99.0.1""")
    lab.until(within=20, cable="up", dsl="up")
    return lab


@pytest.mark.parametrize("firewall", ["on", "off"])
def test_a_tunnels_packets_keep_its_uplink(routers: Routers, firewall: str) -> None:
    """Not the one that nib would have chosen for what is in it."""
    off = "" if firewall == "on" else "firewall: off\n"
    lab = tunnelled(routers(EVEN + (VPN if firewall == "on" else "") + FAST + off))
    client = lab.lans[0]
    for _ in range(20):
        client.run("ping -c 1 -W 1 10.99.0.2")
    if firewall == "off":
        # of a device that nib does not know: begun there, answered by a lan
        for _ in range(20):
            lab.inet.run(f"ping -c 1 -W 1 -I 10.99.0.2 {client.address}")


def test_another_programs_translation_changes_nothing(routers: Routers) -> None:
    """A table that is loaded later comes first, and a chain that translates ends the walk."""
    lab = tunnelled(routers(EVEN + VPN + FAST))
    client = lab.lans[0]
    lab.router.run(
        "nft add table ip mine;"
        "nft 'add chain ip mine post { type nat hook postrouting priority srcnat; }';"
        "nft add rule ip mine post oifname vx0 masquerade"
    )
    for _ in range(20):
        client.run("ping -c 1 -W 1 10.99.0.2")
    running = [flow(client, "ping", dst="10.99.0.2") for _ in range(8)]
    # and if the tunnel goes, nothing of it leaves as it is: the providers count what is not theirs
    lab.router.run("ip link set vx0 down")
    for recording in running:
        recording.stop()


def test_a_flow_older_than_the_table_stays_in_its_tunnel(routers: Routers) -> None:
    lab = tunnelled(routers(EVEN + VPN + FAST))
    lab.router.run("systemctl stop nib-monitor; nft delete table inet nib")
    running = [flow(lab.lans[0], "ping", dst="10.99.0.2") for _ in range(8)]
    lab.router.run("systemctl restart nib-nftables; systemctl start nib-monitor")
    lab.until(cable="up", dsl="up")
    for recording in running:
        assert recording.so_far().gaps_over(1) == ()
    lab.router.run("ip link set vx0 down")
    for recording in running:
        recording.stop()
