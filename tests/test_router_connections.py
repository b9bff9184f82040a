"""What becomes of running connections when an uplink dies, and when it comes back."""

import re
import time

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6
from lab.record import Timeline
from lab.traffic import How, Recording, flow, fresh
from mixture import HELD, LONG, SIP, SSH, flows_of, servers, until_moved
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

FAILOVER = "mode: failover\n"

RULES = """\
policies:
  vpn: {on_return: {tcp: reset, udp: move}}
  calls: {on_return: {udp: move, after: 5s}}
  held: {on_down: {tcp: keep, udp: keep}}
rules:
  - {match: {protocol: [tcp, udp], dport: [22, 51820]}, use: vpn}
  - {match: {protocol: udp, dport: 5060}, use: calls}
  - {match: {protocol: [tcp, udp], dport: 7000}, use: held}
"""


@pytest.mark.parametrize("cut", ["silent", "carrier"])
@pytest.mark.parametrize("family", [4, 6])
def test_after_a_death_all_works_again(routers: Routers, cut: str, family: int) -> None:
    """Also what sends nothing: an idle session, a download."""
    lab = routers(FAILOVER + DUAL + FAST, DUAL_ISPS)
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    with servers(lab):
        to = INTERNET if family == 4 else INTERNET6
        flows = flows_of(lab, to)
        dead = lab.isps[0]
        for recording in flows.values():
            assert lab.isp_of(recording.so_far().seen[0]) is dead
        names = fresh(lab.lans[0], 0.05, "udp", dst=to, timeout=0.3)
        at = time.monotonic()
        (dead.fail if cut == "silent" else dead.unplug)()
        took = {name: until_moved(recording, at) for name, recording in flows.items()}
        assert max(took.values()) < 3, took
        # those that were begun before it have to time out first
        eventually(lambda: names.so_far().settled - at < 3, 5)
        said = lab.router.run("journalctl -b -u nib-monitor -o cat --no-pager")
        assert re.search(rf"cable had [23] TCP connections \(reset\).*cable{family}-", said)


def of_whom(lab: NibLab, recording: Recording[Timeline]) -> list[str]:
    """The providers that a flow went by, one after the other."""
    return [isp.name for seen in recording.so_far().seen if (isp := lab.isp_of(seen))]


@pytest.mark.parametrize("to", [INTERNET, INTERNET6], ids=["4", "6"])
def test_what_a_policy_wants_back_comes_back_and_nothing_else(routers: Routers, to: str) -> None:
    """WireGuard stuck on the backup after failback; a call that died because of one."""
    lab = routers(FAILOVER + DUAL + FAST + RULES, DUAL_ISPS)
    lab.start()
    family = 6 if to == INTERNET6 else 4
    lab.until(within=20, family=6, cable="up", dsl="up")
    first = lab.isps[0]
    with servers(lab):
        flows = flows_of(lab, to)
        flows["ssh"] = flow(lab.lans[0], dst=to, port=SSH, stall=LONG, reconnect=True)
        first.fail()
        for name, recording in flows.items():
            eventually(lambda n=name, r=recording: of_whom(lab, r)[-1:] == ["isp2"], 5)
        resets = {name: recording.so_far().resets for name, recording in flows.items()}
        first.restore()
        lab.until(family=family, cable="up")
        for name in ("wireguard", "ssh"):
            eventually(lambda n=name: of_whom(lab, flows[n]) == ["isp1", "isp2", "isp1"], 3)
        assert of_whom(lab, flows["sip"]) == ["isp1", "isp2"]
        eventually(lambda: of_whom(lab, flows["sip"]) == ["isp1", "isp2", "isp1"], 8)
        for name in ("tcp", "udp", "download"):
            assert of_whom(lab, flows[name]) == ["isp1", "isp2"], name
            assert flows[name].so_far().resets == resets[name]
        # it is over: what came back stays
        time.sleep(1)
        for name in ("wireguard", "ssh", "sip"):
            record = flows[name].stop()
            assert lab.isp_of(record.seen[-1]) is first
        assert flows["tcp"].stop().gaps_over(0.5)[1:] == ()


@pytest.mark.parametrize("to", [INTERNET, INTERNET6], ids=["4", "6"])
def test_what_a_policy_keeps_waits_for_its_uplink(routers: Routers, to: str) -> None:
    lab = routers(FAILOVER + DUAL + FAST + RULES, DUAL_ISPS)
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    first, family = lab.isps[0], 6 if to == INTERNET6 else 4
    with servers(lab):
        held = [
            flow(lab.lans[0], "tcp", dst=to, port=HELD, stall=LONG, reconnect=True),
            flow(lab.lans[0], "udp", dst=to, port=HELD),
        ]
        other = flow(lab.lans[0], "udp", dst=to)
        first.fail()
        lab.until(family=family, cable="down")
        eventually(lambda: of_whom(lab, other) == ["isp1", "isp2"], 3)
        said = lab.router.run("journalctl -b -u nib-monitor -o cat --no-pager")
        assert "cable had 0 TCP" in said or "cable had" not in said
        first.restore()
        lab.until(family=family, cable="up")
        at = time.monotonic()
        for recording in held:
            eventually(lambda r=recording: r.so_far().answered_after(at), 5)
            record = recording.stop()
            assert record.resets == 0 and [lab.isp_of(seen) for seen in record.seen] == [first]


@pytest.mark.parametrize("cut", ["silent", "carrier"])
def test_a_standby_that_dies_is_noticed_by_nobody(routers: Routers, cut: str) -> None:
    """It carried nothing, so its death and its return are nobody's business."""
    lab = routers(FAILOVER + HOME + FAST)
    lab.start()
    used, standby = lab.isps
    client = lab.lans[0]
    talk, sessions = flow(client, "udp"), [flow(client), flow(client, "listen", stall=LONG)]
    own = flow(lab.router, "udp")
    names = fresh(client, 0.02, "udp", timeout=0.3)
    (standby.fail if cut == "silent" else standby.unplug)()
    lab.until(dsl="down")
    time.sleep(0.5)
    (standby.restore if cut == "silent" else standby.plug)()
    lab.until(within=20, dsl="up")
    time.sleep(0.5)
    assert names.stop().failed == ()
    for recording in (talk, own):
        record = recording.stop()
        assert record.lost == 0 and [lab.isp_of(seen) for seen in record.seen] == [used]
    for recording in sessions:
        record = recording.stop()
        assert record.resets == 0 and [lab.isp_of(seen) for seen in record.seen] == [used]
    assert "packets 0 " in lab.router.run("nft list counter inet nib reset_dead")


def test_nothing_is_ended_while_no_other_uplink_lives(routers: Routers) -> None:
    """A reset would only take away what may go on when the line is back."""
    lab = routers(FAILOVER + HOME + FAST)
    lab.start()
    last, other = lab.isps
    other.fail()
    lab.until(dsl="down")
    flows = [flow(lab.lans[0], stall=LONG), flow(lab.lans[0], "udp"), flow(lab.router, stall=LONG)]
    last.fail()
    lab.until(cable="down")
    time.sleep(1)
    last.restore()
    at = time.monotonic()
    for recording in flows:
        eventually(lambda r=recording: r.so_far().answered_after(at), 10)
        record = recording.stop()
        assert record.resets == 0 and [lab.isp_of(seen) for seen in record.seen] == [last]
    assert "packets 0 " in lab.router.run("nft list counter inet nib reset_dead")


@pytest.mark.parametrize("by", ["reconfigure", "carrier"])
def test_a_call_goes_on_when_its_line_has_another_address(routers: Routers, by: str) -> None:
    """From one port, as telephones and tunnels send: what is translated to the old one must end."""
    lab = routers(HOME.replace(", weight: 3", "") + FAST)
    lab.start()
    line, other = lab.isps
    calls: dict[str, list[Recording[Timeline]]] = {line.name: [], other.name: []}
    for port in range(SIP, SIP + 40):
        call = flow(lab.lans[0], "udp", how=How(source_port=port))
        calls[of_whom(lab, call)[0]].append(call)
        if all(calls.values()):
            break
    line.renumber("100.64.77", by=by)  # type: ignore[arg-type]
    at = time.monotonic()
    for call in calls[line.name]:
        eventually(lambda r=call: r.so_far().answered_after(at), 5)
        time.sleep(0.5)
        assert call.stop().gaps_over(0.3)[1:] == ()
    for call in calls[other.name]:
        record = call.stop()
        assert record.lost == 0 and len(record.seen) == 1
