"""From the monitor's decision to the kernel's new generation of the ruleset.

The monitor's own code writes the state and runs nft, in a process that has loaded all that the
monitor loads; another process listens for the generation.  In a private network and /run.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.report import Figure, Table, percentile, table
from bench.spaces import Generations
from bench.wires import plan
from bench.wires import table as ruleset
from nib.monitor import daemon
from nib.monitor.effects import Effects, write
from nib.monitor.events import LoadState
from nib.monitor.tables import TableWatch
from nib.plan import Plan
from nib.state import everything, render_state

PREPARE = "mount -t tmpfs tmpfs /run && mkdir /run/nib && exec"
AIMS_MS = {2: 6.0, 60: 12.0}
BETWEEN_S = 0.05

Times = dict[str, list[float]]


def run(_: str, rounds: int) -> Table:
    """Flips with 2 and with 60 uplinks."""
    figures = []
    for uplinks, aim in AIMS_MS.items():
        inside = [sys.executable, "-m", "bench.flip", str(uplinks), str(rounds)]
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", f'{PREPARE} "$@"', "sh", *inside],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        times: Times = json.loads(done.stdout)
        base = median(times["bare"])
        effective = median(times["effective"])
        name = f"{uplinks} uplinks"
        figures += [
            Figure(f"{name}: effective, median", effective, "ms", effective / base, at_most=aim),
            Figure(f"{name}: effective, p95", percentile(times["effective"], 0.95), "ms"),
            Figure(f"{name}: nft has ended, median", median(times["over"]), "ms"),
            Figure(f"{name}: nft alone, effective, median", base, "ms", 1.0),
        ]
    return table(
        "flip",
        f"{rounds} flips each, in turn; from before the state is written to the kernel's event",
        "nft -f of the same file, started by posix_spawn and nothing around it",
        figures,
    )


@contextlib.contextmanager
def _ear() -> Iterator[int]:
    """A process that listens; every generation's time comes through the descriptor."""
    reader, writer = os.pipe()
    generations = Generations()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            while True:
                os.write(writer, f"{generations.wait(60)!r:<32}".encode())
        os._exit(0)
    generations.close()
    os.close(writer)
    try:
        yield reader
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reader)


def _heard(reader: int) -> float:
    return float(os.read(reader, 32))


async def _measure(of: Plan, rounds: int) -> Times:
    file = Path(of.state_file)
    some = {family: names - {"u1"} for family, names in everything(of).items()}
    states = [render_state(of, some), render_state(of, everything(of))]
    times: Times = {"effective": [], "over": [], "bare": []}
    with contextlib.closing(TableWatch("nib", lambda reloaded: None)) as tables, _ear() as ear:
        effects = Effects(of, Path("/nowhere"), tables, None)
        for number in range(rounds):
            await asyncio.sleep(BETWEEN_S)
            begun = time.monotonic()
            await effects.run(LoadState(states[number % 2]))
            over = time.monotonic()
            times["effective"].append((_heard(ear) - begun) * 1000)
            times["over"].append((over - begun) * 1000)

            await asyncio.sleep(BETWEEN_S)
            write(file, states[number % 2])
            begun = time.monotonic()
            nft = os.posix_spawn("/usr/sbin/nft", ["nft", "-f", str(file)], os.environ)
            times["bare"].append((_heard(ear) - begun) * 1000)
            os.waitpid(nft, 0)
    return times


def _inside(uplinks: int, rounds: int) -> None:
    assert daemon.__name__ in sys.modules, "all that the monitor has loaded"
    of = plan(uplinks)
    with tempfile.NamedTemporaryFile("w", suffix=".nft", dir="/run") as file:
        file.write(ruleset(of))
        file.flush()
        subprocess.run(["nft", "-f", file.name], check=True)
    sys.stdout.write(json.dumps(asyncio.run(_measure(of, rounds))))


if __name__ == "__main__":
    _inside(int(sys.argv[1]), int(sys.argv[2]))
