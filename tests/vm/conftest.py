"""The tests of this folder run inside a machine; out here each waits for what it says."""

import json
import os
import subprocess
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import needs
from lab.image import SUITES
from lab_fixtures import demand
from vm import machine
from vm.machine import Machine
from vm.world import World

# The suite of the machine that this is inside of.
INSIDE = os.environ.get("NIB_VM")
CONSOLE, REPORTS = Path("/dev/ttyS0"), Path("/dev/ttyS1")
# What was logged since the last time.
JOURNAL = ("journalctl", "--boot", "--output=short-monotonic", "--cursor-file=/run/lab-cursor")


@pytest.fixture(scope="session", params=sorted(SUITES))
def suite(request: pytest.FixtureRequest) -> str:
    """Each Debian whose kernel is booted."""
    if not INSIDE:
        demand((*needs.missing(request.param), *machine.missing()))
    return str(request.param)


@pytest.fixture(scope="session")
def machines(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Machine]]:
    """Outside: a machine for each suite with tests to run, all of them switched on at once."""
    tests: dict[str, list[str]] = {}
    for item in request.session.items:
        if item.get_closest_marker("vm"):
            tests.setdefault(item.callspec.params["suite"], []).append(item.nodeid)
    with ExitStack() as stack:
        yield {name: stack.enter_context(Machine(name, those)) for name, those in tests.items()}


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Inside: the world around the router."""
    assert INSIDE
    with World(INSIDE) as world:
        yield world
        world.check()


@pytest.fixture
def lab(request: pytest.FixtureRequest, suite: str) -> Iterator[World | Machine]:
    """What a test is about; what must always hold is looked at when all have ended."""
    if INSIDE:
        world = request.getfixturevalue("world")
        yield world
        world.mend()
    else:
        yield request.getfixturevalue("machines")[suite]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Outside: the outcome of the test of the same name inside."""
    around = pyfuncitem.funcargs.get("lab")
    if not isinstance(around, Machine):
        return None
    around.outcome(pyfuncitem.nodeid)
    return True


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Inside: say how each part of a test ended."""
    if INSIDE:
        text = report.longreprtext
        if report.failed:
            new = subprocess.run(JOURNAL, stdout=subprocess.PIPE, text=True, check=True).stdout
            CONSOLE.write_text(new)
            text += "\n".join(["", "its journal:", *new.splitlines()[-40:]])
        said = {"test": report.nodeid, "when": report.when, "outcome": report.outcome}
        with REPORTS.open("w") as line:
            tty.setraw(line, termios.TCSANOW)
            line.write(json.dumps(said | {"text": text}) + "\n")
