"""Who lives at the ends: the internet, and the clients on the LANs."""

import json
from pathlib import Path

from lab.node import Holder, Node
from lab.router import Router
from lab.switch import Switch

INTERNET = "203.0.113.10"
INTERNET6 = "2001:db8:ffff::10"

# More hosts out there to talk to and to ask whether the world is still there.
TARGETS = ("203.0.113.53", "203.0.113.54", "203.0.113.55")
PUBLIC = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
PUBLIC6 = ("2606:4700:4700::1111", "2620:fe::fe", "2001:4860:4860::8888")

TELL_LEASE = Path(__file__).with_name("tell-lease")

TCP_PORT = 8080
UDP_PORT = 8081


class Internet(Node):
    """The rest of the world: every address of it tells whom it sees."""

    address = INTERNET
    address6 = INTERNET6
    addresses = (INTERNET, "203.0.113.11", *TARGETS, *PUBLIC)

    def build(self) -> None:
        """Make the world."""
        self.create(("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))
        for address in (*self.addresses, INTERNET6, *PUBLIC6):
            self.run(f"ip address add {address} dev lo")


class Lan(Node):
    """A LAN with one client; the second address is a second client for what counts sources."""

    def __init__(self, holder: Holder, number: int) -> None:
        super().__init__(holder, f"lan{number}")
        self.number = number
        self.device = f"lan{number}"
        self.mac = f"02:00:00:01:{number:02x}:01"
        self.router_mac = f"02:00:00:01:{number:02x}:02"
        self._subnet = f"192.168.{10 * number}"
        self._subnet6 = f"fd00:{10 * number}:"
        self.switch: Switch | None = None

    @property
    def network(self) -> str:
        """The LAN, as `192.168.10.0/24`."""
        return f"{self._subnet}.0/24"

    @property
    def address(self) -> str:
        """The client's first address."""
        return f"{self._subnet}.10"

    @property
    def router_address(self) -> str:
        """The address that the router should have."""
        return f"{self._subnet}.1"

    @property
    def address6(self) -> str:
        """The client's IPv6 address, if `use_ipv6` was called."""
        return f"{self._subnet6}:10"

    @property
    def router_address6(self) -> str:
        """The IPv6 address that the router should have."""
        return f"{self._subnet6}:1"

    def build(self) -> None:
        """Make the client."""
        self.create()

    def attach(self, router: Router) -> None:
        """Plug the client in; it has its address and its default route at once."""
        far = self.switch or router
        self.holder.run(
            f"ip -n {far} link add {self.device} address {self.router_mac} "
            f"type veth peer name eth0 address {self.mac} netns {self}\n"
            f"ip -n {self} address add {self.address}/24 dev eth0; ip -n {self} link set eth0 up\n"
            f"ip -n {self} route add default via {self.router_address}"
        )
        if self.switch:
            self.switch.join(self.device)

    def power_off(self) -> None:
        """The cable ends because the router's end is gone."""
        self.run("ip link delete eth0")

    def add_address(self, last: int) -> str:
        """Give the client one more address of the LAN: .LAST."""
        address = f"{self._subnet}.{last}"
        self.run(f"ip address add {address}/24 dev eth0")
        return address

    def lease(self) -> dict[str, str]:
        """Give up the client's own address and ask for one, as any machine does; what was told.

        Its keys are those of udhcpc: `ip`, `mask`, `router`, `dns`, `lease` and the like.
        """
        self.run("ip address flush dev eth0")
        said = self.run(f"busybox udhcpc -i eth0 -f -n -q -t 10 -T 1 -s {TELL_LEASE}")
        told = dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)
        self.run(f"ip address add {told['ip']}/{told['mask']} dev eth0")
        self.run(f"ip route add default via {told['router']}")
        return told

    def use_ipv6(self) -> str:
        """Give the client a static IPv6 address and a default route; the address."""
        self.run(f"ip address add {self.address6}/64 dev eth0")
        self.run(f"ip route add default via {self.router_address6}")
        return self.address6

    def addresses6(self) -> dict[str, bool]:
        """The client's IPv6 addresses that reach beyond the LAN, and whether to prefer each."""
        entries = json.loads(self.run("ip -6 -j address show dev eth0 scope global -tentative"))
        return {
            info["local"]: not info.get("deprecated", False)
            for entry in entries
            for info in entry.get("addr_info", ())
            if info
        }

    def announced(self) -> str:
        """The IPv6 address that the client has made of what the router announces, or nothing."""
        entries = json.loads(self.run("ip -6 -j address show dev eth0 scope global -tentative"))
        found = [i["local"] for entry in entries for i in entry.get("addr_info", ()) if i]
        routes = self.run("ip -6 route show default")
        return found[0] if found and "proto ra" in routes else ""
