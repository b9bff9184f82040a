"""The tests of this folder run inside a machine; out here each waits for what it says."""

import json
import os
import termios
import tty
from collections.abc import Iterator
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
REPORTS = Path("/dev/ttyS1")


@pytest.fixture(scope="session", params=sorted(SUITES))
def suite(request: pytest.FixtureRequest) -> str:
    """Each Debian whose kernel is booted."""
    if not INSIDE:
        demand((*needs.missing(request.param), *machine.missing()))
    return str(request.param)


@pytest.fixture(scope="session")
def around(request: pytest.FixtureRequest, suite: str) -> Iterator[World | Machine]:
    """Inside, the world around the router; outside, the machine that has both."""
    if INSIDE:
        with World(suite) as world:
            yield world
    else:
        here = [item for item in request.session.items if "around" in item.fixturenames]
        tests = [item.nodeid for item in here if item.callspec.params["suite"] == suite]
        with Machine(suite, tests) as made:
            yield made


@pytest.fixture
def lab(around: World | Machine) -> Iterator[World | Machine]:
    """The same for one test; what must always hold is looked at afterwards."""
    yield around
    if isinstance(around, World):
        around.mend()
        around.check()


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
        said = {
            "test": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "text": report.longreprtext,
        }
        with REPORTS.open("w") as line:
            tty.setraw(line, termios.TCSANOW)
            line.write(json.dumps(said) + "\n")
