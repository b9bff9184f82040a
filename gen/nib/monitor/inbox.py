"""Events on their way to the core, in order; measurements wait until there is more to think of."""

import asyncio

from nib.monitor.core import RIPE_S
from nib.monitor.events import Event, Tallied


class Inbox:
    """A queue of events.  To take one in costs the more the longer nothing was done."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._samples: list[Tallied] = []
        self._passed_s = 0.0

    def put(self, event: Event) -> None:
        """Next, behind the measurements that wait."""
        self._pass(event.at_s)
        self._events.put_nowait(event)

    def put_at_leisure(self, event: Event) -> None:
        """The same, but one that only adds to what is measured waits for others, two seconds."""
        if not isinstance(event, Tallied) or event.burst:
            self.put(event)
            return
        self._samples.append(event)
        if event.at_s >= self._passed_s + RIPE_S:
            self._pass(event.at_s)

    async def get(self) -> Event:
        """The next; waits for it."""
        return await self._events.get()

    def _pass(self, at_s: float) -> None:
        for sample in self._samples:
            self._events.put_nowait(sample)
        self._samples.clear()
        self._passed_s = at_s
