"""The table of `nib status`: how the uplinks are, for people."""

from collections.abc import Callable

from nib.columns import columns, duration, percent
from nib.sentence import headline, sentence
from nib.status import Admin, FamilyStatus, Status, UplinkStatus

STALE_S = 10.0
"""A status older than this many seconds is nobody's any more: the monitor writes more often."""


def status_report(status: Status, now_s: float, clock: Callable[[float], str]) -> str:
    """The state of every uplink, for a person; ends with a newline.

    Beneath the table stands a sentence for each that is not simply up.  `now_s` is CLOCK_MONOTONIC;
    `clock` makes local clock time of seconds before now.
    """
    several = any(len(uplink.families) > 1 for uplink in status.uplinks)
    head = ["uplink", "device", "state", "since", "loss", "rtt", "weight", "new flows"]
    rows = []
    said = []
    for uplink in status.uplinks:
        for family in uplink.families:
            row = _status_row(uplink, family, now_s, clock)
            rows.append((row[0], f"ipv{family.family}", *row[1:]) if several else row)
            if family.health != "up" or family.eased or uplink.admin.state != "auto":
                said.append(_sentence(uplink, family, now_s, clock))
    if several:
        head.insert(1, "family")
    said += [
        f"something keeps removing {name}: nib puts it back, but ever more rarely"
        for name in status.contested
    ]
    return columns(head, rows) + "".join(f"{line}\n" for line in said)


_STATE = {"down": "DOWN", "absent": "no IPv6"}
_ADMIN = {"auto": "", "up": ", up by hand", "down": ", down by hand"}


def _status_row(
    uplink: UplinkStatus, family: FamilyStatus, now_s: float, clock: Callable[[float], str]
) -> tuple[str, ...]:
    ago_s = max(0.0, now_s - family.since_s)
    return (
        uplink.name,
        uplink.device,
        _STATE.get(family.health, family.health) + _ADMIN[uplink.admin.state],
        f"{clock(ago_s)} ({duration(ago_s)})",
        "-" if family.loss is None else percent(family.loss),
        "-" if family.rtt_ms is None else f"{family.rtt_ms:.1f} ms",
        str(uplink.weight),
        percent(family.share),
    )


def _sentence(
    uplink: UplinkStatus, family: FamilyStatus, now_s: float, clock: Callable[[float], str]
) -> str:
    said = headline(uplink.name, family.health, family.family)
    since = clock(max(0.0, now_s - family.since_s))
    return sentence(said, family.reason, since) + _order(uplink.admin, now_s, clock)


def _order(admin: Admin, now_s: float, clock: Callable[[float], str]) -> str:
    """Who ordered something, when, and for how long."""
    if admin.state == "auto" or admin.since_s is None:
        return ""
    since = clock(max(0.0, now_s - admin.since_s))
    text = f"; {admin.state} by hand since {since}, says {admin.who}"
    if admin.until_s is None:
        return text
    return f"{text}, for {duration(max(0.0, admin.until_s - now_s))} more"


def stale(status: Status, now_s: float) -> str | None:
    """The warning that nobody watches any more, or None."""
    age_s = now_s - status.at_s
    if -STALE_S <= age_s <= STALE_S:
        return None
    return (
        f"this is {duration(abs(age_s))} old: nib-monitor is not running, so nothing fails over\n"
        "  see why: systemctl status nib-monitor; start it: systemctl start nib-monitor"
    )


def is_down(status: Status) -> bool:
    """Whether any family of any uplink is down; of one that is down by hand that is no fault."""
    return any(
        family.health == "down"
        for uplink in status.uplinks
        if uplink.admin.state != "down"
        for family in uplink.families
    )
