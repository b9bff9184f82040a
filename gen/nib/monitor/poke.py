"""TCP connections whose uplink is dead, and whose clients wait for data that will never come.

A client that sends nothing meets no rule of the table, so it is asked something: a segment as if
from the server, outside of any window and with an old time stamp, which every TCP must answer with
an ACK (RFC 9293, 3.10.7.4; RFC 7323, 5.3).  That answer meets the rule that resets the connection.
There is a byte in it because Linux since 6.14, and the BSDs, take no notice of an old bare ACK.
"""

import contextlib
import socket
import struct
from collections.abc import Collection
from ipaddress import ip_address

from nib.families import Family
from nib.ip_rules import Mark
from nib.monitor.conntrack import FAMILIES, Flow, flows_of
from nib.monitor.events import Poke
from nib.plan import Plan

TCP = socket.IPPROTO_TCP
ACK = 0x10
WINDOW = 0xFFFF
HOPS = 64
# no operation, twice, for its alignment; then a time stamp of 0 that echoes 0
TIMESTAMP = struct.pack("!BBBBII", 1, 1, 8, 10, 0, 0)
DATA = b"\0"


def poke(plan: Plan, wish: Poke) -> tuple[int, int]:
    """Ask the clients of an uplink's TCP connections.

    Returns how many connections that is, and how many other flows of clients the uplink has; both
    without those that stay with it.  Raises OSError.
    """
    marks = plan.marks
    kept = [policy.running for policy in plan.keeping if policy.running]

    def moves(flow: Flow) -> bool:
        of = "tcp" if flow.protocol == TCP else "udp"
        stays = any(flow.labels >> one.label & 1 and of in one.kept for one in kept)
        return not flow.forwarded and not stays

    mark = plan.uplink(wish.uplink).mark
    found = [flow for flow in flows_of(wish.family, mark, marks.id_mask) if moves(flow)]
    own = {ip_address(address).packed for address in wish.own}
    tcp = [flow for flow in found if flow.open_tcp]
    send(wish.family, marks.local, tcp)
    # of the router's own flows these are the probes
    others = [flow for flow in found if flow.protocol != TCP and flow.source not in own]
    return len(tcp), len(others)


def send(family: Family, mark: Mark, flows: Collection[Flow]) -> None:
    """Send each client its question, by sockets with the mark that says: track it not."""
    if not flows:
        return
    with socket.socket(FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        for flow in flows:
            # who cannot be reached does not wait for an answer either
            with contextlib.suppress(OSError):
                opened.sendto(question(flow), (str(ip_address(flow.source)), 0))


def question(flow: Flow) -> bytes:
    """A packet to who began a flow, as if from its other end."""
    ends = flow.destination + flow.source
    ports = struct.pack("!HH", flow.dport, flow.sport)
    header = 20 + len(TIMESTAMP)
    length = header + len(DATA)

    def segment(checksum: int) -> bytes:
        fields = struct.pack("!IIBBHHH", 0, 0, header << 2, ACK, WINDOW, checksum, 0)
        return ports + fields + TIMESTAMP + DATA

    whole = segment(_checksum(ends + struct.pack("!II", length, TCP) + segment(0)))
    if len(flow.source) == 16:
        return struct.pack("!IHBB", 6 << 28, length, TCP, HOPS) + ends + whole
    # the kernel fills in the checksum of an IPv4 header
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, HOPS, TCP, 0) + ends + whole


def _checksum(data: bytes) -> int:
    """The internet's, RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
