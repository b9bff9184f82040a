"""Several networks on one port: macvlans made by nib, as the predecessor's aliases were used.

Kernels without VLANs run these tests too: the files of a VLAN are compared with kept ones and read
by networkd, but no tagged frame is sent here.
"""

import pytest

from lab.errors import eventually
from lab.isp import Isp
from lab.traffic import connections, scan, server
from nib_lab import FAST, NibLab, Routers

pytestmark = pytest.mark.lab

# As udev does it when a device appears; the lab has none.
SETTINGS = "/usr/lib/systemd/systemd-sysctl"
ONE_PORT = """\
uplinks:
  cable: {device: isp1, address: dhcp, netdev: {macvlan: port0}}
  dsl: {device: isp2, address: dhcp, netdev: {macvlan: port0}}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
firewall: {allow: [{protocol: tcp, port: 5000}]}
"""
# one arm: the providers and the clients on the wire of the only port
ONE_ARM = """\
uplinks:
  cable: {device: isp1, address: dhcp, netdev: {macvlan: port0}}
  dsl: {device: isp2, address: 198.51.102.2/24, gateway: 198.51.102.1, netdev: {macvlan: port0}}
lans:
  home: {device: port0, address: 192.168.10.1/24}
firewall: {allow: [{protocol: tcp, port: 5000}]}
"""
VLANS = """\
uplinks:
  cable: {device: wan1, address: dhcp}
  dsl: {device: isp2, address: dhcp, netdev: {vlan: wan2, id: 7}}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
  guests: {device: lan1.20, address: 192.168.20.1/24, netdev: {vlan: lan1, id: 20}}
"""
UP = {"cable": "up", "dsl": "up"}


def macs(lab: NibLab) -> list[str]:
    """The hardware addresses of the devices that nib made."""

    def read() -> list[str]:
        return [lab.router.read(f"/sys/class/net/isp{n}/address").strip() for n in (1, 2)]

    return eventually(read)


def started(lab: NibLab) -> NibLab:
    """Booted, each provider's DHCP for its customer alone."""
    lab.router.boot()
    for number, mac in enumerate(macs(lab), start=1):
        lab.switch.lease_only_to(f"wan{number}", mac)
    lab.router.run(SETTINGS)
    lab.until(within=30, **UP)
    return lab


def balanced_and_answered(lab: NibLab) -> None:
    for node in (lab.lans[0], lab.router):
        assert set(lab.by_isp(connections(node, 60))) == {"isp1", "isp2"}
    with server(lab.router, tcp=[5000]):
        for isp in lab.isps:
            seen = connections(lab.inet, 40, dst=isp.router_address, port=5000)
            assert seen == {lab.inet.address: 40}
            # each answers for its own address alone: what comes in is known by its device
            isp.run(f"ip neigh flush dev cpe; ping -c 1 -W 2 {isp.router_address}")
            own = lab.router.read(f"/sys/class/net/{isp.name}/address").strip()
            assert own in isp.run(f"ip -4 neigh show {isp.router_address}")


def test_two_leases_on_one_port(routers: Routers) -> None:
    lab = routers(ONE_PORT + FAST, (Isp(), Isp()), shared=["isp1", "isp2"])
    started(lab)
    balanced_and_answered(lab)
    # the port itself is as closed as they are
    port = lab.router.read("/sys/class/net/port0/address").strip()
    one = lab.isps[0]
    one.run(f"ip neigh replace 100.64.1.77 lladdr {port} dev cpe")
    one.run("ip route add 192.168.10.1/32 via 100.64.1.77 dev cpe")
    with server(lab.router, tcp=[8000]):
        assert scan(one, "192.168.10.1", (8000,), timeout=0.5).ports("open") == ()
    lab.isps[0].fail()
    lab.until(cable="down")
    assert lab.by_isp(connections(lab.lans[0], 60)) == {"isp2": 60}
    lab.isps[0].restore()
    lab.until(cable="up")
    before = macs(lab)
    assert len({*before, port}) == 3
    lab.router.reboot()
    lab.until(within=30, **UP)
    assert macs(lab) == before
    lab.router.run(SETTINGS)
    balanced_and_answered(lab)


def test_everything_on_the_only_port(routers: Routers) -> None:
    lab = routers(ONE_ARM + FAST, (Isp(), Isp("static")), shared=["isp1", "isp2", "lan1"])
    started(lab)
    balanced_and_answered(lab)
    lab.isps[1].fail()
    lab.until(dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 60)) == {"isp1": 60}


def test_apply_makes_and_removes_devices(routers: Routers) -> None:
    lab = routers(ONE_ARM + FAST, (Isp(), Isp("static")), shared=["isp1", "isp2", "lan1"])
    started(lab)
    cable, dsl = ONE_ARM.splitlines()[1:3]
    for lines, devices in (((cable,), {"isp1"}), ((cable, dsl), {"isp1", "isp2"})):
        rest = "\n".join(("uplinks:", *lines, *ONE_ARM.splitlines()[3:], ""))
        lab.router.put("/etc/nib/balance.yaml", rest + FAST)
        said = lab.router.attempt("nib apply --yes")
        assert said.code == 0, said.out + said.err
        lab.until(within=20, **dict.fromkeys(lab.plan_names(), "up"))
        there = set(lab.router.run("ls /sys/class/net").split())
        assert there & {"isp1", "isp2"} == devices
    lab.router.run(SETTINGS)
    balanced_and_answered(lab)


def test_networkd_reads_vlans(routers: Routers) -> None:
    """No more than that: the kernel that runs this may have none."""
    lab = routers(VLANS + FAST)
    lab.start(cable="up")
    assert [line for line in lab.complaints() if "/etc/systemd" in line] == []
    # it has tried, with what success is the kernel's affair
    made = lab.router.run("ls /sys/class/net").split()
    for parent, device in (("wan2", "isp2"), ("lan1", "lan1.20")):
        tried = (f"{parent}: Could not create stacked", f"{device}: Failed to create netdev")
        assert device in made or any(line.startswith(tried) for line in lab.complaints())
    # what it says of the kernel is not about files
    lab.router.crash()
