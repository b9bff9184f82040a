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
WHOLE = "60 uplinks, 100 lans, 200 rules, 1000 forwards"
NIB_GEN = "import sys; from nib.cli import main; sys.exit(main())"


def run(_: str, rounds: int) -> Table:
    """All of them in turn, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        big, whole = Path(folder) / "big.yaml", Path(folder) / "whole.yaml"
        big.write_text(balance(60, 100))
        whole.write_text(balance(60, 100, 200, 1000))
        commands = {
            "python -c pass": ["-c", "pass"],
            "python -c 'import jinja2, yaml, jsonschema'": [
                "-c",
                "import jinja2, yaml, jsonschema",
            ],
            "examples/home.yaml": ["-c", NIB_GEN, str(HOME)],
            "60 uplinks, 100 lans": ["-c", NIB_GEN, str(big)],
            WHOLE: ["-c", NIB_GEN, str(whole)],
        }
        # the compiled modules are there, as after an installation
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/cache"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        taken: dict[str, list[float]] = {name: [] for name in commands}
        peaks: dict[str, float] = {}
        for number in range(rounds + 1):
            for name, arguments in commands.items():
                out = (
                    ["--out", f"{folder}/{number}-{Path(arguments[-1]).stem}"]
                    if NIB_GEN in arguments
                    else []
                )
                begun = time.monotonic()
                memory = _run([sys.executable, *arguments, *out], environment)
                taken[name].append((time.monotonic() - begun) * 1000)
                peaks[name] = max(peaks.get(name, 0.0), memory)
    medians = {name: median(times[1:]) for name, times in taken.items()}
    aims = {"examples/home.yaml": 400.0, "60 uplinks, 100 lans": 1000.0, WHOLE: 1500.0}
    base = medians["python -c 'import jinja2, yaml, jsonschema'"]
    return table(
        "compile",
        f"nib-gen FILE --out DIR; medians of {rounds} fresh processes each, in turn",
        "a process that only imports the libraries",
        [
            Figure(name, took, "ms", took / base, at_most=aims.get(name))
            for name, took in medians.items()
        ]
        + [Figure(f"{WHOLE}: memory", peaks[WHOLE], "MiB", at_most=150.0)],
    )


def _run(arguments: list[str], environment: dict[str, str]) -> float:
    """Run a program to its end; the most memory that it had, in MiB."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        quiet = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
        child = os.posix_spawn(arguments[0], arguments, environment, file_actions=quiet)
    finally:
        os.close(null)
    _, status, used = os.wait4(child, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), arguments)
    return used.ru_maxrss / 1024
