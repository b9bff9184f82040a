"""Lans: leases for their clients, and the size of packets."""

from ipaddress import IPv4Address

import pytest

from lab.errors import eventually
from lab.traffic import connections
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")


def test_clients_are_given_addresses(routers: Routers) -> None:
    text = EVEN.replace("192.168.10.1/24}", "192.168.10.1/24, dhcp_server: true}") + (
        "  guests:\n"
        "    device: lan2\n"
        "    address: [192.168.20.1/24, 192.168.20.60/24]\n"
        "    dhcp_server: {pool: 192.168.20.50-192.168.20.50, dns: [192.168.20.1], lease: 2m}\n"
    )
    lab = routers(text + FAST, lans=2)
    lab.start()
    home, guests = lab.lans
    told = home.lease()
    assert IPv4Address("192.168.10.128") <= IPv4Address(told["ip"]) <= IPv4Address("192.168.10.254")
    assert told["mask"] == "24"
    assert told["router"] == "192.168.10.1"
    # not the providers' name servers, which their leases name
    assert told["dns"] == "9.9.9.9 1.1.1.1"
    assert told["lease"] == "43200"
    assert "ntpsrv" not in told
    assert set(lab.by_isp(connections(home, 60))) == {"isp1", "isp2"}
    told = guests.lease()
    assert (told["ip"], told["router"]) == ("192.168.20.50", "192.168.20.1")
    assert (told["dns"], told["lease"]) == ("192.168.20.1", "120")
    assert set(lab.by_isp(connections(guests, 60))) == {"isp1", "isp2"}
    # without the monitor, and after networkd and the table were loaded again
    lab.router.run("systemctl stop nib-monitor; systemctl restart systemd-networkd nib-nftables")
    eventually(lambda: guests.lease()["ip"] == "192.168.20.50", 20)


def test_a_lan_of_large_packets(routers: Routers) -> None:
    """With IPv6, whose announcements must not be larger than the way out either."""
    lab = routers(DUAL.replace('/64"]}\n', '/64"], mtu: 9000}\n') + FAST, DUAL_ISPS)
    lab.start()
    client = lab.lans[0]
    assert " mtu 9000 " in lab.router.run("ip link show dev lan1")
    client.run("ip link set eth0 mtu 9000")
    client.run("ping -M do -s 8972 -c 1 -W 1 192.168.10.1")
    eventually(lambda: client.announced().startswith("fd00:10:"), 20)
    for proto in ("tcp", "udp"):
        assert lab.by_isp(connections(client, 20, proto)).total() == 20
