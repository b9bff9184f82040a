"""What a drill has found, for people and for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from nib.columns import columns
from nib.drill.findings import Course, Findings, Forward, Old, Part, faults

NOT_TRIED = "not tried: nothing that can be asked answers"


def to_json(found: Findings) -> str:
    """The findings with one more key, `faults`; ends with a newline."""
    return json.dumps({**asdict(found), "faults": faults(found)}, indent=1) + "\n"


def report(found: Findings) -> str:
    """The findings in a table, and what is not as the plan promises; ends with a newline."""
    dropped = "" if found.dropped is None else f", {found.dropped} packets dropped"
    head = f"{found.uplink} ({found.device}) was cut off for {found.for_s} s{dropped}\n"
    several = len(found.parts) > 1
    rows = [
        (f"IPv{part.family}", *row) if several else row
        for part in found.parts
        for row in _rows(found.uplink, part)
    ]
    rows += [("", *_forward(one)) if several else _forward(one) for one in found.forwards]
    wrong = [f"- {fault}" for fault in faults(found)]
    verdict = ["not as it should be:", *wrong] if wrong else ["all as the plan says"]
    return head + columns((), rows) + "\n".join(verdict) + "\n"


def _rows(name: str, part: Part) -> Iterator[tuple[str, str]]:
    detected = "not detected" if part.detected_s is None else f"after {part.detected_s:.2f} s"
    yield "failure detected", f"{detected} (the plan says {part.promised_s:.2f} s)"
    yield "new connections", _course(part.new) if part.new else NOT_TRIED
    if part.old:
        yield f"old TCP by {name}", _told(part.old)
        yield "old TCP by others", _kept(part.old)
    for one in part.talks:
        yield f"old UDP by {name}", _course(one)
    for one in part.calm:
        yield "old UDP by others", _course(one)
    yield "DNS", _course(part.names) if part.names else "not tried: no name server outside answers"
    back = f"not back: {part.reason}" if part.back_s is None else f"after {part.back_s:.2f} s"
    yield "back", f"{back} (the plan says {part.back_promised_s:.2f} s)"


def _course(row: Course) -> str:
    if not row.lost:
        return f"none of {row.made} lost"
    lost = f"{row.lost} of {row.made} lost"
    if row.settled_s is None:
        return f"failing until the end, {lost}"
    return f"all answered after {row.settled_s:.2f} s, {lost}"


def _told(old: Old) -> str:
    if not old.by_uplink:
        return "there was none"
    said = f"{len(old.told_s)} of {old.by_uplink} told by a reset"
    return f"{said}, the last after {max(old.told_s):.2f} s" if old.told_s else said


def _kept(old: Old) -> str:
    if not old.by_others:
        return "there was none"
    return f"{old.by_others - old.broken} of {old.by_others} kept"


def _forward(one: Forward) -> tuple[str, str]:
    by = f"meanwhile by {', '.join(one.by)}" if one.by else "by nobody meanwhile"
    host = f"its host is {one.answer}" if one.answer else "its host was not asked"
    return f"forward {one.ports} to {one.to}", f"{by}; {host}; not tried from outside"
