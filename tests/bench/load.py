"""How long nft takes to load the whole table, with the nft of both Debians.

Each in a fresh network, from a root of the lab's: the first load, and a second one over it.
"""

import json
import subprocess
from collections.abc import Iterator
from statistics import median

from bench.report import Figure, Table, table
from bench.wires import plan
from bench.wires import table as ruleset
from lab.image import SUITES, image

SMALL, LARGE = (2, 1, 0, 0), (60, 100, 200, 1000)
AIM_S = 0.5

# Run by the root's own python, in the network that is its own: nft twice, and its memory.
TWICE = """
import json, resource, subprocess, sys, time
text, took = sys.stdin.buffer.read(), []
for _ in range(2):
    begun = time.monotonic()
    subprocess.run(["nft", "-f", "-"], input=text, check=True)
    took.append(time.monotonic() - begun)
print(json.dumps([*took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""


def run(_: str, rounds: int) -> Table:
    """Both tables with both nft, in turn."""
    texts = {size: ruleset(plan(*size)) for size in (SMALL, LARGE)}
    roots = {suite: image(suite) for suite in sorted(SUITES)}
    taken: dict[tuple[str, tuple[int, ...]], list[list[float]]] = {}
    for _round in range(rounds):
        for suite, root in roots.items():
            for size, text in texts.items():
                inside = ["unshare", "--net", "chroot", str(root), "/usr/bin/python3", "-c", TWICE]
                done = subprocess.run(
                    inside, input=text, stdout=subprocess.PIPE, text=True, check=True
                )
                taken.setdefault((suite, size), []).append(json.loads(done.stdout))
    figures: list[Figure] = []
    for suite in roots:
        small = [median(column) for column in zip(*taken[suite, SMALL], strict=True)]
        large = [median(column) for column in zip(*taken[suite, LARGE], strict=True)]
        figures += _figures(suite, small, large)
    return table(
        "load",
        f"nft -f of 60 uplinks, 100 lans, 200 rules and 1000 forwards; medians of {rounds}",
        "the same nft with 2 uplinks and 1 lan",
        figures,
    )


def _figures(suite: str, small: list[float], large: list[float]) -> Iterator[Figure]:
    for what, less, more in zip(("first load", "reload"), small, large, strict=False):
        yield Figure(f"{suite}: {what}", more * 1000, "ms", more / less, at_most=AIM_S * 1000)
    yield Figure(f"{suite}: memory", large[-1], "MiB", large[-1] / small[-1])
