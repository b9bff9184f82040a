"""Netlink's frames, and questions to the kernel's routing side.

Numbers from linux/netlink.h and linux/rtnetlink.h.  The kernel answers while it is asked, so no
question waits for anything; a long answer lets others have their turn.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple, Self

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
ATTRIBUTE_TYPE = 0x3FFF

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1

# The kernel gives no more than 32 KiB of a dump at once.
MOST_BYTES = 1 << 16
TIMEOUT_S = 5.0


class Message(NamedTuple):
    """One message: its body is `packet[start:end]`."""

    kind: int
    flags: int
    packet: bytes
    start: int
    end: int

    def attributes(self, behind: int) -> dict[int, bytes]:
        """Its attributes by type, which come behind a header of that many bytes."""
        return attributes(self.packet, self.start + behind, self.end)


def messages(packet: bytes) -> Iterator[Message]:
    """The messages of one datagram; what is damaged ends it."""
    at = 0
    while at + HEADER.size <= len(packet):
        length, kind, flags, _, _ = HEADER.unpack_from(packet, at)
        if not HEADER.size <= length <= len(packet) - at:
            return
        yield Message(kind, flags, packet, at + HEADER.size, at + length)
        at += _aligned(length)


def attributes(packet: bytes, at: int, end: int) -> dict[int, bytes]:
    """The attributes between two offsets, by type."""
    found = {}
    while at + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(packet, at)
        if length < ATTRIBUTE.size:
            break
        found[kind & ATTRIBUTE_TYPE] = packet[at + ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def attribute(kind: int, value: bytes | int) -> bytes:
    """One attribute; a number is one of 32 bits."""
    data = value if isinstance(value, bytes) else struct.pack("=I", value)
    length = ATTRIBUTE.size + len(data)
    return ATTRIBUTE.pack(length, kind) + data + bytes(_aligned(length) - length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class Kernel:
    """A socket to ask the kernel about links, addresses, routes and rules, and to change them."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE
        )
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def dump(self, kind: int, body: bytes) -> AsyncIterator[Message]:
        """All that a question of this type is answered with.

        Raises OSError: the kernel's, or EINTR where the world changed meanwhile.
        """
        self._send(kind, NLM_F_DUMP, body)
        disturbed = False
        while True:
            packet = self._receive()
            for message in messages(packet):
                disturbed |= bool(message.flags & NLM_F_DUMP_INTR)
                if message.kind in (NLMSG_ERROR, NLMSG_DONE):
                    _succeeded(message)
                    if disturbed:
                        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
                    return
                yield message
            await asyncio.sleep(0)

    def change(self, kind: int, flags: int, body: bytes) -> None:
        """Ask for a change, which is made when this returns.  Raises OSError with its reason."""
        self._send(kind, flags | NLM_F_ACK, body)
        for message in messages(self._receive()):
            _succeeded(message)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = HEADER.size + len(body)
        header = HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)

    def _receive(self) -> bytes:
        """The next answer to the last question, and none to one that was given up."""
        while True:
            packet = self._socket.recv(MOST_BYTES)
            if HEADER.unpack_from(packet)[3] == self._sequence:
                return packet


def listen(groups: int) -> socket.socket:
    """A socket that hears of every change of these kinds.

    Too many at once, and some are lost: it raises ENOBUFS then, and is of no more use.
    """
    opened = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        NETLINK_ROUTE,
    )
    opened.bind((0, groups))
    return opened


def _succeeded(message: Message) -> None:
    """Raises OSError with what the kernel says, if it says that something went wrong."""
    code: int = struct.unpack_from("=i", message.packet, message.start)[0]
    if not code:
        return
    said = os.strerror(-code)
    if message.kind == NLMSG_ERROR and message.flags & NLM_F_ACK_TLVS:
        echoed = struct.unpack_from("=I", message.packet, message.start + 4)[0]
        behind = 4 + (HEADER.size if message.flags & NLM_F_CAPPED else _aligned(echoed))
        if text := message.attributes(behind).get(NLMSGERR_ATTR_MSG):
            said = text.rstrip(b"\0").decode(errors="replace")
    raise OSError(-code, said)
