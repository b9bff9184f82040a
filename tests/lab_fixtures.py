"""Fixtures for tests that need the lab.

pytest_plugins = ["lab_fixtures"]       in a test module, or once in conftest.py
"""

import os
from collections.abc import Sequence

import pytest

from lab.image import SUITES
from lab.needs import missing


@pytest.fixture(scope="session", params=sorted(SUITES))
def suite(request: pytest.FixtureRequest) -> str:
    """Each Debian that the lab boots.  Where it cannot, tests are skipped, but not if CI is set."""
    name = str(request.param)
    demand(missing(name))
    return name


def demand(lacking: Sequence[str]) -> None:
    """Skip the test for what this machine lacks; where CI is set that is a failure."""
    if lacking:
        sentence = f"the lab needs {', '.join(lacking)}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
