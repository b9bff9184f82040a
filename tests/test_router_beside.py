"""Other firewalls and what brings bridges of its own, beside nib: each keeps what is its own.

firewalld, foomuuri and Docker are Debian's; of NixOS and libvirt `beside/` has the rules.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET6
from lab.image import FURTHER
from lab.node import Node
from lab.traffic import connections, flow, scan, server
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

EVEN = {"isp1", "isp2"}
OFF = DUAL.replace(", weight: 3", "") + FAST + "firewall: off\n"


def kept(name: str) -> str:
    """A file of `beside/`."""
    return (Path(__file__).parent / "beside" / name).read_text()


# -- firewall: off, beside one that filters


@dataclass(frozen=True, slots=True)
class Firewall:
    """One that lets the lan out and ssh in; `disturb` are the ways in which it starts anew.

    `further` names its packages, if there are any.  Those of `flush` take nib's table along.
    """

    further: str
    setup: str
    disturb: tuple[str, ...]
    flush: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    suites: Collection[str] = ("bookworm", "trixie")


UNIT = """\
[Unit]
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target
After=local-fs.target systemd-modules-load.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/etc/firewall
ExecReload=/etc/firewall
[Install]
WantedBy=sysinit.target
"""

FIREWALLS = {
    "firewalld": Firewall(
        "firewalld",
        "firewall-offline-cmd --zone=public --add-interface=wan1;"
        "firewall-offline-cmd --zone=public --add-interface=wan2;"
        "firewall-offline-cmd --zone=trusted --add-interface=lan1",
        ("firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"),
    ),
    "foomuuri": Firewall(
        "foomuuri",
        "systemctl enable foomuuri",
        ("foomuuri reload", "systemctl restart foomuuri"),
        files={"/etc/foomuuri/foomuuri.conf": kept("foomuuri.conf")},
        suites=("trixie",),
    ),
    "nixos, nftables": Firewall(
        "",
        "systemctl enable nftables",
        ("systemctl reload nftables",),
        flush=("systemctl restart nftables",),
        files={"/etc/nftables.conf": kept("nixos.nft")},
        suites=("trixie",),
    ),
    "nixos, iptables": Firewall(
        "iptables",
        "chmod +x /etc/firewall; systemctl enable firewall",
        ("systemctl reload firewall", "systemctl restart firewall"),
        files={
            "/etc/firewall": kept("nixos-iptables"),
            "/etc/systemd/system/firewall.service": UNIT,
        },
        suites=("trixie",),
    ),
}


def of_others(lab: NibLab) -> str:
    """Every table but nib's, as the kernel has it."""
    tables = lab.router.run("nft list tables").splitlines()
    theirs = [table for table in tables if not table.startswith("table inet nib")]
    assert theirs
    return "".join(lab.router.run(f"nft -s list {table}") for table in theirs)


def balanced(lab: NibLab, *nodes: Node, to: Collection[str] = EVEN) -> bool:
    """Whether new connections of all of them leave by these providers, and by each of these."""
    for node in nodes:
        assert set(lab.by_isp(connections(node, 60))) == set(to), node
    return True


def leave_alone(lab: NibLab, other_config: str) -> None:
    """Whatever is done with nib, nothing of the others changes."""
    before = of_others(lab)
    lab.router.put("/etc/nib/balance.yaml", other_config)
    for command in (
        "systemctl reload nib-nftables",
        "nib apply --yes",
        "networkctl reload",
        "systemctl restart nib-monitor",
        "systemctl stop nib-nftables",
        "systemctl start nib-nftables nib-monitor",
    ):
        lab.router.run(command)
        assert of_others(lab) == before, command
    lab.until(cable="up", dsl="up")


@pytest.mark.parametrize("name", FIREWALLS)
def test_without_a_firewall_of_its_own(routers: Routers, suite: str, name: str) -> None:
    """Another one filters; nib balances, marks and translates, both families."""
    firewall = FIREWALLS[name]
    if suite not in firewall.suites:
        pytest.skip(f"{name} is not tried in {suite}")
    packages = FURTHER[firewall.further][suite] if firewall.further else ()
    lab = routers(OFF, DUAL_ISPS, packages=packages, files=firewall.files)
    lab.router.run(firewall.setup)
    lab.start()
    lab.until(family=6, cable="up", dsl="up")
    client = lab.lans[0]
    eventually(client.announced)

    def carries(to: Collection[str] = EVEN) -> bool:
        balanced(lab, client, lab.router, to=to)
        assert set(lab.by_isp(connections(client, 60, dst=INTERNET6))) == set(to)
        return True

    carries()
    # the other filters, and what it lets in is answered by the uplink that it came in by
    with server(lab.router, tcp=[22, 5000]):
        for isp in lab.isps:
            found = scan(lab.inet, isp.router_address, (22, 5000), timeout=0.5)
            assert found.ports("open") == ("tcp/22",)
    before = lab.listing()
    for command in firewall.disturb + firewall.flush:
        going = flow(client)
        lab.router.run(command)
        lab.settled(before, within=3)
        carries()
        # nothing translates for a moment where nib's table was flushed: a connection may end
        assert not going.stop().resets or command in firewall.flush, command
    leave_alone(lab, OFF.replace("device: wan2", "device: wan2\n    weight: 2"))
    lab.isps[0].fail()
    lab.until(cable="down")
    lab.until(family=6, cable="down")
    carries({"isp2"})


# -- Docker and libvirt: bridges, and rules about them

BRIDGES = """\
  containers: {device: docker0, address: external}
  guests: {device: virbr0, address: external}
"""
# Published ports are Docker's business; the chain is there for such rules.
PUBLISHED = 'add rule inet nib user_forward oifname "docker0" ct status dnat accept\n'


def machine(lab: NibLab, name: str, bridge: str, network: str, last: int) -> Node:
    """A guest on a bridge of the router's."""
    node = Node(lab.holder, name)
    node.create()
    lab.holder.run(
        f"ip -n {lab.router} link add veth-{name} master {bridge} type veth peer name eth0 "
        f"netns {node}\n"
        f"ip -n {lab.router} link set veth-{name} up\n"
        f"ip -n {node} address add {network}.{last}/24 dev eth0; ip -n {node} link set eth0 up\n"
        f"ip -n {node} route add default via {network}.1"
    )
    return node


# An image of one program, and a container of it that publishes a port.
CONTAINER = """\
systemctl start docker
mkdir -p /tmp/image/bin
cp "$(command -v busybox)" /tmp/image/bin/
tar -C /tmp/image -c . | docker import - image
docker run --detach --publish 8088:80 image /bin/busybox sleep 86399
"""
# What Docker does if it switches forwarding on, and what its user does about it.
DROPS = """\
iptables -w -P FORWARD DROP
iptables -w -I DOCKER-USER ! -i docker0 ! -o docker0 -j ACCEPT
"""


def container_of_docker(lab: NibLab) -> Node:
    """A container that Docker has made, as a node."""
    lab.router.run("set -e\n" + CONTAINER)
    node = Node(lab.holder, "container")
    lab.holder.run(f"ip netns attach {node} $(pgrep -xf '/bin/busybox sleep 86399')")
    return node


def with_bridges(
    routers: Routers, suite: str, config: str, **files: str
) -> tuple[NibLab, Node, Node]:
    files["/etc/docker/daemon.json"] = '{"storage-driver": "vfs"}'
    lab = routers(config, packages=FURTHER["docker"][suite], files=files)
    lab.router.run("systemctl disable docker.service docker.socket containerd")
    lab.start()
    container = container_of_docker(lab)
    # nib came first, so Docker forbids nobody else to forward; now as if it had been first
    assert "-P FORWARD ACCEPT" in lab.router.run("iptables -S FORWARD")
    lab.router.run(DROPS + kept("libvirt"))
    return lab, container, machine(lab, "guest", "virbr0", "192.168.122", 2)


def test_containers_and_guests_are_lans(routers: Routers, suite: str) -> None:
    config = HOME.replace(", weight: 3", "") + BRIDGES + FAST
    lab, container, guest = with_bridges(
        routers, suite, config, **{"/etc/nib/nft.d/docker.nft": PUBLISHED}
    )
    client = lab.lans[0]
    everybody = (client, container, guest, lab.router)
    eventually(lambda: balanced(lab, *everybody))
    with server(container, tcp=[80]):
        for isp in lab.isps:
            # by another uplink the answer would have a false source, and the provider drops it
            to = {"dst": isp.router_address, "port": 8088}
            assert connections(lab.inet, 20, **to)[lab.inet.address] == 20
            assert connections(client, 20, **to)[client.address] == 20
        lab.isps[0].fail()
        lab.until(cable="down")
        balanced(lab, *everybody, to={"isp2"})
        to = {"dst": lab.isps[1].router_address, "port": 8088}
        assert connections(lab.inet, 20, **to)[lab.inet.address] == 20
    lab.isps[0].restore()
    lab.until(cable="up")
    links = "ip -o link show type bridge; ip -o -4 address show | grep -E 'docker0|virbr0'"
    bridges = lab.router.run(links)
    leave_alone(lab, config.replace("device: wan2", "device: wan2, weight: 2"))
    assert lab.router.run(links) == bridges
    balanced(lab, *everybody)


def test_bridges_without_a_name_are_left_alone(routers: Routers, suite: str) -> None:
    """They reach the router and each other, but nothing of nib's: that is refused at once."""
    config = HOME.replace(", weight: 3", "") + FAST
    lab, container, guest = with_bridges(routers, suite, config)
    container.run("ping -c 1 -W 1 172.17.0.1")
    guest.run("ping -c 1 -W 1 192.168.122.1")
    assert not set(lab.by_isp(connections(guest, 10, timeout=0.5))) & EVEN
    balanced(lab, lab.lans[0], lab.router)
    leave_alone(lab, config.replace("device: wan2", "device: wan2, weight: 2"))
    said = lab.router.run("networkctl --no-pager --no-legend list docker0 virbr0")
    assert said.count("unmanaged") == 2


def test_with_the_firewall_off_published_ports_need_nothing(routers: Routers, suite: str) -> None:
    config = HOME.replace(", weight: 3", "") + BRIDGES + FAST + "firewall: off\n"
    lab, container, guest = with_bridges(routers, suite, config)
    eventually(lambda: balanced(lab, lab.lans[0], container, guest))
    with server(container, tcp=[80]):
        for isp in lab.isps:
            seen = connections(lab.inet, 20, dst=isp.router_address, port=8088)
            assert seen[lab.inet.address] == 20
