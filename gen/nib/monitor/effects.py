"""Effects -> the kernel and the file system.  The loop never waits for any of this."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from nib import status as statuses
from nib.durable import sync_folder
from nib.families import Family
from nib.ip_rules import MAIN, PROTOCOL, Rule, Table
from nib.monitor import admin, rtnetlink
from nib.monitor.announce import Announcer
from nib.monitor.conntrack import forget_flows
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Announce,
    Deed,
    Default,
    ForgetFlows,
    Keep,
    LanNetwork,
    LoadState,
    LoadTable,
    NextHop,
    Publish,
    RemoveDefault,
    RemoveNetwork,
    RemoveRule,
    Say,
    SetBalance,
)
from nib.monitor.netlink import Kernel
from nib.monitor.notify import notify
from nib.monitor.rtnetlink import (
    FR_ACT_GOTO,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    NLM_F_APPEND,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTN_UNICAST,
    Address,
    Route,
    RuleEntry,
    Way,
)
from nib.monitor.tables import TableWatch
from nib.plan import Plan

log = logging.getLogger("nib-monitor")

NFT_TIMEOUT_S = 10

NOBODY: Mapping[str, Announcer] = MappingProxyType({})

AS_IT_SHOULD_BE = (errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
# a network that nobody else has: no duplicates to look for
IFA_F_NODAD = 0x02


class EffectError(Exception):
    """An effect did not work; the text says why, for the journal."""


class Effects:
    """Carries effects out, one by one, in the order they were asked for."""

    def __init__(
        self,
        plan: Plan,
        table_file: Path,
        tables: TableWatch,
        kernel: Kernel,
        announcers: Mapping[str, Announcer] = NOBODY,
    ) -> None:
        self._plan = plan
        self._table_file = table_file
        self._tables = tables
        self._kernel = kernel
        self._announcers = announcers
        self._state_file = Path(plan.state_file)
        self._line = ""

    async def run(self, effect: Deed) -> None:
        """Do it.  Raises EffectError, and OSError if a file cannot be written."""
        match effect:
            case LoadState(text):
                await self._load(text, self._state_file)
            case LoadTable(text):
                try:
                    await self._load(text, self._table_file)
                except EffectError:
                    await self._close()
                    raise
            case SetBalance(family, hops):
                await self._set_balance(family, hops)
            case AddDefault(default):
                # beside what there is: never "replace", which takes others' routes
                self._route(default, rtnetlink.add_route, NLM_F_APPEND)
            case RemoveDefault(default):
                self._route(default, rtnetlink.remove_route)
            case AddRule(rule):
                self._change(rtnetlink.add_rule, _entry(rule))
            case RemoveRule(rule):
                self._change(rtnetlink.remove_rule, _entry(rule))
            case AddNetwork(network):
                self._network(network, add=True)
            case RemoveNetwork(network):
                self._network(network, add=False)
            case Announce(lans):
                for announced in lans:
                    self._announcers[announced.device].announce(announced)
            case ForgetFlows(family, uplink):
                marks = self._plan.marks
                forget_flows(family, self._plan.uplink(uplink).mark, marks.id_mask)
            case Publish(status, line):
                write(Path(statuses.STATUS_FILE), statuses.to_json(status))
                if line != self._line:
                    self._line = line
                    notify(f"STATUS={line}")
            case Keep(orders):
                # a disk may take seconds, and the probes of all lines would be late
                await asyncio.to_thread(keep, admin.to_json(orders, time.time() - time.monotonic()))
            case Say(text, warning, outage):
                of = f" ({outage})" if outage else ""
                log.log(logging.WARNING if warning else logging.INFO, "%s%s", text, of)

    async def _load(self, state: str, file: Path) -> None:
        try:
            write(self._state_file, state)
        except OSError:
            # No room is no reason to leave flows on a dead line; it is tried again for the file.
            table = f'include "{self._table_file}"\n' if file == self._table_file else ""
            with self._tables.own():
                await nft(Path("-"), table + state)
            raise
        with self._tables.own():
            await nft(file)

    async def _close(self) -> None:
        """A router whose table is gone and cannot return (a broken fragment) is closed, not open.

        Where there is a table, of the one kind or the other, `create` fails and nothing happens.
        """
        stopped = self._table_file.with_name("stopped.nft")
        text = f'create table inet nib\ncreate table inet nib_stopped\ninclude "{stopped}"\n'
        with contextlib.suppress(EffectError), self._tables.own():
            await nft(Path("-"), text)

    async def _set_balance(self, family: Family, hops: tuple[NextHop, ...]) -> None:
        indexes = {hop.device: _index(hop.device) for hop in hops}
        ways = tuple(
            Way(indexes[hop.device], hop.gateway, hop.weight) for hop in hops if indexes[hop.device]
        )
        if ways:
            balance = _default(family, self._plan.balance_table, 0, ways)
            self._change(rtnetlink.add_route, balance, NLM_F_REPLACE)
            return
        there = rtnetlink.routes(self._kernel, family, self._plan.balance_table, 0)
        for route in [route async for route in there]:
            self._change(rtnetlink.remove_route, route)

    def _route(self, default: Default, change: Callable[..., None], *flags: int) -> None:
        index = _index(default.device)
        if index:  # else its routes went with it
            way = Way(index, default.gateway, 1)
            route = _default(default.family, default.table, default.metric, (way,))
            self._change(change, route, *flags)

    def _network(self, network: LanNetwork, *, add: bool) -> None:
        """The route, and an address: of one on another device a lan would ask in vain."""
        index = _index(network.device)
        if not index:
            return
        destination, _, length = network.network.partition("/")
        ways = (Way(index, None, 1),)
        route = Route(
            6, destination, int(length), MAIN, PROTOCOL, RTN_UNICAST, network.metric, ways
        )
        own = Address(index, 6, network.address, IFA_F_NODAD if add else 0, 0)
        if add:
            self._change(rtnetlink.add_route, route, NLM_F_EXCL)
            self._change(rtnetlink.add_address, own)
        else:
            self._change(rtnetlink.remove_route, route)
            self._change(rtnetlink.remove_address, own)

    def _change(self, change: Callable[..., None], *arguments: object) -> None:
        """What is there already, or gone already, is as it should be."""
        try:
            change(self._kernel, *arguments)
        except OSError as error:
            if error.errno not in AS_IT_SHOULD_BE:
                raise EffectError(f"{error.strerror} (errno {error.errno})") from None


def _index(device: str) -> int:
    """The number of the device that has this name now; 0: there is none."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def _default(family: Family, table: Table, metric: int, ways: tuple[Way, ...]) -> Route:
    return Route(family, None, 0, table, PROTOCOL, RTN_UNICAST, metric, ways)


def _entry(rule: Rule) -> RuleEntry:
    """A rule in the kernel's words, with nib's own protocol number."""
    table = MAIN if rule.table == "main" else rule.table
    elsewhere = FR_ACT_GOTO if rule.goto else FR_ACT_UNREACHABLE
    return RuleEntry(
        family=rule.family,
        destination_length=0,
        source_length=(32 if rule.family == 4 else 128) if rule.source else 0,
        source=rule.source,
        action=FR_ACT_TO_TBL if table else elsewhere,
        flags=0,
        table=table or 0,
        priority=rule.priority,
        suppress=rule.suppress_prefixlength,
        oif=rule.oif,
        iif=rule.iif,
        mark=rule.mark or 0,
        mask=rule.mask,
        goto=rule.goto,
        protocol=PROTOCOL,
    )


async def nft(file: Path, stdin: str = "") -> None:
    """Load `file` in one transaction.  Raises EffectError with what nft said."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            "-f",
            str(file),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise EffectError(f"cannot start nft: {error.strerror}") from None
    try:
        async with asyncio.timeout(NFT_TIMEOUT_S):
            _, said = await process.communicate(stdin.encode())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise EffectError(f"nft -f {file} took more than {NFT_TIMEOUT_S} s") from None
    if process.returncode:
        raise EffectError(f"nft -f {file}: {_complaint(said.decode(errors='replace'))}")


def _complaint(said: str) -> str:
    """The first error of the many that nft may find, without the text that it is about."""
    lines = said.splitlines() or ["it does not say why"]
    return next((line for line in lines if "Error: " in line), lines[0])


def write(path: Path, text: str) -> None:
    """Replace a file at once; readers see the old or the new one.  Raises OSError.

    Not synced: /run is memory, and does not outlive the machine.  The temporary name starts with a
    dot, so that no include pattern of nft's matches it.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


def orders_file() -> Path:
    """What outlives a reboot; systemd names the directory, which is /var/lib/nib-monitor."""
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/nib-monitor")) / "orders.json"


def keep(text: str) -> None:
    """Replace that file by one that is on the disk already.  Raises OSError.

    A power cut leaves the old or the new one, and never an empty one.
    """
    file = orders_file()
    temporary = file.with_name(f".{file.name}.new")
    with temporary.open("w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
    sync_folder(file.parent)
