"""Every way to ask, over a real line, against real servers in another network."""

import asyncio
import json
import os
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import answering
import samples
from alone import alone, eventually, neighbour, sh
from nib.families import Family
from nib.monitor.askers import dns, icmp
from nib.monitor.askers.every import MOST, Askers
from nib.monitor.askers.way import Way
from nib.monitor.questions import Reply
from nib.targets import Command, Connect, Fetch, Neighbour, Ping, Query, Target

HERE = {4: "192.0.2.2", 6: "2001:db8::2"}
THERE = {4: "192.0.2.1", 6: "2001:db8::1"}
SILENT = {4: "192.0.2.99", 6: "2001:db8::99"}

Far = Callable[[str], str]


@given(of=st.integers(0, 0xFFFF), number=st.integers(0, 0xFFFF))
def test_the_checksum_of_an_echo_request(of: int, number: int) -> None:
    """RFC 1071: whoever sums all words up gets ones, whichever zero there may be."""
    packet = icmp.request(4, of, number)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@contextmanager
def line() -> Iterator[Far]:
    """A device wan1 with both families, and somebody at its other end."""
    with neighbour() as far:
        sh(f"""
        ip link add wan1 type veth peer name far1; ip link set far1 netns $PID
        ip address add {HERE[4]}/24 dev wan1; ip address add {HERE[6]}/64 dev wan1 nodad
        ip link set wan1 up""")
        far(f"""ip address add {THERE[4]}/24 dev far1; ip link set far1 up
        ip address add {THERE[6]}/64 dev far1 nodad""")
        yield far


class Asked:
    """Askers on wan1 and what they heard."""

    def __init__(self, family: Family, *targets: Target, timeout_ms: int, gateway: str | None):
        (uplink, _) = samples.plan().uplinks
        probe = replace(uplink.probe, targets=targets, timeout_ms=timeout_ms)
        way = Way(replace(uplink, probe=probe, families=(4, 6)), family, lambda: gateway)
        self.heard: list[Reply] = []
        self.askers = Askers(way, 0, self.heard.append)

    async def answer(self, target: Target) -> str | None:
        """What is wrong with the target's answer; it must give one."""
        number = len(self.heard) + 7
        self.askers.ask(target, number)
        await eventually(lambda: any(reply.number == number for reply in self.heard))
        reply = self.heard[-1]
        assert reply.target == target
        return reply.wrong

    async def silence(self, target: Target, number: int = 77) -> None:
        """It gives no answer."""
        self.askers.ask(target, number)
        await asyncio.sleep(0.4)
        assert all(reply.number != number for reply in self.heard)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def asked(
    family: Family, *targets: Target, timeout_ms: int = 3000, gateway: str | None = None
) -> AsyncIterator[Asked]:
    descriptors = open_files()
    of = Asked(family, *targets, timeout_ms=timeout_ms, gateway=gateway)
    try:
        yield of
    finally:
        of.askers.close()
        # nothing is left open, whatever was asked
        await eventually(lambda: open_files() <= descriptors)


@contextmanager
def serving(kind: str, *arguments: str) -> Iterator[None]:
    """Servers of `answering` at the other end."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        enter = ["nsenter", "-t", os.environ["PID"], "-n", sys.executable]
        os.execvp("nsenter", [*enter, answering.__file__, kind, *arguments])
    os.close(writer)
    try:
        assert os.read(reader, 10)
        yield
    finally:
        os.close(reader)
        os.kill(child, 9)
        os.waitpid(child, 0)


# -- TCP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_tcp(family: Family) -> None:
    target, refused = (Connect("tcp", THERE[family], port) for port in (443, 444))
    silent = Connect("tcp", SILENT[family], 443)
    with line() as far, serving("tcp"):
        async with asked(family) as of:
            for _ in range(5):
                assert await of.answer(target) is None
            # a reset comes from there as well
            assert await of.answer(refused) is None
        async with asked(family, timeout_ms=300) as of:
            await of.silence(silent)
            # neither side remembers any of them
            sockets = "ss -Htan state connected exclude established"
            assert sh(sockets) == far(sockets) == ""


@alone
async def test_no_more_than_so_many_are_out() -> None:
    silent = Connect("tcp", SILENT[4], 443)
    with line():
        sh(f"ip neigh add {SILENT[4]} lladdr 02:00:00:00:00:99 dev wan1")
        async with asked(4, timeout_ms=400) as of:
            before = open_files()
            for number in range(3 * MOST):
                of.askers.ask(silent, number)
            await asyncio.sleep(0.1)
            assert open_files() - before <= MOST + 1
            await asyncio.sleep(0.5)
            assert open_files() <= before
            assert of.heard == []


# -- DNS -----------------------------------------------------------------------------------------


def query(family: Family, name: str, answer: str | None = None, port: int = 53) -> Query:
    return Query("dns", THERE[family], port, f"{name}.example", answer)


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_dns(family: Family) -> None:
    with line(), serving("dns"):
        async with asked(family) as of:
            assert await of.answer(query(family, "www")) is None
            assert await of.answer(query(family, "upper")) is None
            assert await of.answer(query(family, "nxdomain")) is None
            assert await of.answer(query(family, "servfail")) == "answered SERVFAIL"
            assert await of.answer(query(family, "refused")) == "answered REFUSED"
            for right in ("192.0.2.7", "2001:db8::7"):
                assert await of.answer(query(family, "www", right)) is None
            wrong = await of.answer(query(family, "www", "192.0.2.8"))
            assert wrong == "says that www.example is 192.0.2.7, not 192.0.2.8"
            wrong = await of.answer(query(family, "nxdomain", "192.0.2.8"))
            assert wrong == "says that nxdomain.example is nowhere, not 192.0.2.8"
            wrong = await of.answer(query(family, "damaged", "192.0.2.7"))
            assert wrong == "sent a damaged answer"
            nobody = query(family, "www", port=54)
            assert await of.answer(nobody) == "there is no DNS server"
        async with asked(family, timeout_ms=300) as of:
            await of.silence(query(family, "silent"))
            await of.silence(query(family, "forged"), 78)


def test_a_question_of_dns() -> None:
    """RFC 1035: the header, then labels, type and class."""
    sent = dns.question(query(4, "www"), 0xBEEF)
    assert sent == bytes.fromhex("beef 0100 0001 0000 0000 0000") + (
        b"\3www\7example\0" + struct.pack(">HH", 1, 1)
    )
    assert dns.question(query(4, "www", "2001:db8::1"), 1).endswith(struct.pack(">HH", 28, 1))


# -- HTTP ----------------------------------------------------------------------------------------


def page(
    family: Family, path: str, status: int = 200, body: str | None = None, port: int = 80
) -> Fetch:
    there = THERE[family] if family == 4 else f"[{THERE[family]}]"
    url = f"http://{there}{path}"
    return Fetch("http", url, False, there, THERE[family], port, path, status, body)


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_http(family: Family) -> None:
    with line(), serving("http"):
        async with asked(family) as of:
            for _ in range(5):
                assert await of.answer(page(family, "/204", 204)) is None
            portal = await of.answer(page(family, "/portal", 204))
            assert portal == "has status 302 to http://login.example/?a=b, not 204"
            assert await of.answer(page(family, "/credit", 204)) == "has status 200, not 204"
            for path in ("/credit", "/chunks"):
                assert await of.answer(page(family, path, body="credit")) is None
            wrong = await of.answer(page(family, "/credit", body="welcome"))
            assert wrong == "has status 200, but not the text 'welcome'"
            wrong = await of.answer(page(family, "/chunks", body="welcome"))
            assert wrong == "has status 200, but not the text 'welcome'"
            assert await of.answer(page(family, "/host", body="\r\nUser-Agent: nib/")) is None
            there = page(family, "").host
            assert await of.answer(page(family, "/host", body=f"\r\nHost: {there}\r\n")) is None
            for wrong_one in (page(family, "/long"), page(family, "/204", port=22)):
                assert await of.answer(wrong_one) == "speaks no HTTP"
            assert await of.answer(page(family, "/broken", body="credit")) == "speaks no HTTP"
            wrong = await of.answer(page(family, "/endless", body="y"))
            assert wrong == "has status 200, but not the text 'y'"
            nobody = page(family, "/204", port=81)
            assert await of.answer(nobody) == "refuses the connection"
        async with asked(family, timeout_ms=300) as of:
            await of.silence(page(family, "/silent"))


@alone
async def test_https() -> None:
    """A certificate must be that of the host, and of an authority that the system knows."""
    Path("/run/tls").mkdir()
    os.environ["SSL_CERT_FILE"] = "/run/tls/cert"
    sh("""cd /run/tls; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
        -keyout key -out cert -days 2 -subj /CN=right.example \\
        -addext subjectAltName=DNS:right.example 2>/dev/null""")

    def secure(host: str, port: int = 443) -> Fetch:
        return Fetch("http", "", True, host, THERE[4], port, "/204", 204, None)

    with line(), serving("http", "/run/tls"):
        async with asked(4) as of:
            assert await of.answer(secure("right.example")) is None
            wrong = await of.answer(secure("wrong.example")) or ""
            assert "certificate" in wrong and "Hostname mismatch" in wrong
            plain = await of.answer(secure("right.example", 22)) or ""
            assert plain.startswith("speaks no TLS")


# -- the gateway ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Ping("ping", None), Neighbour("arp")], ids=str)
@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_the_gateway(family: Family, kind: Target) -> None:
    with line() as far:
        async with asked(family, kind, gateway=THERE[family]) as of:
            for _ in range(3):
                assert await of.answer(kind) is None
            far("ip link set far1 arp off; ip link set far1 down")
            await of.silence(kind)
        async with asked(family, kind, gateway=None) as of:
            await of.silence(kind)


@pytest.mark.parametrize("kind", [Ping("ping", None), Neighbour("arp")], ids=str)
@alone
async def test_a_gateway_that_announces_itself(kind: Target) -> None:
    """Its address is of the link alone."""
    with line() as far:
        far("ip address add fe80::77/64 dev far1 nodad")
        await eventually(lambda: "tentative" not in sh("ip -6 address show dev wan1"))
        async with asked(6, kind, gateway="fe80::77") as of:
            assert await of.answer(kind) is None


@alone
async def test_arp_is_answered_where_ping_is_not() -> None:
    ping, arp = Ping("ping", None), Neighbour("arp")
    with line() as far:
        far("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
        async with asked(4, ping, arp, gateway=THERE[4]) as of:
            assert await of.answer(arp) is None
            await of.silence(ping)
            # nobody else's address is an answer
        async with asked(4, arp, gateway=SILENT[4]) as of:
            await of.silence(arp)


GATEWAY: tuple[Target, ...] = (Ping("ping", None), Neighbour("arp"))


@pytest.mark.parametrize("kind", GATEWAY, ids=str)
@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_an_answer_that_waits_knows_when_it_came(family: Family, kind: Target) -> None:
    """To wake for each one is what costs most, so they are read together; they do not age."""
    loop = asyncio.get_running_loop()
    with line():
        async with asked(family, kind, gateway=THERE[family]) as of:
            # who is there has to be found out first
            assert await of.answer(kind) is None
            of.askers.listen(at_once=False)
            asked_s = loop.time()
            of.askers.ask(kind, 99)
            await asyncio.sleep(0.5)
            assert len(of.heard) == 1
            of.askers.gather()
            assert asked_s < of.heard[1].came_s < asked_s + 0.25
            # nor does one wait that is read when it comes
            of.askers.listen(at_once=True)
            asked_s = loop.time()
            assert await of.answer(kind) is None
            assert asked_s < of.heard[2].came_s <= loop.time()


@alone
async def test_a_wire_full_of_questions_hides_no_answer() -> None:
    """Everybody's ARP comes in on it; what came before the question is no answer to it."""
    arp = Neighbour("arp")
    with line() as far:
        async with asked(4, arp, gateway=THERE[4]) as of:
            assert await of.answer(arp) is None
            of.askers.listen(at_once=False)
            far("for i in $(seq 100 250); do ping -q -c 1 -W 1 192.0.2.$i & done; wait")
            # the kernel asks as well, and is answered
            sh(f"ip neigh flush dev wan1; ping -q -c 1 {THERE[4]}")
            asked_s = asyncio.get_running_loop().time()
            of.askers.ask(arp, 99)
            await asyncio.sleep(0.3)
            of.askers.gather()
            assert of.heard[-1].number == 99
            assert all(one.came_s > asked_s for one in of.heard if one.number == 99)


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_other_programs_may_ping_as_they_like(family: Family) -> None:
    """Their answers wake nobody, and fill no queue that those to the probes wait in."""
    target = Ping("ping", THERE[family])

    def waiting() -> list[int]:
        name = "/proc/net/raw" if family == 4 else "/proc/net/raw6"
        sockets = [row.split() for row in Path(name).read_text().splitlines()[1:]]
        return [int(row[4].partition(":")[2], 16) for row in sockets]

    with line():
        async with asked(family, target) as of:
            assert await of.answer(target) is None
            of.askers.listen(at_once=False)
            sh(f"ping -c 5 -i 0.01 {THERE[family]}")
            assert waiting() == [0]
            of.askers.ask(target, 99)
            await eventually(lambda: waiting() != [0])


# -- programs ------------------------------------------------------------------------------------


def program(text: str, mode: int = 0o755) -> Command:
    path = Path(f"/run/nib/program{len(list(Path('/run/nib').iterdir()))}")
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return Command("command", str(path))


@alone
async def test_programs() -> None:
    sh("ip link add wan1 type dummy || ip link add wan1 type veth peer name far1")
    async with asked(6) as of:
        assert await of.answer(program("true")) is None
        assert await of.answer(program("exit 3")) == "ended with status 3"
        said = "echo starting; printf 'credit: 0\\033[31m EUR\\n\\n'; exit 1"
        assert await of.answer(program(said)) == "credit: 0?[31m EUR"
        mine = (
            'test "$NIB_UPLINK $NIB_DEVICE $NIB_FAMILY" = "cable wan1 6" && '
            'test "$NIB_MARK" -gt 0 && test -z "$HOME" && test "$(env | wc -l)" -lt 9'
        )
        assert await of.answer(program(mine)) is None
        for mode in (0o775, 0o757):
            assert await of.answer(program("true", mode)) == (
                "is not run: others than root may change it"
            )
        assert await of.answer(program("true", 0o644)) == "is not a program"
        missing = Command("command", "/run/nib/none")
        assert await of.answer(missing) == "cannot be run: No such file or directory"
    async with asked(6, timeout_ms=300) as of:
        await of.silence(program("sleep 77 & sleep 78"))
        await eventually(lambda: "sleep 7" not in sh("ps -eo args"))


# -- the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_every_kind_is_bound_to_device_and_mark(family: Family) -> None:
    """Whatever the routes say: only by that device, and only with that mark."""
    (uplink, _) = samples.plan().uplinks
    ip = "ip" if family == 4 else "ip6"
    targets = (
        Ping("ping", THERE[family]),
        Connect("tcp", THERE[family], 443),
        query(family, "www"),
        page(family, "/204", 204),
    )
    kinds = ("meta l4proto { icmp, ipv6-icmp }", "tcp dport 443", "udp dport 53", "tcp dport 80")
    with line(), serving("tcp"), serving("dns"), serving("http"):
        rules = "\n".join(
            f"oifname wan1 {kind} meta mark {sign} {uplink.mark} counter"
            for kind in kinds
            for sign in ("==", "!=")
        )
        sh(f"""
        ip link add wan2 type veth peer name far2; ip link set wan2 up; ip link set far2 up
        ip address add 198.51.100.2/24 dev wan2; ip address add 2001:db8:2::2/64 dev wan2 nodad
        ip route add {THERE[4]} via 198.51.100.1 dev wan2
        ip -6 route add {THERE[6]} via 2001:db8:2::1 dev wan2
        nft 'table inet t {{ chain output {{ type filter hook output priority 0;
            icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept
            icmpv6 type mld2-listener-report accept
            oifname wan2 {ip} daddr {THERE[family]} counter
            {rules}
        }}; }}'""")
        async with asked(family, *targets) as of:
            for target in targets:
                assert await of.answer(target) is None
        listed = json.loads(sh("nft -j list table inet t"))["nftables"]
    elsewhere, *counts = [
        part["counter"]["packets"]
        for entry in listed
        for part in entry.get("rule", {}).get("expr", ())
        if "counter" in part
    ]
    assert elsewhere == 0
    assert all(marked >= 1 for marked in counts[::2]), counts
    assert counts[1::2] == [0, 0, 0, 0]
