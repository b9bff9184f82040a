"""Whether nib-monitor grows: minutes of cuts, returns, carriers that go, reloads and flushes.

Each round is a silent failure, a lost carrier, a reload of the table, a flush by somebody else and
a reader of the event stream that comes and goes.  What the process has at the end of the first
rounds is compared with what it has at the end of the last ones.
"""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.report import Figure, Table, say, table
from lab.errors import eventually
from nib_lab import FAST, HOME, NibLab

ROUND_S = 15.0
# At first a Python fetches what it needs; by then it has it all.
WARM = 3


@dataclass(frozen=True, slots=True)
class Size:
    """The monitor after a round: resident KiB, open files, threads, seconds of processor time."""

    resident: int
    files: int
    threads: int
    busy_s: float


def run(suite: str, rounds: int) -> Table:
    """So many rounds, and a few before that do not count."""
    with NibLab(suite, HOME + FAST) as lab:
        lab.start()
        pid = int(lab.router.run("systemctl show --property=MainPID --value nib-monitor"))
        proc = lab.holder.path(f"/proc/{lab.router.pid}/root/proc/{pid}")
        sizes = []
        begun = time.monotonic()
        for number in range(WARM + rounds):
            until = time.monotonic() + ROUND_S
            _round(lab)
            time.sleep(max(0.0, until - time.monotonic()))
            sizes.append(_size(proc))
            say(f"{suite} soak {number}: {sizes[-1]}")
        took_s = time.monotonic() - begun
        same = int(lab.router.run("systemctl show --property=MainPID --value nib-monitor"))
        assert same == pid, "the monitor was not the same to the end"
    return table(
        f"soak, {suite}",
        f"{took_s / 60:.0f} min: {rounds} times a silent cut, a lost carrier, a reload, a flush",
        "the first rounds",
        list(_figures(sizes[WARM:])),
    )


def _round(lab: NibLab) -> None:
    first, second = lab.isps
    first.fail()
    lab.until(cable="down")
    first.restore()
    lab.until(cable="up")
    second.unplug()
    lab.until(dsl="down")
    second.plug()
    lab.until(dsl="up")
    lab.router.run("systemctl reload nib-nftables; timeout 1 nib watch --json >/dev/null || true")
    lab.router.run("nft flush ruleset")
    eventually(lambda: "inet nib" in lab.router.run("nft list tables"))


def _size(proc: Path) -> Size:
    lines = (proc / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return Size(
        int(fields["VmRSS"].split()[0]),
        len(list((proc / "fd").iterdir())),
        int(fields["Threads"]),
        int((proc / "schedstat").read_text().split()[0]) / 1e9,
    )


def _figures(sizes: list[Size]) -> list[Figure]:
    third = max(1, len(sizes) // 3)
    early, late = sizes[:third], sizes[-third:]
    busy = [after.busy_s - before.busy_s for before, after in pairwise(sizes)]
    # what a Python grows by is a matter of its pools; what leaks is more than that
    resident = [median(one.resident for one in part) / 1024 for part in (early, late)]
    files = [max(one.files for one in part) for part in (early, late)]
    threads = [max(one.threads for one in part) for part in (early, late)]
    work = [median(part) * 1000 for part in (busy[:third], busy[-third:])]
    return [
        Figure("resident", resident[1], "MiB", resident[1] / resident[0], at_most=resident[0] + 1),
        Figure("open files", files[1], "", files[1] / files[0], at_most=files[0]),
        Figure("threads", threads[1], "", threads[1] / threads[0], at_most=threads[0]),
        Figure("processor, a round", work[1], "ms", work[1] / work[0], at_most=work[0] * 1.25),
    ]
