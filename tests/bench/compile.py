"""nib-gen in a fresh process, from start to end."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.report import Figure, Table, table
from bench.wires import balance

HERE = Path(__file__).resolve()
HOME = HERE.parents[2] / "examples" / "home.yaml"
NIB_GEN = "import sys; from nib.cli import main; sys.exit(main())"


def run(_: str, rounds: int) -> Table:
    """All of them in turn, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        big = Path(folder) / "big.yaml"
        big.write_text(balance(60, 100))
        commands = {
            "python -c pass": ["-c", "pass"],
            "python -c 'import jinja2, yaml, jsonschema'": [
                "-c",
                "import jinja2, yaml, jsonschema",
            ],
            "examples/home.yaml": ["-c", NIB_GEN, str(HOME)],
            "60 uplinks, 100 lans": ["-c", NIB_GEN, str(big)],
        }
        # the compiled modules are there, as after an installation
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/cache"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, arguments in commands.items():
                out = (
                    ["--out", f"{folder}/{number}-{Path(arguments[-1]).stem}"]
                    if NIB_GEN in arguments
                    else []
                )
                begun = time.monotonic()
                subprocess.run(
                    [sys.executable, *arguments, *out],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
                taken[name].append((time.monotonic() - begun) * 1000)
    medians = {name: median(times[1:]) for name, times in taken.items()}
    aims = {"examples/home.yaml": 400.0, "60 uplinks, 100 lans": 2000.0}
    base = medians["python -c 'import jinja2, yaml, jsonschema'"]
    return table(
        "compile",
        f"nib-gen FILE --out DIR; medians of {rounds} fresh processes each, in turn",
        "a process that only imports the libraries",
        [
            Figure(name, took, "ms", took / base, at_most=aims.get(name))
            for name, took in medians.items()
        ],
    )
