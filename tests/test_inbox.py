"""What the core is told, in which order, and what may wait."""

import pytest

from alone import alone
from nib.monitor.core import RIPE_S
from nib.monitor.events import Event, Judged, Tallied, Woke
from nib.monitor.inbox import Inbox


def tallied(at_s: float, *, burst: bool = False) -> Tallied:
    return Tallied(at_s, "cable", 4, (), at_s - 0.1, burst=burst)


async def told(inbox: Inbox, count: int) -> list[Event]:
    return [await inbox.get() for _ in range(count)]


@alone
async def test_measurements_are_told_together() -> None:
    inbox = Inbox()
    inbox.put(Woke(10.0))
    samples = [tallied(10.1 + n / 2) for n in range(8)]
    for sample in samples[:4]:
        inbox.put_at_leisure(sample)
    # the fifth is two seconds later
    inbox.put(last := Woke(12.05))
    assert await told(inbox, 6) == [Woke(10.0), *samples[:4], last]
    for sample in samples[4:]:
        inbox.put_at_leisure(sample)
    inbox.put_at_leisure(ripe := tallied(12.05 + RIPE_S))
    assert await told(inbox, 5) == [*samples[4:], ripe]


@pytest.mark.parametrize(
    "event",
    [Judged(10.2, "cable", 4, True, 10.0), tallied(10.2, burst=True)],
    ids=["verdict", "burst"],
)
@alone
async def test_what_happens_waits_for_nothing_and_overtakes_nothing(event: Event) -> None:
    inbox = Inbox()
    inbox.put(Woke(10.0))
    inbox.put_at_leisure(tallied(10.1))
    inbox.put_at_leisure(event)
    assert await told(inbox, 3) == [Woke(10.0), tallied(10.1), event]
