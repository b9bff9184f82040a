"""What looking at a dead line has found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """How far a line that is down still reaches.

    `gateway`: whether its hardware address is told, None where there is none to ask for; `hop`: who
    answers first behind it; `internet`: whether the address of a target answers pings.
    """

    gateway: bool | None = None
    hop: str | None = None
    internet: bool = False
