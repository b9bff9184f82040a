"""Lines that are bad but not dead, by the kernel's own netem."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.errors import eventually
from lab.isp import Provider
from vm.world import World

pytestmark = [pytest.mark.lab, pytest.mark.vm]


@contextmanager
def weather(isp: Provider, netem: str) -> Iterator[None]:
    """Answers come late, mixed up or not at all."""
    isp.run(f"tc qdisc replace dev cpe root netem limit 10000 {netem}")
    try:
        yield
    finally:
        isp.run("tc qdisc delete dev cpe root")


def changes(lab: World) -> list[str]:
    """What the monitor said of the two lines that have no limits."""
    said = lab.router.journal("nib-monitor").splitlines()
    return [line for line in said if line.startswith(("cable is", "dsl is"))]


def test_a_bad_line_is_not_a_dead_one(lab: World) -> None:
    """Unless limits say so: cable and dsl have none."""
    before = changes(lab)
    cable, dsl, _, _ = lab.isps
    with (
        weather(cable, "delay 150ms 100ms distribution normal loss 5%"),
        weather(dsl, "delay 250ms 50ms reorder 25% 50% loss 10% 25%"),
    ):
        time.sleep(10)
        lab.until(within=0, cable="up", dsl="up")
        assert set(lab.shares(lab.lans[0], 60, "udp")) >= {"isp1", "isp2"}
    assert changes(lab) == before
    # slower than the timeout is dead; back in time is alive
    with weather(cable, "delay 1500ms 50ms"):
        lab.until(cable="down")
    lab.until(cable="up")


@pytest.mark.parametrize(
    ("why", "netem"),
    [
        ("answers take", "delay 650ms 10ms"),
        ("answers differ by", "delay 300ms 290ms"),
        ("of the questions are lost", "loss 45%"),
    ],
    ids=["rtt", "jitter", "loss"],
)
def test_a_limit_takes_a_line_down_that_answers(lab: World, why: str, netem: str) -> None:
    with weather(lab.isps[2], netem):
        # the jump itself may be taken for silence; what lasts is what it answers like
        eventually(lambda: why in str(lab.status()["fiber"]["reason"]), 60)
        lab.until(fiber="down")
        lab.until_all_by({"isp1", "isp2"}, lab.lans[0], 40, "udp")
    lab.until(within=40, fiber="up")
