"""Options of the whole test suite."""

import signal

import hypothesis
import pytest

# how long an example takes says more about the machine than about nib
hypothesis.settings.register_profile("nib", deadline=None)
hypothesis.settings.load_profile("nib")

pytest_plugins = ["lab_fixtures", "nib_lab"]


def pytest_configure() -> None:
    # A shell without a terminal starts its background jobs with interrupts ignored, and what these
    # start ignores them as well: the programs under test are to be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is expected instead of comparing"
    )
    parser.addoption(
        "--packets", type=int, metavar="N", help="ask oracle and kernel about N configurations"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether the kept answers are to be replaced by the present ones."""
    return bool(request.config.getoption("--update-golden"))
