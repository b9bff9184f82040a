"""How much the devices carried, as the kernel counts it."""

from collections.abc import Collection
from dataclasses import dataclass

PROC_FILE = "/proc/self/net/dev"


@dataclass(frozen=True, slots=True)
class Counters:
    """Of a device, since it is there."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int


def counters(text: str, devices: Collection[str] | None = None) -> dict[str, Counters]:
    """The text of PROC_FILE, by device (proc(5)); all of them, or only these."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        name = name.strip()
        if devices is None or name in devices:
            fields = numbers.split()
            rx_bytes, rx_packets, tx_bytes, tx_packets = (int(fields[n]) for n in (0, 1, 8, 9))
            found[name] = Counters(rx_bytes, rx_packets, tx_bytes, tx_packets)
    return found
