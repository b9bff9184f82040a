"""An event and the effects that it had, as lines of the event stream."""

from collections.abc import Iterable, Iterator, Mapping

from nib.families import Family
from nib.monitor.events import Effect, Event, Publish, Say, Tallied
from nib.status import FamilyStatus, Status
from nib.stream import Change, Flip, Item, Notice, Sample, Share, Snapshot

RTT_DIGITS = 3  # of milliseconds


def tell(before: Status | None, event: Event, effects: Iterable[Effect]) -> Iterator[Item]:
    """What happened, in the order of cause and effect; `before` was published last, None: nothing.

    A change or flip is told when it is decided, some milliseconds before nft has done it.
    """
    if isinstance(event, Tallied):
        asked = len(event.answers)
        rtts_ms = tuple(round(rtt, RTT_DIGITS) for _, rtt in event.answers if rtt is not None)
        lost = asked - len(rtts_ms)
        yield Sample(event.uplink, event.family, asked, rtts_ms, lost, event.asked_s, event.burst)
    for effect in effects:
        if isinstance(effect, Say):
            yield Notice(effect.text, effect.warning)
        if isinstance(effect, Publish):
            if before:
                yield from _changes(before, effect.status)
                yield from _flips(before, effect.status)
            yield Snapshot(effect.status)


def _changes(before: Status, after: Status) -> Iterator[Change]:
    was = _families(before)
    for (uplink, family), now in _families(after).items():
        then = was.get((uplink, family))
        if then and then.health != now.health:
            # what ends an outage bears its name as well
            outage = now.outage or then.outage
            yield Change(uplink, family, then.health, now.health, now.reason, now.since_s, outage)


def _flips(before: Status, after: Status) -> Iterator[Flip]:
    was, now = _shares(before), _shares(after)
    for family, shares in now.items():
        if shares != was.get(family, ()):
            yield Flip(family, was.get(family, ()), shares)


def _families(status: Status) -> Mapping[tuple[str, Family], FamilyStatus]:
    return {
        (uplink.name, family.family): family
        for uplink in status.uplinks
        for family in uplink.families
    }


def _shares(status: Status) -> Mapping[Family, tuple[Share, ...]]:
    families = _families(status)
    return {
        family: tuple(
            Share(name, one.share)
            for (name, of), one in families.items()
            if of == family
            if one.share
        )
        for family in sorted({family for _, family in families})
    }
