"""What becomes of a packet, told from the plan alone: `verdict(plan, situation, packet)`."""

from nib.oracle.values import (
    Choice,
    Fate,
    Packet,
    Reason,
    Situation,
    Unanswerable,
    Verdict,
    Way,
)
from nib.oracle.verdict import verdict

__all__ = [
    "Choice",
    "Fate",
    "Packet",
    "Reason",
    "Situation",
    "Unanswerable",
    "Verdict",
    "Way",
    "verdict",
]
