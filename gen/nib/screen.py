"""The live view of `nib status --watch`: what is on the screen, as text for a terminal."""

from collections.abc import Callable, Mapping, Sequence

from nib.columns import columns
from nib.counters import Counters
from nib.status import Status
from nib.status_report import status_report

HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
BOLD_RED, BOLD, PLAIN = "\x1b[1;31m", "\x1b[1m", "\x1b[0m"

Rates = Mapping[str, tuple[float, float]]
"""Bits a second that come in and go out, by uplink."""

UNITS = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s")


def rates(before: Counters, now: Counters, span_s: float) -> tuple[float, float]:
    """In and out; nothing for a device that was made anew meanwhile."""
    came, went = now.rx_bytes - before.rx_bytes, now.tx_bytes - before.tx_bytes
    return max(0.0, 8 * came / span_s), max(0.0, 8 * went / span_s)


def view(
    status: Status,
    carried: Rates,
    news: Sequence[str],
    now_s: float,
    clock: Callable[[float], str],
) -> str:
    """All of it as plain lines: the uplinks, what they carry, and what happened last."""
    traffic = [(name, _rate(came), _rate(went)) for name, (came, went) in carried.items()]
    parts = [
        status_report(status, now_s, clock),
        columns(("uplink", "in", "out"), traffic) if traffic else "",
        "".join(f"{line}\n" for line in news),
    ]
    return "\n".join(part for part in parts if part)


def drawn(text: str, width: int, height: int, *, colour: bool) -> str:
    """Text over what the terminal shows now, without flicker; what does not fit is cut off."""
    lines = [line[:width] for line in text.splitlines()[: height - 1]]
    return (
        HOME
        + "".join(f"{_coloured(line) if colour else line}{REST_OF_LINE}\r\n" for line in lines)
        + REST_OF_SCREEN
    )


def _coloured(line: str) -> str:
    if " DOWN " in line:
        return f"{BOLD_RED}{line}{PLAIN}"
    return f"{BOLD}{line}{PLAIN}" if line.startswith("uplink ") else line


def _rate(bits: float) -> str:
    """As people say it, with three digits: `12.3 Mbit/s`."""
    unit = 0
    while bits >= 999.5 and unit < len(UNITS) - 1:
        bits, unit = bits / 1000, unit + 1
    return f"{bits:.3g} {UNITS[unit]}"
