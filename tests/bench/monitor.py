"""What nib-monitor costs: uplinks with both families and 3 targets each, at the defaults."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report import Figure, Table, table
from lab.errors import eventually
from lab.isp import Isp
from lab.traffic import far_away
from nib_lab import NibLab

CONFIG = """\
uplinks:
  one: {device: wan1, address: dhcp}
  two: {device: wan2, address: [198.51.102.2/24, "2001:db8:2::2/64"],
        gateway: [198.51.102.1, "2001:db8:2::1"]}
  three: {device: wan3, address: dhcp}
  four: {device: wan4, address: [198.51.104.2/24, "2001:db8:4::2/64"],
         gateway: [198.51.104.1, "2001:db8:4::1"]}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
"""
ANNOUNCED, STATIC = Isp(ipv6="ra"), Isp("static", ipv6="static")
ISPS = (ANNOUNCED, STATIC, ANNOUNCED, STATIC)
# what a monitor of the simplest kind would run: one for each target
TARGETS = 12
MINUTE_S = 60.0
MANY = 60
# of one core, in percent; MiB
AIMS = {4: (0.5, 40.0), MANY: (8.0, 72.0)}
CALM_WITHIN_S = 240.0
# after the first looks and leases
CALM_S = 5.0

# how late the targets answer: who answers at once finds the monitor still awake, and costs less
FAR_MS = (8, 45)

# as often as the monitor must: to ask, and to hear whether there was an answer
WAKING = """\
import asyncio, nib.monitor.daemon
async def main():
    while True:
        await asyncio.sleep(0.25)
asyncio.run(main())
"""


def run(suite: str, rounds: int) -> Table:
    """`rounds` minutes of a healthy router of each size."""
    figures = []
    for uplinks, config, isps in ((4, CONFIG, ISPS), (MANY, many(MANY), (STATIC,) * MANY)):
        figures += _figures(suite, uplinks, config, isps, MINUTE_S * rounds)
    return table(
        f"monitor, {suite}",
        f"{rounds} min, both families, 3 targets each, at the defaults; all is well, and targets"
        f" answer after {FAR_MS[0]} to {FAR_MS[1]} ms",
        "a Python that imported the same and wakes four times a second; then 12 ping -i 1",
        figures,
    )


def many(uplinks: int) -> str:
    """The balance.yaml of that many static uplinks."""
    lines = [
        f'  u{n}: {{device: wan{n}, address: [198.51.{100 + n}.2/24, "2001:db8:{n}::2/64"],'
        f' gateway: [198.51.{100 + n}.1, "2001:db8:{n}::1"]}}'
        for n in range(1, uplinks + 1)
    ]
    return "\n".join(["uplinks:", *lines, *CONFIG.splitlines()[-2:], ""])


def _figures(
    suite: str, uplinks: int, config: str, isps: Sequence[Isp], for_s: float
) -> list[Figure]:
    with NibLab(suite, config, isps) as lab:
        lab.router.boot()
        far_away(lab.inet, *FAR_MS)
        # all up, and trusted as before: who came up late in the boot is eased in
        eventually(lambda: _calm(lab), CALM_WITHIN_S)
        proc = lab.holder.path(f"/proc/{lab.router.pid}/root/proc")
        monitor = int(lab.router.run("systemctl show --property=MainPID --value nib-monitor"))
        python = lab.router.run(f"tr '\\0' '\\n' </proc/{monitor}/cmdline").split()[0]
        background = f"nohup {python} -c '{WAKING}' >/dev/null 2>&1 & echo $!"
        bare = int(lab.router.run(background))
        time.sleep(CALM_S)
        share, waking = _shares(proc, for_s, [monitor], [bare])
        eventually(lambda: _calm(lab))
        size, bare_size = _memory(proc, monitor), _memory(proc, bare)
        asking = "nohup ping -q -i 1 203.0.113.10 >/dev/null 2>&1 & echo $!"
        pings = [int(lab.router.run(asking)) for _ in range(TARGETS)]
        (ping,) = _shares(proc, for_s, pings)
    most, most_mib = AIMS[uplinks]
    what = f"{uplinks} uplinks: "
    return [
        Figure(what + "processor, of one core", share, "%", share / waking, at_most=most),
        Figure(what + "processor, only waking", waking, "%", 1.0),
        Figure(what + "processor, 12 ping -i 1", ping, "%", ping / waking),
        Figure(what + "resident memory", size, "MiB", size / bare_size, at_most=most_mib),
        Figure(what + "resident memory, only waking", bare_size, "MiB", 1.0),
    ]


def _shares(proc: Path, for_s: float, *processes: Sequence[int]) -> list[float]:
    """Of one core, in percent, that groups of processes have for so long."""
    before = [_busy(proc, pids) for pids in processes]
    begun = time.monotonic()
    time.sleep(for_s)
    took_s = time.monotonic() - begun
    return [
        (_busy(proc, pids) - busy_s) / took_s * 100
        for pids, busy_s in zip(processes, before, strict=True)
    ]


def _calm(lab: NibLab) -> bool:
    states = [state for family in (4, 6) for state in lab.status(family).values()]
    return all(state["health"] == "up" and state["outage"] is None for state in states)


def _busy(proc: Path, pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes have had, to the nanosecond."""
    return sum(int((proc / str(pid) / "schedstat").read_text().split()[0]) for pid in pids) / 1e9


def _memory(proc: Path, pid: int) -> float:
    """Resident MiB."""
    lines = (proc / str(pid) / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
