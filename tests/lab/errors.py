"""What goes wrong in the lab, and waiting for what has not come yet."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """The lab could not do what it was asked to: a command failed, a boot did not end."""


def eventually(fn: Callable[[], T], within: float = 10.0, every: float = 0.05) -> T:
    """What `fn` returns, as soon as that is true.

    A `LabError` or a failed assertion inside `fn` means "not yet"; the last one is the cause of
    the error that is raised when the time is over.
    """
    deadline = time.monotonic() + within
    while True:
        why: Exception | None = None
        result: T | None = None
        try:
            result = fn()
        except (LabError, AssertionError) as problem:
            why = problem
        if result:
            return result
        if time.monotonic() > deadline:
            said = f"{why}" if why else f"the last answer was {result!r}"
            raise LabError(f"not within {within:g} s: {said}") from why
        time.sleep(every)
