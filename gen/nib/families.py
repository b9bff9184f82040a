"""The two families of addresses, by their numbers."""

from typing import Literal

Family = Literal[4, 6]

FAMILIES: tuple[Family, ...] = (4, 6)
