"""What must be done to a running router after its files changed, and to undo that; as data."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from nib.families import Family
from nib.ip_rules import Mark
from nib.monitor.health import recall, share
from nib.plan import Plan
from nib.render import NETWORK, UNITS
from nib.state import Easing, Live, everything
from nib.status import Status

NETWORKD = "systemd-networkd.service"
NFTABLES = "nib-nftables.service"
MONITOR = "nib-monitor.service"
SOCKET = "nib-monitor.socket"
NOTIFY = "nib-notify.service"
HISTORY = "nib-history.service"
METRICS = "nib-metrics.socket"
MAIL = ("nib-mail.socket", "nib-mail@.service")
SERVICES = (NFTABLES, NETWORKD, MONITOR, NOTIFY, HISTORY)

TABLE_FILE = "nib/nib.nft"
STOPPED_FILE = "nib/stopped.nft"
PLAN_FILE = "nib/plan.json"
SYSCTL_FILE = "sysctl.d/05-nib.conf"
NETWORKD_CONF = "systemd/networkd.conf.d/"
SYSTEMD_SYSCTL = "/usr/lib/systemd/systemd-sysctl"

Part = Literal["units", "sysctl", "table", "network", "monitor", "notify", "history"]


@dataclass(frozen=True, slots=True)
class Step:
    """A command, what it does in words, and how many seconds it may take."""

    part: Part
    says: str
    command: tuple[str, ...]
    within_s: float = 30.0


def forward(
    changed: AbstractSet[str],
    inactive: AbstractSet[str],
    etc: str,
    outdated: Iterable[str] = (),
) -> tuple[Step, ...]:
    """The least that makes a router run its new files, in an order that never opens it.

    `changed` are paths below `etc`, `inactive` the units of SERVICES that do not run, `outdated`
    devices that an earlier plan had made, and this one not or otherwise.
    """
    steps: list[Step] = []
    if _units(changed):
        steps.append(Step("units", "systemd reads the units", ("systemctl", "daemon-reload")))
    if SYSCTL_FILE in changed:
        steps.append(
            Step("sysctl", "the kernel's settings", (SYSTEMD_SYSCTL, f"{etc}/{SYSCTL_FILE}"))
        )
    if TABLE_FILE in changed or NFTABLES in inactive:
        says = "the table is loaded, in one transaction"
        steps.append(Step("table", says, ("systemctl", "reload-or-restart", NFTABLES)))
    for device in outdated:
        # networkd removes no device, and changes none that is there
        says = f"{device} is made no more, or anew"
        steps.append(Step("network", says, ("ip", "link", "delete", device)))
    if step := _network(changed, inactive):
        steps.append(step)
    steps += _metrics(changed)
    if changed & {PLAN_FILE, f"{UNITS}/{MONITOR}", f"{UNITS}/{SOCKET}"}:
        # its socket goes along: it is part of it
        says = "the monitor takes the new plan"
        steps.append(Step("monitor", says, ("systemctl", "restart", MONITOR)))
    elif MONITOR in inactive:
        steps.append(Step("monitor", "the monitor starts", ("systemctl", "start", MONITOR)))
    if changed & {PLAN_FILE, *(f"{UNITS}/{unit}" for unit in (NOTIFY, *MAIL))}:
        if f"{UNITS}/{MAIL[0]}" in changed:
            # by a pattern, which fits nothing where there is none; nib-notify starts it
            says = "the socket for mail is another one, or gone"
            steps.append(Step("notify", says, ("systemctl", "stop", "nib-mail.sock*")))
        says = "who tells people of changes takes the new plan"
        steps.append(Step("notify", says, ("systemctl", "restart", NOTIFY)))
    elif NOTIFY in inactive:
        says = "who tells people of changes starts"
        steps.append(Step("notify", says, ("systemctl", "start", NOTIFY)))
    if f"{UNITS}/{HISTORY}" in changed:
        says = "who writes down what happens takes the new unit"
        steps.append(Step("history", says, ("systemctl", "restart", HISTORY)))
    return tuple(steps)


def stop_new(inactive: AbstractSet[str], touched: AbstractSet[Part]) -> tuple[Step, ...]:
    """Undo, first half, while the new files are still there: stop what did not run before."""
    parts: tuple[tuple[Part, str], ...] = (
        ("history", HISTORY),
        ("notify", NOTIFY),
        ("monitor", MONITOR),
        ("table", NFTABLES),
    )
    return tuple(
        Step(part, f"{unit} stops again", ("systemctl", "stop", unit))
        for part, unit in parts
        if part in touched and unit in inactive
    )


def backward(
    changed: AbstractSet[str], inactive: AbstractSet[str], touched: AbstractSet[Part]
) -> tuple[Step, ...]:
    """Undo, second half, with the old files back: what ran before reads them again.

    networkd is told to reload even where it must restart or stop: only then does it remove what
    the new files had made.  The kernel's settings are not here: their old values are known and
    written directly.
    """
    steps: list[Step] = []
    if _units(changed):
        steps.append(Step("units", "systemd reads the old units", ("systemctl", "daemon-reload")))
    if "table" in touched and NFTABLES not in inactive:
        says = "the old table is loaded"
        steps.append(Step("table", says, ("systemctl", "reload-or-restart", NFTABLES)))
    if "network" in touched:
        says = "systemd-networkd reads its old files"
        steps.append(Step("network", says, ("networkctl", "reload")))
    if "monitor" in touched:
        steps += _metrics(changed)
    if "monitor" in touched and MONITOR not in inactive:
        says = "the monitor takes the old plan"
        steps.append(Step("monitor", says, ("systemctl", "restart", MONITOR)))
    if "notify" in touched and NOTIFY not in inactive:
        says = "who tells people of changes takes the old plan"
        steps.append(Step("notify", says, ("systemctl", "restart", NOTIFY)))
    if "history" in touched and HISTORY not in inactive:
        says = "who writes down what happens takes the old unit"
        steps.append(Step("history", says, ("systemctl", "restart", HISTORY)))
    return tuple(steps)


def settle(
    changed: AbstractSet[str], inactive: AbstractSet[str], touched: AbstractSet[Part]
) -> tuple[Step, ...]:
    """Undo, the end: networkd itself as it was, once it has removed what it had made."""
    if "network" not in touched:
        return ()
    if NETWORKD in inactive:
        says = "systemd-networkd stops again"
        return (Step("network", says, ("systemctl", "stop", NETWORKD, f"{NETWORKD[:-8]}.socket")),)
    if any(path.startswith(NETWORKD_CONF) for path in changed):
        says = "systemd-networkd restarts, for its own settings are back"
        return (Step("network", says, ("systemctl", "restart", NETWORKD)),)
    return ()


def _units(changed: AbstractSet[str]) -> bool:
    return any(path.startswith(f"{UNITS}/") for path in changed)


def _metrics(changed: AbstractSet[str]) -> tuple[Step, ...]:
    if f"{UNITS}/{METRICS}" not in changed:
        return ()
    # by a pattern, which fits nothing where there is none; the monitor's unit starts it
    says = "the socket for Prometheus is another one, or gone"
    return (Step("monitor", says, ("systemctl", "stop", "nib-metrics.*")),)


def _network(changed: AbstractSet[str], inactive: AbstractSet[str]) -> Step | None:
    if NETWORKD in inactive:
        return Step("network", "systemd-networkd starts", ("systemctl", "start", NETWORKD))
    if any(path.startswith(NETWORKD_CONF) for path in changed):
        # read only when it starts; addresses and routes stay meanwhile
        says = "systemd-networkd restarts, for its own settings changed"
        return Step("network", says, ("systemctl", "restart", NETWORKD))
    if any(path.startswith(f"{NETWORK}/") for path in changed):
        return Step("network", "systemd-networkd reads its files", ("networkctl", "reload"))
    return None


def moved(old: Plan | None, new: Plan) -> tuple[str, ...]:
    """A line for every uplink whose mark is another one now: its connections cannot go on."""
    marks = {uplink.name: uplink.mark for uplink in (old.uplinks if old else ())}
    return tuple(
        f"the mark of {uplink.name} moves from {marks[uplink.name]:#010x} to {uplink.mark:#010x}: "
        "its connections end and begin anew; an id in balance.yaml pins it"
        for uplink in new.uplinks
        if marks.get(uplink.name, uplink.mark) != uplink.mark
    )


def dropped_marks(old: Plan | None, new: Plan) -> tuple[Mark, ...]:
    """The old marks of uplinks that have another one now, and those that another uplink took over.

    What conntrack keeps under them would lead connections to the wrong provider.
    """
    marks = {uplink.name: uplink.mark for uplink in new.uplinks}
    return tuple(
        uplink.mark
        for uplink in (old.uplinks if old else ())
        if marks.get(uplink.name) != uplink.mark
        and (uplink.name in marks or uplink.mark in marks.values())
    )


def carried_over(plan: Plan, status: Status | None) -> Live:
    """Who is alive in the new plan, by what is known of the old one.

    An uplink that is down stays down if it is still the same device; new ones count as alive, and
    so does who is up by hand.
    """
    down = {
        (uplink.name, uplink.device, family.family)
        for uplink in (status.uplinks if status else ())
        for family in uplink.families
        if family.health == "down" and uplink.admin.state != "up"
    }
    return {
        family: frozenset(
            name for name in names if (name, plan.uplink(name).device, family) not in down
        )
        for family, names in everything(plan).items()
    }


def easing(plan: Plan, status: Status | None, at_s: float) -> Easing:
    """Who takes less than its share of new flows: a return that has begun goes on."""
    probes = {(uplink.name, uplink.device): uplink.probe for uplink in plan.uplinks}
    found: dict[Family, dict[str, int]] = {}
    for uplink in status.uplinks if status else ():
        for family in uplink.families:
            probe = probes.get((uplink.name, uplink.device))
            if probe and (part := share(recall(family), at_s, probe)) < 100:
                found.setdefault(family.family, {})[uplink.name] = part
    return found


def drained(status: Status | None) -> frozenset[str]:
    """Who is given no new flows, by order."""
    return frozenset(
        uplink.name for uplink in (status.uplinks if status else ()) if uplink.admin.state == "down"
    )
