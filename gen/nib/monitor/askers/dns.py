"""Questions to DNS servers: one datagram there, one back (RFC 1035, section 4).

A server that says SERVFAIL or REFUSED is there, but of no use to anybody behind this router, and
that is what is asked for.  NXDOMAIN is an answer.
"""

import asyncio
import random
import socket
from collections.abc import Iterator

from nib.monitor.askers.way import ANSWER_BYTES, Way
from nib.targets import Query

HEADER_BYTES = 12
RECURSION_DESIRED = 0x0100
A, AAAA, INTERNET = 1, 28, 1
NOERROR, NXDOMAIN = 0, 3
RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


async def ask(way: Way, target: Query) -> str | None:
    """What is wrong with the server's answer.  Raises OSError."""
    loop = asyncio.get_running_loop()
    query = question(target, random.getrandbits(16))
    with way.open(socket.SOCK_DGRAM) as datagrams:
        # connected, so that the kernel lets nobody else's answers through
        await loop.sock_connect(datagrams, (target.address, target.port))
        try:
            await loop.sock_sendall(datagrams, query)
            while True:
                answer = await loop.sock_recv(datagrams, ANSWER_BYTES)
                if belongs(answer, query):
                    return wrong(answer, target)
        except ConnectionRefusedError:
            return "there is no DNS server"


def question(target: Query, number: int) -> bytes:
    """The datagram that asks for an address of the name."""
    six = target.answer is not None and ":" in target.answer
    name = b"".join(bytes([len(label)]) + label.encode() for label in target.name.split("."))
    numbers = (number, RECURSION_DESIRED, 1, 0, 0, 0)
    header = b"".join(one.to_bytes(2, "big") for one in numbers)
    return header + name + bytes([0, 0, AAAA if six else A, 0, INTERNET])


def belongs(answer: bytes, query: bytes) -> bool:
    """Whether it answers this question.  An error may come without repeating it."""
    if len(answer) < HEADER_BYTES or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    repeated = answer[HEADER_BYTES : len(query)].lower() == query[HEADER_BYTES:].lower()
    return repeated or (answer[4:6] == b"\0\0" and answer[3] & 0x0F != NOERROR)


def wrong(answer: bytes, target: Query) -> str | None:
    """What is wrong with an answer, if anything is."""
    code = answer[3] & 0x0F
    if code not in (NOERROR, NXDOMAIN):
        return f"answered {RCODES.get(code, f'with the error {code}')}"
    if target.answer is None:
        return None
    try:
        found = list(addresses(answer))
    except (IndexError, ValueError):
        return "sent a damaged answer"
    if target.answer in found:
        return None
    return f"says that {target.name} is {', '.join(found) or 'nowhere'}, not {target.answer}"


def addresses(answer: bytes) -> Iterator[str]:
    """The addresses among the answers.  Raises IndexError or ValueError if it is damaged."""
    at = _behind_name(answer, HEADER_BYTES) + 4
    for _ in range(int.from_bytes(answer[6:8], "big")):
        at = _behind_name(answer, at)
        kind, length = int.from_bytes(answer[at : at + 2], "big"), answer[at + 8] << 8
        length += answer[at + 9]
        data = answer[at + 10 : at + 10 + length]
        if kind in (A, AAAA):
            yield socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data)
        at += 10 + length


def _behind_name(answer: bytes, at: int) -> int:
    """Labels until an empty one, or until a pointer (two bytes) to the rest."""
    while length := answer[at]:
        if length & 0xC0:
            return at + 2
        at += 1 + length
    return at + 1
