"""`nib history` and `nib replay`: what is on disk, as people want to read it."""

import sys
import time
from argparse import Namespace
from pathlib import Path

from nib import plan as plans
from nib.families import Family
from nib.history.comparison import comparison, comparison_json, pairs
from nib.history.outages import Outage, accounts, outages
from nib.history.reading import events, records
from nib.history.records import Minute, Round
from nib.history.replay import replay as judged_anew
from nib.history.report import history_json, history_report
from nib.history.settings import changed
from nib.host import FINE, Wrong, load, read, say
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
