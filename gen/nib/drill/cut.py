"""The cut: an nft table of the drill's own in which everything ends by itself.

It hangs on the device itself, outside all of the firewall: what is dropped there was sent, as far
as routes, marks, NAT and conntrack know, and what comes in is seen by nobody.  So it is with a line
that dies beyond the modem.  The elements that do it expire in the kernel, whoever lives or dies;
what is left then is a table that drops nothing, which the next drill replaces.  nib's own table,
and with it every reload, has no part in it, and no packet pays for drills that do not take place.
"""

import json
from collections.abc import Iterable

from nib.families import Family

TABLE = "nib_drill"

_TYPES: dict[Family, tuple[str, ...]] = {4: ("ip", "arp"), 6: ("ip6",)}


def cut(device: str, families: Iterable[Family], for_s: int) -> str:
    """The nft commands that cut families of a device off, for whole seconds from then on."""
    types = [kind for family in families for kind in _TYPES[family]]
    elements = ", ".join(f"{kind} timeout {for_s}s" for kind in types)
    return f"""\
table netdev {TABLE}
delete table netdev {TABLE}
table netdev {TABLE} {{
	set cut {{
		type ether_type
		flags timeout
		elements = {{ {elements} }}
	}}
	chain coming {{
		type filter hook ingress device "{device}" priority -500; policy accept;
		meta protocol @cut counter drop
	}}
	chain going {{
		type filter hook egress device "{device}" priority -500; policy accept;
		meta protocol @cut counter drop
	}}
}}
"""


MEND = f"table netdev {TABLE}\ndelete table netdev {TABLE}\n"
"""The nft commands that take the table away, if there is one."""

LIST = ("nft", "-j", "list", "table", "netdev", TABLE)


def dropped(listed: str) -> int | None:
    """How many packets were dropped, by what LIST says; None if the table is not as it was made."""
    try:
        entries = json.loads(listed)["nftables"]
        counts = [
            part["counter"]["packets"]
            for entry in entries
            for part in entry.get("rule", {}).get("expr", ())
            if "counter" in part
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return sum(counts) if len(counts) == 2 else None
