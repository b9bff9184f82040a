"""The metrics as Prometheus reads them, and what the live view draws."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nib.counters import Counters
from nib.metrics import metrics
from nib.screen import drawn, rates, view
from nib.status import FamilyStatus, Status, UplinkStatus

UP = FamilyStatus(4, "up", 50.0, "3 of 3 targets answer", None, None, 0.02, 12.5, 1.0, 0.5)
NEW = FamilyStatus(6, "unknown", 99.0, "nothing heard yet", None, None, None, None, 0.0)
DOWN = replace(UP, health="down", since_s=90.0, outages=3, share=0.0, reason="nobody answers")
STATUS = Status(
    1,
    100.0,
    (UplinkStatus("cable", "wan1", 3, 1, (UP, NEW)), UplinkStatus("dsl", "ppp0", 1, 1, (DOWN,))),
)
CARRIED = {"wan1": Counters(2**60 + 1, 5, 7, 1), "lan1": Counters(1, 1, 1, 1)}
BOOT_S = 1_764_000_000.5


def samples(status: Status = STATUS) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    text = metrics(status, CARRIED, BOOT_S, "1.2")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_metric() -> None:
    found = samples()
    assert found["nib_build_info", "1.2"] == 1
    assert found["nib_monitor_up",] == 1
    assert found["nib_uplink_up", "cable", "ipv4"] == 1
    assert found["nib_uplink_up", "dsl", "ipv4"] == 0
    assert found["nib_uplink_state", "dsl", "ipv4", "down"] == 1
    assert found["nib_uplink_state", "dsl", "ipv4", "up"] == 0
    assert found["nib_uplink_state_since_timestamp_seconds", "dsl", "ipv4"] == BOOT_S + 90
    assert found["nib_uplink_outages_total", "dsl", "ipv4"] == 3
    assert found["nib_uplink_rtt_seconds", "cable", "ipv4"] == pytest.approx(0.0125)
    assert found["nib_uplink_loss_ratio", "cable", "ipv4"] == pytest.approx(0.02)
    assert found["nib_uplink_transmit_bytes_total", "cable"] == 7
    assert found["nib_status_timestamp_seconds",] == BOOT_S + 100


def test_what_is_not_known_is_left_out() -> None:
    found = samples()
    assert ("nib_uplink_rtt_seconds", "cable", "ipv6") not in found
    # its device is not there
    assert ("nib_uplink_receive_bytes_total", "dsl") not in found


def test_every_metric_has_a_type_and_bytes_keep_their_digits() -> None:
    text = metrics(STATUS, CARRIED, BOOT_S, "1.2")
    for family in text_string_to_metric_families(text):
        assert family.type in ("gauge", "counter") and family.documentation, family.name
    # a float has 53 bits
    assert 'nib_uplink_receive_bytes_total{uplink="cable"} 1152921504606846977\n' in text


# -- the live view ---------------------------------------------------------------------------------


def clock(ago_s: float) -> str:
    return f"{ago_s:.0f} s ago"


def test_the_view_has_uplinks_traffic_and_news() -> None:
    text = view(STATUS, {"cable": (12_345_678.0, 999.4)}, ["12:00  dsl is down"], 100.0, clock)
    assert "DOWN" in text and "nobody answers" in text
    assert "cable   12.3 Mbit/s  999 bit/s\n" in text
    assert text.endswith("\n12:00  dsl is down\n")


@pytest.mark.parametrize("width, height", [(20, 4), (80, 24), (500, 100), (1, 1)])
def test_what_is_drawn_fits_the_terminal(width: int, height: int) -> None:
    text = view(STATUS, {}, [f"line {n}" for n in range(10)], 100.0, clock)
    screen = drawn(text, width, height, colour=False)
    lines = screen.removeprefix("\x1b[H").removesuffix("\x1b[J").split("\x1b[K\r\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_colour_only_where_it_is_wanted() -> None:
    text = view(STATUS, {}, [], 100.0, clock)
    assert "\x1b[1;31mdsl" in drawn(text, 200, 50, colour=True)
    assert "\x1b[1" not in drawn(text, 200, 50, colour=False)


def test_rates_of_a_device_that_was_made_anew_are_nothing() -> None:
    before, after = Counters(1000, 1, 500, 1), Counters(3000, 2, 0, 2)
    assert rates(before, after, 2.0) == (8000.0, 0.0)
