"""A switch: several providers, or LANs too, on one port of the router."""

from lab.node import Holder, Node
from lab.router import Router


class Switch(Node):
    """Forwards every frame; the router's end is called `device`."""

    device = "port0"

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder, "switch")
        self._customers: dict[str, str] = {}

    def build(self) -> None:
        """Make it, with no cable in it yet."""
        self.create()
        self.run("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")

    def attach(self, router: Router) -> None:
        """Plug the router in."""
        self.holder.run(
            f"ip -n {router} link add {self.device} address 02:00:00:02:00:02 "
            f"type veth peer name router netns {self}"
        )
        self.join("router")

    def power_off(self) -> None:
        """The cable to the router ends because its other end is gone."""
        self.run("if ip link show router; then ip link delete router; fi")

    def join(self, end: str) -> None:
        """Make this end of a cable a port."""
        self.run(f"ip link set {end} master br0 && ip link set {end} up")
        self._filter(end)

    def tag(self, end: str, vlan: int) -> None:
        """Make this end of a cable a VLAN of its own, whose frames the router gets tagged."""
        self.run(
            f"ip link set br0 type bridge vlan_filtering 1 && bridge vlan del dev {end} vid 1 && "
            f"bridge vlan add dev {end} vid {vlan} pvid untagged && "
            f"bridge vlan add dev router vid {vlan}"
        )
        # what `lease_only_to` is for, the tags do
        self.run(f"nft delete table netdev {end}")

    def lease_only_to(self, end: str, mac: str) -> None:
        """Of DHCP, whoever is at this end hears that hardware address alone (at first nobody).

        So do providers that know their customers, and nothing else would keep two of them apart.
        """
        self._customers[end] = mac
        self._filter(end)

    def _filter(self, end: str) -> None:
        mac = self._customers.get(end, "00:00:00:00:00:00")
        self.run(
            "nft -f -",
            stdin=f"""
            table netdev {end}
            delete table netdev {end}
            table netdev {end} {{
              chain out {{
                type filter hook egress device "{end}" priority 0;
                udp dport 67 ether saddr != {mac} drop
              }}
            }}
            """,
        )
