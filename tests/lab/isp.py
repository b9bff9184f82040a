"""Providers: what they hand out, what they drop, and all the ways in which they fail."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lab.errors import LabError, eventually
from lab.node import PLAIN, Holder, Node, Process
from lab.tunnel import line

if TYPE_CHECKING:
    from lab.router import Router
    from lab.switch import Switch

CORE = "10.99"


@dataclass(frozen=True, slots=True)
class Isp:
    """What a provider is like.

    `late` is one whose device the router does not have until `attach` (a modem on USB).  "dialled"
    stands for PPP: a program makes the device and its address, and there is no gateway.

    `delegates`: /56, by DHCPv6 with the lifetime of leases; or, where it hands out nothing, by a
    static route to the router's address.

    `home` is the network ("192.168.1") of a consumer's router in front of the customer: it
    translates what leaves to an address of its own, and passes on what comes.  With `single` a
    lease is one address, and the gateway is outside of it.
    """

    kind: Literal["dhcp", "static", "dialled"] = "dhcp"
    ipv6: Literal["none", "ra", "dhcp", "static"] = "none"
    lease: str = "1h"
    late: bool = False
    home: str = ""
    single: bool = False
    delegates: bool = False


@dataclass(frozen=True, slots=True)
class Spoofed:
    """Packets that came from the router with a source that is not the provider's."""

    ipv4: int
    ipv6: int
    who: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.ipv4 or self.ipv6)


class Provider(Node):
    """A provider in a running lab: `cpe` is its end of the line, `core` leads to the internet."""

    def __init__(self, holder: Holder, number: int, spec: Isp, router: "Router") -> None:
        super().__init__(holder, f"isp{number}")
        self.number = number
        self.spec = spec
        self.device = f"wan{number}" if spec.kind != "dialled" else f"ppp{number}"
        self.attached = not spec.late
        self.mac = f"02:00:00:00:{number:02x}:01"
        self.router_mac = f"02:00:00:00:{number:02x}:02"
        subnet = f"198.51.{100 + number}" if spec.kind == "static" else f"100.64.{number}"
        self._subnet = spec.home or subnet
        self._host = 100 if spec.kind == "dhcp" else 2
        if spec.home and spec.kind == "static":
            self._host = number + 1  # in the same network as another one
        self._gateway = self._server
        self._router = router
        self._dnsmasq: Process | None = None
        self._dialled: Process | None = None
        self._delegating: Process | None = None
        self.switch: Switch | None = None

    # -- addresses

    @property
    def network(self) -> str:
        """The access network, as `100.64.1.0/24`."""
        return f"{self._subnet}.0/24"

    @property
    def gateway(self) -> str:
        """The provider's own address on the access network."""
        return self._gateway

    @property
    def _server(self) -> str:
        """The address that leases are given (and renewed) by."""
        return f"{self._subnet}.1"

    @property
    def router_address(self) -> str:
        """The address that the router has, or will have, here."""
        return f"{self._subnet}.{self._host}"

    @property
    def public(self) -> str:
        """What the internet sees and reaches the customer by, if not the router's own address."""
        return f"{CORE}.{self.number}.1" if self.spec.home else self.router_address

    @property
    def network6(self) -> str:
        """The access network of IPv6."""
        return f"2001:db8:{self.number}::/64"

    @property
    def gateway6(self) -> str:
        """The provider's own IPv6 address; it announces itself as fe80::NUMBER."""
        return f"2001:db8:{self.number}::1"

    @property
    def router_address6(self) -> str:
        """The address of a static router, or its lease; from announcements it makes its own."""
        return f"2001:db8:{self.number}::2"

    @property
    def delegated(self) -> str:
        """The IPv6 network behind the customer's router, if this provider delegates one."""
        return f"2001:db8:{self.number}:100::/56"

    def owns(self, address: str) -> bool:
        """Whether a packet from this address came through this provider."""
        if ":" in address:
            return address.startswith(self.network6.removesuffix(":/64"))
        if self.spec.home:
            return address == self.public
        return address.startswith(f"{self._subnet}.")

    # -- building

    def connect(self, inet: Node) -> None:
        """Make the provider: its way to the internet and what it lets through."""
        # forwarding, and addresses that stay when the line is cut and need not be checked
        self.create((*PLAIN, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))
        near, far = f"{CORE}.{self.number}.1", f"{CORE}.{self.number}.2"
        near6, far6 = f"fd99:{self.number}::1", f"fd99:{self.number}::2"
        self.holder.run(
            f"ip -n {self} link add core type veth peer name {self} netns {inet}\n"
            f"ip -n {self} address add {near}/30 dev core\n"
            f"ip -n {inet} address add {far}/30 dev {self}\n"
            f"ip -n {self} address add {near6}/64 dev core\n"
            f"ip -n {inet} address add {far6}/64 dev {self}\n"
            f"ip -n {self} link set core up\n"
            f"ip -n {inet} link set {self} up\n"
            f"ip -n {self} route add default via {far}\n"
            f"ip -n {self} route add default via {far6}\n"
        )
        self._inet = inet
        if not self.spec.home:
            self._announce(self.network, near)
        own6 = ""
        if self.spec.ipv6 != "none":
            self._announce(self.network6, near6)
            own6 = f"elements = {{ {self.network6} }}"
        if self.spec.delegates:
            self._announce(self.delegated, near6)
            own6 = f"elements = {{ {self.network6}, {self.delegated} }}"
        self._nft(f"""
            table inet lab {{
              counter spoofed4 {{ }}
              counter spoofed6 {{ }}
              counter ipv6 {{ }}
              set own4 {{ type ipv4_addr; flags interval; elements = {{ {self.network} }}; }}
              set own6 {{ type ipv6_addr; flags interval; {own6}; }}
              set who4 {{ type inet_proto . ipv4_addr . ipv4_addr; flags dynamic; size 1024; }}
              set who6 {{ type inet_proto . ipv6_addr . ipv6_addr; flags dynamic; size 1024; }}
              chain fault {{ }}
              chain customer {{
                meta nfproto ipv6 counter name ipv6
                ip saddr != @own4 update @who4 {{ meta l4proto . ip saddr . ip daddr }}
                ip saddr != @own4 counter name spoofed4 drop
                ip6 saddr != @own6 update @who6 {{ meta l4proto . ip6 saddr . ip6 daddr }}
                ip6 saddr != @own6 counter name spoofed6 drop
              }}
              chain forward {{
                type filter hook forward priority 0; policy accept;
                iifname cpe jump customer
                jump fault
              }}
            }}""")

        if self.spec.home:
            self._nft(f"""
                table ip home {{
                  chain out {{
                    type nat hook postrouting priority 100; policy accept;
                    oifname core masquerade
                  }}
                  chain in {{
                    type nat hook prerouting priority -100; policy accept;
                    iifname core dnat to {self.router_address}
                  }}
                }}""")

    def _announce(self, prefix: str, via: str) -> None:
        """Tell the internet that a prefix is here."""
        source = "" if ":" in prefix else "src 203.0.113.10"
        self._inet.run(f"ip route replace {prefix} via {via} {source}")

    def _nft(self, text: str) -> None:
        self.run("nft -f -", stdin=text)

    # -- the line

    def attach(self) -> None:
        """Give the router the device.  It keeps its hardware address, as a modem does."""
        self.attached = True
        if self.spec.kind == "dialled":
            self._dial()
            return
        far = self.switch or self._router
        self.holder.run(
            f"ip -n {far} link add {self.device} address {self.router_mac} "
            f"type veth peer name cpe address {self.mac} netns {self}\n"
            f"for address in {self._server} {self.gateway}; do\n"
            f"  ip -n {self} address replace $address/24 dev cpe\n"
            "done"
        )
        if self.switch:
            self.switch.join(self.device)
        # One link-local address, and one that can be told: it is the gateway of announcements.
        self.run("ip link set cpe addrgenmode none")
        if self.spec.ipv6 != "none":
            self.run(f"ip address add {self.gateway6}/64 dev cpe")
            self.run(f"ip address add fe80::{self.number}/64 dev cpe")
        # Ready before anybody can ask: a question that is not heard is asked again seconds later.
        self._serve()
        self.plug()

    def _dial(self) -> None:
        """As pppd does it: the device, its address, and then it is up."""
        self._dialled = line(self._router, self.device, self, "cpe")
        ends = (
            (self, "cpe", self.gateway, self.router_address, self.gateway6),
            (self._router, self.device, self.router_address, self.gateway, self.router_address6),
        )
        for node, device, own, peer, own6 in ends:
            ip = f"ip -n {node}"
            self.holder.run(f"{ip} link set {device} addrgenmode none")
            self.holder.run(f"{ip} address add {own} peer {peer} dev {device}")
            if self.spec.ipv6 != "none":
                self.holder.run(f"{ip} address add {own6}/64 dev {device} nodad")
            self.holder.run(f"{ip} link set {device} up")

    def lease(self, host: int) -> None:
        """The router's next address here is .HOST."""
        self._host = host

    def redial(self, host: int) -> None:
        """The line ends, and begins again with .HOST for the router's address."""
        self.detach()
        self.lease(host)
        self.attach()

    def detach(self) -> None:
        """Take the device away: the router does not have it any more."""
        self.power_off()
        self.attached = False

    def power_off(self) -> None:
        """The line ends because the router's end is gone."""
        self._stop_serving()
        if self._dialled:
            self._dialled.stop()
        self.run("if ip link show cpe; then ip link delete cpe; fi")

    def rename_device(self, name: str) -> None:
        """Give the router's device another name, as udev does, before anybody configures it.

        With its address it would be asking for a longer lease while networkd still takes it for the
        device of before, and the answer would reach a router that has lost the address.
        """
        self._router.outside(
            f"ip link set {self.device} down && ip link set {self.device} name {name} "
            f"&& ip -4 address flush dev {name} && ip link set {name} up"
        )
        self.device = name

    def unplug(self) -> None:
        """Take the carrier away."""
        self.run("ip link set cpe down")

    def plug(self) -> None:
        """Give the carrier (back)."""
        if self.spec.ipv6 != "none":
            # the one address that does not outlive the loss of its link
            self.run(f"ip address replace fe80::{self.number}/64 dev cpe")
        self.run("ip link set cpe up")
        if self.spec.delegates and self.spec.ipv6 == "static":
            self.run(f"ip route replace {self.delegated} via {self.router_address6} dev cpe")

    # -- leases

    def _serve(self) -> None:
        """Start answering DHCP and announcing the IPv6 network, if this provider does."""
        argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
        argv += ["--port=0", "--interface=cpe", "--bind-dynamic", "--user=root"]
        argv += ["--log-dhcp", "--log-facility=-", "--leasefile-ro", "--dhcp-authoritative"]
        # It would ask for three seconds whether somebody has the address already.
        argv += ["--no-ping"]
        if self.spec.kind == "dhcp":
            only = self.router_address
            argv += [f"--dhcp-range={only},{only},255.255.255.0,{self.spec.lease}"]
            argv += [f"--dhcp-option=option:router,{self.gateway}"]
            if self.spec.single:
                argv += ["--dhcp-option-force=option:netmask,255.255.255.255"]
        if self.spec.ipv6 == "ra":
            prefix = self.network6.removesuffix("/64")
            argv += ["--enable-ra", f"--dhcp-range={prefix},ra-only,64,{self.spec.lease}"]
            argv += ["--ra-param=cpe,mtu:1500,4,1800"]
        if self.spec.ipv6 == "dhcp":
            only = self.router_address6
            argv += ["--enable-ra", f"--dhcp-range={only},{only},64,{self.spec.lease}"]
            argv += ["--ra-param=cpe,mtu:1500,4,1800"]
        if self.spec.kind == "dhcp" or self.spec.ipv6 in ("ra", "dhcp"):
            self._dnsmasq = self.start(*argv)
            eventually(lambda: "started" in self.dhcp_log())
        if self.spec.delegates and self.spec.ipv6 != "static":
            request = {"device": "cpe", "prefix": self.delegated, "preferred": 1800, "valid": 3600}
            self._delegating = self.agent("delegate", request)
            eventually(lambda: self._delegating and self._delegating.out())

    def _stop_serving(self) -> None:
        if self._dnsmasq:
            self._dnsmasq.stop()
            self._dnsmasq = None
        if self._delegating:
            self._delegating.stop()
            self._delegating = None

    def dhcp_log(self) -> str:
        """What the DHCP server has said since it was started."""
        return self._dnsmasq.err() if self._dnsmasq else ""

    def renumber(self, subnet: str, by: Literal["carrier", "reconfigure"] = "carrier") -> None:
        """Move the access network: `subnet` is the first three bytes, as "100.64.77".

        The old lease is not honoured any more and the old gateway is gone.  The router learns it
        because the line was interrupted, or because somebody says `networkctl reconfigure`.  (Not
        by renewing: networkd does not hear the refusal, which is a broadcast.)
        """
        if self.spec.kind != "dhcp":
            raise LabError(f"{self}: a static address does not change by itself")
        old_network, old_address = self.network, self.router_address
        self._stop_serving()
        if by == "carrier":
            self.unplug()
            eventually(lambda: old_address not in self._router.outside("ip -4 address"))
        self._subnet = subnet
        self._gateway = self._server
        self.run(f"ip address add {self._server}/24 dev cpe; ip address flush to {old_network}")
        self._nft(f"add element inet lab own4 {{ {self.network} }}\n")
        self._announce(self.network, f"{CORE}.{self.number}.1")
        self._inet.run(f"ip route del {old_network}")
        self._serve()
        if by == "carrier":
            self.plug()
        else:
            self._router.run(f"networkctl reconfigure {self.device}")
        # Until it knows better the router's old address is no lie.
        eventually(lambda: self.router_address in self._router.outside("ip -4 address"))
        self._nft(f"delete element inet lab own4 {{ {old_network} }}\n")

    def move_gateway(self, last: int) -> None:
        """Make .LAST of the access network the gateway and let the router renew its lease."""
        self._stop_serving()
        self._gateway = f"{self._subnet}.{last}"
        self.run(f"ip address add {self._gateway}/24 dev cpe")
        self._serve()
        self._router.run(f"networkctl renew {self.device}")

    # -- faults without a sign

    def fail(
        self,
        match: str = "",
        *,
        direction: Literal["both", "up", "down"] = "both",
        gateway: bool = False,
    ) -> None:
        """Drop what is forwarded, silently: the carrier stays, and so do leases.

        `match` is an nft expression that says which packets (all, if empty).  With `gateway`, the
        provider's own end goes dumb as well: not even ARP is answered.
        """
        ways = {"up": ("iifname",), "down": ("oifname",), "both": ("iifname", "oifname")}
        rules = [f'add rule inet lab fault {way} "cpe" {match} drop' for way in ways[direction]]
        self._nft("\n".join(rules) + "\n")
        if gateway:
            self._nft("""
                table netdev lab {
                  chain in { type filter hook ingress device "cpe" priority 0; policy drop; }
                  chain out { type filter hook egress device "cpe" priority 0; policy drop; }
                }""")

    def lose(self, percent: float) -> None:
        """Drop this share of the packets of each direction, at random."""
        limit = round(percent * 100)
        self._nft(f"add rule inet lab fault numgen random mod 10000 < {limit} drop\n")

    def narrow(self, *, down: str = "", up: str = "", queue: str = "64kb") -> None:
        """Carry so much and no more, as tc writes it ("2mbit"), behind a queue of this length.

        What the queue has no room for is lost.  A direction that is not named is as wide as ever.
        """
        for device, rate in (("cpe", down), ("core", up)):
            self.run(f"tc qdisc delete dev {device} root || true")
            if rate:
                bucket = f"rate {rate} burst 5kb limit {queue}"
                self.run(f"tc qdisc add dev {device} root tbf {bucket}")

    def restore(self) -> None:
        """End `fail` and `lose`."""
        self._nft("flush chain inet lab fault\ntable netdev lab\ndelete table netdev lab\n")

    @contextmanager
    def exposed(self, prefix: str) -> Iterator[None]:
        """Route a prefix behind the router from the internet to it, as no provider should."""
        self._announce(prefix, f"{CORE}.{self.number}.1")
        self.run(f"ip route replace {prefix} via {self.router_address} dev cpe")
        # Answers are to be seen, too: for once that source is not a false one.
        self._nft(f"add element inet lab own4 {{ {prefix} }}\n")
        try:
            yield
        finally:
            self._nft(f"delete element inet lab own4 {{ {prefix} }}\n")
            self.run(f"ip route delete {prefix}")
            self._inet.run(f"ip route delete {prefix}")

    # -- what it saw

    @property
    def spoofed(self) -> Spoofed:
        """The packets that did not come from an address of this provider's."""
        who = [*self._elements("who4"), *self._elements("who6")]
        return Spoofed(self._counter("spoofed4"), self._counter("spoofed6"), tuple(who))

    @property
    def ipv6_packets(self) -> int:
        """All IPv6 packets that the router sent towards the internet here."""
        return self._counter("ipv6")

    def _counter(self, name: str) -> int:
        found = re.search(r"packets (\d+)", self.run(f"nft list counter inet lab {name}"))
        return int(found[1]) if found else 0

    def _elements(self, name: str) -> list[str]:
        listed = json.loads(self.run(f"nft -j list set inet lab {name}"))["nftables"][1]["set"]
        elements = [
            element["elem"]["val"] if "elem" in element else element
            for element in listed.get("elem", ())
        ]
        return ["{} {} > {}".format(*element["concat"]) for element in elements]
