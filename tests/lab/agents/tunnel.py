"""A program that makes a tun device, as pppd and VPNs do, and carries its packets to another end.

The other end is a tun device of another node ("far"), or whatever UDP says: a client sends to "dst"
and its socket is made as `How` says; a server listens on "listen" and answers whom it last heard.

Request: {"device": name, "far": [node, name]}
         {"device": name, "dst": address, "port": port, "source": …, "mark": …, "bind": device}
         {"device": name, "listen": port}
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any, Protocol

from lab.agents.common import end_of_input, open_socket, request, say

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LARGEST = 65535


class End(Protocol):
    """Where packets come from and go to."""

    def fileno(self) -> int: ...

    def read(self) -> bytes: ...

    def write(self, packet: bytes) -> None: ...


class Tun:
    """A device that exists for as long as this program has it open."""

    def __init__(self, name: str) -> None:
        self._handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        wanted = struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(self._handle, TUNSETIFF, wanted)

    def fileno(self) -> int:
        return self._handle

    def read(self) -> bytes:
        return os.read(self._handle, LARGEST)

    def write(self, packet: bytes) -> None:
        os.write(self._handle, packet)


class Udp:
    """A datagram for each packet."""

    def __init__(self, opened: socket.socket, peer: tuple[str, int] | None) -> None:
        self._socket = opened
        self._peer = peer

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bytes:
        packet, self._peer = self._socket.recvfrom(LARGEST)
        return packet

    def write(self, packet: bytes) -> None:
        if self._peer:
            self._socket.sendto(packet, self._peer)


def other_end(asked: dict[str, Any]) -> End:
    """The end that is not the device."""
    if "far" in asked:
        node, name = asked["far"]
        with Path(f"/run/netns/{node}").open() as namespace:
            setns(namespace.fileno())
        return Tun(name)
    if "listen" in asked:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind(("", asked["listen"]))
        return Udp(opened, None)
    bound = {**asked, "device": asked.get("bind")}
    return Udp(open_socket(socket.SOCK_DGRAM, bound), (asked["dst"], asked["port"]))


def setns(handle: int) -> None:
    """Be in another network namespace; not in Python 3.11's os."""
    import ctypes  # noqa: PLC0415 - for this alone

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def carry(source: End, sink: End) -> None:
    """Pass packets on; one that cannot be is lost, as on any line."""
    with contextlib.suppress(BlockingIOError):
        while packet := source.read():
            with contextlib.suppress(OSError):
                sink.write(packet)


async def main() -> None:
    asked = request()
    near: End = Tun(asked["device"])
    far = other_end(asked)
    loop = asyncio.get_running_loop()
    for source, sink in ((near, far), (far, near)):
        loop.add_reader(source.fileno(), quietly, source, sink)
    say("ready")
    await end_of_input()


def quietly(source: End, sink: End) -> None:
    # A device that is not up yet, or a refused datagram.
    with contextlib.suppress(OSError):
        carry(source, sink)


if __name__ == "__main__":
    asyncio.run(main())
