"""`nib history`, `nib replay` and `nib report`: what is on disk, as people want to read it."""

import sys
import time
from argparse import Namespace
from calendar import monthrange
from pathlib import Path

from nib import __version__
from nib import plan as plans
from nib.families import Family
from nib.history.comparison import comparison, comparison_json, pairs
from nib.history.monthly import as_csv, html, make_report, markdown
from nib.history.outages import Outage, accounts, outages
from nib.history.reading import events, records
from nib.history.records import Minute, Round, Traffic
from nib.history.replay import replay as judged_anew
from nib.history.report import history_json, history_report
from nib.history.settings import changed
from nib.host import FINE, Wrong, load, read, say
from nib.importer.files import check_new, write_new
from nib.plan import Plan
from nib.planner import make_plan


def history(arguments: Namespace) -> int:
    """Print what was since some time."""
    now_s = time.time()
    since_s = now_s - arguments.since_s
    found = _outages(since_s, arguments.uplink)
    wells = accounts(
        one for one in records(Minute, since_s) if arguments.uplink in (None, one.uplink)
    )
    if arguments.json:
        sys.stdout.write(history_json(found, wells))
    else:
        sys.stdout.write(history_report(found, wells, now_s, _clock))
    return FINE


def replay(arguments: Namespace) -> int:
    """Print what would have been."""
    now_s = time.time()
    since_s = now_s - arguments.since_s
    plan = _plan(arguments)
    probes = {}
    try:
        for uplink in plan.uplinks:
            probes[uplink.name] = changed(uplink.probe, arguments.set)
    except ValueError as problem:
        raise Wrong(str(problem)) from None
    rounds: dict[tuple[str, Family], list[Round]] = {}
    for one in records(Round, since_s):
        if arguments.uplink in (None, one.uplink):
            rounds.setdefault((one.uplink, one.family), []).append(one)
    would: list[Outage] = []
    for (name, family), recorded in rounds.items():
        if name in probes:
            targets = plan.uplink(name).targets_of(family)
            would += judged_anew(recorded, probes[name], targets)
        else:
            say(f"note: {name} is left out: there is no such uplink")
    found = pairs(_outages(since_s, arguments.uplink), would, now_s)
    sys.stdout.write(comparison_json(found) if arguments.json else comparison(found, now_s, _clock))
    return FINE


def report(arguments: Namespace) -> int:
    """Print a month, or write it to a file that is not there yet."""
    now_s = time.time()
    month = arguments.month or time.strftime("%Y-%m", time.localtime(now_s))
    begins_s, ends_s, days = _month(month)
    if begins_s > now_s:
        raise Wrong(f"--month {month}: it has not begun yet")
    made = make_report(
        month,
        [day for day in days if day <= _day(now_s)],
        records(Minute, begins_s),
        records(Traffic, begins_s),
        (one for one in _outages(begins_s, None) if one.began_s < ends_s),
        day_of=_day,
    )
    match arguments.format:
        case "csv":
            text = as_csv(made)
        case "html":
            text = html(made, now_s, _clock, __version__)
        case _:
            text = markdown(made, now_s, _clock)
    if arguments.out:
        check_new(arguments.out)
        write_new(arguments.out, text)
        say(f"nib: wrote {arguments.out}")
    else:
        sys.stdout.write(text)
    return FINE


def _month(month: str) -> tuple[float, float, list[str]]:
    """When it begins and ends, and its days, by the local clock."""
    try:
        parsed = time.strptime(month, "%Y-%m")
    except ValueError:
        raise Wrong(f"--month {month}: write it like 2026-11") from None
    year, number = parsed.tm_year, parsed.tm_mon
    count = monthrange(year, number)[1]
    begins_s = time.mktime((year, number, 1, 0, 0, 0, 0, 0, -1))
    ends_s = time.mktime((year, number, count + 1, 0, 0, 0, 0, 0, -1))
    return begins_s, ends_s, [f"{year}-{number:02}-{day:02}" for day in range(1, count + 1)]


def _day(time_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(time_s))


def _outages(since_s: float, uplink: str | None) -> list[Outage]:
    return [
        one
        for one in outages(events(since_s))
        if uplink in (None, one.uplink) and (one.ended_s is None or one.ended_s >= since_s)
    ]


def _plan(arguments: Namespace) -> Plan:
    if arguments.config:
        _, config = load("nib", arguments.config)
        return make_plan(config)
    try:
        return plans.from_json(read(arguments.plan, -1).decode())
    except ValueError as problem:
        raise Wrong(
            f"{Path(arguments.plan)}: {problem}; run `nib apply` to write it anew"
        ) from None


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
