"""Flows that are to be chosen anew, over ctnetlink.

Numbers from linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
"""

import os
import socket
import struct

from nib.families import Family
from nib.plan import Mark

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_DELETE = 2
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLMSG_ERROR = 2
CTA_MARK, CTA_MARK_MASK = 8, 21
# With version 0 the kernel takes no notice of the family (ctnetlink_del_conntrack).
BY_FAMILY = 1

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TIMEOUT_S = 5.0


def forget_flows(family: Family, mark: Mark, mask: int) -> None:
    """Remove the entries of one family with this mark under `mask`.  Raises OSError."""
    kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
    body = struct.pack("=BBH", FAMILIES[family], BY_FAMILY, 0)
    body += struct.pack("=HH", 8, CTA_MARK) + struct.pack("!I", mark)
    body += struct.pack("=HH", 8, CTA_MARK_MASK) + struct.pack("!I", mask)
    head = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as opened:
        opened.settimeout(TIMEOUT_S)
        opened.bind((0, 0))
        opened.send(head + body)
        answer = opened.recv(4096)
    _, kind, *_, code = struct.unpack_from("=IHHIIi", answer)
    if kind == NLMSG_ERROR and code:
        raise OSError(-code, os.strerror(-code))
