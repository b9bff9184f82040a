"""The options of balance.conf: the mode, and what the link monitor was told."""

import re
from collections.abc import Callable
from typing import Any

from nib.importer.conf import Conf, Word
from nib.importer.draft import Draft
from nib.problem import Path, shown
from nib.shape import near

_PROBE: Path = ("probe",)
_NOTIFY: Path = ("notify",)
_HOOKS: Path = ("hooks",)

_MONITOR_ACTS = (
    "nib-monitor acts by itself; programs in /etc/nib/hooks/up.d and down.d run after it"
)
_ONE_ADDRESS = "nib sends all its mail to one address, notify.mail"
_NO_BURST = "nib probes at its usual pace from the start, which needs no acceleration"

_WITHOUT: dict[str, tuple[Path, str]] = {
    "check_arp": (_PROBE, "nib pings what was pinged; a target '{arp: gateway}' asks by ARP"),
    "ttl": (_PROBE, "the probes of nib have the system's TTL"),
    "startup_acceleration": (_PROBE, _NO_BURST),
    "startup_burst_pkts": (_PROBE, _NO_BURST),
    "startup_burst_interval": (_PROBE, _NO_BURST),
    "status": (_PROBE, "nib-monitor starts from what it last knew"),
    "sourceip": (_PROBE, "each probe has the address of its own uplink"),
    "device": (_PROBE, "each probe is bound to the device of its own uplink"),
    "debug": (_PROBE, "nib-monitor's log has no levels: journalctl -u nib-monitor"),
    "long_down_email": (_NOTIFY, _ONE_ADDRESS),
    "unknown_up_notify": (_NOTIFY, "nib sends no mail about a start, unless something is down"),
    "eventscript": (_HOOKS, _MONITOR_ACTS),
    "long_down_eventscript": (_HOOKS, _MONITOR_ACTS),
    "notifyscript": (_HOOKS, _MONITOR_ACTS),
    "long_down_notifyscript": (_HOOKS, _MONITOR_ACTS),
    "queue": (_HOOKS, _MONITOR_ACTS),
}
"""Options without an equivalent: where their comment belongs, and why there is none."""

_ADDRESS = r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?"
_DAY_S = 86400

# The name that Net-ISP-Balance's manual gave an option that its monitor called otherwise.
_MISNAMED = {"max_successive_pkts_recvd": "min_successive_pkts_rcvd"}


def translate_mode(conf: Conf, to: Draft) -> bool:
    """Fill in `mode`; whether it is failover."""
    word = conf.options.get("mode")
    failover = word is not None and "failover" in word.text.lower()
    to.data["mode"] = "failover" if failover else "balance"
    if word and word.text not in ("failover", "balanced", ""):
        meant = "failover" if failover else "balanced"
        message = f"the mode {shown(word.text)} meant {meant} to Net-ISP-Balance"
        to.notes.note(word.spot, ("mode",), message, near(word.text, ("failover", "balanced")))
    return failover


def translate_options(conf: Conf, to: Draft) -> None:
    """Fill in `probe` out of the monitor's options, and tell of those that have no equivalent."""
    probe: dict[str, Any] = {}
    lost: dict[str, int] = {}
    for option, word in conf.options.items():
        if option == "mode":
            continue
        name = _MISNAMED.get(option, option)
        if name != option:
            message = f"Net-ISP-Balance's manual says {option}, its monitor only knew {name}"
            to.notes.note(word.spot, _PROBE, message)
        if name in _NOTIFIES:
            _notify(name, word, to)
        elif name in _NUMBERS:
            _number(name, word, probe, to)
        elif name in _LOSS:
            if (number := _whole(name, word, to)) is not None:
                lost[name] = number
                to.spots["probe", "loss"] = word.spot
        elif name == "checkip":
            message = "never meant anything, because each service has a ping target of its own"
            to.notes.note(word.spot, _PROBE, message)
        elif name in _WITHOUT:
            path, why = _WITHOUT[name]
            if word.text:
                to.notes.left_out(word.spot, path, why)
        else:
            message = f"there is no option {shown(name)}; its monitor refused to start with it"
            hint = near(
                name, ("mode", "forwarding_group", *_NUMBERS, *_LOSS, *_NOTIFIES, *_WITHOUT)
            )
            to.notes.left_out(word.spot, _PROBE, message, hint)
    if lost:
        probe["loss"] = _loss({**_LOSS, **lost}, to)
    if probe:
        to.data["probe"] = probe


_NOTIFIES = ("warn_email", "long_down_time")


def _notify(name: str, word: Word, to: Draft) -> None:
    """The address of mail, and after how many seconds an uplink is down for long (0: never)."""
    if not word.text or (name == "long_down_time" and word.text == "0"):
        return
    if name == "warn_email":
        key, wants = "mail", "one plain address or user"
        value = word.text if re.fullmatch(_ADDRESS, word.text) else None
    else:
        key, wants = "long_down", f"1 to {_DAY_S} seconds"
        number = int(word.text) if re.fullmatch(r"[0-9]{1,5}", word.text) else 0
        value = _milliseconds(1000 * number) if 1 <= number <= _DAY_S else None
    if value is None:
        to.notes.left_out(word.spot, _NOTIFY, f"notify.{key} takes {wants}")
        return
    to.data.setdefault("notify", {})[key] = value
    to.spots["notify", key] = word.spot


def _milliseconds(number: int) -> str:
    units = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
    return next(f"{number // size}{unit}" for unit, size in units if number % size == 0)


_NUMBERS: dict[str, tuple[str, int, int, Callable[[int], object]]] = {
    "interval_ms": ("interval", 100, 3_600_000, _milliseconds),
    "timeout_ms": ("timeout", 50, 60_000, _milliseconds),
    "max_successive_pkts_lost": ("fall", 1, 100, int),
    "min_successive_pkts_rcvd": ("rise", 1, 100, int),
}
"""Options that are keys of `probe`: the key, its least and its greatest value, and its form."""


def _number(name: str, word: Word, probe: dict[str, Any], to: Draft) -> None:
    key, least, most, form = _NUMBERS[name]
    if (number := _whole(name, word, to)) is None:
        return
    fitting = max(least, min(most, number))
    if fitting != number:
        message = f"probe.{key} takes {form(least)} to {form(most)}; it becomes {form(fitting)}"
        to.notes.note(word.spot, _PROBE, message)
    probe[key] = form(fitting)
    to.spots["probe", key] = word.spot


def _whole(name: str, word: Word, to: Draft) -> int | None:
    if re.fullmatch(r"[0-9]{1,9}", word.text):
        return int(word.text)
    to.notes.left_out(word.spot, _PROBE, f"{name} needs a whole number, not {shown(word.text)}")
    return None


_LOSS = {"max_packet_loss": 20, "min_packet_loss": 10}
"""Of the last hundred probes: with as many lost as the first an uplink went down, with no more than
the second it returned.  Who said one of them had the other by default."""


def _loss(lost: dict[str, int], to: Draft) -> dict[str, str]:
    """The same as nib says it: more than `down`, less than `up`."""
    wanted = (lost["max_packet_loss"] - 1, lost["min_packet_loss"] + 1)
    down = max(2, min(100, wanted[0]))
    up = max(1, min(down - 1, wanted[1]))
    if (down, up) != wanted:
        message = f"probe.loss becomes {{down: {down}%, up: {up}%}}: of 1% to 100%, 'up' the lower"
        to.notes.note(to.spots["probe", "loss"], _PROBE, message)
    return {"down": f"{down}%", "up": f"{up}%"}


def common_targets(to: Draft) -> None:
    """Say the ping target once, where all uplinks have the same."""
    uplinks: dict[str, dict[str, Any]] = to.data.get("uplinks", {})
    targets = [uplink.get("probe", {}).get("targets") for uplink in uplinks.values()]
    if len(targets) > 1 and targets[0] and all(one == targets[0] for one in targets):
        for uplink in uplinks.values():
            del uplink["probe"]
        to.spots["probe", "targets"] = to.spots["uplinks", next(iter(uplinks))]
        to.data["probe"] = {"targets": targets[0], **to.data.get("probe", {})}
        hint = "more targets, of more operators, tell a dead line from one target's bad day"
        to.explain((*_PROBE, "targets"), hint)
