"""The meaning of balance.yaml: a Document becomes a Config, or all that is wrong with it."""

from types import MappingProxyType
from typing import Any

from nib import values
from nib.check.firewall import read_firewall
from nib.check.modems import read_modems
from nib.check.netdevs import read_netdevs
from nib.check.networks import check_networks
from nib.check.policies import read_policies, read_rules
from nib.check.probes import check_common
from nib.check.reach import check_reach
from nib.check.reader import Reader
from nib.check.routes import read_routes
from nib.check.sets import Listings, read_sets
from nib.check.uplinks import check_prefixes, read_lan, read_uplink
from nib.config import Config, Mode
from nib.document import Document, Rejected
from nib.notices import Notices
from nib.shape import shape

LEAST_HISTORY, MOST_HISTORY = 1_000_000, 10_000_000_000


def check(document: Document, listings: Listings = MappingProxyType({})) -> Config:
    """The configuration that the document means; `listings` has each of its `sets.files_of`.

    Raises Rejected with every problem: those of the document, of its shape and of its meaning.
    """
    data, problems = shape(document)
    reader = Reader(document, data, problems)
    config = _config(reader, listings)
    if reader.problems or config is None:
        raise Rejected(document.name, document.text, reader.problems)
    return config


def _config(reader: Reader, listings: Listings) -> Config | None:
    uplinks: dict[str, Any] = reader.data.get("uplinks") or {}
    lans: dict[str, Any] = reader.data["lans"] or {}
    mask = reader.attempt(("marks", "mask"), values.mask, reader.data["marks"]["mask"])
    reader.facts.names(uplinks, lans)
    check_common(reader)
    made_uplinks = [read_uplink(reader, name, uplink or {}) for name, uplink in uplinks.items()]
    made_lans = [read_lan(reader, name, lan or {}, made_uplinks) for name, lan in lans.items()]
    forwarding = _forwarding(reader, tuple(uplinks), tuple(lans))
    done_uplinks = tuple(uplink for uplink in made_uplinks if uplink)
    done_lans = tuple(lan for lan in made_lans if lan)
    check_networks(reader)
    netdevs = read_netdevs(reader)
    lans6 = {lan.name for lan in done_lans if 4 not in lan.families}
    modems = read_modems(reader, forwarding, done_uplinks, tuple(lans), lans6)
    routes = read_routes(reader, done_uplinks, done_lans)
    sets = read_sets(reader, listings)
    policies = read_policies(reader, uplinks, mask)
    rules = read_rules(reader, sets, policies, uplinks, lans)
    firewall = read_firewall(reader, done_uplinks, done_lans, routes)
    hooks = reader.attempt(("hooks", "timeout"), _hook_time, reader.data["hooks"]["timeout"])
    notify = reader.data["notify"]
    long_down = reader.attempt(("notify", "long_down"), _long_time, notify["long_down"])
    history: int | None = 0
    if reader.data["history"] != "off":
        keep = reader.data["history"]["keep"]
        history = reader.attempt(("history", "keep"), _history_bytes, keep)
    metrics: str | None = ""
    if reader.data["metrics"] != "off":
        listen = reader.data["metrics"]["listen"]
        metrics = reader.attempt(("metrics", "listen"), values.listener, listen)
    reader.facts.marks(mask, uplinks)
    check_prefixes(reader, done_uplinks, done_lans)
    reader.facts.ipv6_of_lans(any(uplink is None or uplink.ipv6 for uplink in made_uplinks))
    for path, message, hint in reader.facts.conflicts():
        reader.say(path, message, hint)
    if mask is None or hooks is None or long_down is None or history is None or metrics is None:
        return None
    if None in made_uplinks:
        return None
    config = Config(
        mode=Mode(reader.data["mode"]),
        uplinks=done_uplinks,
        lans=done_lans,
        netdevs=netdevs,
        forwarding=forwarding,
        sets=sets,
        policies=policies,
        rules=tuple(rules.values()),
        modems=modems,
        routes=routes,
        firewall=firewall,
        notices=Notices(notify.get("mail"), notify.get("webhook_file"), long_down, hooks),
        history_bytes=history,
        metrics_listen=metrics,
        mask=mask,
        priority=int(reader.data["marks"]["priority"]),
    )
    check_reach(reader, config, rules)
    return config


def _hook_time(text: str) -> int:
    return values.duration(text, "1s", "10m")


def _history_bytes(text: str) -> int:
    size = values.scaled(text)
    if not LEAST_HISTORY <= size <= MOST_HISTORY:
        raise values.Wrong(f"must be between 1MB and 10GB, not '{text}'")
    return size


def _long_time(text: str) -> int:
    return values.duration(text, "1s", "24h")


def _forwarding(
    reader: Reader, uplinks: tuple[str, ...], lans: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    groups = reader.data["forwarding"] or []
    return tuple(
        reader.members(("forwarding", i), group or [], {":uplinks": uplinks, ":lans": lans})
        for i, group in enumerate(groups)
    )
