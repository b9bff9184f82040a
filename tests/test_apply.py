"""nib apply and nib status, as far as they need no booted router; the lab has the rest."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import private
import samples
from alone import alone, sh
from nib import steps
from nib.columns import duration
from nib.host import Refused, clock, command
from nib.ip_rules import Mark
from nib.router import forget
from nib.status import VERSION, FamilyStatus, Health, Status, UplinkStatus, to_json
from nib.status_report import stale, status_report

ALL = frozenset(samples.files())
RUNNING: frozenset[str] = frozenset()
NONE_RUNS = frozenset(steps.SERVICES)
TOUCHED: frozenset[steps.Part] = frozenset(
    {"units", "sysctl", "table", "network", "monitor", "notify", "history"}
)
TABLE: frozenset[steps.Part] = frozenset({"table"})


def script(todo: tuple[steps.Step, ...]) -> str:
    return "".join(" ".join(step.command) + "\n" for step in todo)


# -- the least that is needed ----------------------------------------------------------------------


def test_the_first_time() -> None:
    assert script(steps.forward(ALL, NONE_RUNS, "/etc")) == (
        "systemctl daemon-reload\n"
        "/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/05-nib.conf\n"
        "systemctl reload-or-restart nib-nftables.service\n"
        "systemctl start systemd-networkd.service\n"
        "systemctl restart nib-monitor.service\n"
        "systemctl restart nib-notify.service\n"
        "systemctl restart nib-history.service\n"
    )


@pytest.mark.parametrize(
    ("changed", "inactive", "commands"),
    [
        ("", "", ""),
        ("nib/nib.nft", "", "systemctl reload-or-restart nib-nftables.service\n"),
        ("nib/stopped.nft", "", ""),
        (
            "nib/plan.json",
            "",
            "systemctl restart nib-monitor.service\nsystemctl restart nib-notify.service\n",
        ),
        (
            "systemd/system/nib-mail.socket",
            "",
            "systemctl daemon-reload\nsystemctl stop nib-mail.sock*\n"
            "systemctl restart nib-notify.service\n",
        ),
        ("systemd/network/05-nib-dsl.network", "", "networkctl reload\n"),
        (
            "systemd/network/05-nib-dsl.network systemd/networkd.conf.d/05-nib.conf",
            "",
            "systemctl restart systemd-networkd.service\n",
        ),
        (
            "systemd/system/nib-monitor.service",
            "",
            "systemctl daemon-reload\nsystemctl restart nib-monitor.service\n",
        ),
        (
            "systemd/system/nib-monitor.socket",
            "",
            "systemctl daemon-reload\nsystemctl restart nib-monitor.service\n",
        ),
        ("systemd/system/nib-nftables.service", "", "systemctl daemon-reload\n"),
        ("", "nib-notify.service", "systemctl start nib-notify.service\n"),
        ("", "nib-monitor.service", "systemctl start nib-monitor.service\n"),
        ("", "systemd-networkd.service", "systemctl start systemd-networkd.service\n"),
        ("", "nib-nftables.service", "systemctl reload-or-restart nib-nftables.service\n"),
    ],
)
def test_only_what_a_change_needs(changed: str, inactive: str, commands: str) -> None:
    todo = steps.forward(frozenset(changed.split()), frozenset(inactive.split()), "/etc")
    assert script(todo) == commands


def test_the_way_back_on_a_running_router() -> None:
    changed = frozenset({"nib/nib.nft", "nib/plan.json", "systemd/network/05-nib-dsl.network"})
    assert steps.stop_new(RUNNING, TOUCHED) == ()
    assert script(steps.backward(changed, RUNNING, TOUCHED)) == (
        "systemctl reload-or-restart nib-nftables.service\n"
        "networkctl reload\n"
        "systemctl restart nib-monitor.service\n"
        "systemctl restart nib-notify.service\n"
        "systemctl restart nib-history.service\n"
    )


def test_the_way_back_leaves_alone_what_was_not_reached() -> None:
    changed = frozenset({"nib/nib.nft", "nib/plan.json", "systemd/network/05-nib-dsl.network"})
    assert script(steps.backward(changed, RUNNING, TABLE)) == (
        "systemctl reload-or-restart nib-nftables.service\n"
    )


def test_the_way_back_of_the_first_time() -> None:
    assert script(steps.stop_new(NONE_RUNS, TOUCHED)) == (
        "systemctl stop nib-history.service\n"
        "systemctl stop nib-notify.service\n"
        "systemctl stop nib-monitor.service\n"
        "systemctl stop nib-nftables.service\n"
    )
    assert script(steps.backward(ALL, NONE_RUNS, TOUCHED)) == (
        "systemctl daemon-reload\nnetworkctl reload\n"
    )
    assert script(steps.settle(ALL, NONE_RUNS, TOUCHED)) == (
        "systemctl stop systemd-networkd.service systemd-networkd.socket\n"
    )


def test_networkd_restarts_only_after_it_has_cleaned_up() -> None:
    assert script(steps.backward(ALL, RUNNING, TOUCHED)).count("networkctl reload\n") == 1
    assert script(steps.settle(ALL, RUNNING, TOUCHED)) == (
        "systemctl restart systemd-networkd.service\n"
    )
    assert steps.settle(ALL, RUNNING, TABLE) == ()


# -- what the monitor knew -------------------------------------------------------------------------


def uplink(name: str, device: str, health: Health, since_s: float = 0.0) -> UplinkStatus:
    reason = "3 answers in a row are missing" if health == "down" else "all is well"
    family = FamilyStatus(4, health, since_s, reason, None, None, 0.25, 12.34, 0.5)
    return UplinkStatus(name, device, 1, 1, (family,))


def test_who_is_down_stays_down() -> None:
    status = Status(VERSION, 0.0, (uplink("cable", "wan1", "up"), uplink("dsl", "wan2", "down")))
    assert steps.carried_over(samples.plan(), status) == {4: frozenset({"cable"})}
    assert steps.carried_over(samples.plan(), None) == {4: frozenset({"cable", "dsl"})}


def test_a_return_that_has_begun_goes_on() -> None:
    back, dsl = uplink("cable", "wan1", "up"), uplink("dsl", "wan2", "up")
    (family,) = back.families
    back = replace(back, families=(replace(family, returned_s=100.0),))
    status = Status(VERSION, 0.0, (back, dsl))
    plan = samples.plan()
    assert [steps.easing(plan, status, at_s) for at_s in (101.0, 106.0, 110.0)] == [
        {4: {"cable": 10}},
        {4: {"cable": 50}},
        {},
    ]
    assert steps.easing(samples.plan(samples.TWO.replace("wan1", "x")), status, 101.0) == {}
    assert steps.easing(plan, None, 101.0) == {}


def test_a_new_device_is_a_new_uplink() -> None:
    status = Status(VERSION, 0.0, (uplink("cable", "wan1", "unknown"), uplink("dsl", "x", "down")))
    assert steps.carried_over(samples.plan(), status) == {4: frozenset({"cable", "dsl"})}


# -- status ----------------------------------------------------------------------------------------


STATUS = Status(
    VERSION,
    1000.0,
    (uplink("cable", "wan1", "up", 990.0), uplink("dsl", "wan2", "down", 1000.0 - 3700)),
)


def test_the_table_that_people_read() -> None:
    assert status_report(STATUS, 1000.0, lambda ago_s: f"T-{ago_s:g}") == (
        "uplink  device  state  since               loss  rtt      weight  new flows\n"
        "cable   wan1    up     T-10 (10 s)         25%   12.3 ms  1       50%\n"
        "dsl     wan2    DOWN   T-3700 (1 h 1 min)  25%   12.3 ms  1       50%\n"
        "dsl is down since T-3700: 3 answers in a row are missing\n"
    )


def test_who_takes_less_than_its_share_is_said_to() -> None:
    back, dsl = STATUS.uplinks
    (family,) = back.families
    reason = "it answers, and takes 10% of its share beside others"
    family = replace(family, returned_s=995.0, reason=reason)
    status = replace(STATUS, uplinks=(replace(back, families=(family,)), dsl))
    said = status_report(status, 1000.0, lambda ago_s: f"T-{ago_s:g}").splitlines()
    assert said[3] == f"cable is up since T-10: {reason}"


def test_a_day_ago_has_its_date() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(0.0))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", clock(86400.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3700, "1 h 1 min"), (200000, "2 d 7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_old_status_is_said_to_be_old() -> None:
    assert stale(STATUS, 1010.0) is None
    assert "nib-monitor is not running" in (stale(STATUS, 1011.0) or "")


NIB = f"{sys.executable} -c 'import sys; from nib.operator import main; sys.exit(main())'"


def status_of(text: str | None, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`nib status` where /run/nib/status.json holds that text."""
    run = tmp_path / "run"
    run.mkdir()
    if text is not None:
        (run / "nib").mkdir()
        (run / "nib/status.json").write_text(text)
    done = private.run(
        f'mount --bind "$1" /run; shift; {NIB} status "$@"', run, *options, mounts=True
    )
    assert "Traceback" not in done.stderr
    return done


def now(*uplinks: UplinkStatus, age_s: float = 0.0) -> str:
    return to_json(Status(VERSION, time.monotonic() - age_s, uplinks))


def test_status_of_a_healthy_router(tmp_path: Path) -> None:
    done = status_of(now(uplink("cable", "wan1", "up")), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cable   wan1    up" in done.stdout


def test_status_as_json(tmp_path: Path) -> None:
    text = now(uplink("cable", "wan1", "up"))
    assert status_of(text, tmp_path, "--json").stdout == text


def test_status_with_an_uplink_down(tmp_path: Path) -> None:
    done = status_of(now(uplink("a", "x", "up"), uplink("b", "y", "down")), tmp_path)
    assert (done.returncode, done.stderr) == (1, "")


def test_status_that_nobody_keeps(tmp_path: Path) -> None:
    done = status_of(now(uplink("a", "x", "up"), age_s=75), tmp_path)
    assert done.returncode == 1
    assert re.search(r"1 min \d+ s old: nib-monitor is not running", done.stderr)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "nib-monitor has not run since the boot"),
        ("", "systemctl restart nib-monitor"),
        ("[" * 100000, "systemctl restart nib-monitor"),
        (json.dumps({"version": 99}), "systemctl restart nib-monitor"),
        (json.dumps({"version": VERSION, "at_s": 0, "uplinks": [{}]}), "damaged status"),
    ],
)
def test_status_that_is_none(text: str | None, says: str, tmp_path: Path) -> None:
    done = status_of(text, tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert says in done.stderr


# -- where it cannot work --------------------------------------------------------------------------


def test_apply_needs_root() -> None:
    drop = "os.setgid(65534); os.setuid(65534); " if os.geteuid() == 0 else ""
    program = (
        f"import os, sys; from nib import apply, operator; {drop}"
        "sys.argv = ['nib', 'apply']; sys.exit(operator.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=private.environment(),
    )
    assert done.returncode == 3
    assert done.stderr == "nib: this changes the router and needs root: try sudo nib apply\n"


def test_apply_needs_its_tools(tmp_path: Path) -> None:
    done = private.run(f"PATH=$1 {NIB} apply", tmp_path)
    assert done.returncode == 3
    assert done.stderr == "nib: nft not found: install the package nftables\n"


def test_apply_needs_systemd(tmp_path: Path) -> None:
    for tool in ("nft", "systemctl", "networkctl", "unshare", "ip"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "run").mkdir()
    done = private.run(
        f'mount --bind "$1/run" /run; PATH=$1:$PATH {NIB} apply', tmp_path, mounts=True
    )
    assert done.returncode == 3
    assert "systemd does not run this host" in done.stderr


# -- tools -----------------------------------------------------------------------------------------


def test_a_tool_that_hangs_is_ended_with_its_children() -> None:
    start = time.monotonic()
    with pytest.raises(Refused, match=r"was not done within 0\.2 s"):
        command(("sh", "-c", "sleep 60 & sleep 60"), within_s=0.2)
    assert time.monotonic() - start < 10


def test_what_a_tool_says_is_kept() -> None:
    outcome = command(("sh", "-c", "cat; echo no >&2; echo; exit 4"), 5, "read\n")
    assert (outcome.status, outcome.said, outcome.output) == (4, "no\nread", "read\n\n")
    with pytest.raises(Refused, match="cannot run /nowhere: no such file"):
        command(("/nowhere",), 5)


def test_the_table_is_made_anew_only_for_another_type(tmp_path: Path) -> None:
    """What decides it is real: nft's answers in a private network."""
    table = str(samples.files()["nib/nib.nft"])
    for name, text in (
        ("table", table),
        ("other", "table inet nib { set uplink_devices { type mark; }; }\n"),
        ("broken", "table inet nib { nonsense }\n"),
    ):
        (tmp_path / name).write_text(text)
    program = (
        "import sys; from pathlib import Path; from nib import changes, router; "
        "texts = {'nib/nib.nft': Path(sys.argv[1]).read_text(), "
        "'nib/stopped.nft': '', 'nib/state': ''}; "
        "items = tuple(changes.Change(path, None, text) for path, text in texts.items()); "
        "print(router.try_out(items, ''))"
    )
    run = f'{sys.executable} -c "{program}"'
    done = private.run(
        f'{run} "$1/table"; nft -f "$1/table"; {run} "$1/table"; nft flush ruleset; '
        f'nft -f "$1/other"; {run} "$1/table"; {run} "$1/broken" || echo refused',
        tmp_path,
        network=True,
    )
    assert done.stdout.split() == ["False", "False", "True", "refused"], done.stderr
    assert "nft refuses the new table; nothing was changed" in done.stderr


def test_plan_changes_do_not_leak() -> None:
    """`carried_over` looks at families of the new plan alone."""
    status = Status(VERSION, 0.0, (replace(uplink("cable", "wan1", "down"), families=()),))
    assert steps.carried_over(samples.plan(), status)[4] == {"cable", "dsl"}


def test_connections_of_marks_that_moved_are_dropped() -> None:
    text = (
        "uplinks:\n"
        "  a: {device: wan1, address: dhcp, id: %d}\n"
        "  b: {device: wan2, address: dhcp, id: %d}\n"
    )
    old, swapped = samples.plan(text % (7, 8)), samples.plan(text % (8, 7))
    a, b = (uplink.mark for uplink in old.uplinks)
    assert steps.dropped_marks(old, old) == steps.dropped_marks(None, old) == ()
    assert set(steps.dropped_marks(old, swapped)) == {a, b}
    # taken over by another; and merely gone, which leads nobody astray
    renamed = samples.plan((text % (7, 8)).replace("b:", "c:"))
    assert steps.dropped_marks(old, renamed) == (b,)
    assert steps.dropped_marks(old, samples.plan((text % (7, 9)).replace("b:", "c:"))) == ()


@alone
def test_conntrack_forgets_a_mark_under_its_mask() -> None:
    for port, mark in enumerate((0x07000000, 0x470000FF, 0x08000000), start=1):
        sh(
            f"conntrack -I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport {port} --dport 9 -t 100 "
            f"-m {mark} 2>/dev/null"
        )
    forget((Mark(0x07000000),), 0x3F000000)
    left = sh("conntrack -L 2>/dev/null")
    assert "sport=3 " in left and "sport=1 " not in left and "sport=2 " not in left


def test_an_uplink_whose_mark_moves_is_named() -> None:
    text = (
        "uplinks:\n  a: {device: wan1, address: dhcp, id: %d}\n  b: {device: wan2, address: dhcp}\n"
    )
    old, new = samples.plan(text % 7), samples.plan(text % 9)
    assert steps.moved(old, old) == steps.moved(None, new) == ()
    (line,) = steps.moved(old, new)
    assert "mark of a moves" in line and "0x07000000" in line and "0x09000000" in line
