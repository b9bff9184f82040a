"""Pages of modems: behind an uplink's port, or below its PPPoE, dead or alive."""

import pytest

from lab.traffic import connections, flow, scan, server
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

PAGE = 80


def with_modems(cable: str, dsl: str) -> str:
    """Two equal uplinks, each with its modem."""
    text = HOME.replace("address: dhcp, weight: 3", f"address: dhcp, modem: {cable}")
    return text.replace("gateway: 198.51.102.1", f"gateway: 198.51.102.1, modem: {dsl}") + FAST


def _visits(lab: NibLab, modem: str, seen: str) -> None:
    for visitor in (lab.lans[0], lab.router):
        assert connections(visitor, 20, dst=modem, port=PAGE) == {seen: 20}


def test_the_page_of_a_modem_is_there_while_its_uplink_is_dead(routers: Routers) -> None:
    guests = "lans:\n  guests: {device: lan2, address: 192.168.20.1/24}\n"
    text = with_modems(
        "{address: 192.168.100.1, own: 192.168.100.2/24, from: [home]}", "{address: 10.9.9.9}"
    ).replace("lans:\n", guests)
    lab = routers(text, lans=2)
    one, two = lab.isps
    lab.start()
    one.run("ip address add 192.168.100.1/24 dev cpe")
    two.run("ip address add 10.9.9.9/32 dev cpe")
    home, guest = lab.lans
    with server(one, tcp=[PAGE]), server(two, tcp=[PAGE]):
        _visits(lab, "192.168.100.1", "192.168.100.2")
        _visits(lab, "10.9.9.9", two.router_address)
        assert connections(guest, 5, dst="10.9.9.9", port=PAGE) == {two.router_address: 5}
        refused = connections(guest, 5, dst="192.168.100.1", port=PAGE, timeout=0.5)
        assert "192.168.100.2" not in refused
        # nothing else has that address for its source, and nothing gets in by it
        for node in (home, guest, lab.router):
            assert set(lab.by_isp(connections(node, 40))) == {"isp1", "isp2"}
        assert lab.status()["cable"]["address"] == one.router_address
        with server(lab.router, tcp=[8000]):
            assert scan(one, "192.168.100.2", (22, 8000), timeout=0.5).ports("open") == ()
        reading = flow(home, dst="192.168.100.1", port=PAGE)
        one.fail()
        lab.until(cable="down")
        _visits(lab, "192.168.100.1", "192.168.100.2")
        assert lab.by_isp(connections(home, 40)) == {"isp2": 40}
        record = reading.stop()
        assert record.resets == 0 and record.gaps_over(0.5) == ()
        one.restore()
        lab.until(cable="up")
        two.fail()
        lab.until(dsl="down")
        _visits(lab, "10.9.9.9", two.router_address)


def test_a_modem_below_another_device_than_the_uplinks(routers: Routers) -> None:
    """As with PPPoE: the port that leads to the modem is not the uplink's device."""
    lab = routers(
        with_modems(
            "{address: 192.168.20.10, own: 192.168.20.1/24, device: lan2}",
            "{address: 10.9.9.9, own: 10.9.9.8/31}",
        ),
        lans=2,
    )
    lab.start()
    lab.isps[1].run("ip address add 10.9.9.9/31 dev cpe")
    home, modem = lab.lans
    with server(modem, tcp=[PAGE]), server(lab.isps[1], tcp=[PAGE]):
        _visits(lab, modem.address, modem.router_address)
        _visits(lab, "10.9.9.9", "10.9.9.8")
        # the modem itself gets nowhere
        with server(lab.router, tcp=[8000]), server(home, tcp=[PAGE]):
            found = scan(modem, modem.router_address, (22, 8000), timeout=0.5)
            assert found.ports("open") == ()
            assert scan(modem, home.address, (PAGE,), timeout=0.5).ports("open") == ()
            assert connections(modem, 5, timeout=0.5) == {"timeout": 5}
        lab.isps[0].fail()
        lab.until(cable="down")
        _visits(lab, modem.address, modem.router_address)
        # a stop closes this way as well
        lab.router.run("systemctl stop nib-nftables")
        with server(lab.router, tcp=[8000]):
            found = scan(modem, modem.router_address, (8000,), timeout=0.5)
            assert found.ports("open") == ()
