"""How the health of an uplink is asked for."""

from collections.abc import Callable
from typing import Any

from nib import values
from nib.check.reader import Reader, count
from nib.check.targets import read_target, with_defaults
from nib.config import Probe
from nib.document import Path
from nib.families import Family
from nib.targets import Target, family_of, of_family

_FAMILIES: tuple[Family, ...] = (4, 6)


def read_probe(reader: Reader, name: str, probe: dict[str, Any]) -> Probe | None:
    def path(key: str) -> Path:
        own: Path = ("uplinks", name, "probe", key)
        return own if own in reader.document.keys else ("probe", key)

    interval, timeout, hold_down, targets = _asking(reader, path, probe)
    quorum = int(probe.get("quorum", 1))
    named = tuple(target for target in targets if target)
    # a family that has only the gateway or a program asks all it has
    known = {family_of(target) for target in named}
    sides = [(f, of_family(named, f)) for f in _FAMILIES if f in known or known == {None}]
    family, few = min(sides, key=lambda side: len(side[1]), default=(4, ()))
    if quorum > len(few) > 0:
        own_targets = path("targets")[0] == "uplinks" and path("quorum")[0] == "probe"
        kind = "target" if len(few) == len(targets) else f"IPv{family} target"
        sentence = f"a quorum of {quorum} cannot be reached with {count(few, kind)}"
        hint = "lower the quorum or add targets"
        reader.say(path("targets" if own_targets else "quorum"), sentence, hint)
    if interval is None or timeout is None or hold_down is None or not targets:
        return None
    return Probe(
        targets=with_defaults(named),
        interval_ms=interval,
        timeout_ms=timeout,
        quorum=quorum,
        fall=int(probe["fall"]),
        rise=int(probe["rise"]),
        hold_down_ms=hold_down,
    )


def check_common(reader: Reader) -> None:
    """Check what the top level says even if every uplink says something else."""
    given = {k: v for k, v in reader.data["probe"].items() if ("probe", k) in reader.document.keys}
    _asking(reader, lambda key: ("probe", key), given)


def _asking(
    reader: Reader, path: Callable[[str], Path], probe: dict[str, Any]
) -> tuple[int | None, int | None, int | None, list[Target | None]]:
    """Interval, timeout, hold-down and targets; `path` says where a key of `probe` stands."""

    def time(key: str, least: str, most: str) -> int | None:
        def read(text: str) -> int:
            return values.duration(text, least, most)

        return reader.attempt(path(key), read, probe.get(key))

    where = path("targets")
    texts = probe.get("targets") or []
    targets = [read_target(reader, (*where, i), text) for i, text in enumerate(texts)]
    for i, target in enumerate(targets):
        if target and target in targets[:i]:
            reader.say((*where, i), f"the target {target} is given twice")
    return (
        time("interval", "100ms", "1h"),
        time("timeout", "50ms", "1m"),
        time("hold_down", "0s", "24h"),
        targets,
    )
