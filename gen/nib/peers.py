"""What other software on the same router uses of the mark, the routing tables and the priorities.

The numbers are defaults from their sources or documentation.  Docker is not among them: of itself
it marks nothing outside the namespaces of its containers.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """`bits` of the packet mark, numbers of routing `tables` and `priorities` of ip rules."""

    name: str
    bits: int = 0
    tables: Collection[int] = ()
    priorities: Collection[int] = ()


PEERS = (
    # mwan3: `mmx_mask` in /etc/config/mwan3; tables 1.., rules 1000+id, 2000+id, 3000+id.
    Peer("mwan3", 0x0000_3F00, range(1, 251), range(1001, 3255)),
    # pbr: `fw_mask` and `uplink_ip_rules_priority` in /etc/config/pbr; one rule an interface, from
    # there down.  That is where nib's begin, but pbr runs on OpenWrt alone, and nib does not.
    Peer("pbr", 0x00FF_0000, priorities=range(29990, 30001)),
    # PolyWAN: SPEC.md 4.2, the field of the mark, the tables and the rules.
    Peer("PolyWAN", 0x00FF_0000, range(1000, 1192), range(1000, 1700)),
    # Tailscale: tsconst/linuxfw.go (TailscaleFwmarkMask), wgengine/router (table 52, rules 5210..).
    Peer("Tailscale", 0x00FF_0000, (52,), range(5210, 5271)),
    # NetBird: util/net (control plane 0x1BD00, data plane 0x1BD10 to 0x1BDFF), systemops_linux.go
    # (NetbirdVPNTableID 0x1BD0, rules 100 to 110).
    Peer("NetBird", 0x0001_BDFF, (0x1BD0,), range(100, 111)),
    # wg-quick: wg-quick(8) and its source, the mark and the table 51820 (0xca6c).  Its rules take
    # the number below the lowest there is, whatever that is.
    Peer("wg-quick", 0x0000_CA6C, (51820,)),
    # Kubernetes: kube-proxy, `masqueradeBit` 14 (0x4000) and the drop mark 0x8000.
    Peer("Kubernetes", 0x0000_C000),
    # Calico: Felix's `IptablesMarkMask`, `RouteTableRanges` and `WireguardRoutingRulePriority`.
    Peer("Calico", 0xFFFF_0000, range(1, 251), (99,)),
    # Cilium: linux_defaults.go, the magic marks in 0x0f00 and the identity in all other bits;
    # tables 200, 202, 2004 and 2005, rules 1 to 112.
    Peer("Cilium", 0xFFFF_FFFF, (200, 202, 2004, 2005), range(1, 113)),
)
