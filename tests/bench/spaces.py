"""Network namespaces entered by this process itself, so that nothing has to be started in time."""

import ctypes
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nib.monitor.tables import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_NETFILTER,
    NFNLGRP_NFTABLES,
    SOL_NETLINK,
    touches,
)

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 0x1
IFREQ = struct.Struct("16sh22x")

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(space: Path) -> Iterator[None]:
    """Sockets and /proc/net files that are opened within belong to that network for ever."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(space, os.O_RDONLY)
    try:
        _set(there)
        try:
            yield
        finally:
            _set(home)
    finally:
        os.close(there)
        os.close(home)


def _set(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Generations:
    """Listens for "a new generation of the ruleset is in force" in this process's network."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)

    def wait(self, within: float = 10) -> float:
        """When the next one came.  Raises TimeoutError."""
        deadline = time.monotonic() + within
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            packet = self._socket.recv(1 << 18)
            at = time.monotonic()
            if touches(packet, "")[1]:
                return at

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()


def set_link(control: socket.socket, device: str, up: bool) -> float:
    """Set a device up or down by a socket of its network; when that was begun."""
    name = device.encode()
    flags = IFREQ.unpack(fcntl.ioctl(control, SIOCGIFFLAGS, IFREQ.pack(name, 0)))[1]
    wanted = flags | IFF_UP if up else flags & ~IFF_UP
    at = time.monotonic()
    fcntl.ioctl(control, SIOCSIFFLAGS, IFREQ.pack(name, wanted))
    return at


def create() -> int:
    """A new network namespace, as a descriptor that keeps it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _set(home)
        return made
    finally:
        os.close(home)
