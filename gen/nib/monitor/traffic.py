"""What the counters of a device say of its line: mute, full, idle.  Pure.

They are read every TICK_S while a line is lively, else every REST_S, and decide nothing.  A line
that is mute is asked at once, one that is full is given more time, and a metered one that is idle
is asked less often.
"""

import math
from dataclasses import dataclass

from nib.counters import Counters
from nib.plan import Bandwidth

TICK_S = 0.1
REST_S = 0.5
LATE_S = 0.3  # after the last look: what came since came at no tick in particular

# A line that was heard at every one of so many ticks, and then is not heard at so many although so
# much is sent, may be dead.
TALKING = 5
MUTE, SENT = 2, 3
OVER = 10  # ticks; a conversation that ended is none any more
# So may one where nobody talked, but so much was sent and for so long nothing at all has come in.
# The broadcasts of a shared wire sound like answers: they hide it for a while.
CALL_S = 0.9  # two rests, even if a look comes a little early

AVERAGE_S = 1.0  # what is an average is one over about so long
# So much a second may become a conversation that is heard at every tick.
LIVELY_PACKETS = 8
# As much of what the line carries is all of it.
FULL = 0.85
# Probes alone send less than so much in a second.
BUSY_PACKETS = 5
IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of the traffic of a device.

    `heard`: ticks in a row with a packet in; `unheard`: those without, and `sent`: the packets that
    left since, the first of them by `called_s`.  `down_bits`, `up_bits`, `down_packets` and
    `up_packets` are averages, per second; `busy_s` is when much was sent last.
    """

    at_s: float
    last: Counters
    busy_s: float
    heard: int = 0
    unheard: int = 0
    sent: int = 0
    called_s: float = math.inf
    down_bits: float = 0.0
    up_bits: float = 0.0
    down_packets: float = 0.0
    up_packets: float = 0.0

    @property
    def lively(self) -> bool:
        """It is worth a look at every tick: somebody may be talking, who could fall silent."""
        return self.down_packets >= LIVELY_PACKETS

    @property
    def mute(self) -> bool:
        """There was a conversation, and the other end says nothing any more; or it never did."""
        talked = self.heard >= TALKING and MUTE <= self.unheard <= OVER
        return self.sent >= SENT and (talked or self.at_s >= self.called_s + CALL_S)

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
    new = 1 - math.exp(-took_s / AVERAGE_S)

    def average(before: float, counted: int) -> float:
        return before + new * (counted / took_s - before)

    up_packets = average(traffic.up_packets, left)
    if came:
        broken = took_s > LATE_S or traffic.unheard >= MUTE
        heard, unheard, sent = 1 if broken else min(traffic.heard + 1, TALKING), 0, 0
        called_s = math.inf
    else:
        # a look that comes late saw several ticks
        silent = traffic.unheard + max(1, round(took_s / TICK_S))
        heard, unheard, sent = traffic.heard, silent, traffic.sent + left
        called_s = at_s if left and not traffic.sent else traffic.called_s
    return Traffic(
        at_s,
        now,
        at_s if up_packets >= BUSY_PACKETS else traffic.busy_s,
        heard,
        unheard,
        sent,
        called_s,
        average(traffic.down_bits, (now.rx_bytes - traffic.last.rx_bytes) * 8),
        average(traffic.up_bits, (now.tx_bytes - traffic.last.tx_bytes) * 8),
        average(traffic.down_packets, came),
        up_packets,
    )
