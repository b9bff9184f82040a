"""What the counters of the devices add to the probes: earlier, later and more seldom."""

import re
import time

import pytest

from lab.errors import eventually
from lab.isp import Provider
from lab.traffic import Recording, flow, fresh, server
from nib_lab import FAST, HOME, NibLab, Routers, Watch

pytestmark = pytest.mark.lab

# All that is new goes by cable, as long as it is up.
CABLE = f"mode: failover\n{HOME}"
NOBODY, PUSH = 9, 9001
MONTH_S = 30 * 86400


def seldom(interval: int) -> str:
    return f"probe: {{interval: {interval}s, rise: 1, damping: 0s, canary: 0s}}\n"


def after_a_turn(interval: int, seconds: float) -> float:
    """Wait until so long after a question; the time.  They are asked by the clock."""
    time.sleep((seconds - time.monotonic()) % interval)
    return time.monotonic()


def samples(watch: Watch, since: float, *, burst: bool) -> list[dict[str, object]]:
    """What was asked on cable since then."""
    return [
        line
        for line in watch.lines("sample")
        if line["uplink"] == "cable" and line["burst"] is burst and line["asked_s"] >= since
    ]


def fall_of(lab: NibLab, cut: float) -> float:
    """How long after the cut cable was down."""
    lab.until(within=15, cable="down")
    took = lab.status()["cable"]["since_s"]
    assert isinstance(took, float)
    return took - cut


def test_a_death_that_somebody_notices_is_found_before_the_next_question(routers: Routers) -> None:
    interval = 10
    lab = routers(CABLE + seldom(interval))
    lab.start()
    client, isp = lab.lans[0], lab.isps[0]

    def mend() -> None:
        isp.restore()
        lab.until(within=15, cable="up")

    def talked(recording: Recording[object]) -> None:
        """A conversation falls silent."""
        cut = after_a_turn(interval, 3.5)
        isp.fail()
        assert fall_of(lab, cut) < 2
        recording.stop()
        mend()

    after_a_turn(interval, 0.5)
    talked(flow(client, "udp"))
    after_a_turn(interval, 0.5)
    talked(flow(client, "tcp"))

    def called(*, tcp: bool) -> None:
        """Nobody had said anything; now somebody calls and nobody answers."""
        cut = after_a_turn(interval, 2)
        isp.fail()
        calls = fresh(client, every=0.2) if tcp else flow(client, "udp", every=0.5, wait=0)
        assert fall_of(lab, cut) < 4.5
        calls.stop()
        mend()

    called(tcp=True)
    called(tcp=False)

    cut = after_a_turn(interval, 2)
    isp.fail()
    # to the next question, that it is missed, and the burst
    assert fall_of(lab, cut) > interval - 2


def test_who_only_ever_sends_is_doubted_seldom_and_never_believed(routers: Routers) -> None:
    lab = routers(CABLE + seldom(5))
    lab.start()
    watch, isp = Watch(lab, "watch"), lab.isps[0]
    isp.fail(f"udp dport {NOBODY}", direction="up")
    begun = time.monotonic()
    sending = flow(lab.lans[0], "udp", port=NOBODY, every=0.2, wait=0)
    time.sleep(30)
    assert not sending.stop().answers
    bursts = samples(watch, begun, burst=True)
    assert 1 <= len(bursts) <= 4
    assert {line["lost"] for line in bursts} == {0}
    assert watch.changes() == []


# -- full is not dead


def filled(lab: NibLab, way: str) -> list[Recording[object]]:
    """Cable is so full one way that nothing more fits."""
    client = lab.lans[0]
    if way == "up":
        return [flow(client, "upload", wait=0) for _ in range(2)]
    return [flow(client, "listen", port=PUSH) for _ in range(4)]


FULL = CABLE.replace("weight: 3", "weight: 3, bandwidth: {down: 1Mbit, up: 1Mbit}")
QUICK = "probe: {rise: 1, damping: 0s, canary: 0s}\n"


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_line_whose_queue_is_longer_than_the_timeout_is_not_dead(
    routers: Routers, way: str
) -> None:
    lab = routers(FULL + QUICK)
    lab.start()
    watch, isp = Watch(lab, "watch"), lab.isps[0]
    with server(lab.inet, push=[PUSH]):
        isp.narrow(**{way: "1mbit"}, queue="256kb")
        begun = time.monotonic()
        traffic = filled(lab, way)
        time.sleep(12)
        assert len([line for line in samples(watch, begun, burst=False) if line["lost"]]) >= 3
        assert watch.changes() == []
        for recording in traffic:
            recording.stop()


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_takes_an_idle_line_down_does_not_take_a_full_one(routers: Routers, way: str) -> None:
    lab = routers(FULL + QUICK)
    lab.start()
    watch, isp = Watch(lab, "watch"), lab.isps[0]

    def lose_probes() -> None:
        isp.fail("meta l4proto icmp")
        time.sleep(3)
        isp.restore()

    with server(lab.inet, push=[PUSH]):
        isp.narrow(**{way: "1mbit"}, queue="32kb")
        traffic = filled(lab, way)
        time.sleep(4)
        begun = time.monotonic()
        lose_probes()
        time.sleep(1.5)
        lost = [line for line in samples(watch, begun, burst=True) if line["lost"] == 3]
        assert len(lost) >= 6
        assert watch.changes() == []
        for recording in traffic:
            recording.stop()
    isp.narrow()
    time.sleep(4)
    assert watch.changes() == []
    lose_probes()
    assert watch.changes()[0] == ("cable", "down")


# -- what the questions cost


def counted(isp: Provider) -> tuple[int, int]:
    """The questions that went through a provider, and the bytes of them and their answers."""
    if "table inet cost" not in isp.run("nft list tables"):
        isp.run(
            "nft -f -",
            stdin="""table inet cost {
                counter asked { }
                counter answered { }
                chain forward {
                  type filter hook forward priority 10; policy accept;
                  icmp type echo-request counter name asked
                  icmp type echo-reply counter name answered
                }
            }""",
        )
    said = isp.run("nft list counters table inet cost")
    (asked, asked_bytes), (_, answered_bytes) = re.findall(r"packets (\d+) bytes (\d+)", said)
    return int(asked), int(asked_bytes) + int(answered_bytes)


def cost(isp: Provider, seconds: float) -> tuple[int, float]:
    """How many questions are asked in that time, and the bytes that make of a month."""
    before, begun = counted(isp), time.monotonic()
    time.sleep(seconds)
    after, took = counted(isp), time.monotonic() - begun
    return after[0] - before[0], (after[1] - before[1]) / took * MONTH_S


def test_a_metered_line_is_asked_seldom_while_nobody_uses_it(routers: Routers) -> None:
    budget = 400_000_000
    metered = "weight: 3, ipv6: off, metered: {budget: 400MB}"
    lab = routers(CABLE.replace("weight: 3", metered) + FAST)
    lab.start()
    client, isp = lab.lans[0], lab.isps[0]
    # two questions of 36 bytes each every so often
    interval = 2 * 36 * MONTH_S / budget

    talk = flow(client, "udp", dst="203.0.113.11", every=0.1)
    usual, a_month = cost(isp, 20)
    assert usual >= 20 / interval - 2
    assert a_month < budget * 1.1
    talk.stop()

    time.sleep(75)
    idle, a_month = cost(isp, 20)
    assert 3 <= idle <= 2 + 20 / (10 * interval)
    assert a_month < budget / 5

    before, _ = counted(isp)
    talk = flow(client, "udp", dst="203.0.113.11", every=0.1)
    eventually(lambda: counted(isp)[0] > before, 2)
    again, a_month = cost(isp, 10)
    assert again >= 10 / interval - 2
    assert a_month < budget * 1.15
    talk.stop()


def test_a_target_that_limits_how_often_it_is_asked_takes_nothing_down(routers: Routers) -> None:
    """Public resolvers do: one question in three is answered, while the others answer all."""
    probe = "probe: {targets: [1.1.1.1, 8.8.8.8], loss: {down: 20%, up: 10%}}"
    lab = routers(HOME.replace("weight: 3", f"weight: 3, ipv6: off, {probe}") + FAST)
    lab.start()
    watch = Watch(lab, "watch")
    time.sleep(5)
    lab.isps[0].fail("ip daddr 8.8.8.8 numgen inc mod 3 != 0", direction="up")
    limited = time.monotonic()
    time.sleep(20)
    asked = samples(watch, limited, burst=False)
    assert len(asked) > 100
    assert any(line["lost"] for line in asked)
    assert sum(bool(line["lost"]) for line in asked) < len(asked) / 10
    assert watch.changes() == []
