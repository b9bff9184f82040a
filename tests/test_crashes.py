"""SIGKILL after every single thing that the monitor does: the next monitor loses nothing.

The real daemon plays a scene in a real kernel and dies of its k-th step, for every k that there
is: before and after a file takes its place, after each nft, around each request by netlink and
around the questions to the clients of a dead line.  A fresh one takes over.  In the end all must be
as if nobody had died.
"""

import asyncio
import json
import os
import re
import signal
import time
import traceback
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import samples
from alone import alone, sh, wait_for
from nib.monitor import daemon, effects
from nib.monitor.daemon import Daemon
from nib.monitor.events import Poke
from nib.monitor.netlink import Kernel
from nib.plan import Plan, to_json
from nib.status import STATUS_FILE
from nib.status import from_json as status_from_json
from test_links import DEVICES, rule_text

# Probes that a line without carrier alone can fail: only what is done to the kernel counts here.
TEXT = samples.TWO + (
    "probe: {targets: [{command: /bin/true}], interval: 100ms, timeout: 1s, rise: 1, damping: 0s,"
    " canary: 0s}\n"
)
PLAN = samples.plan(TEXT)
CABLE, DSL = PLAN.uplinks

NETWORKD = f"""{DEVICES}
ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric}
ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric} table {CABLE.table}
ip route add default via 198.51.100.1 dev wan2 metric {DSL.metric}
ip route add default via 198.51.100.1 dev wan2 metric {DSL.metric} table {DSL.table}
""" + "\n".join(map(rule_text, PLAN.rules))

# What networkd does when the carrier is back.
RETURN = f"""
ip link set far_wan1 up
ip route replace default via 192.0.2.1 dev wan1 metric {CABLE.metric}
ip route replace default via 192.0.2.1 dev wan1 metric {CABLE.metric} table {CABLE.table}
"""

SCENES = {
    # before the monitor, while it runs
    "flip": ("", "ip link set far_wan1 down"),
    "return": ("ip link set far_wan1 down", RETURN),
    "flushed table": ("", "nft flush ruleset"),
    "flushed rules and routes": (
        "",
        "ip rule flush; ip rule add pref 32766 lookup main; ip route flush table main default\n"
        f"ip route flush table {CABLE.table}",
    ),
    "flip and return": ("", f"ip link set far_wan1 down\nsleep 0.3\n{RETURN}"),
}

# More than any scene has.
STEPS = 99
PLAYED_WITHIN_S = 1.5
# On a machine that is busy with other tests; alone it is a quarter of a second.
SETTLED_WITHIN_S = 15.0


def seen() -> dict[str, Any]:
    """All that the monitor answers for, without what a second run may number or time otherwise."""
    rules = sh("ip -4 rule")
    listing = {
        "rules": sorted(re.sub(r"^\d+:\s*", "", line) for line in rules.splitlines()),
        "routes": sorted(sh("ip -4 route show table all").splitlines()),
        "table": sh("nft -s list table inet nib 2>&1 || true"),
        "state": "",
        "health": {},
    }
    with suppress(OSError, ValueError):
        listing["state"] = Path(PLAN.state_file).read_text()
        status = status_from_json(Path(STATUS_FILE).read_text())
        listing["health"] = {u.name: u.families[0].health for u in status.uplinks}
    return listing


def monitor(plan_file: Path, dies_at: int, steps: Path) -> int:
    """Start the daemon in a child that dies of its step `dies_at`; a file has a dot for each."""
    child = os.fork()
    if child:
        return child
    try:
        # the end of the test is told by its last pipe
        os.closerange(3, 256)
        _count_steps(dies_at, steps)
        asyncio.run(Daemon(PLAN, plan_file).run())
    except BaseException:
        plan_file.with_name("said").write_text(traceback.format_exc())
    finally:
        os._exit(1)


def _count_steps(dies_at: int, steps: Path) -> None:
    numbers = count(1)

    def step() -> None:
        with steps.open("a") as file:
            file.write(".")
        if next(numbers) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    replace, nft, change = Path.replace, effects.nft, Kernel.change
    poke = daemon.poke

    def replacing(path: Path, target: Path) -> Path:
        step()
        replaced = replace(path, target)
        step()
        return replaced

    async def loading(file: Path, stdin: str = "") -> None:
        await nft(file, stdin)
        step()

    def changing(kernel: Kernel, kind: int, flags: int, body: bytes) -> None:
        step()
        change(kernel, kind, flags, body)
        step()

    def poking(plan: Plan, wish: Poke) -> tuple[int, int]:
        step()
        asked = poke(plan, wish)
        step()
        return asked

    daemon.poke = poking
    Path.replace = replacing  # type: ignore[method-assign, assignment]
    effects.nft = loading
    Kernel.change = changing  # type: ignore[method-assign]


@alone
def play(folder: Path, scene: str, dies_at: int) -> None:
    """A scene with a monitor that dies, if it gets so far, and another; what there is in the end.

    Without a death the first one stays, and its result is what is expected of the others.
    """
    steps, outcome = folder / "steps", folder / "expected.json"
    steps.write_text("")
    before, meanwhile = SCENES[scene]
    sh(f"{NETWORKD}\nnft -f {folder / 'nib.nft'}\n{before}")
    child = monitor(folder / "plan.json", dies_at, steps)
    wait_for(lambda: _is_over(child) or (Path(STATUS_FILE).exists() and _calm(steps)))
    (folder / "begun").write_text(steps.read_text())
    sh(meanwhile)
    if dies_at == STEPS:
        time.sleep(PLAYED_WITHIN_S)
        outcome.write_text(json.dumps(seen()))
        os.kill(child, signal.SIGKILL)
        return
    with suppress(AssertionError):
        wait_for(lambda: _is_over(child), PLAYED_WITHIN_S)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    monitor(folder / "plan.json", 0, folder / "ignored")
    expected = json.loads(outcome.read_text())
    with suppress(AssertionError):
        wait_for(lambda: seen() == expected, SETTLED_WITHIN_S)
    said = folder / "said"
    assert not said.exists(), said.read_text()
    found = seen()
    for what, value in expected.items():
        assert found[what] == value, f"{what}, after step {dies_at}"


def _is_over(child: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(child, os.WNOHANG)[0] == child
    return True


def _calm(steps: Path) -> bool:
    """Nothing is done any more."""
    number = steps.read_text()
    time.sleep(0.1)
    return steps.read_text() == number


@pytest.mark.parametrize("scene", SCENES)
def test_a_monitor_that_dies_of_any_step_loses_nothing(tmp_path: Path, scene: str) -> None:
    (tmp_path / "plan.json").write_text(to_json(PLAN))
    (tmp_path / "nib.nft").write_text(samples.files(TEXT)["nib/nib.nft"])
    play(tmp_path, scene, STEPS)
    # whoever dies before he has seen a gateway cannot know it when its routes are gone
    first = len((tmp_path / "begun").read_text()) + 1 if scene == "flushed rules and routes" else 1
    last = len((tmp_path / "steps").read_text())
    assert 8 < last < STEPS
    for number in range(first, last + 1):
        play(tmp_path, scene, number)
