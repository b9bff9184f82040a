"""What probes cost in bytes, and how rare they must be to keep to a metered line's budget."""

from collections.abc import Iterable

from nib.families import Family
from nib.probe import PROBE_PAYLOAD_BYTES
from nib.targets import Command, Connect, Fetch, Neighbour, Ping, Query, Target, of_family

MONTH_MS = 30 * 86400 * 1000

# Headers, without what the link adds: RFC 791, RFC 8200; UDP, TCP as Linux opens a connection.
IP_BYTES = {4: 20, 6: 40}
UDP_BYTES, ICMP_BYTES = 8, 8
# SYN, its answer, the last step, the reset
HANDSHAKE_BYTES = (40, 40, 32, 20)
# A question of DNS without the name; an address in its answer.
QUESTION_BYTES, ANSWER_BYTES = 12 + 2 + 4, 16
# What usual servers send and get, headers included: a short page, the certificates of TLS.
PAGE_BYTES, TLS_BYTES = 1000, 6000
# RFC 826; RFC 4861 with the address of the link
ARP_BYTES, DISCOVERY_BYTES = 28, 32


def least_interval_ms(asked_bytes: int, budget_bytes: int | None) -> int:
    """The shortest interval at which so many bytes keep to a month's budget; 0 without one."""
    return -(-asked_bytes * MONTH_MS // budget_bytes) if budget_bytes else 0


def turn_bytes(targets: tuple[Target, ...], families: Iterable[Family]) -> int:
    """A question to one target in each of the families, and the answer: the mean of the targets.

    So much is asked every interval while the uplink is up.
    """
    sides = [[_bytes(target, f) for target in of_family(targets, f)] for f in families]
    return sum(-(-sum(side) // len(side)) for side in sides if side)


def _bytes(target: Target, family: Family) -> int:
    """A question and its answer; what a page weighs is a guess, and a program's are not known."""
    ip = IP_BYTES[family]
    connection = sum(HANDSHAKE_BYTES) + len(HANDSHAKE_BYTES) * ip
    match target:
        case Ping():
            return 2 * (ip + ICMP_BYTES + PROBE_PAYLOAD_BYTES)
        case Connect():
            return connection
        case Query():
            return 2 * (ip + UDP_BYTES + QUESTION_BYTES + len(target.name)) + ANSWER_BYTES
        case Fetch():
            return connection + PAGE_BYTES + (TLS_BYTES if target.secure else 0)
        case Neighbour():
            return 2 * (ARP_BYTES if family == 4 else ip + DISCOVERY_BYTES)
        case Command():
            return 0
