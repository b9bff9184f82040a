"""How the health of an uplink is asked for."""

from collections.abc import Callable
from typing import Any

from nib import values
from nib.check.reader import Reader, count
from nib.check.targets import read_target, with_defaults
from nib.config import Limits, Probe
from nib.document import Path
from nib.families import Family
from nib.targets import Target, family_of, of_family

_FAMILIES: tuple[Family, ...] = (4, 6)

TIMES = {
    "interval": ("100ms", "1h"),
    "timeout": ("50ms", "1m"),
    "hold_down": ("0s", "24h"),
    "damping": ("0s", "1h"),
    "canary": ("0s", "1h"),
}
"""The least and the most of each."""

LIMITS = ("loss", "rtt", "jitter")


def read_probe(reader: Reader, name: str, probe: dict[str, Any]) -> Probe | None:
    def path(key: str) -> Path:
        own: Path = ("uplinks", name, "probe", key)
        return own if own in reader.document.keys else ("probe", key)

    times, targets = _asking(reader, path, probe)
    limits = {key: _limits(reader, path(key), probe.get(key)) for key in LIMITS}
    quorum = int(probe.get("quorum", 1))
    named = tuple(target for target in targets if target)
    # a family that has only the gateway or a program asks all it has
    known = {family_of(target) for target in named}
    sides = [(f, of_family(named, f)) for f in _FAMILIES if f in known or known == {None}]
    family, few = min(sides, key=lambda side: len(side[1]), default=(4, ()))
    if quorum > len(few) > 0 and reader.sound(*path("targets")):
        own_targets = path("targets")[0] == "uplinks" and path("quorum")[0] == "probe"
        kind = "target" if len(few) == len(named) else f"IPv{family} target"
        sentence = f"a quorum of {quorum} cannot be reached with {count(few, kind)}"
        hint = "lower the quorum or add targets"
        reader.say(path("targets" if own_targets else "quorum"), sentence, hint)
    for key, limit in limits.items():
        if times and limit and key != "loss" and limit.down >= times["timeout"]:
            own_timeout = path("timeout")[0] == "uplinks" and path(key)[0] == "probe"
            timeout, down = probe["timeout"], probe[key]["down"]
            sentence = f"no {key} is more than {down}: what comes after {timeout} is no answer"
            hint = f"choose a timeout longer than {down}, or 'down' less than {timeout}"
            reader.say(path("timeout") if own_timeout else (*path(key), "down"), sentence, hint)
    if not times or not targets:
        return None
    return Probe(
        targets=with_defaults(named),
        interval_ms=times["interval"],
        timeout_ms=times["timeout"],
        quorum=quorum,
        fall=int(probe["fall"]),
        rise=int(probe["rise"]),
        hold_down_ms=times["hold_down"],
        damping_ms=times["damping"],
        canary_ms=times["canary"],
        loss=limits["loss"],
        rtt=limits["rtt"],
        jitter=limits["jitter"],
    )


def check_common(reader: Reader) -> None:
    """Check what the top level says even if every uplink says something else."""
    given = {k: v for k, v in reader.data["probe"].items() if ("probe", k) in reader.document.keys}
    _asking(reader, lambda key: ("probe", key), given)
    for key in LIMITS:
        _limits(reader, ("probe", key), given.get(key))


def _asking(
    reader: Reader, path: Callable[[str], Path], probe: dict[str, Any]
) -> tuple[dict[str, int], list[Target | None]]:
    """Times, none if one is wrong, and targets; `path` says where a key of `probe` stands."""

    def time(key: str) -> int | None:
        def read(text: str) -> int:
            return values.duration(text, *TIMES[key])

        return reader.attempt(path(key), read, probe.get(key))

    where = path("targets")
    texts = probe.get("targets") or []
    targets = [read_target(reader, (*where, i), text) for i, text in enumerate(texts)]
    for i, target in enumerate(targets):
        if target and target in targets[:i]:
            reader.say((*where, i), f"the target {target} is given twice")
    times = {key: value for key in TIMES if (value := time(key)) is not None}
    return times if len(times) == len(TIMES) else {}, targets


def _limits(reader: Reader, path: Path, given: dict[str, Any] | None) -> Limits | None:
    """A pair of limits; None if it is not given, or wrong."""
    if not given:
        return None
    kind = path[-1]

    def read(text: str) -> int:
        if kind == "loss":
            return values.percentage(text)
        return values.duration(text, "1ms", "1m")

    down = reader.attempt((*path, "down"), read, given.get("down"))
    up = reader.attempt((*path, "up"), read, given.get("up"))
    if down is None or up is None:
        return None
    if kind == "loss" and down == 100:
        sentence = "no line loses more than 100%: it would never go down for its loss"
        reader.say((*path, "down"), sentence, "choose 99% or less")
    if up >= down:
        sentence = f"an uplink would return with more {kind} than it goes down with"
        reader.say((*path, "up"), sentence, f"choose 'up' less than {given['down']}")
        return None
    return Limits(down, up)
