"""Effects -> the kernel and the file system.  The loop never waits for any of this."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nib import status as statuses
from nib.families import Family
from nib.monitor import admin
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
from nib.monitor.links import FAMILIES, MAIN, RT_SCOPE_LINK
from nib.monitor.notify import notify
from nib.monitor.tables import TableWatch
from nib.plan import PROTOCOL, Plan, Rule

log = logging.getLogger("nib-monitor")

NFT_TIMEOUT_S = 10

NOBODY: Mapping[str, Announcer] = MappingProxyType({})

EEXIST, ENOENT, ESRCH, EADDRNOTAVAIL = 17, 2, 3, 99
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
        ipr: Any,
        announcers: Mapping[str, Announcer] = NOBODY,
    ) -> None:
        self._plan = plan
        self._table_file = table_file
        self._tables = tables
        self._ipr = ipr
        self._announcers = announcers
        self._state_file = Path(plan.state_file)
        self._line = ""

    async def run(self, effect: Deed) -> None:
        """Do it.  Raises EffectError, and OSError if a file cannot be written."""
        try:
            await self._do(effect)
        except NetlinkError as error:
            raise EffectError(f"{error.args[1]} (errno {error.code})") from None

    async def _do(self, effect: Deed) -> None:
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
                await self._route("append", default)
            case RemoveDefault(default):
                await self._route("del", default)
            case AddRule(rule):
                await self._rule("add", rule)
            case RemoveRule(rule):
                await self._rule("del", rule)
            case AddNetwork(network):
                await self._network("add", network)
            case RemoveNetwork(network):
                await self._network("del", network)
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
                keep(admin.to_json(orders, time.time() - time.monotonic()))
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
        table = self._plan.balance_table
        index = await self._indexes()
        ways = [
            {"oif": index[hop.device], "hops": hop.weight - 1, "gateway": hop.gateway}
            for hop in hops
            if hop.device in index
        ]
        if not ways:
            await self._ask(self._ipr.flush_routes(table=table, family=FAMILIES[family]))
            return
        way: dict[str, object] = {"multipath": ways}
        if family == 6 and len(ways) == 1:
            # the only form in which IPv6 takes a device without a gateway
            way = {key: ways[0][key] for key in ("oif", "gateway") if ways[0][key]}
        await self._ask(
            self._ipr.route(
                "replace",
                family=FAMILIES[family],
                dst="default",
                table=table,
                proto=PROTOCOL,
                **way,
            )
        )

    async def _route(self, command: str, default: Default) -> None:
        """Add beside what there is, or delete: never "replace", which takes others' routes."""
        index = (await self._indexes()).get(default.device)
        if index is None:
            # its routes went with it
            return
        way: dict[str, object] = {"gateway": default.gateway} if default.gateway else {}
        if not default.gateway and default.family == 4:
            way["scope"] = RT_SCOPE_LINK
        await self._ask(
            self._ipr.route(
                command,
                family=FAMILIES[default.family],
                dst="default",
                table=default.table,
                oif=index,
                priority=default.metric,
                proto=PROTOCOL,
                **way,
            )
        )

    async def _network(self, command: str, network: LanNetwork) -> None:
        """The route, and an address: of one on another device a lan would ask in vain."""
        index = (await self._indexes()).get(network.device)
        if index is None:
            return
        await self._ask(
            self._ipr.route(
                command,
                family=FAMILIES[6],
                dst=network.network,
                oif=index,
                priority=network.metric,
                proto=PROTOCOL,
            )
        )
        own: dict[str, object] = {"address": network.address, "prefixlen": 128}
        if command == "add":
            own["flags"] = IFA_F_NODAD
        await self._ask(self._ipr.addr(command, index=index, family=FAMILIES[6], **own))

    async def _rule(self, command: str, rule: Rule) -> None:
        asked: dict[str, object] = {
            "family": FAMILIES[rule.family],
            "priority": rule.priority,
            "protocol": PROTOCOL,
        }
        if rule.table is None:
            asked["action"] = "unreachable"
        else:
            asked["table"] = MAIN if rule.table == "main" else rule.table
        if rule.suppress_prefixlength is not None:
            asked["suppress_prefixlen"] = rule.suppress_prefixlength
        if rule.oif:
            asked["oifname"] = rule.oif
        if rule.iif:
            asked["iifname"] = rule.iif
        if rule.source:
            asked["src"] = f"{rule.source}/{32 if rule.family == 4 else 128}"
        if rule.mark is not None:
            asked |= {"fwmark": rule.mark, "fwmask": rule.mask}
        await self._ask(self._ipr.rule(command, **asked))

    async def _indexes(self) -> dict[str, int]:
        return {
            link.get("ifname"): link["index"]
            async for link in await self._ipr.link("dump")
            if link.get("ifname") in self._plan.devices
        }

    @staticmethod
    async def _ask(request: Any) -> None:
        """What is there already, or gone already, is as it should be."""
        try:
            await request
        except NetlinkError as error:
            if error.code not in (EEXIST, ENOENT, ESRCH, EADDRNOTAVAIL):
                raise


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
    """Replace that file, and see to it that it is on the disk.  Raises OSError."""
    file = orders_file()
    write(file, text)
    with file.open("rb") as written:
        os.fsync(written.fileno())
