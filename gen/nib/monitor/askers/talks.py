"""Questions that are a conversation: each is a task of its own, and ends with its time-out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nib.monitor.askers.way import Heard, Way
from nib.monitor.questions import Reply
from nib.targets import Target

T = TypeVar("T", bound=Target)

Talk = Callable[[Way, T], Awaitable[str | None]]
"""Ask a target once: what is wrong with its answer (None: nothing).  Raises OSError: no answer."""


class Talks(Generic[T]):
    """Asks one kind of target, at most `most` questions to each at the same time.

    One more is not asked, and so not answered: where that many are out, nobody hears them.
    """

    def __init__(self, way: Way, talk: Talk[T], heard: Heard, most: int) -> None:
        self._way = way
        self._talk = talk
        self._heard = heard
        self._most = most
        self._tasks: dict[asyncio.Task[None], T] = {}

    def ask(self, target: T, number: int) -> None:
        """Begin to ask."""
        if sum(target == other for other in self._tasks.values()) < self._most:
            task = asyncio.get_running_loop().create_task(self._ask(target, number))
            self._tasks[task] = target
            task.add_done_callback(self._tasks.pop)

    def close(self) -> None:
        """Give up what is out."""
        for task in self._tasks:
            task.cancel()

    async def _ask(self, target: T, number: int) -> None:
        try:
            async with asyncio.timeout(self._way.uplink.probe.timeout_ms / 1000):
                wrong = await self._talk(self._way, target)
        except OSError:  # TimeoutError is one
            return
        self._heard(Reply(target, number, asyncio.get_running_loop().time(), wrong))
