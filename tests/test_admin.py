"""Orders of the operator: what is kept, what is refused, what people read of it."""

import os
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import pytest

import samples
from nib import orders
from nib.monitor import admin
from nib.monitor.effects import keep, orders_file
from nib.state import render_state
from nib.status import Admin, from_json, to_json
from nib.status_report import is_down, status_report
from nib.stream import Command
from test_stream import ONE

CABLE = Admin("down", 100.0, 7300.0, "anna", persist=True)
ORDERS = {"cable": CABLE, "dsl": Admin("up", 5.0, None, "root")}


def test_what_outlives_a_reboot_has_the_time_of_the_wall_clock() -> None:
    text = admin.to_json(admin.persistent(ORDERS), 1_000_000.0)
    after = admin.from_json(text, 1_001_000.0)
    assert after == {"cable": replace(CABLE, since_s=-900.0, until_s=6300.0)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "orders": [["cable"]]}'])
def test_nothing_kept(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        admin.from_json(text, 0.0)


def test_an_order_is_on_the_disk_before_it_takes_the_place_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut in between would leave an empty file, and forget every order."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    keep("old\n")
    synced, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        written = Path(f"/proc/self/fd/{descriptor}").resolve()
        text = written.read_text() if written.is_file() else "the folder"
        synced.append((text, orders_file().read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    keep("new\n")
    assert synced == [("new\n", "old\n"), ("the folder", "new\n")]
    assert [path.name for path in tmp_path.iterdir()] == ["orders.json"]


def test_an_uplink_that_is_gone_has_no_order() -> None:
    kept = {**ORDERS, "lte": Admin("down", 1.0)}
    assert admin.before(samples.plan(), None, kept) == ORDERS


def test_who_is_dead_already_is_not_the_last() -> None:
    plan = samples.plan()
    assert admin.refusal(plan, Command("down", "cable"), {4: frozenset()}) is None
    assert admin.refusal(plan, Command("down", "cable"), {4: frozenset({"dsl"})}) is None
    assert admin.refusal(plan, Command("down", "dsl"), {4: frozenset({"dsl"})})


def test_drained_keeps_its_flows_and_is_given_none() -> None:
    both = {4: frozenset({"cable", "dsl"})}
    lines = render_state(samples.plan(), both, drained=frozenset({"cable"})).splitlines()
    (restore,) = [line for line in lines if "add element inet nib restore4" in line]
    (balance,) = [line for line in lines if "add rule inet nib balance_default4" in line]
    assert "use_cable" in restore and "new_cable" not in balance


def test_down_by_hand_is_no_fault() -> None:
    cable, dsl = ONE.uplinks
    ordered = replace(ONE, uplinks=(replace(cable, admin=CABLE), dsl))
    assert is_down(ONE) and not is_down(ordered)
    assert from_json(to_json(ordered)) == ordered
    lines = status_report(ordered, 160.0, lambda ago_s: f"{ago_s:g} s ago").splitlines()
    assert "DOWN, down by hand" in lines[1]
    said = next(line for line in lines if line.startswith("cable is down since "))
    assert said.endswith("; down by hand since 60 s ago, says anna, for 1 h 59 min more")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2h", 7200), ("7d", 604800)])
def test_spans(text: str, seconds: float) -> None:
    assert orders.span(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0s", "-1h", "1.5h", "4000d", "2 h"])
def test_no_span(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        orders.span(text)
