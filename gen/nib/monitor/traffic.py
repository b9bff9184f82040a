"""What the counters of a device say of its line: mute, full, idle.  Pure.

They are read every TICK_S and decide nothing.  A line that is mute is asked at once, one that is
full is given more time, and a metered one that is idle is asked less often.
"""

from dataclasses import dataclass, replace

from nib.counters import Counters
from nib.plan import Bandwidth

TICK_S = 0.1

# A line that was heard at every one of so many ticks, and then is not heard at so many although so
# much is sent, may be dead.
TALKING = 5
MUTE, SENT = 2, 3
OVER = 10  # ticks; a conversation that ended is none any more

# As much of what the line carries, on average over about a second, is all of it.
FULL = 0.85
AVERAGE = 0.1  # of a new tick in the average

# Probes alone send less than so much in a second.
BUSY_PACKETS, BUSY_TICKS = 5, 10
IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of the traffic of a device.

    `heard`: ticks in a row with a packet in; `unheard`: those without, and `sent`: the packets that
    left since.  `down_bits` and `up_bits` are averages, in bits a second; `recent` what was sent in
    each of the last ticks; `busy_s` when that was much last.
    """

    at_s: float
    last: Counters
    busy_s: float
    heard: int = 0
    unheard: int = 0
    sent: int = 0
    down_bits: float = 0.0
    up_bits: float = 0.0
    recent: tuple[int, ...] = ()

    @property
    def mute(self) -> bool:
        """There was a conversation, and now the other end says nothing any more."""
        silent = MUTE <= self.unheard <= OVER and self.sent >= SENT
        return silent and self.heard >= TALKING

    def full(self, bandwidth: Bandwidth | None) -> bool:
        """It carries about all that it can, in one direction at least."""
        return bandwidth is not None and (
            self.down_bits >= FULL * bandwidth.down_bits or self.up_bits >= FULL * bandwidth.up_bits
        )

    @property
    def idle(self) -> bool:
        """Nobody but the probes has used it for a while."""
        return self.at_s >= self.busy_s + IDLE_S


def begin(now: Counters, at_s: float) -> Traffic:
    """The first look at a device."""
    return Traffic(at_s, now, at_s)


def observe(traffic: Traffic, now: Counters, at_s: float) -> Traffic:
    """One more look at it."""
    took_s = at_s - traffic.at_s
    came, left = now.rx_packets - traffic.last.rx_packets, now.tx_packets - traffic.last.tx_packets
    if took_s <= 0 or came < 0 or left < 0:
        # the device was made anew
        return begin(now, at_s)
    down = (now.rx_bytes - traffic.last.rx_bytes) * 8 / took_s
    up = (now.tx_bytes - traffic.last.tx_bytes) * 8 / took_s
    recent = (*traffic.recent[1 - BUSY_TICKS :], left)
    traffic = replace(
        traffic,
        at_s=at_s,
        last=now,
        busy_s=at_s if sum(recent) >= BUSY_PACKETS else traffic.busy_s,
        down_bits=traffic.down_bits + AVERAGE * (down - traffic.down_bits),
        up_bits=traffic.up_bits + AVERAGE * (up - traffic.up_bits),
        recent=recent,
    )
    if came:
        heard = 1 if traffic.unheard >= MUTE else min(traffic.heard + 1, TALKING)
        return replace(traffic, heard=heard, unheard=0, sent=0)
    unheard = traffic.unheard + 1
    return replace(traffic, unheard=unheard, sent=traffic.sent + left)
