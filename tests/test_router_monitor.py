"""Without the monitor the last good state goes on; with it again nothing breaks."""

import re
import shlex
import time
from itertools import groupby

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6
from lab.traffic import How, connections, far_away, flow
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, Routers

pytestmark = pytest.mark.lab

EVEN = HOME.replace(", weight: 3", "")
STOP = "systemctl stop nib-monitor.service"
# as a crash: systemd is kept from starting it again
KILL = (
    "mkdir -p /run/systemd/system/nib-monitor.service.d && "
    "printf '[Service]\\nRestart=no\\n' > /run/systemd/system/nib-monitor.service.d/no.conf && "
    "systemctl daemon-reload && systemctl kill -s KILL nib-monitor.service && "
    "while systemctl is-active -q nib-monitor.service; do sleep 0.1; done"
)


@pytest.mark.parametrize("end", [STOP, KILL], ids=["stop", "kill"])
def test_without_the_monitor_balancing_and_carrier_failover_go_on(
    routers: Routers, end: str
) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lab.router.run(end)
    assert set(lab.by_isp(connections(lab.lans[0], 100))) == {"isp1", "isp2"}
    assert connections(lab.router, 50).total() == 50
    for dead, well in (lab.isps, reversed(lab.isps)):
        dead.unplug()
        eventually(
            lambda w=well: lab.by_isp(connections(lab.lans[0], 40, timeout=0.5)) == {w.name: 40}, 5
        )
        assert lab.by_isp(connections(lab.router, 40)) == {well.name: 40}
        dead.plug()
        eventually(
            lambda: set(lab.by_isp(connections(lab.lans[0], 60, timeout=0.5))) == {"isp1", "isp2"},
            10,
        )
    lab.router.run("systemctl reset-failed nib-monitor.service || true")


CANARY_S = 16.0
# The last slot of cable, the ways of the router's own connections, and the time after that.
LOOK = (
    "while :; do"
    " slots=$(nft list chain inet nib balance_default4 | grep -Eo '[0-9]+ : goto new_cable');"
    " ways=$(ip route show table 7000 | grep -Eo 'wan. weight [0-9]+');"
    " echo $slots, $ways, $(cut -d' ' -f1 /proc/uptime); sleep 0.1; done >/run/looks"
)


def test_a_return_that_has_begun_goes_on_after_a_restart(routers: Routers) -> None:
    """And the router's own connections return with those of the LANs, in the same steps."""
    lab = routers(HOME + FAST.replace("canary: 0s", f"canary: {CANARY_S:g}s"))
    lab.start()
    lab.isps[0].fail()
    lab.until(cable="down")
    lab.isps[0].restore()
    lab.until(cable="up")
    lab.router.run(f"systemd-run --unit=looks sh -c {shlex.quote(LOOK)}")
    returned_s = float(str(lab.status()["cable"]["returned_s"]))
    for _ in range(2):
        lab.router.run("systemctl restart nib-monitor.service")
        lab.until(cable="up")
    # the second step, and the last
    for passed_s in (CANARY_S / 2, CANARY_S):
        time.sleep(max(0.0, returned_s + passed_s - time.monotonic()))
        lab.router.run("systemctl restart nib-monitor.service")
        time.sleep(3)
    lab.router.run("systemctl stop looks.service")

    steps = []
    for line in lab.router.read("/run/looks").splitlines():
        slots, ways, time_s = line.split(", ")
        part = round(100 * (int(slots.split()[0]) + 1) / 65536)
        weights = tuple(int(weight) for weight in ways.split()[2::3])
        # a monitor that stops leaves no ways behind
        steps += [(part, weights, float(time_s) - returned_s)] if weights else []
    assert [part for part, _ in groupby(part for part, _, _ in steps)] == [23, 60, 75]
    assert [ways for ways, _ in groupby(ways for _, ways, _ in steps)] == [(3, 10), (3, 2), (3, 1)]
    firsts = [next(at_s for part, _, at_s in steps if part == wanted) for wanted in (60, 75)]
    assert firsts[0] >= CANARY_S / 2 and firsts[1] >= CANARY_S


@pytest.mark.parametrize("end", [STOP, KILL], ids=["stop", "kill"])
def test_a_restart_breaks_nothing_and_a_dead_uplink_stays_dead(routers: Routers, end: str) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    lab.isps[0].fail()
    lab.until(cable="down")
    tcp, udp = flow(lab.lans[0]), flow(lab.lans[0], "udp")
    own = flow(lab.router)
    since = lab.status()["cable"]["since_s"]
    state = lab.listing()
    lab.router.run(end)
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp2": 100}
    assert lab.by_isp(connections(lab.router, 50)) == {"isp2": 50}
    lab.router.run(
        "systemctl reset-failed nib-monitor.service; systemctl start nib-monitor.service"
    )
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp2": 100}
    lab.settled(state, within=2)
    assert lab.status()["cable"]["since_s"] == since
    for recording in (tcp, udp, own):
        record = recording.stop()
        assert record.resets == 0 and len(record.seen) == 1
        assert record.gaps_over(0.3) == ()


def test_a_socket_bound_to_a_leased_address_leaves_by_its_uplink(routers: Routers) -> None:
    lab = routers(DUAL + FAST, DUAL_ISPS)
    lab.start()
    lab.until(family=6, cable="up", dsl="up")

    def told_apart() -> None:
        for family, dst in ((4, INTERNET), (6, INTERNET6)):
            for uplink, isp in (("cable", "isp1"), ("dsl", "isp2")):
                bound = How(source=str(lab.status(family)[uplink]["address"]))
                shares = lab.by_isp(connections(lab.router, 20, dst=dst, how=bound))
                assert shares == {isp: 20}

    told_apart()
    lab.router.run(STOP)
    told_apart()
    # the same lease comes back to rules that are still there
    rules = lab.router.run("ip rule; ip -6 rule")
    lab.isps[0].unplug()
    eventually(lambda: "100.64.1.100" not in lab.router.run("ip address show dev wan1"))
    lab.isps[0].plug()
    lab.router.run("systemctl start nib-monitor.service")
    # it begins with what the last one knew; the announced address comes back a moment later
    eventually(lambda: all(u["address"] for family in (4, 6) for u in lab.status(family).values()))
    for family in (4, 6):
        lab.until(family=family, cable="up")
    assert lab.router.run("ip rule; ip -6 rule") == rules
    told_apart()


def test_the_monitor_killed_comes_back_by_itself(routers: Routers) -> None:
    lab = routers(EVEN + FAST)
    lab.start()
    before = lab.router.run("systemctl show -P MainPID nib-monitor.service")
    lab.router.run("systemctl kill -s KILL nib-monitor.service")
    eventually(
        lambda: (
            lab.router.run("systemctl show -P MainPID nib-monitor.service") not in (before, "0\n")
        ),
        5,
    )
    lab.isps[1].fail()
    lab.until(dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp1": 100}


def test_the_monitor_that_hangs_is_started_again(routers: Routers) -> None:
    """It still exists, and does nothing any more: nobody but systemd's watchdog can tell."""
    lab = routers(EVEN + FAST)
    lab.start()
    before = lab.router.run("systemctl show -P MainPID nib-monitor.service")
    lab.router.run("systemctl kill -s STOP nib-monitor.service")
    lab.isps[1].fail()
    eventually(
        lambda: (
            lab.router.run("systemctl show -P MainPID nib-monitor.service") not in (before, "0\n")
        ),
        # WatchdogSec and some time to die
        40,
    )
    lab.until(dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 100)) == {"isp1": 100}


def test_answers_from_far_away_wake_nobody(routers: Routers) -> None:
    """Nobody needs them before one that is missing would be doubted; their time is right anyhow."""
    lab = routers(f"{HOME}probe: {{interval: 100ms}}\n")
    lab.start()
    far_away(lab.inet, 20, 60)
    monitor = lab.router.run("systemctl show --property=MainPID --value nib-monitor").strip()

    def woken() -> int:
        said = lab.router.read(f"/proc/{monitor}/status")
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", said, re.MULTILINE)
        assert found
        return int(found[1])

    def far() -> bool:
        rtts_ms = [state["rtt_ms"] for state in lab.status().values()]
        return all(isinstance(one, float) and 20 <= one <= 70 for one in rtts_ms)

    # that they are not next door is known soon
    eventually(far, 20)
    before = woken()
    time.sleep(10)
    # ten times a second each of two lines is asked and answers
    assert woken() - before < 200
    assert far()
    assert lab.health() == {"cable": "up", "dsl": "up"}
