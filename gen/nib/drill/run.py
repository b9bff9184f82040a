"""A drill from its question to its report."""

import asyncio
import math
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress

from nib import host, orders
from nib.drill.cut import LIST, MEND, cut, dropped
from nib.drill.findings import Findings, faults
from nib.drill.lines import Line, prepare, try_forwards
from nib.drill.report import report, to_json
from nib.families import Family
from nib.guarantees import Guarantee, guarantees
from nib.host import DIFFERS, FINE, Outcome, Refused, Wrong
from nib.plan import Plan, Uplink
from nib.status import FamilyStatus, Status
from nib.stream import SOCKET, Command, Request, Snapshot, from_json, request_to_json

NFT_WITHIN_S = 10.0
AGAIN_S = 0.2
LINE_LIMIT = 1 << 20
LONGEST_S = 3600
BEFORE_S = 0.5  # of new connections, ahead of the cut
AFTER_S = 3.0  # and after the return
LATE_S = 10.0  # so much longer than promised the return is waited for
LOOK_S = 0.05
MENDINGS = 3


def drill(arguments: Namespace) -> int:
    """Ask, cut, measure, report; DIFFERS if something was not as the plan promises.

    Raises Wrong and Refused; the line is whole then.
    """
    if os.geteuid():
        raise Refused("only root may cut an uplink off: try sudo")
    host.need(("nft",), "it makes the cut")
    plan = host.read_plan(arguments.plan)
    uplink = _uplink(plan, arguments.uplink)
    families = _families(uplink, arguments.family)
    promised = next(one for one in guarantees(plan) if one.uplink == uplink.name)
    least_s = math.ceil(promised.detection_worst_ms / 1000) + 2
    if arguments.for_s < least_s:
        raise Wrong(
            f"a drill of {uplink.name} takes at least {least_s} s: "
            f"that it is down may take {promised.detection_worst_ms / 1000:g} s to be decided"
        )
    if arguments.for_s > LONGEST_S:
        raise Wrong("a drill lasts at most an hour")
    if not arguments.yes and not _confirmed(uplink, arguments.for_s):
        host.say("nothing was cut off")
        return DIFFERS
    command = Command(
        "drill",
        uplink.name,
        for_s=arguments.for_s,
        force=arguments.force,
        family=arguments.family,
        who=orders.who(),
    )
    why: BaseException | None = None
    try:
        found = asyncio.run(_Drill(plan, uplink, families, promised, command).run())
    except* Refused as problems:
        why = problems.exceptions[0]
    except* asyncio.CancelledError:
        why = Refused("ended by a signal; nothing is cut off any more")
    if why:
        raise why
    sys.stdout.write(to_json(found) if arguments.json else report(found))
    return DIFFERS if faults(found) else FINE


def _uplink(plan: Plan, name: str) -> Uplink:
    try:
        return plan.uplink(name)
    except KeyError:
        names = ", ".join(uplink.name for uplink in plan.uplinks)
        raise Wrong(f"there is no uplink {name}: there are {names}") from None


def _families(uplink: Uplink, only: Family | None) -> tuple[Family, ...]:
    if only is None:
        return (4, 6)
    if only not in uplink.families:
        raise Wrong(f"{uplink.name} has no IPv{only}")
    return (only,)


def _confirmed(uplink: Uplink, for_s: int) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise Wrong("there is nobody to ask: add --yes to cut the uplink off")
    question = (
        f"Cut {uplink.name} ({uplink.device}) off for {for_s} s? Its connections break. [y/N] "
    )
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


class _Drill:
    """One drill.  Times are CLOCK_MONOTONIC, which is also the loop's and the monitor's."""

    def __init__(
        self,
        plan: Plan,
        uplink: Uplink,
        families: Sequence[Family],
        promised: Guarantee,
        command: Command,
    ) -> None:
        self._plan = plan
        self._uplink = uplink
        self._families = families
        self._promised = promised
        self._command = command
        self._for_s = int(command.for_s or 0)
        self._status: Status | None = None
        self._lines: dict[Family, Line] = {}
        self._cut_s = self._mended_s = math.inf

    async def run(self) -> Findings:
        """Cut, measure, mend.  Raises Refused."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task
        for ending in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(ending, task.cancel)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            status = await self._first()
            up = [one.family for one in self._of(status) if one.health == "up"]
            measured = [family for family in self._families if family in up]
            if not measured:
                raise Refused(f"{self._uplink.name} is down already: there is nothing to drill")
            host.say("looking for what answers")
            self._lines = {
                family: await prepare(self._plan, self._uplink, family, status)
                for family in measured
            }
            orders.carry_out(self._command)
            going = [group.create_task(line.keep()) for line in self._lines.values()]
            await asyncio.sleep(BEFORE_S)
            try:
                count = await self._cut()
                await self._return()
            finally:
                _mend()
            forwards = await try_forwards(self._plan, self._uplink, measured, self._latest())
            for one in (listening, *going):
                one.cancel()
        reasons = {one.family: one.reason for one in self._of(self._latest())}
        parts = tuple(
            line.part(self._promised, self._cut_s, self._mended_s, reasons[family])
            for family, line in self._lines.items()
        )
        return Findings(self._uplink.name, self._uplink.device, self._for_s, count, parts, forwards)

    async def _cut(self) -> int | None:
        """Cut off, and wait until the kernel ends that; how many packets were dropped."""
        loop = asyncio.get_running_loop()
        # from before nft: nothing that is measured looks faster than it was
        self._cut_s = loop.time()
        self._mended_s = self._cut_s + self._for_s
        outcome = _nft(cut(self._uplink.device, self._families, self._for_s))
        if outcome.status:
            raise Refused(f"nft refused the cut: {outcome.said}")
        host.say(f"{self._uplink.device} is cut off for {self._for_s} s")
        await asyncio.sleep(self._mended_s - loop.time())
        listed = host.command(LIST, NFT_WITHIN_S)
        host.say(f"{self._uplink.device} is whole again")
        return None if listed.status else dropped(listed.output)

    async def _return(self) -> None:
        """Wait until all that went down is back, or should long be."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._promised.return_ms / 1000 + LATE_S
        while loop.time() < deadline_s and any(line.is_away for line in self._lines.values()):
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(AFTER_S)

    # -- the monitor -------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear the monitor, also when it is another one."""
        while True:
            with suppress(OSError, ValueError):
                reader, writer = await asyncio.open_unix_connection(SOCKET, limit=LINE_LIMIT)
                try:
                    writer.write(request_to_json(Request("watch")).encode())
                    async for line in reader:
                        item = from_json(line.decode()).item
                        if isinstance(item, Snapshot):
                            self._status = item.status
                            self._see(self._of(item.status))
                finally:
                    writer.close()
            if self._status is None:
                raise Refused("nib-monitor does not answer: see nib status")
            await asyncio.sleep(AGAIN_S)

    def _see(self, states: Iterable[FamilyStatus]) -> None:
        for state in states:
            line = self._lines.get(state.family)
            if line and (news := line.see(state, self._cut_s, self._mended_s)):
                host.say(f"IPv{state.family}: {self._uplink.name} is {news}")

    async def _first(self) -> Status:
        while self._status is None:
            await asyncio.sleep(LOOK_S)
        return self._status

    def _latest(self) -> Status:
        assert self._status
        return self._status

    def _of(self, status: Status) -> tuple[FamilyStatus, ...]:
        found = (one.families for one in status.uplinks if one.name == self._uplink.name)
        return next(found, ())


def _nft(text: str) -> Outcome:
    return host.command(("nft", "-f", "-"), NFT_WITHIN_S, stdin=text)


def _mend() -> None:
    """End the cut.  Whoever ends a whole unit ends the nft that is just at it as well: again."""
    for _ in range(MENDINGS):
        outcome = _nft(MEND)
        if not outcome.status:
            return
    host.say(f"the cut is left to end by itself: nft: {outcome.said}")
