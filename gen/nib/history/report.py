"""`nib history`: the outages and how well the uplinks were, for people and as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from nib.columns import columns, duration, percent
from nib.history.outages import Account, Outage

Clock = Callable[[float], str]
"""Seconds of the epoch -> local date and time."""


def history_report(
    outages: Sequence[Outage], accounts: Sequence[Account], now_s: float, clock: Clock
) -> str:
    """Two tables."""
    rows = [
        (
            clock(one.began_s),
            one.uplink,
            f"IPv{one.family}",
            lasted(one, now_s),
            one.name or "",
            one.reason,
        )
        for one in outages
    ]
    head = ("from", "uplink", "", "for", "outage", "why")
    text = columns(head, rows) if rows else "no outage\n"
    wells = [
        (
            one.uplink,
            f"IPv{one.family}",
            up(one),
            duration(one.known_s - one.up_s),
            duration(one.known_s),
            "" if one.loss is None else percent(one.loss),
            "" if one.rtt_ms is None else f"{one.rtt_ms:.3g} ms",
            percent(one.share),
        )
        for one in accounts
    ]
    measures = ("uplink", "", "up", "down for", "of", "loss", "rtt", "share")
    return text + ("\n" + columns(measures, wells) if wells else "")


def history_json(outages: Sequence[Outage], accounts: Sequence[Account]) -> str:
    """All of it; times in seconds of the epoch."""
    data = {
        "outages": [asdict(one) for one in outages],
        "uplinks": [{**asdict(one), "available": one.available} for one in accounts],
    }
    return json.dumps(data, indent=1) + "\n"


def lasted(outage: Outage, now_s: float) -> str:
    """How long, as far as anybody knows."""
    span = duration(outage.lasted_s(now_s))
    if outage.ended_s is None:
        return f"{span}, still"
    return span if outage.seen else f"at most {span}"


def up(account: Account) -> str:
    """How much of the known time it was up; never 100% for a line that was down."""
    if account.available is None:
        return "unknown"
    return f"{int(account.available * 100000) / 1000:g}%"
