"""Thirty days of a line with loss, slow answers and a dead target: how often is it given up?

The line is simulated and time is its own, so a month takes minutes; the scheduler is the real one.
"""

import time
from random import Random

from bench.report import Figure, Table, table
from line import Line, noisy

DAY_S = 86_400.0
DAYS = 30


def run(_: str, rounds: int) -> Table:
    """`rounds` months, each with another seed."""
    flips = asked = 0
    began_s = time.process_time()
    for seed in range(rounds):
        line = Line(noisy(Random(seed)))
        for day in range(1, DAYS + 1):
            line.until(day * DAY_S)
            flips += len(line.judged)
            asked += len(line.asked)
            line.judged.clear()
            line.asked.clear()
            line.tallied.clear()
    took_s = time.process_time() - began_s
    return table(
        "a simulated month",
        f"{rounds} x {DAYS} days at the defaults: 2% loss, one answer in 500 takes a second, "
        "one target of three is dead",
        "a question each interval, and no burst",
        [
            Figure("given up", float(flips), "times", at_most=0.0),
            Figure("rounds asked", asked / rounds, "", asked / rounds / (DAYS * DAY_S * 2)),
            Figure("processor for each", took_s / asked * 1e6, "us"),
        ],
    )
