"""Whether anything still comes in by a device: told by a packet socket, once.

A line that is merely full delays the answers to probes, but packets keep coming.  Device counters
cannot tell these from the broadcasts of a shared wire, which go on when the line beyond is dead.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from nib.families import Family
from nib.monitor.filters import EQUAL, LOAD_BYTE, RETURN, attach

ETHERTYPES: dict[Family, int] = {4: 0x0800, 6: 0x86DD}

# linux/filter.h, linux/if_packet.h
PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
PACKET_HOST = 0
# Where the header (RFC 791, RFC 8200) has the protocol, and ICMP's number: a modem that answers for
# a dead line, and the probes themselves, speak ICMP.
PROTOCOL: dict[Family, tuple[int, int]] = {4: (9, 1), 6: (6, 58)}


class Arrivals:
    """Calls `arrived` when a packet that is no ICMP comes in for this host, once after `listen`."""

    def __init__(self, device: str, family: Family, arrived: Callable[[], None]) -> None:
        self._device = device
        self._family = family
        self._arrived = arrived
        self._socket: socket.socket | None = None

    def listen(self) -> None:
        """Begin.  Without the device nothing arrives."""
        self.close()
        ethertype = ETHERTYPES[self._family]
        with suppress(OSError):
            # no protocol yet: nothing is received before the filter is there
            listening = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            self._socket = listening
            _attach(listening, self._family)
            listening.bind((self._device, ethertype))
            asyncio.get_running_loop().add_reader(listening, self._heard)

    def close(self) -> None:
        """Stop; nothing happens if nobody listens."""
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _heard(self) -> None:
        self.close()
        self._arrived()


def _attach(listening: socket.socket, family: Family) -> None:
    """Of packets for this host, those that are no ICMP; a byte of each is enough."""
    offset, icmp = PROTOCOL[family]
    attach(
        listening,
        (LOAD_BYTE, 0, 0, PACKET_TYPE),
        (EQUAL, 0, 3, PACKET_HOST),
        (LOAD_BYTE, 0, 0, offset),
        (EQUAL, 1, 0, icmp),
        (RETURN, 0, 0, 1),
        (RETURN, 0, 0, 0),
    )
