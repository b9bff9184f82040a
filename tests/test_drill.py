"""A drill's findings from what was recorded, its report, and its cut in a real kernel."""

import time
from dataclasses import replace

import pytest

import samples
from alone import alone, sh
from nib.drill.cut import LIST, MEND, cut, dropped
from nib.drill.findings import Attempt, Course, Findings, Forward, Old, Part, course, faults
from nib.drill.lines import candidates, name_servers
from nib.drill.report import report, to_json
from nib.monitor import admin
from nib.monitor.events import Ordered
from nib.stream import Command


def attempts(text: str) -> list[Attempt]:
    """One a second from 0 on: `.` is answered after 0.1 s, `!` given up after 0.9 s."""
    return [
        Attempt(at_s, at_s + (0.1 if what == "." else 0.9), what == ".")
        for at_s, what in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "lost", "settled_s", "lost_after"),
    [
        # cut between the second and the third, mended between the seventh and the eighth
        ("..........", 0, 0.0, 0),
        ("..!!......", 2, 2.5, 0),
        ("..!.!.....", 2, 3.5, 0),
        ("..!!!!!...", 5, None, 0),
        ("..!....!..", 2, 1.5, 1),
        # under way when it was cut
        (".!........", 1, 0.5, 0),
        # lost before, for whatever reason
        ("!.........", 0, 0.0, 0),
    ],
)
def test_when_all_is_well_again(
    text: str, lost: int, settled_s: float | None, lost_after: int
) -> None:
    found = course(attempts(text), 1.5, 6.5)
    assert (found.lost, found.settled_s, found.lost_after) == (lost, settled_s, lost_after)


PART = Part(
    family=4,
    detected_s=0.61,
    promised_s=0.9,
    back_s=2.4,
    back_promised_s=3.5,
    reason="it answers",
    new=Course(402, 6, 0.72),
    old=Old(3, (0.9, 1.4, 1.1), 4, 0, 1),
    talks=(Course(390, 8, 0.83),),
    calm=(Course(390, 0, 0.0),),
    names=None,
)
FOUND = Findings(
    "cable", "wan1", 30, 812, (PART,), (Forward("tcp 443", "192.168.10.20", ("dsl",), "open"),)
)


def test_a_report() -> None:
    assert (
        report(FOUND)
        == """\
cable (wan1) was cut off for 30 s, 812 packets dropped
failure detected                  after 0.61 s (the plan says 0.90 s)
new connections                   all answered after 0.72 s, 6 of 402 lost
old TCP by cable                  3 of 3 told by a reset, the last after 1.40 s
old TCP by others                 4 of 4 kept
old UDP by cable                  all answered after 0.83 s, 8 of 390 lost
old UDP by others                 none of 390 lost
DNS                               not tried: no name server outside answers
back                              after 2.40 s (the plan says 3.50 s)
forward tcp 443 to 192.168.10.20  meanwhile by dsl; its host is open; not tried from outside
all as the plan says
"""
    )


def test_what_was_not_as_promised_is_said() -> None:
    failing = replace(
        PART,
        family=6,
        detected_s=None,
        back_s=None,
        reason="it answers again, 2 of 5 rounds",
        new=Course(9, 9, None),
        old=Old(3, (), 4, 1, 0),
        calm=(Course(9, 1, 1.0),),
        names=Course(9, 2, 0.5, lost_after=2),
    )
    slow = replace(PART, detected_s=1.5, back_s=9.0, new=None, old=None, talks=(), calm=())
    found = replace(FOUND, dropped=None, parts=(slow, failing))
    assert faults(found) == (
        "the cut was ended before its time: somebody changed the table of the drill",
        "IPv4: detected after 1.50 s, but the plan says 0.90 s",
        "IPv4: back after 9.00 s, but the plan says 3.50 s",
        "IPv6: the failure was not detected",
        "IPv6: it is not back: it answers again, 2 of 5 rounds",
        "IPv6: new connections: still failing when the line was mended",
        "IPv6: DNS: 2 failed when the line was whole again",
        "IPv6: UDP flows of other uplinks lost packets",
        "IPv6: 1 TCP connections of other uplinks were reset",
        "IPv6: 3 TCP connections of the uplink were told nothing",
    )
    lines = report(found).splitlines()
    assert lines[0] == "cable (wan1) was cut off for 30 s"
    assert (
        "IPv4  new connections                   not tried: nothing that can be asked answers"
        in lines
    )
    assert "IPv6  new connections                   failing until the end, 9 of 9 lost" in lines
    assert lines[-len(faults(found)) - 1] == "not as it should be:"
    assert '"faults": [\n  "the cut was ended' in to_json(found)
    assert faults(replace(FOUND, dropped=0)) == ("the cut dropped no packet",)


def test_only_what_probes_ask_is_tried() -> None:
    text = samples.TWO + (
        "probe: {targets: [1.1.1.1, {tcp: '9.9.9.9:853'}, {ping: gateway},"
        " {dns: 8.8.8.8, name: example.com}, '2606:4700:4700::1111']}\n"
    )
    assert set(candidates(samples.plan(text), 4)) == {
        ("1.1.1.1", 443),
        ("1.1.1.1", 53),
        ("9.9.9.9", 853),
        ("8.8.8.8", 443),
        ("8.8.8.8", 53),
    }


def test_name_servers_elsewhere() -> None:
    text = "# by hand\nsearch lan\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver\n"
    assert name_servers(text + "nameserver fe80::1%wan1\n\n") == ["9.9.9.9", "fe80::1%wan1"]


def test_the_last_uplink_of_one_family() -> None:
    plan, usable = samples.plan(), {4: frozenset({"cable"}), 6: frozenset({"cable", "dsl"})}
    drill = Command("drill", "cable", for_s=30)
    assert admin.refusal(plan, drill, usable)
    assert admin.refusal(plan, replace(drill, family=6), usable) is None
    assert admin.refusal(plan, replace(drill, force=True), usable) is None


def test_a_drill_orders_nothing() -> None:
    orders, said = admin.obey({}, Ordered(1.0, 1, Command("drill", "cable", for_s=30, who="anna")))
    assert orders == {}
    assert said.text == "cable is cut off for 30 s: a drill (says anna)"


@alone
def test_a_cut_drops_everything_and_ends_by_itself() -> None:
    sh("""
    ip link add wan1 type veth peer name far; ip netns add there; ip link set far netns there
    ip link set wan1 up; ip -n there link set far up
    ip address add 192.0.2.1/24 dev wan1; ip -n there address add 192.0.2.2/24 dev far
    ip address add 2001:db8::1/64 dev wan1 nodad
    ip -n there address add 2001:db8::2/64 dev far nodad
    """)

    def answer() -> tuple[bool, bool]:
        """IPv4 and IPv6, without what neighbours know of each other."""
        sh("ip neighbour flush dev wan1")
        said = [
            sh(f"ping -c1 -W1 {address} >/dev/null && echo yes || true")
            for address in ("192.0.2.2", "2001:db8::2")
        ]
        return said[0] == "yes\n", said[1] == "yes\n"

    assert answer() == (True, True)
    sh(f"nft -f - <<'END'\n{cut('wan1', (6,), 30)}END")
    assert answer() == (True, False)
    began = time.monotonic()
    sh(f"nft -f - <<'END'\n{cut('wan1', (4, 6), 5)}END")
    assert answer() == (False, False)
    sh("ip netns exec there ping -c1 -W1 192.0.2.1 >/dev/null && exit 1 || true")
    assert (dropped(sh(" ".join(LIST))) or 0) > 2
    time.sleep(max(0.0, began + 5.1 - time.monotonic()))
    assert answer() == (True, True)
    sh(f"nft -f - <<'END'\n{MEND}END\nnft -f - <<'END'\n{MEND}END")
    assert sh("nft list tables") == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": []}', '{"nftables": [1]}'])
def test_a_table_that_is_not_as_it_was(text: str) -> None:
    assert dropped(text) is None
