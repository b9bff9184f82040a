"""Lines that other programs make, PPPoE and WireGuard, as they really are."""

import pytest

from lab.errors import eventually
from lab.isp import Provider
from lab.node import Node, Process
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
    lab.until(phone="up")
    first = int(router.read("/sys/class/net/ppp0/ifindex"))
    for node in (home, router):
        assert "isp4" in lab.shares(node, 60, "udp")
    # silence: the session is there, and nothing comes
    isp.fail()
    lab.until(phone="down")
    assert "isp4" not in lab.shares(home, 40)
    isp.restore()
    lab.until(phone="up")
    # the provider ends the session, and gives another address in the next
    hang_up(isp, server)
    lab.until(phone="down")
    assert "isp4" not in lab.shares(home, 40)
    server = concentrator(isp, 77)
    lab.until(phone="up")
    assert lab.status()["phone"]["address"] == "100.64.4.77"
    assert int(router.read("/sys/class/net/ppp0/ifindex")) != first
    for node in (home, router):
        assert "isp4" in lab.shares(node, 60, "udp")
    router.run("systemctl stop pppd-dsl")
    hang_up(isp, server)
    lab.until(phone="down")


KEYS = (
    "umask 77; cd /etc/wireguard; for k in router server traveller; "
    "do wg genkey >$k; wg pubkey <$k >$k.pub; done"
)
SERVER_WG = (
    "ip link add wg0 type wireguard && wg set wg0 listen-port 51820 private-key "
    "/etc/wireguard/server peer $(cat /etc/wireguard/router.pub) allowed-ips 10.9.1.2/32 && "
    "ip address add 10.9.1.1/24 dev wg0 && ip link set wg0 up"
)
# what goes through the tunnel, says a rule of balance.yaml
FAR = "203.0.113.11"


def conf(lab: World) -> str:
    """What wg-quick reads."""
    own, server = (lab.router.read(f"/etc/wireguard/{k}").strip() for k in ("router", "server.pub"))
    return (
        f"[Interface]\nPrivateKey = {own}\nAddress = 10.9.1.2/24\nTable = off\n\n[Peer]\n"
        f"PublicKey = {server}\nEndpoint = 203.0.113.10:51820\nAllowedIPs = 0.0.0.0/0\n"
        "PersistentKeepalive = 5\n"
    )


def traveller(lab: World) -> Node:
    """A client of the router's own WireGuard server, far away."""
    node = lab.guest("traveller", "198.18.1")
    lab.router.run(
        "ip link add wg1 type wireguard && wg set wg1 listen-port 51821 private-key "
        "/etc/wireguard/router peer $(cat /etc/wireguard/traveller.pub) allowed-ips 10.8.0.2/32 && "
        "ip address add 10.8.0.1/24 dev wg1 && ip link set wg1 up"
    )
    node.run(
        "ip link add wg0 type wireguard && ip address add 10.8.0.2/24 dev wg0 && wg set wg0 "
        "private-key /etc/wireguard/traveller peer $(cat /etc/wireguard/router.pub) "
        f"allowed-ips 0.0.0.0/0 endpoint {lab.isps[0].router_address}:51821 && ip link set wg0 up "
        "&& ip route add 100.64.0.0/16 via 198.18.1.1 "
        "&& ip route add 198.51.0.0/16 via 198.18.1.1 && ip route replace default dev wg0"
    )
    return node


def outside(lab: World) -> Provider | None:
    """The provider that the tunnel's own packets come through, as its server sees them."""
    seen = lab.inet.run("wg show wg0 endpoints").split()[1]
    return lab.isp_of(seen.rpartition(":")[0])


def test_wireguard_is_an_uplink_and_a_lan(lab: World) -> None:
    home = lab.lans[0]
    lab.router.run(KEYS)
    lab.inet.run(SERVER_WG)
    lab.router.put("/etc/wireguard/wg0.conf", conf(lab), 0o600)
    lab.router.run("wg-quick up wg0")
    lab.until(tunnel="up")
    assert outside(lab) is lab.isps[0]
    for node in (home, lab.router):
        assert set(lab.shares(node, 20, dst=FAR)) == {"10.9.1.2"}
    # by either provider: the answers leave by the one that was asked
    node = traveller(lab)
    for isp in lab.isps[:2]:
        node.run(
            f"wg set wg0 peer $(cat /etc/wireguard/router.pub) endpoint {isp.router_address}:51821"
        )
        assert set(lab.shares(node, 100)) == {"isp1", "isp2", "isp3"}
        assert set(lab.shares(node, 10, dst=FAR)) == {"10.9.1.2"}
    # its provider dies, and the tunnel goes on by the other
    lab.isps[0].fail()
    lab.until(cable="down")
    # at first its own probes are lost as well
    eventually(lambda: outside(lab) is lab.isps[1])
    lab.until_all_by({"10.9.1.2"}, home, 20, dst=FAR)
    lab.until(tunnel="up")
    lab.isps[0].restore()
    lab.router.run("wg-quick down wg0; ip link delete wg1")
    lab.until(cable="up", tunnel="down")
