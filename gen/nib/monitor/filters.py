"""What a socket is to hear: programs of the classic BPF, which the kernel runs (linux/filter.h)."""

import socket
import struct
from array import array

SO_ATTACH_FILTER = 26

# What an instruction does.  A is what was loaded last, X an offset.
LOAD_BYTE, LOAD_HALF = 0x30, 0x28
LOAD_BYTE_AT_X, LOAD_HALF_AT_X = 0x50, 0x48
SET_X, SET_X_TO_IPV4_HEADER = 0x01, 0xB1
EQUAL = 0x15  # skip so many instructions if it is, so many if it is not
RETURN = 0x06  # so many bytes of the packet; 0: it is not for us

Instruction = tuple[int, int, int, int]
"""What to do, how many to skip if so, how many if not, and a number."""


def attach(opened: socket.socket, *program: Instruction) -> None:
    """Hear only what the program lets through.  Raises OSError."""
    code = array("B", b"".join(struct.pack("HBBI", *one) for one in program))
    address, _ = code.buffer_info()
    fprog = struct.pack("HL", len(program), address)
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
