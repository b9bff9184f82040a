"""What was told of the uplinks -> their outages, and how long they were well."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nib.families import Family
from nib.history.records import Minute
from nib.stream import Change, Snapshot, Told

Key = tuple[str, Family]


@dataclass(frozen=True, slots=True)
class Outage:
    """One family of an uplink was down; times are seconds of the epoch.

    `name` is that of the journal; `ended_s` None: it still is, `seen` False: the end was while
    nobody looked, so it is at most that.
    """

    uplink: str
    family: Family
    began_s: float
    reason: str
    name: str | None = None
    ended_s: float | None = None
    seen: bool = True

    def lasted_s(self, now_s: float) -> float:
        """How long, until now if it has not ended."""
        return max(0.0, (now_s if self.ended_s is None else self.ended_s) - self.began_s)


def outages(told: Iterable[Told]) -> tuple[Outage, ...]:
    """All of them, in the order in which they began."""
    running: dict[Key, Outage] = {}
    over: list[Outage] = []
    for one in told:
        match one.item:
            case Change(uplink, family, _, "down", reason, since_s, name):
                began_s = one.time_s - (one.at_s - since_s)
                known = running.pop((uplink, family), None)
                if known:
                    over.append(replace(known, ended_s=began_s, seen=False))
                running[(uplink, family)] = Outage(uplink, family, began_s, reason, name)
            case Change(uplink, family, _, _, _, since_s):
                if known := running.pop((uplink, family), None):
                    over.append(replace(known, ended_s=one.time_s - (one.at_s - since_s)))
            case Snapshot():
                over += _compare(running, one.time_s - one.at_s, one.item, one.time_s)
            case _:
                pass
    return tuple(sorted([*over, *running.values()], key=lambda outage: outage.began_s))


def _compare(
    running: dict[Key, Outage], boot_s: float, snapshot: Snapshot, time_s: float
) -> list[Outage]:
    """The first status after nobody looked: what ended and began meanwhile."""
    over: list[Outage] = []
    for uplink in snapshot.status.uplinks:
        for one in uplink.families:
            key = (uplink.name, one.family)
            began_s = boot_s + one.since_s
            known = running.get(key)
            # the same outage has begun at the same time, but for what the clock was set
            if known and (one.health != "down" or abs(known.began_s - began_s) > SAME_S):
                ended_s = min(max(began_s, known.began_s), time_s)
                over.append(replace(running.pop(key), ended_s=ended_s, seen=False))
            if one.health == "down" and key not in running:
                running[key] = Outage(*key, began_s, one.reason, one.outage)
    return over


SAME_S = 2.0


@dataclass(frozen=True, slots=True)
class Account:
    """One family of an uplink over some time: how much is known of it, and how well it was.

    `loss` 0..1, None without probes; `rtt_ms` the mean of the minutes' medians; `worst_ms` the
    slowest answer; `share` 0..1 of new flows on average.
    """

    uplink: str
    family: Family
    known_s: float
    up_s: float
    loss: float | None
    rtt_ms: float | None
    worst_ms: float | None
    share: float

    @property
    def available(self) -> float | None:
        """The part of the known time that it was up, 0..1."""
        return self.up_s / self.known_s if self.known_s else None


def accounts(minutes: Iterable[Minute]) -> tuple[Account, ...]:
    """One for each family of each uplink, by name."""
    found: dict[Key, list[Minute]] = {}
    for minute in minutes:
        found.setdefault((minute.uplink, minute.family), []).append(minute)
    return tuple(account(key, of) for key, of in sorted(found.items()))


def account(key: Key, minutes: Sequence[Minute]) -> Account:
    """Of one family of an uplink, all in all."""
    known_s = sum(minute.known_s for minute in minutes)
    asked = sum(minute.asked for minute in minutes)
    rtts_ms = [minute.rtt_ms for minute in minutes if minute.rtt_ms is not None]
    return Account(
        *key,
        known_s=known_s,
        up_s=sum(minute.up_s for minute in minutes),
        loss=sum(minute.lost for minute in minutes) / asked if asked else None,
        rtt_ms=sum(rtts_ms) / len(rtts_ms) if rtts_ms else None,
        worst_ms=max((m.slowest_ms for m in minutes if m.slowest_ms is not None), default=None),
        share=sum(m.share * m.known_s for m in minutes) / known_s if known_s else 0.0,
    )
