"""python -m bench WHAT|all: measure, and print a table."""

import argparse
import sys
from collections.abc import Callable

from bench import (
    compile,
    connections,
    conntrack,
    failover,
    flip,
    load,
    monitor,
    month,
    scrape,
    size,
    soak,
    throughput,
)
from bench.report import Table, as_json, text
from lab.image import SUITES

ALL: dict[str, tuple[Callable[[str, int], Table], bool, int]] = {
    "failover": (failover.run, True, 50),
    "connections": (connections.run, True, 10),
    "throughput": (throughput.run, False, 11),
    "size": (size.run, False, 9),
    "flip": (flip.run, False, 50),
    "conntrack": (conntrack.run, False, 21),
    "compile": (compile.run, False, 11),
    "load": (load.run, False, 11),
    "monitor": (monitor.run, True, 1),
    "month": (month.run, False, 1),
    "scrape": (scrape.run, True, 200),
    "soak": (soak.run, True, 20),
}


def main() -> int:
    """Run what was asked for; 1 if an aim was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", choices=[*ALL, "all"])
    parser.add_argument("--suite", choices=sorted(SUITES), help="default: both")
    parser.add_argument("--rounds", type=int, help="default: what the README's figures had")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tables = []
    for name, (run, boots, usual) in ALL.items():
        if arguments.what not in (name, "all"):
            continue
        suites = [arguments.suite] if arguments.suite else sorted(SUITES)
        for suite in suites if boots else [""]:
            tables.append(run(suite, arguments.rounds or usual))
            if not arguments.json:
                sys.stdout.write(text(tables[-1]) + "\n")
                sys.stdout.flush()
    if arguments.json:
        sys.stdout.write(as_json(tables))
    return int(any(figure.missed for of in tables for figure in of.figures))


if __name__ == "__main__":
    sys.exit(main())
