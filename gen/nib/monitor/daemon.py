"""nib-monitor: the loop that feeds events to the core and carries its effects out."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from nib import __version__, plan, status
from nib.counters import PROC_FILE, counters
from nib.hours import minute_of_week
from nib.monitor import admin, core, links, traffic
from nib.monitor.announce import Announcer
from nib.monitor.askers.inquiry import inquire
from nib.monitor.askers.way import Way
from nib.monitor.control import Control
from nib.monitor.effects import EffectError, Effects, orders_file
from nib.monitor.events import (
    Answer,
    Clock,
    Deed,
    Device,
    Facts,
    Failed,
    Inquire,
    Inquired,
    LoadTable,
    Looked,
    Ordered,
    Poke,
    Poked,
    TableTouched,
    Watch,
    Woke,
)
from nib.monitor.inbox import Inbox
from nib.monitor.netlink import Kernel
from nib.monitor.notify import notify, passed_socket, watchdog_s
from nib.monitor.poke import poke
from nib.monitor.probe import Prober
from nib.monitor.tables import TableWatch
from nib.monitor.telling import tell
from nib.monitor.traffic import Traffic
from nib.monitor.world import Key
from nib.plan import Plan
from nib.stream import Command

log = logging.getLogger("nib-monitor")

PLAN_FILE = Path("/etc/nib/plan.json")
# How often the kernel is looked at without a reason: events can be lost.
PATROL_S = 10.0
# What is looked at may vanish meanwhile.
LOOKS = 5
LOOK_AGAIN_S = 0.1

# So many probers ask at once: waking up costs more than a question.
TOGETHER = 8

MINUTE_S = 60
# Not a moment too early: the minute would be the old one.
CLOCK_LATE_S = 0.05


def main() -> int:
    """Parse arguments, watch until told to stop; 0 fine, 2 a rejected plan, 3 the host refused."""
    parser = argparse.ArgumentParser(
        prog="nib-monitor", description="Watch the uplinks of a plan, and flip what must flip."
    )
    parser.add_argument("--plan", type=Path, default=PLAN_FILE, help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"nib {__version__}")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        read = plan.from_json(arguments.plan.read_text())
    except FileNotFoundError:
        return _give_up(f"there is no {arguments.plan}: `nib apply` writes it", 2)
    except OSError as error:
        return _give_up(f"{arguments.plan}: {error.strerror}", 3)
    except ValueError as error:
        return _give_up(f"{arguments.plan}: {error}; run `nib apply` to write it anew", 2)
    permitted = True
    try:
        asyncio.run(Daemon(read, arguments.plan).run())
    except* PermissionError:
        permitted = False
    if permitted:
        return 0
    return _give_up("not permitted: it needs CAP_NET_ADMIN and CAP_NET_RAW", 3)


def _give_up(why: str, code: int) -> int:
    sys.stderr.write(f"nib-monitor: {why}\n")
    return code


class Daemon:
    """The one loop: events in, effects out."""

    def __init__(self, of: Plan, plan_file: Path) -> None:
        self._plan = of
        self._plan_file = plan_file
        self._events = Inbox()
        self._effects: asyncio.Queue[Deed | Answer | Poke] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._control = Control(self._ordered)
        self._stop = asyncio.Event()
        self._gateways: Mapping[Key, tuple[str | None, Device]] = {}
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Watch until SIGTERM or SIGINT.  What is loaded then stays loaded."""
        loop = asyncio.get_running_loop()
        for stopping in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stopping, self._stop.set)
        with contextlib.closing(TableWatch("nib", self._touched)) as tables, Kernel() as changing:
            await self._watch(tables, changing)

    async def _watch(self, tables: TableWatch, changing: Kernel) -> None:
        async with asyncio.TaskGroup() as group:
            table_file = self._plan_file.with_name("nib.nft")
            given = [lan for lan in self._plan.lans if lan.subnet is not None]
            announcers = {lan.device: Announcer(lan.device, lan.dns) for lan in given}
            effects = Effects(self._plan, table_file, tables, changing, announcers)
            self._probers = self._make_probers()
            tasks = [
                group.create_task(self._think()),
                group.create_task(self._act(effects, group)),
                group.create_task(links.watch(self._plan, self._look)),
                group.create_task(self._patrol()),
                group.create_task(self._count()),
                group.create_task(self._clock()),
                group.create_task(self._watchdog()),
                *(group.create_task(announcer.run()) for announcer in announcers.values()),
            ]
            if listening := passed_socket():
                tasks.append(group.create_task(self._control.serve(listening)))
            tasks += [group.create_task(prober.run()) for prober in self._probers.values()]
            await self._stop.wait()
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()

    def _make_probers(self) -> dict[Key, Prober]:
        probed = [(uplink, f) for uplink in self._plan.uplinks for f in uplink.families]
        probers = {}
        for place, (uplink, family) in enumerate(probed):
            key = uplink.name, family
            gateway = partial(self._gateway, key)
            phase = place // TOGETHER * TOGETHER / len(probed)
            # what there are limits for is judged by each measurement
            limits = uplink.probe.loss, uplink.probe.rtt, uplink.probe.jitter
            emit = self._events.put if any(limits) else self._events.put_at_leisure
            probers[key] = Prober(uplink, family, place, emit, gateway, phase=phase)
        return probers

    async def _think(self) -> None:
        async with asyncio.TaskGroup() as inquiries:
            await self._decide(inquiries)

    async def _decide(self, inquiries: asyncio.TaskGroup) -> None:
        """Events -> the core -> effects.  READY is said after the first look at the kernel."""
        loop = asyncio.get_running_loop()
        published = _last_status()
        world = core.begin(self._plan, loop.time(), published, _minute(), _kept_orders())
        while True:
            first = world.facts is None
            world, effects = core.step(world, event := await self._events.get())
            if world.facts is not None:
                self._wake(world.wake_at)
            self._gateways = world.upkeep.gateways
            for effect in effects:
                if isinstance(effect, Watch):
                    # what is asked waits for nothing that is changed
                    self._probers[(effect.uplink, effect.family)].watch(effect.mode, effect.quorum)
                elif isinstance(effect, Inquire):
                    inquiries.create_task(self._inquire((effect.uplink, effect.family)))
                else:
                    self._effects.put_nowait(effect)
            for item in tell(published, event, effects):
                self._control.tell(event.at_s, item)
            published = world.published or published
            if first and world.facts is not None:
                notify("READY=1")

    async def _inquire(self, key: Key) -> None:
        name, family = key
        found = await inquire(Way(self._plan.uplink(name), family, partial(self._gateway, key)))
        self._events.put(Inquired(asyncio.get_running_loop().time(), *key, found))

    def _gateway(self, key: Key) -> str | None:
        """The gateway of one family of an uplink, as it was seen last."""
        gateway, _ = self._gateways.get(key, (None, None))
        return gateway

    def _wake(self, at_s: float) -> None:
        """Have a Woke among the events at that time, and at no other."""
        if self._alarm and self._alarm.when() != at_s:
            self._alarm.cancel()
            self._alarm = None
        if not self._alarm:
            self._alarm = asyncio.get_running_loop().call_at(at_s, self._woke)

    def _woke(self) -> None:
        self._alarm = None
        self._events.put(Woke(asyncio.get_running_loop().time()))

    async def _act(self, effects: Effects, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            effect = await self._effects.get()
            if isinstance(effect, Answer):
                self._control.answer(effect)
                continue
            if isinstance(effect, Poke):
                # there may be thousands: what comes next does not wait for them
                group.create_task(self._poke(effect))
                continue
            try:
                await effects.run(effect)
            except (EffectError, OSError) as error:
                self._events.put(Failed(loop.time(), effect, str(error)))
                # it may have been done by half: an IPv6 route of several ways is not one step
                await self._look()
            if isinstance(effect, LoadTable) and self._replaced():
                # The table on disk came with another plan: flips made by this one would lead into
                # chains that it does not have.
                log.info("%s is another one now: starting again with it", self._plan_file)
                self._stop.set()

    async def _poke(self, wish: Poke) -> None:
        loop = asyncio.get_running_loop()
        try:
            tcp, others = await asyncio.to_thread(poke, self._plan, wish)
        except OSError as error:
            self._events.put(Failed(loop.time(), wish, error.strerror or str(error)))
        else:
            self._events.put(Poked(loop.time(), wish, tcp, others))

    def _replaced(self) -> bool:
        """Is there another plan on disk, and one that can be read?"""
        try:
            return plan.from_json(self._plan_file.read_text()) != self._plan
        except (OSError, ValueError):
            return False

    def _ordered(self, asker: int, command: Command) -> None:
        self._events.put(Ordered(asyncio.get_running_loop().time(), asker, command))

    def _touched(self, reloaded: bool) -> None:
        self._events.put(TableTouched(asyncio.get_running_loop().time(), reloaded))

    async def _look(self) -> Facts:
        async with self._turn:
            facts = await self._facts()
        self._events.put(Looked(asyncio.get_running_loop().time(), facts))
        return facts

    async def _facts(self) -> Facts:
        """What the kernel has.  A look that was disturbed is taken again, a few times."""
        for _ in range(LOOKS - 1):
            try:
                return await links.look(self._plan)
            except OSError as error:
                log.warning("the kernel does not say what it has: %s", error.strerror)
                await asyncio.sleep(LOOK_AGAIN_S)
        return await links.look(self._plan)

    async def _count(self) -> None:
        """The devices' counters, for the probers."""
        loop = asyncio.get_running_loop()
        asked = [(self._plan.uplink(name), of) for (name, _), of in self._probers.items()]
        devices = {uplink.device for uplink, _ in asked}
        known: dict[str, Traffic] = {}
        with Path(PROC_FILE).open("rb", buffering=0) as file:
            while True:
                at_s = loop.time()
                file.seek(0)
                found = counters(file.read().decode(), devices)
                known = {
                    name: traffic.observe(known[name], now, at_s)
                    if name in known
                    else traffic.begin(now, at_s)
                    for name, now in found.items()
                }
                for uplink, prober in asked:
                    if of := known.get(uplink.device):
                        prober.sense(
                            mute=of.mute,
                            full=of.full(uplink.bandwidth),
                            idle=of.idle and uplink.budget_bytes is not None,
                        )
                lively = any(of.lively for of in known.values())
                tick_s = traffic.TICK_S if lively else traffic.REST_S
                # by the clock, as the probers: who has something to do at once wakes once
                await asyncio.sleep(tick_s - loop.time() % tick_s)

    async def _patrol(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(PATROL_S)

    async def _clock(self) -> None:
        """Every full minute: so a clock that was set and another time zone are followed, too."""
        while self._plan.hours:
            await asyncio.sleep(MINUTE_S - time.time() % MINUTE_S + CLOCK_LATE_S)
            self._events.put(Clock(asyncio.get_running_loop().time(), _minute()))

    async def _watchdog(self) -> None:
        """A sign that the loop turns."""
        period_s = watchdog_s()
        while period_s:
            notify("WATCHDOG=1")
            await asyncio.sleep(period_s / 3)


def _minute() -> int:
    """Of the week, by the router's clock and what /etc/localtime says now."""
    time.tzset()
    now = time.localtime()
    return minute_of_week(now.tm_wday, now.tm_hour, now.tm_min)


def _last_status() -> status.Status | None:
    """What the monitor before this one knew; None after a boot."""
    with contextlib.suppress(OSError, ValueError):
        return status.from_json(Path(status.STATUS_FILE).read_text())
    return None


def _kept_orders() -> admin.Orders:
    """Those that outlive a reboot."""
    try:
        return admin.from_json(orders_file().read_text(), time.time() - time.monotonic())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s: %s: every uplink is left to its probes", orders_file(), error)
    return {}


if __name__ == "__main__":
    sys.exit(main())
