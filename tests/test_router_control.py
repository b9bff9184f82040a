"""The event stream of a really booted router: who hears what, and who does not."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from lab.errors import LabError, eventually
from lab.traffic import How, connections, flow
from nib_lab import FAST, HOME, NibLab, Routers, Watch

pytestmark = pytest.mark.lab

# A program that asks and never reads.
STUCK = """\
import socket, time
channel = socket.socket(socket.AF_UNIX)
channel.connect("/run/nib.sock")
channel.sendall(b'{"do": "watch"}\\n')
time.sleep(300)
"""


def test_a_cut_and_a_return_are_heard(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    programs, people = Watch(lab, "programs"), Watch(lab, "people", "nib watch")
    assert programs.lines("status")[0]["status"]["uplinks"][0]["name"] == "cable"
    lab.isps[0].fail()
    eventually(lambda: programs.changes() == [("cable", "down")])
    lab.isps[0].restore()
    eventually(lambda: programs.changes() == [("cable", "down"), ("cable", "up")])

    flips = [(flip["before"], flip["after"]) for flip in programs.lines("flip")]
    both = [{"uplink": "cable", "share": 0.75}, {"uplink": "dsl", "share": 0.25}]
    one = [{"uplink": "dsl", "share": 1.0}]
    assert flips == [(both, one), (one, both)]
    assert all(abs(line["time_s"] - time.time()) < 60 for line in programs.lines("change"))
    assert any(line["lost"] == line["asked"] for line in programs.lines("sample"))
    assert any(line["lost"] == 0 and line["rtts_ms"] for line in programs.lines("sample"))
    eventually(lambda: people.out().count("cable is up: it answers") == 1)
    assert "cable is down: the link is fine, but none of" in people.out()
    assert "new flows of IPv4: cable 75%, dsl 25% -> dsl 100%\n" in people.out()


def test_a_watch_outlives_a_restart_and_starts_no_monitor(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    watch = Watch(lab, "watch")
    lab.router.run("systemctl restart nib-monitor.service")
    eventually(lambda: "nib-monitor went away" in watch.err())
    said = len(watch.out())
    eventually(lambda: len(watch.out()) > said)

    lab.router.run("systemctl stop nib-monitor.service")
    # it tries again every second
    time.sleep(2.5)
    assert "inactive" in lab.router.run("systemctl is-active nib-monitor.service || true")
    with pytest.raises(LabError, match=r"nib-monitor does not listen: .*systemctl start"):
        lab.router.run("nib watch 2>&1 | tr '\\n' ' ' >&2; exit 3")
    said = len(watch.out())
    lab.router.run("systemctl start nib-monitor.service")
    eventually(lambda: len(watch.out()) > said)

    lab.router.run("systemctl kill -s KILL nib-monitor.service")
    said = len(watch.out())
    eventually(lambda: len(watch.out()) > said)


def test_only_root_and_the_group(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    assert lab.router.run("stat -c '%U %G %a' /run/nib.sock") == "root nib 660\n"
    ask = "timeout 2 nib watch --json | head -n 1"
    with pytest.raises(LabError, match="only root and the group nib may ask nib-monitor"):
        lab.router.run(f"setpriv --reuid=nobody --clear-groups sh -c '{ask}' | grep status")
    member = "setpriv --reuid=nobody --regid=nogroup --groups=nib"
    assert '"kind":"status"' in lab.router.run(f"{member} sh -c '{ask}'")
    unit = "systemd-run -q --pipe --wait -p DynamicUser=yes"
    assert '"kind":"status"' in lab.router.run(f"{unit} -p SupplementaryGroups=nib sh -c '{ask}'")


def test_a_stuck_reader_delays_nothing(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    lab.router.put("/run/stuck.py", STUCK)
    for _ in range(20):
        lab.router.run("systemd-run -q /opt/nib/bin/python /run/stuck.py")
    watch = Watch(lab, "watch")
    lab.isps[0].fail()
    began = time.monotonic()
    eventually(lambda: watch.changes() == [("cable", "down")], 5)
    assert time.monotonic() - began < 3
    samples = watch.lines("sample")
    gaps = [b["at_s"] - a["at_s"] for a, b in pairwise(samples)]
    assert max(gaps) < 0.5


def admin(lab: NibLab, name: str = "cable") -> dict[str, Any]:
    """What is ordered of an uplink."""
    said = json.loads(lab.router.run("nib status --json; true"))
    (found,) = [uplink["admin"] for uplink in said["uplinks"] if uplink["name"] == name]
    return dict(found)


def new_flows(lab: NibLab, count: int = 60) -> dict[str, int]:
    """By which providers so many new connections of the lan leave."""
    return {name: n for name, n in lab.by_isp(connections(lab.lans[0], count)).items() if n}


def test_down_by_hand_drains(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    watch = Watch(lab, "watch", "nib watch")
    flows = [flow(lab.lans[0], "tcp") for _ in range(4)]
    while len({recording.so_far().seen[0] for recording in flows}) < 2 and len(flows) < 60:
        flows.append(flow(lab.lans[0], "tcp"))
    said = lab.router.run("nib down cable")
    assert "up, down by hand" in said and "; down by hand since" in said
    assert new_flows(lab) == {"isp2": 60}
    assert set(connections(lab.router, 20)) == {lab.isps[1].public}
    # a program that is bound to the uplink still uses it: to see whether it is well
    assert set(connections(lab.router, 5, how=How(device="wan1"))) == {lab.isps[0].public}
    time.sleep(1)
    records = [recording.stop() for recording in flows]
    ways = {way for record in records for way in record.seen}
    assert ways == {lab.isps[0].public, lab.isps[1].public}
    assert all(len(record.seen) == 1 and not record.gaps_over(0.5) for record in records)
    assert lab.router.attempt("nib status").code == 0
    eventually(lambda: "cable is down by hand: it takes no new flows (says root)" in watch.out())
    assert "new flows of IPv4: cable 75%, dsl 25% -> dsl 100%\n" in watch.out()

    with pytest.raises(LabError, match="dsl is the last uplink that carries IPv4"):
        lab.router.run("nib down dsl")
    with pytest.raises(LabError, match="there is no uplink kable: there are cable, dsl"):
        lab.router.run("nib down kable")
    lab.router.run("systemctl restart nib-monitor; systemctl reload nib-nftables")
    assert new_flows(lab) == {"isp2": 60}
    lab.router.run("nib apply --yes")
    assert new_flows(lab) == {"isp2": 60}
    lab.router.run("nib auto cable")
    assert set(new_flows(lab)) == {"isp1", "isp2"}
    assert admin(lab)["state"] == "auto"


def test_down_by_hand_for_a_while_and_across_a_reboot(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    lab.router.run("nib down cable --for 3s")
    assert new_flows(lab) == {"isp2": 60}
    eventually(lambda: admin(lab)["state"] == "auto", 6)
    assert set(new_flows(lab)) == {"isp1", "isp2"}
    journal = lab.router.run("journalctl -u nib-monitor -o cat")
    assert "cable is left to its probes again: the time of the order is over" in journal

    lab.router.run("nib up dsl; nib down cable --persist --for 1h")
    lab.router.reboot()
    lab.until(within=20, cable="up", dsl="up")
    assert (admin(lab)["state"], admin(lab, "dsl")["state"]) == ("down", "auto")
    assert 3400 < admin(lab)["until_s"] - time.monotonic() < 3600
    assert new_flows(lab) == {"isp2": 60}
    lab.router.run("nib auto cable")
    assert "cable" not in lab.router.read("/var/lib/nib-monitor/orders.json")


def test_up_by_hand_but_not_without_a_carrier(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    lab.isps[0].fail("icmp type echo-request")
    lab.until(cable="down")
    assert new_flows(lab) == {"isp2": 60}
    lab.router.run("nib up cable")
    assert set(new_flows(lab)) == {"isp1", "isp2"}
    assert lab.router.attempt("nib status").code == 1
    lab.isps[0].unplug()
    eventually(lambda: new_flows(lab) == {"isp2": 60})


def test_only_root_orders(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    member = "setpriv --reuid=nobody --regid=nogroup --groups=nib"
    with pytest.raises(LabError, match="only root may order something: try sudo"):
        lab.router.run(f"{member} nib down cable")
    assert admin(lab)["state"] == "auto"


def test_prometheus_reads_a_file(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    lab.router.run("nib metrics --out /run/nib.prom && nib metrics --out /run/nib.prom")
    text = lab.router.read("/run/nib.prom")
    assert 'nib_uplink_up{uplink="cable",family="ipv4"} 1\n' in text
    assert 'nib_uplink_transmit_bytes_total{uplink="dsl"} ' in text
    # what node_exporter may read, and nothing beside it
    assert lab.router.run("ls -l /run/*nib.prom*").startswith("-rw-r--r--")
    assert lab.router.run("ls -A /run | grep nib.prom").split() == ["nib.prom"]
    lab.isps[0].fail()
    eventually(
        lambda: 'nib_uplink_up{uplink="cable",family="ipv4"} 0\n' in lab.router.run("nib metrics")
    )


def test_the_live_view_of_a_terminal(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    view = "stty cols 40 rows 10; timeout --foreground -s INT 3 nib status --watch"
    screen = lab.router.run(f"script -qec '{view}' /dev/null || true")
    assert "cable" in screen and "dsl" in screen
    # the terminal is as it was
    assert screen.startswith("\x1b[?1049h") and "\x1b[?1049l" in screen
    with pytest.raises(LabError, match="--watch is for a terminal"):
        lab.router.run("nib status --watch")
