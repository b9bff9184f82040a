"""The lab does what it says, without nib: what it breaks is broken, and what it ends is gone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import keeper
from lab.errors import LabError, eventually
from lab.hosts import INTERNET, INTERNET6
from lab.isp import Isp
from lab.traffic import How, connections, flow, fresh, scan, send_raw, server
from lab.world import Lab

pytest_plugins = ["lab_fixtures"]
pytestmark = pytest.mark.lab

FILES = {
    "/etc/systemd/network/wan.network": "[Match]\nName=wan1 wan3\n[Network]\nDHCP=ipv4\n",
    "/etc/systemd/network/wan2.network": "[Match]\nName=wan2\n[Network]\nIPv6AcceptRA=yes\n"
    "Address=198.51.102.2/24\nGateway=198.51.102.1\n",
    "/etc/systemd/network/lan1.network": "[Match]\nName=lan1\n[Network]\nAddress=192.168.10.1/24\n",
    "/etc/sysctl.d/router.conf": "net.ipv4.ip_forward = 1\n",
    "/etc/nftables.conf": """
        table inet router {
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname "wan*" masquerade
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                iifname "wan*" oifname "wan*" drop
            }
        }
    """,
}
THROUGH_1 = How(device="wan1")
THROUGH_2 = How(device="wan2")


@pytest.fixture(scope="module")
def lab(suite: str) -> Iterator[Lab]:
    """A router with three providers: by DHCP, static, and one whose device is not there yet."""
    isps = [Isp(), Isp("static", ipv6="ra"), Isp(late=True)]
    with Lab(suite, isps, files=FILES) as made:
        assert made.router.boot(enable=("systemd-networkd", "nftables")) < 30
        ready(made)
        yield made


def ready(lab: Lab) -> None:
    """Wait until the router has a way through both providers."""
    for device in ("wan1", "wan2"):
        eventually(lambda: f"dev {device}" in lab.router.run("ip route show default"))  # noqa: B023


def operstate(lab: Lab, device: str) -> str:
    """What the router's kernel thinks of a device."""
    return str(json.loads(lab.router.run(f"ip -j link show {device}"))[0]["operstate"])


def test_it_is_a_real_debian(lab: Lab) -> None:
    systemd = {"bookworm": "systemd 252", "trixie": "systemd 257"}
    nft = {"bookworm": "v1.0.6", "trixie": "v1.1.3"}
    assert lab.router.run("systemctl --version").startswith(systemd[lab.suite])
    assert nft[lab.suite] in lab.router.run("nft --version")
    assert lab.router.units(failed=True) == ()
    assert "nftables.service" in lab.router.units()


def test_many_connections_are_quick(lab: Lab) -> None:
    begin = time.monotonic()
    assert connections(lab.lans[0], 2000) == {lab.isps[1].router_address: 2000}
    assert time.monotonic() - begin < 20
    assert lab.by_isp(connections(lab.lans[0], 100, "udp")) == {"isp2": 100}


def test_the_router_itself_talks_as_it_is_told(lab: Lab) -> None:
    assert lab.by_isp(connections(lab.router, 5, how=THROUGH_1)) == {"isp1": 5}
    assert lab.by_isp(connections(lab.router, 5, how=How(uid=34))) == {"isp2": 5}
    bound = How(source=lab.isps[0].router_address, device="wan1", mark=1)
    assert lab.by_isp(connections(lab.router, 5, "udp", how=bound)) == {"isp1": 5}


def test_every_service_answers(lab: Lab) -> None:
    with server(lab.router, tcp=[7000], udp=[7001]):
        address = lab.isps[1].router_address
        assert connections(lab.inet, 3, dst=address, port=7000) == {INTERNET: 3}
        found = scan(lab.inet, address, tcp=[7000, 7002], udp=[7001, 7003])
        assert found.ports() == ("tcp/7000", "udp/7001")
        assert found.ports("refused") == ("tcp/7002", "udp/7003")
    assert scan(lab.lans[0], "1.1.1.1", tcp=[80, 443]).ports() == ("tcp/80", "tcp/443")


def test_an_exposed_lan_can_be_scanned(lab: Lab) -> None:
    with lab.isps[1].exposed(lab.lans[0].network), server(lab.lans[0], tcp=[7000]):
        assert scan(lab.inet, lab.lans[0].address, tcp=[7000]).ports() == ("tcp/7000",)


def test_a_silent_failure_shows_no_sign(lab: Lab) -> None:
    isp = lab.isps[1]
    long, new = flow(lab.lans[0], "udp"), fresh(lab.lans[0], timeout=0.2)
    isp.fail()
    broken = time.monotonic()
    eventually(lambda: new.so_far().since(broken).failed)
    assert connections(lab.router, 3, how=THROUGH_2, timeout=0.3) == {"timeout": 3}
    assert operstate(lab, "wan2") == "UP"
    lab.router.run(f"ping -c1 -W1 {isp.gateway}")
    isp.restore()
    mended = time.monotonic()
    eventually(lambda: long.so_far().answered_after(mended))
    eventually(lambda: new.so_far().settled < time.monotonic() - 0.5)
    timeline, attempts = long.stop(), new.stop()
    assert timeline.seen == (isp.router_address,)
    assert [gap.start for gap in timeline.gaps_over(0.3)] == [pytest.approx(broken, abs=0.3)]
    assert attempts.counts["timeout"]
    assert attempts.settled == pytest.approx(mended, abs=0.5)


def test_a_failure_can_be_of_one_target_or_one_way(lab: Lab) -> None:
    isp = lab.isps[1]
    isp.fail("ip daddr 203.0.113.53", direction="up")
    assert connections(lab.router, 1, dst="203.0.113.53", how=THROUGH_2, timeout=0.3)["timeout"]
    assert connections(lab.router, 1, how=THROUGH_2)[isp.router_address]
    isp.restore()
    assert connections(lab.router, 1, dst="203.0.113.53", how=THROUGH_2)[isp.router_address]


def test_a_dumb_gateway_does_not_even_resolve(lab: Lab) -> None:
    isp = lab.isps[1]
    isp.fail(gateway=True)
    lab.router.run("ip neigh flush dev wan2")
    assert lab.router.attempt(f"ping -c1 -W1 {isp.gateway}").code
    assert operstate(lab, "wan2") == "UP"
    isp.restore()
    eventually(lambda: lab.router.attempt(f"ping -c1 -W1 {isp.gateway}").code == 0)


def test_lost_packets_are_about_as_many_as_said(lab: Lab) -> None:
    lab.isps[1].lose(30)
    counts = connections(lab.router, 500, "udp", how=THROUGH_2, timeout=0.5, concurrency=500)
    lab.isps[1].restore()
    # Of both ways: 1 - 0.7 * 0.7 = 51 %
    assert 180 < counts["timeout"] < 330


def test_the_carrier_comes_and_goes(lab: Lab) -> None:
    isp = lab.isps[0]
    isp.unplug()
    eventually(lambda: operstate(lab, "wan1") == "DOWN")
    eventually(lambda: isp.router_address not in lab.router.run("ip -br address"))
    isp.plug()
    ready(lab)
    assert connections(lab.router, 3, how=THROUGH_1) == {isp.router_address: 3}


def test_a_lease_moves(lab: Lab) -> None:
    isp = lab.isps[0]

    def followed(gateway: str) -> None:
        eventually(lambda: f"via {gateway}" in lab.router.run("ip route show default"))
        assert connections(lab.router, 3, how=THROUGH_1) == {isp.router_address: 3}

    isp.move_gateway(254)
    followed("100.64.1.254")
    isp.renumber("100.64.77")
    followed("100.64.77.1")
    isp.renumber("100.64.1", by="reconfigure")
    followed("100.64.1.1")


def test_a_device_is_late_renamed_and_gone(lab: Lab) -> None:
    late = lab.isps[2]
    assert "wan3" not in lab.router.run("ip -br link")
    late.attach()
    eventually(lambda: late.router_address in lab.router.run("ip -br address"))
    late.rename_device("usb0")
    assert "usb0" in lab.router.run("ip -br link")
    late.rename_device("wan3")
    eventually(lambda: late.router_address in lab.router.run("ip -br address"))
    late.detach()
    assert "wan3" not in lab.router.run("ip -br link")


def test_what_has_a_false_source_is_counted(lab: Lab) -> None:
    isp = lab.isps[1]
    before, before6 = isp.spoofed, isp.ipv6_packets
    send_raw(lab.router, "wan2", isp.mac, "192.168.10.10", INTERNET, n=3)
    send_raw(lab.router, "wan2", isp.mac, "fd00:10::10", INTERNET6, proto="tcp")
    send_raw(lab.router, "wan2", isp.mac, "2001:db8:2::99", INTERNET6, proto="icmp")
    after = isp.spoofed
    assert (after.ipv4 - before.ipv4, after.ipv6 - before.ipv6) == (3, 1)
    assert isp.ipv6_packets - before6 == 2
    assert f"udp 192.168.10.10 > {INTERNET}" in after.who
    assert f"tcp fd00:10::10 > {INTERNET6}" in lab.spoofed()["isp2"]


def test_announcements_and_ipv6(lab: Lab) -> None:
    eventually(lambda: "fe80::2" in lab.router.run("ip -6 route show default dev wan2"))
    counts = eventually(lambda: connections(lab.router, 3, dst=INTERNET6))
    assert lab.by_isp(counts) == {"isp2": 3}


@pytest.mark.parametrize("kind", ["tcp", "ping"])
def test_flows_go_on_while_nothing_happens(lab: Lab, kind: str) -> None:
    recording = flow(lab.lans[0], "tcp" if kind == "tcp" else "ping")
    eventually(lambda: len(recording.so_far().answers) > 20)
    timeline = recording.stop()
    assert timeline.longest_gap < 1
    assert timeline.resets == 0
    assert timeline.ends == ()


def test_a_reboot_forgets_what_a_kernel_forgets(lab: Lab) -> None:
    lab.router.run("ip route add 192.0.2.0/24 via 198.51.102.1; echo text >/root/file")
    for again in (lab.router.reboot, lab.router.boot):
        again()
        ready(lab)
        assert lab.router.read("/root/file") == "text\n"
        assert "192.0.2.0" not in lab.router.run("ip route")
        assert lab.by_isp(connections(lab.lans[0], 3)) == {"isp2": 3}
        lab.router.crash()
    assert not lab.router.booted


def test_nib_is_installed_over_a_root(suite: str, tmp_path: Path) -> None:
    (tmp_path / "wants").mkdir()
    (tmp_path / "wants/some.service").symlink_to("../some.service")
    with Lab(suite, nib=True) as lab:
        program = "import nib, nib.config; print(nib.__version__)"
        assert re.match(r"\d+\.", lab.router.run(f"/opt/nib/bin/python -c '{program}'"))
        assert lab.router.exists("/usr/local/bin/nib-monitor")
        lab.router.copy(tmp_path, "/etc/systemd")
        assert lab.router.run("readlink /etc/systemd/wants/some.service") == "../some.service\n"


def test_an_error_says_what_was_said(lab: Lab) -> None:
    with pytest.raises(LabError, match="no such thing"):
        lab.inet.run("echo no such thing >&2; exit 3")


ALONE = """
import sys, time
from lab.world import Lab
with Lab({suite!r}) as lab:
    lab.router.boot(enable=("systemd-networkd",))
    print(lab.holder.tag, flush=True)
    {end}
"""


def left_of(tag: str) -> list[str]:
    """What still is there of a lab: processes, mounts and control groups."""
    left = [str(group) for group in keeper.cgroups().glob(f"{tag}*")]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if tag in line:
                left.append(line)
    return left


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, None])
def test_nothing_stays(suite: str, end: signal.Signals | None) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    last = "time.sleep(600)" if end else "raise SystemExit(3)"
    with subprocess.Popen(
        [sys.executable, "-c", ALONE.format(suite=suite, end=last)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as alone:
        assert alone.stdout is not None
        try:
            tag = alone.stdout.readline().strip()
            assert left_of(tag) or not end
            if end:
                alone.send_signal(end)
            assert alone.wait(20)
        finally:
            alone.kill()
    eventually(lambda: not left_of(tag))
    assert Path("/proc/self/mounts").read_text() == mounts
    assert (
        tag not in subprocess.run(["ip", "netns"], capture_output=True, check=True).stdout.decode()
    )


def test_the_demonstration(suite: str) -> None:
    """Told to its end: what it shows is what it promises."""
    demo = Path(__file__).parent / "lab" / "demo"
    told = subprocess.run(
        [demo, suite],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHON": sys.executable},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "one on dsl noticed nothing" in told.stdout
    assert "packets that left with the other provider's address: 0\n" in told.stdout
