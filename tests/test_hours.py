"""Hours of the week: what is written, against the clock on the wall."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import private
import samples
from nib.hours import WEEK, Hours, minute_of_week
from nib.report import plan_report
from nib.state import counting, everything, render_state

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
RULE = "rules: [{{match: {{time: {!r}}}, use: dsl}}]\n"


def hours(text: str) -> Hours:
    (found,) = samples.plan(samples.TWO + RULE.format(text)).hours
    return found


def at(day: str, time: str) -> int:
    hour, minute = map(int, time.split(":"))
    return minute_of_week(DAYS.index(day), hour, minute)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("01:00-05:00", ["Mon 01:00", "Sun 04:59"], ["Mon 00:59", "Mon 05:00"]),
        ("22:00-06:00", ["Mon 22:00", "Tue 00:00", "Mon 05:59", "Sun 23:59"], ["Mon 06:00"]),
        ("Mon-Fri 08:00-18:00", ["Mon 08:00", "Fri 17:59"], ["Sat 08:00", "Sun 17:59"]),
        ("Fri 22:00-06:00", ["Fri 22:00", "Sat 05:59"], ["Fri 05:59", "Sat 22:00"]),
        ("Sun 22:00-06:00", ["Sun 23:00", "Mon 05:59"], ["Mon 06:00", "Mon 22:00"]),
        ("Sat-Mon", ["Sat 00:00", "Sun 12:00", "Mon 23:59"], ["Tue 00:00", "Fri 23:59"]),
        ("sat,SUN 9:00-24:00", ["Sat 09:00", "Sun 23:59"], ["Sun 00:00", "Sat 08:59"]),
    ],
)
def test_what_is_inside(text: str, inside: list[str], outside: list[str]) -> None:
    found = hours(text)
    assert [moment for moment in inside if not found.hold(at(*moment.split()))] == []
    assert [moment for moment in outside if found.hold(at(*moment.split()))] == []


@given(st.integers(0, 1439), st.integers(1, 1440), st.sets(st.integers(0, 6), min_size=1))
def test_as_long_as_it_is_written(start: int, end: int, days: set[int]) -> None:
    if start == end:
        return
    times = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    found = hours(f"{','.join(DAYS[day] for day in sorted(days))} {times}")
    expected = {
        (day * 1440 + start + passed) % WEEK
        for day in days
        for passed in range((end - start) % 1440 or 1440)
    }
    assert {minute for minute in range(WEEK) if found.hold(minute)} == expected


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_daylight_saving_changes_nothing_on_the_wall(day: str) -> None:
    """02:30 does not exist in spring and is there twice in autumn."""
    found = hours("Sun 02:30-03:30")
    moment = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)
    open_minutes = 0
    for _ in range(24 * 60):
        wall = moment.astimezone(ZoneInfo("Europe/Berlin"))
        held = found.hold(minute_of_week(wall.weekday(), wall.hour, wall.minute))
        assert held == ("02:30" <= wall.strftime("%H:%M") < "03:30")
        open_minutes += held
        moment += timedelta(minutes=1)
    # from 03:00 on in spring; 02:30 to 03:00, and again, and on, in autumn
    assert open_minutes == (30 if "03" in day[5:7] else 90)


def test_the_same_hours_are_one_set(tmp_path: Path) -> None:
    text = samples.DUAL.replace("old", "third") + (
        "rules:\n"
        "  - {match: {time: '01:00-05:00', protocol: tcp, dport: 25}, use: dsl}\n"
        "  - {match: {time: ['01:00-03:00', '03:00-05:00'], lan: guests}, use: dsl}\n"
        "  - {match: {time: 'Sat,Sun', lan: home}, use: cable}\n"
    )
    plan = samples.plan(text)
    assert [one.name for one in plan.hours] == ["hours_1", "hours_2"]
    assert "lan home; Sat,Sun" in plan_report(plan)
    table = str(samples.files(text)["nib/nib.nft"])
    assert "{ ipv4, ipv6 }" not in table
    now = counting(plan, at("Sat", "03:00"))
    assert now == {"hours_1", "hours_2"}
    state = render_state(plan, everything(plan), now)
    assert state.count("{ ipv4, ipv6 }") == 2
    private.load([table, state, table, state, state], tmp_path)
