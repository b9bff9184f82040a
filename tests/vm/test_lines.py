"""A line that another program makes: PPPoE, as it really is."""

import pytest

from lab.isp import Provider
from lab.node import Process
from vm.world import World

pytestmark = [pytest.mark.lab, pytest.mark.vm]

# docs/uplinks.md shows these two: without an address of its own the port must still be up.
PORT = """\
[Match]
Name=port1

[Network]
LinkLocalAddressing=no
"""
PEER = """\
plugin pppoe.so
nic-port1
user "nib"
ifname ppp0
mtu 1492
mru 1492
noauth
nodefaultroute
persist
maxfail 0
holdoff 1
lcp-echo-interval 2
lcp-echo-failure 3
"""
SERVER = "require-chap\nlcp-echo-interval 2\nlcp-echo-failure 3\nifname cpe\nnoccp\nnoipv6\n"


def concentrator(isp: Provider, host: int) -> Process:
    """The provider's end: it gives the router .HOST."""
    isp.lease(host)
    return isp.start(
        *("pppoe-server", "-F", "-k", "-I", "wire", "-C", "isp", "-N", "1"),
        *("-L", isp.gateway, "-R", isp.router_address, "-O", "/etc/ppp/concentrator"),
    )


def hang_up(isp: Provider, server: Process) -> None:
    """The provider ends the session; the lab's processes are all that it can see."""
    server.stop()
    isp.attempt("pkill pppd")


def test_pppoe_is_dialled_and_redialled(lab: World) -> None:
    router, isp, home = lab.router, lab.isps[3], lab.lans[0]
    router.put("/etc/systemd/network/port1.network", PORT)
    router.put("/etc/ppp/concentrator", SERVER)
    router.put("/etc/ppp/peers/dsl", PEER)
    router.put("/etc/ppp/chap-secrets", '"nib" * "secret" *\n', 0o600)
    # where Debian's server looks for what Debian's pppd has elsewhere
    router.run("mkdir /etc/ppp/plugins && ln -s /usr/lib/pppd/*/rp-pppoe.so /etc/ppp/plugins")
    router.run("networkctl reload")
    lab.holder.run(f"ip -n {router} link add port1 type veth peer name wire netns {isp}")
    isp.run("ip link set wire up")
    server = concentrator(isp, 2)
    # pppd(8): 5 is how it ends when it is told to
    unit = "--unit=pppd-dsl --property=Type=exec --property=SuccessExitStatus=5"
    router.run(f"systemd-run {unit} pppd call dsl nodetach")
    lab.until(within=90, phone="up")
    first = int(router.read("/sys/class/net/ppp0/ifindex"))
    for node in (home, router):
        assert "isp4" in lab.shares(node, 60, "udp")
    # silence: the session is there, and nothing comes
    isp.fail()
    lab.until(within=90, phone="down")
    assert "isp4" not in lab.shares(home, 40)
    isp.restore()
    lab.until(within=90, phone="up")
    # the provider ends the session, and gives another address in the next
    hang_up(isp, server)
    lab.until(within=90, phone="down")
    assert "isp4" not in lab.shares(home, 40)
    server = concentrator(isp, 77)
    lab.until(within=90, phone="up")
    assert lab.status()["phone"]["address"] == "100.64.4.77"
    assert int(router.read("/sys/class/net/ppp0/ifindex")) != first
    for node in (home, router):
        assert "isp4" in lab.shares(node, 60, "udp")
    router.run("systemctl stop pppd-dsl")
    hang_up(isp, server)
    lab.until(within=90, phone="down")
