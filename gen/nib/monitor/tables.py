"""Other people's changes to nib's nft table, over nfnetlink's notifications.

Numbers from linux/netfilter/nfnetlink.h and nf_tables.h.  Every transaction ends with a message
that a new generation of the ruleset is in force; what was changed comes before it.  Whoever loads
nib's file again deletes what a stop may have left behind (STOPPED), and nobody else does.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWGEN = 15
NFPROTO_INET = 1
SO_RCVBUFFORCE = 33

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
NFGENMSG = 4
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
# In every message about a table, chain, rule, set, element or object the table's name comes first.
NFTA_TABLE = 1

# Of the table's own name and this is the one that closes a router without it; see nib.nft.
STOPPED = "_stopped"

# A reload of a large table is thousands of messages at once.
RECEIVE_BUFFER = 16 << 20


class Touch(NamedTuple):
    """What one datagram says of a table, and how many transactions end in it.

    `loaded`: by its file, `removed`: as a whole; whoever `touched` it may have changed others too.
    """

    touched: bool
    generations: int
    loaded: bool
    removed: bool


def touches(packet: bytes, table: str) -> Touch:
    """Does one datagram change inet `table`?"""
    touched = loaded = removed = False
    generations = 0
    offset = 0
    while offset + HEADER.size <= len(packet):
        length, kind, *_ = HEADER.unpack_from(packet, offset)
        if length < HEADER.size:
            break
        if kind >> 8 == NFNL_SUBSYS_NFTABLES:
            if kind & 0xFF == NFT_MSG_NEWGEN:
                generations += 1
            elif packet[offset + HEADER.size] == NFPROTO_INET:
                name = _first_string(packet[offset + HEADER.size + NFGENMSG : offset + length])
                deleted = kind & 0xFF == NFT_MSG_DELTABLE
                touched |= name == table
                removed |= deleted and name == table
                loaded |= deleted and name == table + STOPPED
        offset += (length + 3) & ~3
    return Touch(touched, generations, loaded, removed)


def _first_string(attributes: bytes) -> str | None:
    if len(attributes) < ATTRIBUTE.size:
        return None
    length, kind = ATTRIBUTE.unpack_from(attributes)
    if kind & 0x3FFF != NFTA_TABLE:
        return None
    return attributes[ATTRIBUTE.size : length].rstrip(b"\0").decode(errors="replace")


class TableWatch:
    """Calls `touched` when somebody but us has changed `table`; and was it only loaded again?

    Who we are is told by counting: a transaction of our own is made within `own()`.  What somebody
    else does meanwhile is no reload: whose message is whose nobody says.
    """

    def __init__(self, table: str, touched: Callable[[bool], None]) -> None:
        self._table = table
        self._touched = touched
        self._dirty = False
        self._loaded = self._removed = False
        self._busy = False
        self._foreign = 0
        self._reloaded = True
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            # a container's root: what the machine allows everybody must do
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Watch no longer."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Within this one transaction of our own is made; an exception says that it was not."""
        self._busy = True
        try:
            yield
            self._read()
            self._foreign -= 1
        finally:
            self._busy = False
            self._reloaded = False
            self._judge()

    def _readable(self) -> None:
        self._read()
        if not self._busy:
            self._judge()

    def _judge(self) -> None:
        """What is left over after our own was somebody else's."""
        self._read()
        if self._foreign > 0:
            self._touched(self._reloaded)
        self._foreign = 0
        self._reloaded = True

    def _read(self) -> None:
        while True:
            try:
                packet = self._socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                # the buffer overflowed: assume the worst
                self._foreign += 1
                self._reloaded = False
                return
            seen = touches(packet, self._table)
            self._dirty |= seen.touched
            self._loaded |= seen.loaded
            self._removed |= seen.removed
            if seen.generations:
                if self._dirty:
                    self._foreign += 1
                    self._reloaded &= self._loaded and not self._removed
                self._dirty = self._loaded = self._removed = False
