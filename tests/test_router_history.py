"""What a really booted router writes down when an uplink dies and comes back."""

import json
import re
import time

import pytest

from lab.errors import eventually
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab


def outages(lab: NibLab) -> list[dict[str, object]]:
    found = json.loads(lab.router.run("nib history --json"))["outages"]
    assert isinstance(found, list)
    return [one for one in found if one["uplink"] == "cable" and one["family"] == 4]


def test_a_cut_is_in_the_history(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    eventually(lambda: lab.router.run("systemctl is-active nib-history") == "active\n")
    said = lab.router.run("systemd-analyze security --no-pager nib-history.service | tail -n 1")
    level = re.search(r"Overall exposure level for nib-history.service: ([0-9.]+)", said)
    assert level and float(level[1]) <= 1.5
    time.sleep(2)

    lab.isps[0].fail()
    lab.until(5, cable="down", dsl="up")
    family = json.loads(lab.router.read("/run/nib/status.json"))["uplinks"][0]["families"][0]
    eventually(lambda: [one["name"] for one in outages(lab)] == [family["outage"]])
    assert outages(lab)[0]["ended_s"] is None

    # a killed recorder goes on where it was, and lost no event
    pid = lab.router.run("systemctl show -P MainPID nib-history").strip()
    lab.router.run(f"kill -9 {pid}")
    eventually(lambda: lab.router.run("systemctl is-active nib-history || true") == "active\n")
    assert [one["name"] for one in outages(lab)] == [family["outage"]]
    time.sleep(2)

    # the monitor does not care whether it is read: this one is stopped in the middle
    pid = lab.router.run("systemctl show -P MainPID nib-history").strip()
    lab.router.run(f"kill -STOP {pid}")
    lab.isps[0].restore()
    lab.until(10, cable="up", dsl="up")
    lab.router.run(f"kill -CONT {pid}")
    eventually(lambda: outages(lab)[0]["ended_s"] is not None)
    assert "cable" in lab.router.run("nib history cable --since 1h")
    judged = lab.router.run("nib replay --set probe.fall=3")
    assert "with these settings: 1 outage" in judged
