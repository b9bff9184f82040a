"""`nib drill` on a really booted router: what it measures, and that it always ends."""

import json
import time
from typing import Any

import pytest

from lab.errors import LabError, eventually
from lab.traffic import flow
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

FORWARDS = """\
firewall:
  forwards:
    - {protocol: tcp, port: 8080, to: 192.168.10.10}
    - {protocol: tcp, port: 8443, to: 192.168.10.10, uplinks: [cable]}
    - {protocol: udp, port: 9000, to: 192.168.10.10, uplinks: [dsl]}
"""
TABLE = "nft list table netdev nib_drill"


def drilled(lab: NibLab, how: str = "cable --for 5s") -> tuple[int, dict[str, Any]]:
    """The exit status and the findings."""
    done = lab.router.attempt(f"nib drill {how} --yes --json")
    assert done.out, done.err
    return done.code, json.loads(done.out)


def answers(lab: NibLab, host: str = "1.1.1.1") -> bool:
    """Does anything come through by the cable?"""
    return lab.router.attempt(f"ping -c1 -W1 -I wan1 {host}").code == 0


def begin(lab: NibLab, how: str) -> None:
    """A drill in the background, as a unit of its own."""
    lab.router.run(f"systemd-run -q --unit=drilling nib drill {how} --yes")
    eventually(lambda: lab.router.attempt(TABLE).code == 0 and not answers(lab))


def test_a_drill_measures_and_mends(routers: Routers) -> None:
    lab = routers(HOME + FAST + FORWARDS)
    lab.router.put("/etc/resolv.conf", "nameserver 127.0.0.1\nnameserver 8.8.8.8\n")
    lab.start()
    calm = [flow(lab.lans[0], "udp") for _ in range(8)]
    code, found = drilled(lab)
    records = [recording.stop() for recording in calm]
    (part,) = found["parts"]
    assert (code, found["faults"]) == (0, [])
    assert found["dropped"] > 50
    assert 0.15 < part["detected_s"] < 2
    assert 0.15 < part["back_s"] < 2
    assert part["new"]["lost"] and part["new"]["settled_s"] < part["detected_s"] + 1
    assert part["old"]["by_uplink"] == len(part["old"]["told_s"]) == 4
    assert all(part["detected_s"] < at_s < 2.5 for at_s in part["old"]["told_s"])
    assert (part["old"]["by_others"], part["old"]["broken"]) == (4, 0)
    (talk,), (calm_talk,) = part["talks"], part["calm"]
    assert talk["lost"] and 0 < talk["settled_s"] < part["detected_s"] + 1
    assert calm_talk["lost"] == 0 and calm_talk["made"] > 50
    assert part["names"]["made"] > 20 and part["names"]["settled_s"] < part["detected_s"] + 1
    assert [(f["ports"], f["by"], f["answer"]) for f in found["forwards"]] == [
        ("tcp 8080", ["dsl"], "refused"),
        ("tcp 8443", [], "refused"),
    ]
    # a lan's flow by the uplink moved, and one by the other noticed nothing
    moved = [record for record in records if lab.isps[0].public in record.seen]
    assert all(not record.gaps_over(0.3) for record in records if record not in moved)
    assert all(lab.isps[1].public in record.seen for record in moved)
    assert lab.router.attempt(TABLE).code != 0
    journal = lab.router.run("journalctl -u nib-monitor -o cat")
    assert "cable is cut off for 5 s: a drill (says root)" in journal
    assert "cable is down: a drill cuts it off: the link is fine, but none of" in journal


def test_a_drill_of_one_family(routers: Routers) -> None:
    lab = routers(DUAL + FAST, DUAL_ISPS)
    lab.start()
    lab.until(family=6, cable="up", dsl="up")
    code, found = drilled(lab, "cable --for 5s --family 6")
    assert (code, found["faults"]) == (0, [])
    assert [part["family"] for part in found["parts"]] == [6]
    assert lab.status()["cable"]["outages"] == 0
    code, found = drilled(lab)
    assert (code, found["faults"]) == (0, [])
    assert [part["family"] for part in found["parts"]] == [4, 6]


def test_a_drill_ends_even_if_nib_dies(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    begin(lab, "cable --for 6s")
    began = time.monotonic()
    lab.until(cable="down")
    lab.router.run("systemctl kill -s KILL drilling; systemctl reload nib-nftables")
    lab.router.run("systemctl restart nib-monitor")
    assert not answers(lab)
    # what nobody ends ends by itself
    eventually(lambda: answers(lab), 8)
    assert time.monotonic() - began < 8
    lab.until(cable="up")
    # and what is left is replaced
    assert drilled(lab)[0] == 0
    assert lab.router.attempt(TABLE).code != 0
    lab.router.run("systemctl reset-failed")


def test_a_drill_that_is_told_to_end_mends_at_once(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    for number in ("TERM", "HUP", "INT"):
        begin(lab, "cable --for 50s")
        lab.router.run(f"systemctl kill -s {number} drilling")
        eventually(lambda: answers(lab), 3)
        eventually(lambda: lab.router.attempt("systemctl is-active drilling").code != 0)
        assert lab.router.attempt(TABLE).code != 0
        lab.router.run("systemctl reset-failed")
        lab.until(cable="up")


def test_who_ends_the_cut_is_told_of(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    ending = "systemd-run -q --on-active=4 nft delete table netdev nib_drill"
    lab.router.run(ending)
    code, found = drilled(lab, "cable --for 8s")
    assert code == 1
    assert "the cut was ended before its time" in found["faults"][0]


def test_what_is_refused(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    refusals = {
        "nib drill kable --yes": "there is no uplink kable: there are cable, dsl",
        "nib drill cable": "there is nobody to ask: add --yes",
        "nib drill cable --yes --for 2h": "a drill lasts at most an hour",
        "nib drill cable --yes --for 1s": "a drill of cable takes at least 3 s",
        "nib drill dsl --yes --family 6": "dsl has no IPv6",
        "setpriv --reuid=nobody nib drill cable": "only root may cut an uplink off: try sudo",
    }
    for command, why in refusals.items():
        with pytest.raises(LabError, match=why):
            lab.router.run(f"{command} </dev/null")
    lab.isps[1].fail()
    lab.until(dsl="down")
    with pytest.raises(LabError, match="dsl is down already: there is nothing to drill"):
        lab.router.run("nib drill dsl --yes")
    with pytest.raises(LabError, match="cable is the last uplink that carries IPv4"):
        lab.router.run("nib drill cable --yes")
    assert lab.router.attempt(TABLE).code != 0
    code, found = drilled(lab, "cable --for 3s --force")
    assert code == 1
    assert "IPv4: new connections: still failing when the line was mended" in found["faults"]
    lab.router.run("systemctl stop nib-monitor")
    with pytest.raises(LabError, match="nib-monitor does not answer: see nib status"):
        lab.router.run("nib drill cable --yes")
