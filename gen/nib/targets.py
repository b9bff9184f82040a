"""Targets: what is asked to learn whether an uplink works.  Values, the same in config and plan.

`str()` of one is how reasons and reports name it.  A target of an address is of that address's
family; one without (the gateway, a program) is of every family of the uplink that is asked.
"""

from dataclasses import dataclass
from typing import Literal

from nib.families import Family

GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Ping:
    """An echo request to an address; None: to the uplink's gateway."""

    kind: Literal["ping"]
    address: str | None

    def __str__(self) -> str:
        return self.address or f"ping {GATEWAY}"


@dataclass(frozen=True, slots=True)
class Connect:
    """A TCP connection, which is ended as soon as it is there.  A refusal is an answer too."""

    kind: Literal["tcp"]
    address: str
    port: int

    def __str__(self) -> str:
        return f"tcp {endpoint(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Query:
    """A question to a DNS server.  `answer`: an address that must be among its answers."""

    kind: Literal["dns"]
    address: str
    port: int
    name: str
    answer: str | None

    def __str__(self) -> str:
        where = self.address if self.port == 53 else endpoint(self.address, self.port)
        return f"dns {where}"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A page: `host` is what its URL says, `address` where that is.

    The answer must have this status, and contain the text `body`, if there is one.
    """

    kind: Literal["http"]
    url: str
    secure: bool
    host: str
    address: str
    port: int
    path: str
    status: int
    body: str | None

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The gateway's hardware address: by ARP in IPv4, by neighbour discovery in IPv6."""

    kind: Literal["arp"]

    @property
    def address(self) -> None:
        """Known only to who asks."""
        return None

    def __str__(self) -> str:
        return f"arp {GATEWAY}"


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the administrator's: status 0 is a good answer."""

    kind: Literal["command"]
    path: str

    @property
    def address(self) -> None:
        """Known only to who asks."""
        return None

    def __str__(self) -> str:
        return self.path


Target = Ping | Connect | Query | Fetch | Neighbour | Command


def family_of(target: Target) -> Family | None:
    """The family of its address; None: every one."""
    if target.address is None:
        return None
    return 6 if ":" in target.address else 4


def of_family(targets: tuple[Target, ...], family: Family) -> tuple[Target, ...]:
    """Those that are asked in a family."""
    return tuple(target for target in targets if family_of(target) in (family, None))


def endpoint(address: str, port: int) -> str:
    """`192.0.2.1:443`, `[2001:db8::1]:443`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
