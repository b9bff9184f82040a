"""The asking on one family of one uplink, done: questions out, answers in, timers."""

import asyncio
import socket
from collections.abc import Callable

from nib.families import Family
from nib.monitor import asking
from nib.monitor.arrivals import Arrivals
from nib.monitor.askers.every import Askers
from nib.monitor.askers.way import Way
from nib.monitor.asking import Asking, Mode
from nib.monitor.events import Event, Judged, Silenced, Tallied
from nib.monitor.questions import Ask, Listen, Reply
from nib.plan import Uplink
from nib.targets import Target


class Prober:
    """Does what `asking` wants, and emits what comes of it.

    `gateway` says the gateway's address there, as long as one is known; `place` tells the probers
    of one process apart, and `phase` says when in the interval it asks.
    """

    def __init__(
        self,
        uplink: Uplink,
        family: Family,
        place: int,
        emit: Callable[[Event], None],
        gateway: Callable[[], str | None],
        *,
        phase: float = 0.0,
    ) -> None:
        self._emit = emit
        self._asker = Askers(Way(uplink, family, gateway), place, self._heard)
        self._arrivals = Arrivals(uplink.device, family, self._arrived)
        targets = uplink.targets_of(family)
        self._state = Asking(uplink.name, family, targets, uplink.probe, phase)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Ask until cancelled.  Raises PermissionError without CAP_NET_RAW."""
        try:
            # not later, when the first question may be long in coming
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
            await self._failed
        finally:
            self._state = self._state._replace(mode="off")
            if self._timer:
                self._timer.cancel()
            self._arrivals.close()
            self._asker.close()

    def watch(self, mode: Mode, quorum: int) -> None:
        """From now on the line is believed to be in another state."""
        self._gather()
        state = asking.watch(self._state, mode, quorum, self._loop.time())
        self._next((state, ()))

    def sense(self, *, mute: bool, full: bool, idle: bool) -> None:
        """What the device's counters say now."""
        if (mute, full, idle) != (False, self._state.full, self._state.idle):
            # what came before a doubt says nothing against it
            self._gather()
            at_s = self._loop.time()
            self._next(asking.sense(self._state, at_s, mute=mute, full=full, idle=idle))

    def _turn(self) -> None:
        self._timer = None
        self._gather()
        self._next(asking.turn(self._state, self._loop.time()))

    def _gather(self) -> None:
        if self._state.rounds:
            self._asker.gather()

    def _heard(self, reply: Reply) -> None:
        self._next(asking.hear(self._state, reply, self._loop.time()))

    def _arrived(self) -> None:
        self._state = asking.arrive(self._state)

    def _next(self, step: asking.Step) -> None:
        """Do what was decided, and come back when there is more to do."""
        before = self._state
        self._state, acts = step
        for act in acts:
            match act:
                case Ask(number, targets):
                    self._ask(number, targets)
                case Listen():
                    self._arrivals.listen()
                case Judged() | Tallied() | Silenced():
                    self._emit(act)
        if self._state.anxious != before.anxious:
            self._asker.listen(at_once=self._state.anxious)
        if before.burst and not self._state.burst:
            self._arrivals.close()
        due_s = self._state.due_s
        if self._timer and self._timer.when() != due_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._state.mode != "off" and not self._failed.done():
            self._timer = self._loop.call_at(due_s, self._turn)

    def _ask(self, number: int, targets: tuple[Target, ...]) -> None:
        try:
            for target in targets:
                self._asker.ask(target, number)
        except PermissionError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
