"""What a packet costs as the configuration grows: one thing at a time, then all of them.

The same packets as in `throughput`, with nib every time.  None of them is for a rule or a forward,
so a new flow is held against all of them.

The more devices packets leave by, the more memory the kernel touches, whoever spreads them.  So
there is a kernel as well that spreads over as many by itself, and more uplinks are to cost nib no
more than they cost it: what each keeps of its speed with two is compared.
"""

from bench.report import Figure, Table, table
from bench.throughput import BURSTS, KINDS, compare
from bench.wires import nib, plan, spread

BASE = (2, 1, 0, 0)
ONE_AT_A_TIME = (
    (8, 1, 0, 0),
    (60, 1, 0, 0),
    (2, 100, 0, 0),
    (2, 1, 200, 0),
    (2, 1, 0, 1000),
)
ALL = (60, 100, 200, 1000)
AIMS = {"up": 0.95, "down": 0.95, "new": 0.9}


def run(_: str, rounds: int) -> Table:
    """Every size against the smallest."""
    named = {size: _name(size) for size in (BASE, *ONE_AT_A_TIME, ALL)}
    alone = {uplinks: spread(plan(uplinks)) for uplinks in (2, 8, 60)}
    ways = [nib(plan(*size), name) for size, name in named.items()]
    got = compare([*ways, *alone.values()], rounds)
    figures = []
    for kind, word in KINDS.items():
        speed = {n: got[way.name][kind] for n, way in alone.items()}
        kept = {n: there / speed[2] for n, there in speed.items()}
        figures += [
            Figure(f"{word}: {way.name}", speed[n], "/s", kept[n]) for n, way in alone.items()
        ]
        figures += [
            Figure(
                f"{word}: {name}",
                got[name][kind],
                "/s",
                got[name][kind] / (got[named[BASE]][kind] * kept[size[0]]),
                at_least=AIMS[kind] if size in ONE_AT_A_TIME else None,
                aims_at="ratio",
            )
            for size, name in named.items()
        ]
    return table(
        "size",
        f"medians of {rounds} rounds, best of {BURSTS} bursts; 64-byte frames, one core",
        f"nib with {named[BASE]}, if more uplinks cost it as much as they cost the kernel alone",
        figures,
    )


def _name(size: tuple[int, int, int, int]) -> str:
    """`60 uplinks, 100 lans, 200 rules, 1000 forwards`, without what there is none of."""
    words = ("uplink", "lan", "rule", "forward")
    counted = zip(size, words, strict=True)
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counted if n)
