"""The flows of an uplink, over ctnetlink: who has one, and letting go of them.

Numbers from linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h and nf_conntrack_common.h.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nib.families import Family
from nib.ip_rules import Mark

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
# nested attributes have the top bit set
NLA_TYPE = 0x3FFF
CTA_TUPLE_ORIG, CTA_STATUS, CTA_PROTOINFO, CTA_MARK, CTA_MARK_MASK, CTA_LABELS = 1, 3, 4, 8, 21, 22
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE = 1, 1
IPS_DST_NAT = 0x20
# ESTABLISHED, FIN_WAIT, CLOSE_WAIT: data may still flow in one direction or both
TCP_OPEN = (3, 4, 5)
# With version 0 the kernel takes no notice of the family (ctnetlink_del_conntrack).
BY_FAMILY = 1

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry, as who began it sent it: addresses packed, ports 0 where there are none.

    `open_tcp`: TCP, and neither still being made nor already ended.  `forwarded`: its destination
    was exchanged, it came from outside to a forward.  `labels` is a number of 128 bits.
    """

    source: bytes
    destination: bytes
    protocol: int
    sport: int
    dport: int
    open_tcp: bool
    forwarded: bool
    labels: int


def flows_of(family: Family, mark: Mark, mask: int) -> list[Flow]:
    """The entries of one family with this mark under `mask`.  Raises OSError."""
    flows: list[Flow] = []
    with _asked(family, IPCTNL_MSG_CT_GET, NLM_F_DUMP, mark, mask) as opened:
        while True:
            answer = memoryview(opened.recv(1 << 16))
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == NLMSG_DONE:
                    return flows
                if kind == NLMSG_ERROR:
                    _raise(answer)
                flows.append(_flow(family, answer[20:length]))
                answer = answer[(length + 3) & ~3 :]


def forget_flows(family: Family, mark: Mark, mask: int) -> None:
    """Remove the entries of one family with this mark under `mask`.  Raises OSError."""
    with _asked(family, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, mark, mask) as opened:
        _raise(memoryview(opened.recv(4096)))


def _asked(family: Family, what: int, flags: int, mark: Mark, mask: int) -> socket.socket:
    """A socket on which the answer is to be read."""
    kind = NFNL_SUBSYS_CTNETLINK << 8 | what
    body = struct.pack("=BBH", FAMILIES[family], BY_FAMILY, 0)
    body += struct.pack("=HH", 8, CTA_MARK) + struct.pack("!I", mark)
    body += struct.pack("=HH", 8, CTA_MARK_MASK) + struct.pack("!I", mask)
    head = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0)
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    try:
        opened.settimeout(TIMEOUT_S)
        opened.bind((0, 0))
        opened.send(head + body)
    except OSError:
        opened.close()
        raise
    return opened


def _raise(answer: memoryview) -> None:
    """What an answer says went wrong, if anything did."""
    _, kind, *_, code = struct.unpack_from("=IHHIIi", answer)
    if kind == NLMSG_ERROR and code:
        raise OSError(-code, os.strerror(-code))


def _flow(family: Family, entry: memoryview) -> Flow:
    found = dict(_attributes(entry))
    first = dict(_attributes(found[CTA_TUPLE_ORIG]))
    source, destination = (bytes(value) for _, value in _attributes(first[CTA_TUPLE_IP]))
    proto = dict(_attributes(first[CTA_TUPLE_PROTO]))
    open_tcp = False
    if CTA_PROTOINFO in found:
        info = dict(_attributes(found[CTA_PROTOINFO]))
        if CTA_PROTOINFO_TCP in info:
            state = dict(_attributes(info[CTA_PROTOINFO_TCP]))[CTA_PROTOINFO_TCP_STATE]
            open_tcp = state[0] in TCP_OPEN
    # an array of longs, in the machine's own order
    low, high = struct.unpack("=QQ", found[CTA_LABELS]) if CTA_LABELS in found else (0, 0)
    return Flow(
        source=source,
        destination=destination,
        protocol=proto[CTA_PROTO_NUM][0],
        sport=int.from_bytes(proto.get(CTA_PROTO_SRC_PORT, b"")),
        dport=int.from_bytes(proto.get(CTA_PROTO_DST_PORT, b"")),
        open_tcp=open_tcp,
        forwarded=bool(int.from_bytes(found[CTA_STATUS]) & IPS_DST_NAT),
        labels=low | high << 64,
    )


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind & NLA_TYPE, data[at + 4 : at + length]
        at += (length + 3) & ~3
