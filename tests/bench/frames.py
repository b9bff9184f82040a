"""Many frames in few system calls: sendmmsg on a packet socket."""

import ctypes
import socket
import struct
import time
from collections.abc import Sequence

PACKET_QDISC_BYPASS, SOL_PACKET = 20, 263
ETHERTYPE_IP = 0x0800
AT_ONCE = 256

ETHERNET = struct.Struct("!6s6sH")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")
FRAME = 64

_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


def udp(macs: tuple[str, str], ends: tuple[str, int], other: tuple[str, int]) -> bytes:
    """A frame of 64 bytes from one end to the other; `macs` are those of sender and receiver."""
    size = FRAME - ETHERNET.size
    source, target = socket.inet_aton(ends[0]), socket.inet_aton(other[0])
    head = IPV4.pack(0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0, source, target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + struct.pack("!H", total) + head[12:]
    there, here = (bytes.fromhex(mac.replace(":", "")) for mac in reversed(macs))
    # no checksum: IPv4 allows it, and nobody has to compute it
    ports = UDP.pack(ends[1], other[1], size - IPV4.size, 0)
    return (ETHERNET.pack(there, here, ETHERTYPE_IP) + head + ports).ljust(FRAME, b"\0")


def open_socket(device: str) -> socket.socket:
    """A packet socket on a device of the network that this thread is in; it hears nothing."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.bind((device, 0))
    opened.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    return opened


class Burst:
    """Frames laid out so that the kernel can take many of them at once."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        count = len(frames)
        self._bytes = ctypes.create_string_buffer(b"".join(frames), count * FRAME)
        base = ctypes.addressof(self._bytes)
        self._vectors = (_Vector * count)(*(_Vector(base + n * FRAME, FRAME) for n in range(count)))
        self._messages = (_Message * count)()
        size = ctypes.sizeof(_Vector)
        first = ctypes.addressof(self._vectors)
        for number, message in enumerate(self._messages):
            vector = ctypes.cast(first + number * size, ctypes.POINTER(_Vector))
            message.header.vectors, message.header.count = vector, 1
        self._count = count

    def send(self, through: socket.socket) -> None:
        """Send every frame once."""
        done = 0
        size = ctypes.sizeof(_Message)
        while done < self._count:
            where = ctypes.byref(self._messages, done * size)
            sent = _libc.sendmmsg(through.fileno(), where, min(AT_ONCE, self._count - done), 0)
            if sent <= 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            done += sent

    def send_for(self, through: socket.socket, seconds: float) -> None:
        """Send all of them again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send(through)
