"""A verdict for a person, and for programs."""

import json
from collections.abc import Iterable, Iterator

from nib.oracle.values import Packet, Verdict, Way


def sentences(packet: Packet, ways: Verdict) -> str:
    """What becomes of the packet, each way with its chance and its reasons; ends with a newline."""
    lines = [_title(packet)]
    for way in ways:
        lines.append(f"{_percent(way):>5}  {_fate(way)}")
        for reason in way.reasons:
            origin = f" ({reason.origin})" if reason.origin else ""
            lines.append(f"       - {reason.text}{origin}")
    return "\n".join(lines) + "\n"


def as_json(ways: Verdict) -> str:
    """The same as a list of objects; a chance is a fraction like `3/5`."""
    return json.dumps([_object(way) for way in ways], indent=1) + "\n"


def _title(packet: Packet) -> str:
    port = f" port {packet.dport}" if packet.dport is not None else ""
    whence = f"coming in by {packet.device}" if packet.device else "of the router itself"
    source = packet.source or "any of its addresses"
    return f"{packet.protocol} from {source} to {packet.destination}{port}, {whence}"


def _percent(way: Way) -> str:
    return f"{float(way.chance):.0%}" if way.chance == 1 else f"{float(way.chance):.1%}"


def _fate(way: Way) -> str:
    match way.fate:
        case "delivered":
            said = "is delivered to the router itself"
        case "dropped":
            said = "is dropped"
        case "reset":
            said = "is answered with a TCP reset"
        case "refused":
            said = "is refused with an ICMP error"
        case "leaves":
            said = " ".join(_parts(way))
    if way.limit:
        each = " from each source" if way.limit.per_source else ""
        said += f", up to {way.limit.rate}{each}"
    return said


def _parts(way: Way) -> Iterable[str]:
    yield f"leaves by {way.device}" + (f" ({way.uplink})" if way.uplink else "")
    if way.to:
        host, port = way.to
        yield f"to {host}" + (f" port {port}" if port is not None else "")
    if way.masqueraded:
        yield f"as {way.source or 'an address of that device'}"


def _object(way: Way) -> dict[str, object]:
    return dict(_entries(way))


def _entries(way: Way) -> Iterator[tuple[str, object]]:
    yield "chance", str(way.chance)
    yield "fate", way.fate
    yield "device", way.device
    yield "uplink", way.uplink
    yield "masqueraded", way.masqueraded
    yield "source", str(way.source) if way.source else None
    yield "to", [str(way.to[0]), way.to[1]] if way.to else None
    yield "limit", way.limit.rate if way.limit else None
    yield "rule", way.choice.rule
    yield "policy", way.choice.policy
    yield "tier", way.choice.tier
    yield "reasons", [{"text": one.text, "origin": one.origin} for one in way.reasons]
