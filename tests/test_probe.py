"""Real echo requests over a real line, to a network that answers, or does not."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

import samples
from alone import alone, eventually, neighbour, sh
from nib.families import Family
from nib.monitor import asking as schedule
from nib.monitor.events import Event, Judged, Silenced, Tallied
from nib.monitor.probe import Prober
from nib.plan import Uplink
from nib.probe import LEAST_PATIENCE_MS
from nib.targets import Ping, Target

ANSWERS, ANSWERS_TOO, SILENT = "192.0.2.1", "192.0.2.3", "192.0.2.99"
INTERVAL_MS, TIMEOUT_MS = 30, 150

LINE = """
ip link add wan1 type veth peer name far1
ip link set far1 netns $PID
ip address add 192.0.2.2/24 dev wan1
ip link set wan1 up
"""
FAR = f"ip address add {ANSWERS}/24 dev far1; ip address add {ANSWERS_TOO}/24 dev far1; \
ip link set far1 up"


@pytest.fixture(autouse=True, params=[schedule.AWAKE_S, 0.0], ids=["near", "far"])
def far_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are read when they come, or, as those from far away, when there is more to do."""
    monkeypatch.setattr(schedule, "AWAKE_S", request.param)


class Asking:
    """A prober on wan1 and all that it emitted; it believes what it is told by its own verdicts."""

    def __init__(self, uplink: Uplink, family: Family = 4, gateway: str | None = None) -> None:
        self.uplink = uplink
        self.events: list[Event] = []
        self.prober = Prober(uplink, family, 0, self._emitted, lambda: gateway)
        self.task = asyncio.create_task(self.prober.run())
        self.prober.watch("unknown", uplink.probe.quorum)

    def _emitted(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Judged):
            asyncio.get_running_loop().call_soon(self._believe, event.ok)

    def _believe(self, ok: bool) -> None:
        self.prober.watch("up" if ok else "down", self.uplink.probe.quorum)

    def judged(self, ok: bool) -> int:
        return sum(isinstance(event, Judged) and event.ok == ok for event in self.events)

    def tallied(self) -> list[Tallied]:
        return [event for event in self.events if isinstance(event, Tallied)]

    def silent(self) -> tuple[Target, ...]:
        """The targets that do not answer although others do."""
        found = [event.targets for event in self.events if isinstance(event, Silenced)]
        return found[-1] if found else ()

    async def hears(self, ok: bool, samples: int = 5) -> None:
        """From now on, that many samples in a row with an answer, or verdicts of silence."""
        self.events.clear()
        await eventually(lambda: self._last(ok, samples))

    def _last(self, ok: bool, samples: int) -> bool:
        if not ok:
            return self.judged(ok=False) >= 2
        heard = [any(rtt for _, rtt in event.answers) for event in self.tallied()][-samples:]
        return heard == [True] * samples


@asynccontextmanager
async def asking(
    *targets: str,
    quorum: int = 1,
    timeout_ms: int = TIMEOUT_MS,
    interval_ms: int = INTERVAL_MS,
    family: Family = 4,
) -> AsyncIterator[Asking]:
    (uplink, _) = samples.plan().uplinks
    probe = replace(
        uplink.probe,
        targets=tuple(Ping("ping", target) for target in targets),
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
        quorum=quorum,
    )
    of = Asking(replace(uplink, probe=probe), family)
    try:
        yield of
    finally:
        of.task.cancel()
        with suppress(asyncio.CancelledError):
            await of.task


@alone
async def test_who_answers_is_up() -> None:
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        # a machine that is busy answers late, too
        async with asking(ANSWERS, ANSWERS_TOO, timeout_ms=3000) as of:
            await eventually(lambda: len([one for one in of.tallied() if not one.burst]) >= 5)
    (up,) = [event for event in of.events if isinstance(event, Judged)]
    assert up.ok
    late = False
    for tallied in of.tallied():
        assert (tallied.uplink, tallied.family) == ("cable", 4)
        rtts_ms = [rtt_ms for _, rtt_ms in tallied.answers]
        assert all(rtt_ms and 0 < rtt_ms < 3000 for rtt_ms in rtts_ms)
        # all at once only at first, and for a doubt
        assert len(rtts_ms) == (2 if tallied.burst else 1)
        assert not tallied.burst or late or tallied.asked_s < up.at_s
        late = late or max(filter(None, rtts_ms)) > LEAST_PATIENCE_MS


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_each_family_asks_its_own_targets(family: Family) -> None:
    """Of three of IPv6 two answer; of IPv4 nobody does."""
    with neighbour() as far:
        sh(f"{LINE}\nip address add 2001:db8::2/64 dev wan1 nodad")
        far("""ip link set far1 up; ip address add 2001:db8::1/64 dev far1 nodad
            ip address add 2001:db8::3/64 dev far1 nodad""")
        targets = (SILENT, "2001:db8::1", "2001:db8::3", "2001:db8::99")
        async with asking(*targets, family=family, quorum=2) as of:
            await of.hears(family == 6)
            if family == 6:
                await eventually(lambda: of.silent() == (Ping("ping", "2001:db8::99"),))
    assert of.judged(ok=family == 4) == 0


@alone
async def test_life_is_judged_at_once_and_silence_after_the_timeout() -> None:
    loop = asyncio.get_running_loop()
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(ANSWERS, timeout_ms=3000) as of:
            began_s = loop.time()
            await eventually(lambda: of.judged(ok=True))
            assert loop.time() - began_s < 2
        async with asking(SILENT, timeout_ms=400) as of:
            began_s = loop.time()
            await eventually(lambda: of.judged(ok=False))
            assert loop.time() - began_s >= 0.4
            assert not of.judged(ok=True)


@pytest.mark.parametrize(("quorum", "ok"), [(1, True), (2, True), (3, False)])
@alone
async def test_quorum(quorum: int, ok: bool) -> None:
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(ANSWERS, SILENT, ANSWERS_TOO, quorum=quorum) as of:
            await eventually(lambda: of.judged(ok=ok))
            await eventually(lambda: of.silent() == (Ping("ping", SILENT),))
            assert of.judged(ok=not ok) == 0


@alone
async def test_a_full_line_is_given_the_whole_timeout() -> None:
    """Echo requests are not answered any more, but a download goes on."""
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(ANSWERS, timeout_ms=1500) as of, asyncio.TaskGroup() as group:
            await of.hears(True, samples=20)
            download = await asyncio.create_subprocess_exec(
                *("nsenter", "-t", os.environ["PID"], "-n", "python3", "-c", SENDER),
                stdout=asyncio.subprocess.PIPE,
            )
            group.create_task(download.wait())
            assert download.stdout and await download.stdout.readline()
            began_s = asyncio.get_running_loop().time()
            far("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
            await eventually(lambda: of.judged(ok=False))
            took_s = asyncio.get_running_loop().time() - began_s
            download.kill()
    assert took_s > 1.4


@alone
async def test_broadcasts_on_the_wire_are_no_download() -> None:
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(ANSWERS, timeout_ms=3000) as of, asyncio.TaskGroup() as group:
            await of.hears(True, samples=20)
            sender = SENDER.replace("192.0.2.2", "192.0.2.255")
            noise = await asyncio.create_subprocess_exec(
                *("nsenter", "-t", os.environ["PID"], "-n", "python3", "-c", sender),
                stdout=asyncio.subprocess.PIPE,
            )
            group.create_task(noise.wait())
            assert noise.stdout and await noise.stdout.readline()
            far("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
            began_s = asyncio.get_running_loop().time()
            await eventually(lambda: of.judged(ok=False))
            took_s = asyncio.get_running_loop().time() - began_s
            noise.kill()
    assert took_s < 2.5


SENDER = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
print("begins", flush=True)
while True:
    s.sendto(b"x", ("192.0.2.2", 4444)); time.sleep(0.005)
"""


@alone
async def test_a_target_that_is_refused_here_says_nothing_about_the_others() -> None:
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        sh(f"""nft 'table inet t {{ chain output {{
            type filter hook output priority 0; ip daddr {SILENT} reject; }}; }}'""")
        async with asking(SILENT, "203.0.113.1", ANSWERS) as of:
            await of.hears(True)
            assert of.judged(ok=False) == 0
        async with asking(SILENT, "203.0.113.1") as of:
            await of.hears(False)


@alone
async def test_silence_and_back() -> None:
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(ANSWERS) as of:
            await of.hears(True)
            far("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
            await of.hears(False)
            far("sysctl -qw net.ipv4.icmp_echo_ignore_all=0")
            await of.hears(True)


@alone
async def test_a_device_that_goes_and_comes_back_as_another() -> None:
    with neighbour() as far:
        async with asking(ANSWERS) as of:
            await of.hears(False)
            sh(LINE)
            far(FAR)
            await of.hears(True)
            sh("ip link delete wan1")
            await of.hears(False)
            sh("ip link add filler type veth peer name filler2")
            sh(LINE)
            far(FAR)
            await of.hears(True)
            # another device takes the name
            sh("ip link set wan1 down; ip link set wan1 name former; ip link set former up")
            sh("ip address add 192.0.2.2/24 dev former 2>/dev/null || true")
            sh("ip link set filler name wan1; ip link set wan1 up; ip link set filler2 up")
            await of.hears(False)


@alone
async def test_bound_to_device_and_mark() -> None:
    """Whatever the routes say: only by that device, and only with that mark."""
    (uplink, _) = samples.plan().uplinks
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        sh(f"""
        ip link add wan2 type veth peer name far2; ip link set wan2 up; ip link set far2 up
        ip address add 198.51.100.2/24 dev wan2
        ip route add {ANSWERS} via 198.51.100.1 dev wan2
        nft 'table inet t {{ chain output {{ type filter hook output priority 0;
            oifname wan1 icmp type echo-request meta mark {uplink.mark} counter
            oifname wan1 icmp type echo-request meta mark != {uplink.mark} counter
            oifname wan2 icmp type echo-request counter
        }}; }}'""")
        async with asking(ANSWERS) as of:
            await of.hears(True)
        listed = json.loads(sh("nft -j list table inet t"))["nftables"]
        marked, unmarked, elsewhere = (
            next(part["counter"]["packets"] for part in entry["rule"]["expr"] if "counter" in part)
            for entry in listed
            if "rule" in entry
        )
    assert marked >= 5
    assert (unmarked, elsewhere) == (0, 0)


@alone
async def test_others_answers_are_not_ours() -> None:
    """Nor are answers that come from somewhere else than was asked."""
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        async with asking(SILENT) as of, asyncio.TaskGroup() as group:
            ping = await asyncio.create_subprocess_shell(
                f"exec {PING}", stdout=asyncio.subprocess.DEVNULL
            )
            group.create_task(ping.wait())
            await of.hears(False)
            ping.kill()


PING = f"""python3 -c '
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
while True:
    for number in range(60):
        head = struct.pack("!BBHHH", 8, 0, 0, number * 997, number)
        total = sum(struct.unpack("!4H", head))
        total = ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF
        s.sendto(head[:2] + struct.pack("!H", total) + head[4:], ("{ANSWERS}", 0))
    time.sleep(0.01)
'"""


@alone
async def test_an_answer_from_before_a_line_went_mute_does_not_speak_for_it() -> None:
    """It may not have been read yet; else the next question, seconds later, would find out."""
    loop = asyncio.get_running_loop()
    with neighbour() as far:
        sh(LINE)
        far(FAR)
        # of 36 bytes each: the one that finds the line up, and one more
        far("""nft "table inet f { chain in { type filter hook input priority 0
            icmp type echo-request quota over 80 bytes drop; }; }" """)
        async with asking(ANSWERS, interval_ms=3000) as of:
            await eventually(lambda: of.judged(ok=True))
            await eventually(lambda: echoes(far("cat /proc/net/snmp")) == 2)
            of.prober.sense(mute=True, full=False, idle=False)
            mute_s = loop.time()
            await eventually(lambda: of.judged(ok=False))
            assert loop.time() - mute_s < 2


def echoes(snmp: str) -> int:
    """Echo requests that came in, of /proc/net/snmp."""
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])
