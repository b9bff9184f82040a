"""What a packet costs as the configuration grows: one thing at a time, then all of them.

The same packets as in `throughput`, with nib every time.  None of them is for a rule or a forward,
so a new flow is held against all of them.
"""

from bench.report import Figure, Table, table
from bench.throughput import BURSTS, KINDS, compare
from bench.wires import nib, plan

BASE = (2, 1, 0, 0)
SIZES = (
    (8, 1, 0, 0),
    (60, 1, 0, 0),
    (2, 100, 0, 0),
    (2, 1, 200, 0),
    (2, 1, 0, 1000),
    (60, 100, 200, 1000),
)
AIMS = {"up": 0.95, "down": 0.95, "new": 0.9}


def run(_: str, rounds: int) -> Table:
    """Every size against the smallest."""
    named = {size: _name(size) for size in (BASE, *SIZES)}
    got = compare([nib(plan(*size), name) for size, name in named.items()], rounds)
    base = got[named[BASE]]
    return table(
        "size",
        f"medians of {rounds} rounds, best of {BURSTS} bursts; 64-byte frames, one core",
        f"nib with {named[BASE]}",
        [
            Figure(
                f"{word}: {name}",
                got[name][kind],
                "/s",
                got[name][kind] / base[kind],
                at_least=None if size == BASE else AIMS[kind],
                aims_at="ratio",
            )
            for kind, word in KINDS.items()
            for size, name in named.items()
        ],
    )


def _name(size: tuple[int, int, int, int]) -> str:
    """`60 uplinks, 100 lans, 200 rules, 1000 forwards`, without what there is none of."""
    words = ("uplink", "lan", "rule", "forward")
    counted = zip(size, words, strict=True)
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counted if n)
