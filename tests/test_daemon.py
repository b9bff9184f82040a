"""nib-monitor as a program: what it says, what it leaves with, and that it puts things back."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import samples
from alone import alone, sh, wait_for
from nib import stream
from nib.monitor.disputes import PATIENCE
from nib.plan import to_json
from nib.status import STATUS_FILE, from_json
from nib.stream import Change, Flip, Share, Snapshot
from private import environment
from test_effects import balance
from test_links import DEVICES, rule_text

PLAN = samples.plan()
COMMAND = [sys.executable, "-m", "nib.monitor.daemon", "--plan"]


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """/etc/nib as nib-gen writes it."""
    (tmp_path / "plan.json").write_text(to_json(PLAN))
    (tmp_path / "nib.nft").write_text(samples.files()["nib/nib.nft"])
    return tmp_path / "plan.json"


def refused(*command: str | Path) -> tuple[int, str]:
    """How it ends by itself, and the one sentence that it says."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
        check=False,
    )
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    sentence = done.stderr.rstrip("\n")
    return done.returncode, sentence


def test_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert refused(*COMMAND, file) == (
        2,
        f"nib-monitor: there is no {file}: `nib apply` writes it",
    )
    file.mkdir()
    assert refused(*COMMAND, file) == (3, f"nib-monitor: {file}: Is a directory")


def test_a_plan_of_another_version(plan_file: Path) -> None:
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | {"version": 99}))
    code, sentence = refused(*COMMAND, plan_file)
    assert code == 2
    assert "plan version 99, but this nib reads" in sentence
    assert sentence.endswith("; run `nib apply` to write it anew")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00", '{"version": 1}'])
def test_no_plan_at_all(plan_file: Path, text: str) -> None:
    plan_file.write_text(text)
    code, sentence = refused(*COMMAND, plan_file)
    assert code == 2
    assert sentence.startswith(f"nib-monitor: {plan_file}: ")


@pytest.mark.parametrize("lacking", ["-net_admin", "-net_raw", "-all"])
@alone
def test_without_the_privilege(plan_file: Path, lacking: str) -> None:
    sh(f"{DEVICES}\nnft -f {plan_file.with_name('nib.nft')}")
    without = ["setpriv", f"--bounding-set={lacking}", f"--inh-caps={lacking}"]
    assert refused(*without, *COMMAND, plan_file) == (
        3,
        "nib-monitor: not permitted: it needs CAP_NET_ADMIN and CAP_NET_RAW",
    )


class Running:
    """A monitor, what it told its manager, and its journal."""

    def __init__(self, plan_file: Path) -> None:
        self.told: list[str] = []
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind("/run/notify")
        self._manager.setblocking(False)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind("/run/control")
        self.listening.listen()
        # as systemd passes it: the descriptor 3, and who it is for
        passed = f'exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@" 3<&{self.listening.fileno()}'
        self.process = subprocess.Popen(
            ["bash", "-c", passed, "bash", *COMMAND, str(plan_file)],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(self.listening.fileno(),),
            env=environment(NOTIFY_SOCKET="/run/notify", WATCHDOG_USEC="300000"),
        )

    def tells(self, line: str) -> bool:
        """Has it been told since the last time?"""
        while True:
            try:
                self.told += self._manager.recv(4096).decode().splitlines()
            except BlockingIOError:
                break
        found = line in self.told
        if found:
            self.told.clear()
        return found

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, journal = self.process.communicate(timeout=10)
        return self.process.returncode, journal

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._manager.close()
        self.listening.close()


NETWORKD = f"""{DEVICES}
ip route add default via 192.0.2.1 dev wan1 metric 1001
ip route add default via 192.0.2.1 dev wan1 metric 1001 table {PLAN.uplinks[0].table}
ip route add default via 198.51.100.1 dev wan2 metric 1002
ip route add default via 198.51.100.1 dev wan2 metric 1002 table {PLAN.uplinks[1].table}
""" + "\n".join(map(rule_text, PLAN.rules))


@contextmanager
def running(plan_file: Path) -> Iterator[Running]:
    sh(f"{NETWORKD}\nnft -f {plan_file.with_name('nib.nft')}")
    monitor = Running(plan_file)
    try:
        wait_for(lambda: monitor.tells("READY=1"), within=10)
        wait_for(lambda: len(weighted()) == 2)
        yield monitor
    finally:
        monitor.close()


def weighted() -> list[str]:
    """The ways of the balance table."""
    shown = sh(f"ip route show table {PLAN.balance_table} 2>/dev/null || true")
    return [line for line in shown.splitlines() if "nexthop" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@alone
def test_it_stops_when_told(plan_file: Path, number: int) -> None:
    """What is loaded stays loaded."""
    with running(plan_file) as monitor:
        wait_for(lambda: monitor.tells("WATCHDOG=1"))
        wait_for(Path(STATUS_FILE).exists)
        assert monitor.end(number)[0] == 0
        assert monitor.tells("STOPPING=1")
        assert len(weighted()) == 2
        assert balance() == {"new_cable", "new_dsl"}


@alone
def test_what_others_do_is_put_right(plan_file: Path) -> None:
    with running(plan_file) as monitor:
        wait_for(Path(PLAN.state_file).exists)
        sh("nft flush ruleset")
        wait_for(lambda: "table inet nib" in sh("nft list tables"), within=10)
        assert balance() == {"new_cable", "new_dsl"}

        sh("ip link set far_wan1 down")
        wait_for(lambda: balance() == {"new_dsl"}, within=10)
        wait_for(lambda: not weighted(), within=10)

        sh("ip rule flush; ip rule add pref 32766 lookup main")
        wait_for(lambda: len(sh("ip rule").splitlines()) >= len(PLAN.rules) - 1, within=10)
        sh("ip route flush default 2>/dev/null; ip route flush table main default || true")
        wait_for(lambda: "default via 198.51.100.1" in sh("ip route"), within=10)

        status = from_json(Path(STATUS_FILE).read_text())
        assert status.uplinks[0].families[0].reason == "wan1 has no carrier"
        code, journal = monitor.end()
    assert code == 0
    assert "somebody changed nib's nft table: loading it again" in journal.splitlines()
    assert "cable is down: wan1 has no carrier (cable4-1)" in journal.splitlines()
    assert "Traceback" not in journal


def seen() -> tuple[str, ...]:
    """All that the monitor could change."""
    kernel = "ip link; ip address; ip rule; ip route show table all", "nft -s list ruleset"
    return *map(sh, kernel), Path(PLAN.state_file).read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@alone
def test_a_restart_changes_nothing(plan_file: Path, number: int) -> None:
    """The kernel tells of no change of a link, address, route or rule; the table is as it was."""
    # whose link-local addresses come when they like
    sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    with running(plan_file) as monitor:
        sh("ip link set far_wan1 down")
        wait_for(lambda: balance() == {"new_dsl"} and not weighted())
        monitor.end(number)
    before = seen()
    sh("rm /run/notify /run/control")
    command = ["ip", "monitor", "link", "address", "route", "rule"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        again = Running(plan_file)
        try:
            wait_for(lambda: again.tells("READY=1"), within=10)
            for _ in range(10):
                wait_for(lambda: again.tells("WATCHDOG=1"))
                assert seen() == before
            # and it hears well: this is the first thing that is told
            sh("ip address add 203.0.113.1/32 dev lo")
            assert listener.stdout and "203.0.113.1" in listener.stdout.readline()
        finally:
            again.close()
            listener.kill()


@alone
def test_who_listens_hears_of_it(plan_file: Path) -> None:
    with running(plan_file) as monitor, socket.socket(socket.AF_UNIX) as channel:
        channel.connect("/run/control")
        channel.sendall(b'{"do": "watch"}\n')
        told = (stream.from_json(line).item for line in channel.makefile())
        assert isinstance(next(told), Snapshot)
        sh("ip link set far_wan1 down")
        change = next(item for item in told if isinstance(item, Change))
        flip = next(item for item in told if isinstance(item, Flip))
        # who watches keeps no monitor from its end
        assert monitor.end()[0] == 0
    assert (change.uplink, change.after) == ("cable", "down")
    assert change.reason == "wan1 has no carrier"
    assert flip.after == (Share("dsl", 1.0),)


@alone
def test_another_plan_on_disk_is_started_with(plan_file: Path) -> None:
    """nib-gen wrote, and nobody told the monitor: its flips must not meet another plan's table."""
    renamed = samples.TWO.replace("dsl", "adsl")
    with running(plan_file) as monitor:
        plan_file.write_text(to_json(samples.plan(renamed)))
        plan_file.with_name("nib.nft").write_text(str(samples.files(renamed)["nib/nib.nft"]))
        # as long as the table is its own, so are the flips
        sh("ip link set far_wan1 down")
        wait_for(lambda: balance() == {"new_dsl"}, within=5)
        sh("nft flush ruleset")
        _, journal = monitor.process.communicate(timeout=15)
        assert monitor.process.returncode == 0
        assert f"{plan_file} is another one now: starting again with it" in journal.splitlines()
        assert balance() == {"new_cable", "new_adsl"}


@alone
def test_a_plan_that_cannot_be_read_ends_nothing(plan_file: Path) -> None:
    with running(plan_file) as monitor:
        plan_file.write_text("{")
        sh("nft flush ruleset")
        wait_for(lambda: "table inet nib" in sh("nft list tables"), within=5)
        assert balance() == {"new_cable", "new_dsl"}
        assert monitor.end()[0] == 0


@alone
def test_an_nft_that_refuses_does_not_fill_the_journal(plan_file: Path) -> None:
    with running(plan_file) as monitor:
        plan_file.with_name("nib.nft").write_text("nonsense\n")
        sh("nft delete table inet nib")
        wait_for(lambda: monitor.tells("WATCHDOG=1"))
        for _ in range(25):
            wait_for(lambda: monitor.tells("WATCHDOG=1"))
        # whole or not at all, as nib-gen writes: nft finds nothing wrong with half a file
        (whole := plan_file.with_name("new.nft")).write_text(samples.files()["nib/nib.nft"])
        whole.replace(plan_file.with_name("nib.nft"))
        wait_for(lambda: "table inet nib" in sh("nft list tables"), within=20)
        code, journal = monitor.end()
    assert code == 0
    said = [line for line in journal.splitlines() if "table or its state file is not in" in line]
    assert said and len(set(said)) == len(said), journal


@alone
def test_reloads_of_the_table_are_no_removals(plan_file: Path) -> None:
    table = plan_file.with_name("nib.nft")
    with running(plan_file) as monitor:
        for _ in range(PATIENCE + 1):
            sh(f"nft -f {table}")
            time.sleep(1.1)
        assert from_json(Path(STATUS_FILE).read_text()).contested == ()
        code, journal = monitor.end()
    assert code == 0
    assert "somebody changed nib's nft table: loading it again" in journal.splitlines()
    assert "keeps removing" not in journal
