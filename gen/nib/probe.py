"""The plan's part for what is asked of an uplink, and how."""

from dataclasses import dataclass

from nib.targets import Target

# What an echo request carries.
PROBE_PAYLOAD_BYTES = 8

# From one round of a burst of probes to the next; and how long an answer may take at least, however
# fast they came: routers and targets answer pings when they have nothing better to do.
BURST_MS = 100
LEAST_PATIENCE_MS = 100
# A first doubt waits for the next full so many: to wake once for each of several lines, which were
# asked one after another, is what costs most.
TOGETHER_MS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """More than `down` takes an uplink down, less than `up` lets it return; between, it stays."""

    down: int
    up: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What the monitor asks on an uplink; times in milliseconds.

    `damping_ms` is the half life of the penalty for going down, `canary_ms` how long a returned
    uplink has less than its share; 0 means none.  `loss` is in percent, `rtt` and `jitter` are in
    milliseconds.
    """

    targets: tuple[Target, ...]
    interval_ms: int
    timeout_ms: int
    quorum: int
    fall: int
    rise: int
    hold_down_ms: int
    damping_ms: int = 0
    canary_ms: int = 0
    loss: Limits | None = None
    rtt: Limits | None = None
    jitter: Limits | None = None
