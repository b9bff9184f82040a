"""SIGKILL after every single thing that the monitor does: the next monitor loses nothing.

The real daemon plays a scene in a real kernel and dies of its k-th step, for every k that there
is: before and after a file takes its place, after each nft, around each request by netlink, around
the questions to the clients of a dead line, and around what the lans are told and flows that are
forgotten.  A fresh one takes over.  In the end all must be as if nobody had died; an operator who
was not answered orders once more.
"""

import asyncio
import json
import os
import re
import signal
import socket
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import samples
from alone import alone, sh, wait_for
from nib.families import Family
from nib.host import Refused
from nib.ip_rules import Mark
from nib.monitor import admin, announce, daemon, effects
from nib.monitor.announce import Announcer
from nib.monitor.daemon import Daemon
from nib.monitor.events import Announced, Poke
from nib.monitor.netlink import Kernel
from nib.monitor.notify import FIRST_PASSED
from nib.orders import carry_out
from nib.plan import PREFIX_TOKEN, Plan, to_json
from nib.status import STATUS_FILE
from nib.status import from_json as status_from_json
from nib.stream import SOCKET, Command
from test_links import DEVICES, rule_text

# Probes that a line without carrier alone can fail: only what is done to the kernel counts here.
PROBE = (
    "probe: {targets: [{command: /bin/true}], interval: 100ms, timeout: 1s, rise: 1, damping: 0s,"
    " canary: 0s}\n"
)
TEXT = samples.TWO + PROBE
PLAN = samples.plan(TEXT)
CABLE, DSL = PLAN.uplinks

NETWORKD = f"""
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
{DEVICES}
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

# Both providers delegate a network; the other end of the lan is a client that listens.
TEXT6 = (
    """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed, weight: 3}
  dsl: {device: wan2, address: dhcp, ipv6: routed}
lans:
  home: {device: lan1, address: "fd00:10::1/64"}
"""
    + PROBE
)
PLAN6 = samples.plan(TEXT6)
CABLE6, DSL6 = PLAN6.uplinks


def routes6(number: int) -> str:
    """What a provider announces on wan1 or wan2, and networkd makes of it."""
    uplink = PLAN6.uplinks[number - 1]
    network, default = f"2001:db8:{number}:", f"default via fe80::{number} dev wan{number}"
    delegated = PREFIX_TOKEN.removeprefix("::")
    return f"""
ip address replace {network}:2/64 dev wan{number} nodad
ip address replace {network}10::{delegated}/64 dev wan{number} nodad
ip route replace {default} metric {uplink.metric}
ip route replace {default} metric {uplink.metric} table {uplink.table}
"""


NETWORKD6 = f"""
sysctl -qw net.ipv6.conf.default.dad_transmits=0 net.ipv6.conf.default.accept_ra=0 \\
    net.ipv6.conf.default.router_solicitation_delay=0
number=0
for name in wan1 wan2 lan1; do
    number=$((number + 1))
    ip link add $name address 02:00:00:00:00:0$number type veth peer name far_$name \\
        address 02:00:00:00:00:1$number
    ip link set $name up; ip link set far_$name up
done
ip address add fd00:10::1/64 dev lan1 nodad
sysctl -qw net.ipv6.conf.far_lan1.accept_ra=1 net.ipv6.conf.far_lan1.accept_ra_defrtr=0 \\
    net.ipv6.conf.far_lan1.accept_ra_from_local=1
{routes6(1)}{routes6(2)}
""" + "\n".join(map(rule_text, PLAN6.rules))


def flow(mark: Mark) -> str:
    """A running flow of a client with an address of a provider's."""
    return f"""
conntrack -I -p udp -s 2001:db8:1:10::5 -d 2001:db8:99::1 --sport {mark >> 24} --dport 9 \\
    -t 600 -m {mark} 2>/dev/null
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is `before` the monitor, and what happens while it runs; at last the `order`.

    `takes`: a gateway or an address goes that only a monitor knows which has seen it.
    """

    before: str
    meanwhile: str
    text: str = TEXT
    networkd: str = NETWORKD
    takes: bool = False
    order: Command | None = None


SCENES = {
    "flip": Scene("", "ip link set far_wan1 down"),
    "return": Scene("ip link set far_wan1 down", RETURN),
    "flushed table": Scene("", "nft flush ruleset"),
    "flushed rules and routes": Scene(
        "",
        "ip rule flush; ip rule add pref 32766 lookup main; ip route flush table main default\n"
        f"ip route flush table {CABLE.table}",
        takes=True,
    ),
    "flip and return": Scene("", f"ip link set far_wan1 down\nsleep 0.3\n{RETURN}"),
    # the networks of the lan, what is said of them, and the flows that have their addresses
    "flip of IPv6": Scene(
        flow(CABLE6.mark) + flow(DSL6.mark),
        "ip link set far_wan1 down; ip -6 address flush dev wan1 scope global",
        TEXT6,
        NETWORKD6,
        takes=True,
    ),
    "flushed rules and routes of IPv6": Scene(
        "",
        "ip -6 rule flush; ip -6 rule add pref 32766 lookup main\n"
        f"ip -6 route flush table main default; ip -6 route flush table {CABLE6.table}\n"
        f"ip -6 route flush table {PLAN6.balance_table}; ip -6 route flush dev lan1 proto 110",
        TEXT6,
        NETWORKD6,
        takes=True,
    ),
    "order": Scene("", "", order=Command("down", "cable", None, persist=True)),
}

ORDERS = "/run/orders"

# More than any scene has.
STEPS = 99
PLAYED_WITHIN_S = 1.5
# On a machine that is busy with other tests; alone it is a quarter of a second.
SETTLED_WITHIN_S = 15.0


def seen(plan: Plan) -> dict[str, Any]:
    """All that the monitor answers for, without what a second run may number or time otherwise."""
    rules = sh("ip -4 rule; ip -6 rule")
    routes = sh("ip -4 route show table all; ip -6 route show table all")
    flows = sh("conntrack -L -f ipv6 2>/dev/null")
    listing = {
        "rules": sorted(re.sub(r"^\d+:\s*", "", line) for line in rules.splitlines()),
        "routes": sorted(re.sub(r" expires \d+sec", "", line) for line in routes.splitlines()),
        "table": sh("nft -s list table inet nib 2>&1 || true"),
        "flows": sorted(re.findall(r"sport=\d+ dport=9 .*mark=\d+", flows)),
        "clients": [
            sh(f"ip -6 -br address show dev far_lan1 {which}")
            for which in ("-deprecated", "deprecated")
        ],
        "state": "",
        "health": {},
        "orders": {},
    }
    with suppress(OSError, ValueError):
        listing["state"] = Path(plan.state_file).read_text()
        status = status_from_json(Path(STATUS_FILE).read_text())
        listing["health"] = {
            u.name: [u.admin.state, *(one.health for one in u.families)] for u in status.uplinks
        }
        kept = admin.from_json((Path(ORDERS) / "orders.json").read_text(), 0.0)
        listing["orders"] = {name: one.state for name, one in kept.items()}
    return listing


def monitor(plan: Plan, plan_file: Path, dies_at: int, steps: Path) -> int:
    """Start the daemon in a child that dies of its step `dies_at`; a file has a dot for each."""
    child = os.fork()
    if child:
        return child
    try:
        # the end of the test is told by its last pipe
        os.closerange(3, 256)
        _listen()
        announce.BURST_S = 0.1
        _count_steps(dies_at, steps)
        asyncio.run(Daemon(plan, plan_file).run())
    except BaseException:
        plan_file.with_name("said").write_text(traceback.format_exc())
    finally:
        os._exit(1)


def _listen() -> None:
    """As systemd would have passed it: the descriptor 3, and who it is for."""
    Path(SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(SOCKET)
    listening.listen()
    assert listening.detach() == FIRST_PASSED
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "STATE_DIRECTORY": ORDERS}


def _count_steps(dies_at: int, steps: Path) -> None:
    numbers = count(1)

    def step() -> None:
        with steps.open("a") as file:
            file.write(".")
        if next(numbers) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    replace, nft, change = Path.replace, effects.nft, Kernel.change
    poke, forget, tell = daemon.poke, effects.forget_flows, Announcer.announce

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

    def forgetting(family: Family, mark: Mark, mask: int) -> None:
        step()
        forget(family, mark, mask)
        step()

    def announcing(announcer: Announcer, said: Announced) -> None:
        step()
        tell(announcer, said)
        step()

    daemon.poke = poking
    effects.forget_flows = forgetting
    Announcer.announce = announcing  # type: ignore[method-assign]
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
    of = SCENES[scene]
    plan = samples.plan(of.text)
    Path(ORDERS).mkdir()
    sh(f"{of.networkd}\nnft -f {folder / 'nib.nft'}\n{of.before}")
    child = monitor(plan, folder / "plan.json", dies_at, steps)
    wait_for(lambda: _is_over(child) or (Path(STATUS_FILE).exists() and _calm(steps)))
    (folder / "begun").write_text(steps.read_text())
    sh(of.meanwhile)
    answered = of.order is None or _obeyed(of.order)
    if dies_at == STEPS:
        time.sleep(PLAYED_WITHIN_S)
        outcome.write_text(json.dumps(seen(plan)))
        os.kill(child, signal.SIGKILL)
        return
    with suppress(AssertionError):
        wait_for(lambda: _is_over(child), PLAYED_WITHIN_S)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    monitor(plan, folder / "plan.json", 0, folder / "ignored")
    if of.order and not answered:
        wait_for(partial(_obeyed, of.order))
    expected = json.loads(outcome.read_text())
    with suppress(AssertionError):
        wait_for(lambda: seen(plan) == expected, SETTLED_WITHIN_S)
    said = folder / "said"
    assert not said.exists(), said.read_text()
    found = seen(plan)
    for what, value in expected.items():
        assert found[what] == value, f"{what}, after step {dies_at}"


def _obeyed(order: Command) -> bool:
    with suppress(Refused):
        carry_out(order)
        return True
    return False


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
    text = SCENES[scene].text
    (tmp_path / "plan.json").write_text(to_json(samples.plan(text)))
    (tmp_path / "nib.nft").write_text(samples.files(text)["nib/nib.nft"])
    play(tmp_path, scene, STEPS)
    begun = len((tmp_path / "begun").read_text())
    first = begun + 1 if SCENES[scene].takes else 1
    last = len((tmp_path / "steps").read_text())
    assert 8 < last < STEPS
    for number in range(first, last + 1):
        play(tmp_path, scene, number)
