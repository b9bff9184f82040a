"""The world around a router that is this very machine."""

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lab.errors import LabError, eventually
from lab.hosts import INTERNET
from lab.isp import Isp
from lab.node import Done, Holder, Node
from lab.router import ENVIRONMENT, Router
from lab.traffic import Protocol, connections
from nib_lab import NibLab
from vm.fork import ForkingHolder

# A machine with four ports: two providers as most people have them, a switch that tags the frames
# of a third one and of the guests, and one that is dialled.  Beside them a tunnel for one address
# of the internet, and a VPN server.  Time passes for nothing in there and work does not: probes are
# rarer than elsewhere in tests.
BALANCE = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl: {device: wan2, address: 198.51.102.2/24, gateway: 198.51.102.1}
  fiber:
    device: fiber
    address: dhcp
    weight: 2
    netdev: {vlan: port0, id: 30}
    probe:
      interval: 150ms
      rtt: {down: 450ms, up: 300ms}
      jitter: {down: 120ms, up: 90ms}
      loss: {down: 20%, up: 10%}
  phone: {device: ppp0, address: external, mtu: 1492}
  tunnel: {device: wg0, address: external, weight: 0}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
  guests: {device: guests, address: 192.168.20.1/24, netdev: {vlan: port0, id: 20}}
  things: {device: things, address: 192.168.30.1/24, netdev: {macvlan: lan1}}
  travellers: {device: wg1, address: external}
policies:
  outside: {tiers: [[cable], [dsl]], when_down: block}
rules:
  - {match: {protocol: udp, destination: 203.0.113.10, dport: 51820}, use: outside}
  - {match: {destination: 203.0.113.11}, use: tunnel}
firewall:
  allow:
    - {protocol: udp, port: 51821}
probe: {interval: 300ms, timeout: 800ms, fall: 3, rise: 3, damping: 0s, canary: 0s}
"""
NAMES = {"isp1": "cable", "isp2": "dsl", "isp3": "fiber"}
# The fourth is dialled, when a test does it.
ISPS = (Isp(), Isp("static"), Isp(), Isp("dialled", late=True))


class Computer(Router):
    """This machine, whose first process is systemd.  It was switched on a moment ago."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder, ())
        self._leader = 1
        # the network that the lab calls the router is the one that this process is in
        self.holder.run(
            f"touch /run/netns/{self} && mount --bind /proc/self/ns/net /run/netns/{self}"
        )

    def attempt(self, command: str, *, stdin: str = "", timeout: float = 60) -> Done:
        """Run a shell command in the system, which is this one."""
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=dict(setting.split("=", 1) for setting in ENVIRONMENT),
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def read(self, path: str) -> str:
        """The text of a file."""
        try:
            return Path(path).read_text()
        except OSError as problem:
            raise LabError(str(problem)) from problem

    def boot(self, enable: Iterable[str] = (), within: float = 60) -> float:
        """Plug everything in, and let the boot go on that has waited for it."""
        self.plug()
        subprocess.run(["systemd-notify", "--ready"], check=True)
        state = "systemctl is-system-running"
        eventually(lambda: self.attempt(state).out.strip() in {"running", "degraded"}, within)
        return float(self.read("/proc/uptime").split()[0])


class World(NibLab):
    """Providers, an internet and LANs in network namespaces of the machine that is the router."""

    def __init__(self, suite: str) -> None:
        super().__init__(suite, BALANCE, ISPS, lans=2, shared={"isp3", "lan2"})
        self.router.boot()
        self.until(**dict.fromkeys(NAMES.values(), "up"))

    def _make_holder(self) -> Holder:
        return ForkingHolder()

    def _make_router(self, nib: bool) -> Router:
        return Computer(self.holder)

    def _plug(self) -> None:
        super()._plug()
        self.switch.tag(self.isps[2].device, 30)
        self.switch.tag(self.lans[1].device, 20)

    def configure(self, config: str) -> None:
        """The machine was switched on with it, compiled already."""

    def until(self, within: float = 30, family: int = 4, **health: str) -> None:
        """As elsewhere, only that with rarer probes it may take longer."""
        super().until(within, family, **health)

    def mend(self) -> None:
        """Whatever a test did to the lines that are always there: they are well."""
        for isp in self.isps[:3]:
            isp.restore()
            isp.plug()
        self.until(**dict.fromkeys(NAMES.values(), "up"))

    def guest(self, name: str, network: str) -> Node:
        """A machine somewhere in the internet, at .2 of a network ("198.18.1") of its own."""
        node = Node(self.holder, name)
        node.create()
        self.inet.run(
            f"ip link add {name} type veth peer name eth0 netns {name} && "
            f"ip address add {network}.1/24 dev {name} && ip link set {name} up"
        )
        node.run(
            f"ip address add {network}.2/24 dev eth0 && ip link set eth0 up && "
            f"ip route add default via {network}.1"
        )
        return node

    def shares(
        self, node: Node, n: int, proto: Protocol = "tcp", dst: str = INTERNET
    ) -> Counter[str]:
        """Fresh connections by provider ("isp1"): few at a time, for the machine is small."""
        return self.by_isp(connections(node, n, proto, dst=dst, concurrency=12, timeout=10))

    def until_all_by(
        self, names: set[str], node: Node, n: int, proto: Protocol = "tcp", dst: str = INTERNET
    ) -> None:
        """Wait until fresh connections take these ways, and all of them arrive.

        What was on its way at the change may be lost, and one that waits for it delays all others.
        """

        def shares() -> Counter[str]:
            seen = self.shares(node, n, proto, dst)
            assert set(seen) == names, seen
            return seen

        eventually(shares, within=60)
