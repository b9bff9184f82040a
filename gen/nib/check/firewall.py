"""The packet filter: who may reach the router, and whom it passes on."""

from collections.abc import Iterable

from nib.check.forwards import conflicts, networks_behind, read_forward
from nib.check.openings import read_allow
from nib.check.reader import Reader
from nib.config import Allow, Firewall, Forward, Lan, Route, Uplink
from nib.document import Path


def read_firewall(
    reader: Reader, uplinks: Iterable[Uplink], lans: Iterable[Lan], routes: Iterable[Route]
) -> Firewall | None:
    """`uplinks`, `lans` and `routes` are those that could be read."""
    firewall = reader.data["firewall"]
    names = tuple(reader.data.get("uplinks") or {})
    closed = {
        name: bool(lan) and lan["input"] == "reject"
        for name, lan in (reader.data["lans"] or {}).items()
    }
    if firewall == "off":
        for name, rejected in closed.items():
            if rejected:
                path: Path = ("lans", name, "input")
                hint = "with 'firewall: off' another program says who may reach the router"
                reader.say(path, "nothing is rejected while the firewall is off", hint)
        return None
    allow: list[tuple[Path, Allow]] = []
    for i, entry in enumerate(firewall["allow"] or []):
        path = ("firewall", "allow", i)
        allow += [(path, one) for one in read_allow(reader, path, entry or {}, names, closed)]
    forwards: list[tuple[Path, Forward]] = []
    for i, entry in enumerate(firewall["forwards"] or []):
        path = ("firewall", "forwards", i)
        forward = read_forward(reader, path, entry or {}, names)
        if forward and reader.sound(*path):
            forwards.append((path, forward))
    said = allow if ("firewall", "allow") in reader.document.keys else []
    behind = networks_behind(routes, lans)
    families = {uplink.name: uplink.families for uplink in uplinks}
    for conflict in conflicts(forwards, said, reader.facts.addresses, behind, families):
        reader.say(*conflict)
    log = firewall["log"] == "drops"
    return Firewall(tuple(one for _, one in allow), tuple(one for _, one in forwards), log)
