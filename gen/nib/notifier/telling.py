"""Events in words: the arguments, environment and JSON of hooks; a mail; what a webhook gets."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from email.message import EmailMessage
from email.policy import SMTP

from nib.notifier.core import Event, Rounds
from nib.plan import Plan
from nib.sentence import sentence

VERSION = 1

Clock = Callable[[float], str]
"""Seconds of the epoch as local time, for people."""


def arguments(event: Event, plan: Plan) -> tuple[str, ...]:
    """The 16 that Net-ISP-Balance gave to such a program, in its order.

    State, uplink, target, device, address of mail; rounds of probes that were answered, are open,
    were not answered, were answered late; rounds in a row answered, open, not answered; the mean
    time of an answer in microseconds; the router's address; the state before; since when, in
    seconds of the epoch.  No round is ever open or late: a round that is counted is over.
    """
    uplink = plan.uplink(event.uplink)
    targets = uplink.targets_of(event.family)
    answered = [rtt_ms for rtt_ms in event.rounds if rtt_ms is not None]
    words = (
        event.state,
        event.uplink,
        (targets[0].address or str(targets[0])) if targets else "",
        uplink.device,
        plan.notices.mail or "",
        len(answered),
        0,
        len(event.rounds) - len(answered),
        0,
        _in_a_row(event.rounds, answered=True),
        0,
        _in_a_row(event.rounds, answered=False),
        round(1000 * sum(answered) / len(answered)) if answered else 0,
        event.address or "",
        event.before,
        int(event.since_time_s),
    )
    return tuple(map(str, words))


def environment(event: Event, plan: Plan, clock: Clock) -> Mapping[str, str]:
    """The same for new programs, by name."""
    return {
        "NIB_HOOK": event.state,
        "NIB_UPLINK": event.uplink,
        "NIB_DEVICE": plan.uplink(event.uplink).device,
        "NIB_FAMILY": str(event.family),
        "NIB_STATE": event.state,
        "NIB_BEFORE": event.before,
        "NIB_REASON": event.reason,
        "NIB_ADDRESS": event.address or "",
        "NIB_SINCE": str(int(event.since_time_s)),
        "NIB_TEXT": text(event, clock),
    }


def to_json(event: Event, clock: Clock) -> str:
    """One line, with its end: what a hook reads from its standard input."""
    return json.dumps({"version": VERSION} | _fields(event, clock), separators=(",", ":")) + "\n"


def webhook(events: Sequence[Event], host: str, clock: Clock) -> str:
    """JSON with a `text` for people, which chat services show, and the `events` for programs."""
    lines = [f"{host}: {text(event, clock)}" for event in events]
    fields = [_fields(event, clock) for event in events]
    return json.dumps(
        {"version": VERSION, "host": host, "text": "\n".join(lines), "events": fields}
    )


def mail(events: Sequence[Event], host: str, to: str, clock: Clock) -> bytes:
    """A whole mail, as sendmail reads it."""
    message = EmailMessage(policy=SMTP.clone(linesep="\n"))
    message["To"] = to
    message["Subject"] = f"{host}: {'; '.join(dict.fromkeys(map(headline, events)))}"
    # so that nobody's absence note answers
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("".join(f"{text(event, clock)}\n" for event in events))
    return message.as_bytes()


def headline(event: Event) -> str:
    """`cable is down in IPv4`."""
    said = {"up": "is up again", "down": "is down", "long_down": "is still down"}[event.state]
    return f"{event.uplink} {said} in IPv{event.family}"


def text(event: Event, clock: Clock) -> str:
    """The one sentence for people: what is so, since when and why."""
    return sentence(headline(event), event.reason, clock(event.since_time_s))


def _fields(event: Event, clock: Clock) -> dict[str, object]:
    fields = {key: value for key, value in asdict(event).items() if key != "rounds"}
    return fields | {"text": text(event, clock)}


def _in_a_row(rounds: Rounds, *, answered: bool) -> int:
    """How many at the end."""
    count = 0
    for rtt_ms in reversed(rounds):
        if (rtt_ms is not None) != answered:
            break
        count += 1
    return count
