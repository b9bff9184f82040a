"""Policies and rules: which uplinks flows may use, and which flows use which policy."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nib import values
from nib.check.conflicts import RESERVED
from nib.check.hours import read_hours
from nib.check.reader import Reader, some
from nib.config import Addresses, AddressSet, Match, Origin, Policy, Rule, Sticky
from nib.document import Path, dotted, shown
from nib.policies import Class
from nib.shape import near

# What the plan calls the policy of a lan that may not use every uplink begins so.
_LANS_OWN = "for_"

CLASSES: tuple[Class, ...] = ("tcp", "udp")
# Each is a look-up more for what is on a dead uplink.
MOST_SPECIAL = 16

# With more bits the marks need more priorities of ip rules than there are before that which blocks.
_MOST_BITS = 7


def read_policies(reader: Reader, uplinks: Collection[str], mask: int | None) -> tuple[Policy, ...]:
    policies: dict[str, Any] = reader.data["policies"] or {}
    folded = {uplink.lower(): uplink for uplink in uplinks}
    for name in policies:
        path: Path = ("policies", name)
        if name.lower() in folded:
            sentence = f"the name is already used by {dotted(('uplinks', folded[name.lower()]))}"
            reader.say(path, sentence, "an uplink is a policy of its own: 'use' can name it")
        elif (name.lower() in RESERVED and name != "default") or name.startswith(_LANS_OWN):
            reader.say(path, f"the name {shown(name)} is reserved", "choose another name")
    read = tuple(_policy(reader, name, p or {}, tuple(uplinks)) for name, p in policies.items())
    special = [policy for policy in read if policy.kept or policy.recalled]
    if len(special) > MOST_SPECIAL:
        sentence = f"{len(special)} policies say what becomes of running connections"
        path = ("policies", special[MOST_SPECIAL].name)
        reader.say(path, sentence, f"on_down and on_return of {MOST_SPECIAL} at most")
    if mask and mask.bit_count() > _MOST_BITS and any(policy.block for policy in read):
        sentence = f"the mask 0x{mask:08x} has {mask.bit_count()} bits, but a policy blocks"
        reader.say(("marks", "mask"), sentence, f"use {_MOST_BITS} bits at most")
    return read


def _policy(reader: Reader, name: str, policy: dict[str, Any], uplinks: tuple[str, ...]) -> Policy:
    path: Path = ("policies", name)
    tiers: list[tuple[str, ...]] = []
    first: dict[str, int] = {}
    for i, group in enumerate(policy.get("tiers") or []):
        tier = reader.members((*path, "tiers", i), group or [], {":uplinks": uplinks})
        for uplink in tier:
            if first.setdefault(uplink, i) != i:
                sentence = f"{shown(uplink)} is already in tier {first[uplink] + 1}"
                reader.say((*path, "tiers", i), sentence, "an uplink is in one tier of a policy")
        tiers.append(tier)
    block = policy.get("when_down") == "block"
    if block and name == "default":
        hint = "name another policy and send flows to it by rules"
        reader.say((*path, "when_down"), "'default' is where flows go that nothing blocks", hint)
    on_down, on_return = policy.get("on_down") or {}, policy.get("on_return") or {}
    after_ms = reader.attempt(
        (*path, "on_return", "after"),
        lambda text: values.duration(text, "0s", "24h"),
        on_return.get("after"),
    )
    return Policy(
        name,
        tuple(tiers),
        block,
        _sticky(reader, path, policy),
        kept=tuple(one for one in CLASSES if on_down.get(one) == "keep"),
        recalled=tuple(one for one in CLASSES if on_return.get(one, "keep") != "keep"),
        after_s=(after_ms or 0) // 1000,
        origin=Origin(dotted(path)),
    )


def _sticky(reader: Reader, path: Path, policy: dict[str, Any]) -> Sticky | None:
    sticky = policy.get("sticky")
    if sticky is None:
        return None
    given = sticky.get("for")
    for_ms = reader.attempt(
        (*path, "sticky", "for"), lambda text: values.duration(text, "1s", "24h"), given
    )
    return Sticky(sticky.get("by") == "pair", (for_ms or 0) // 1000)


def read_rules(
    reader: Reader,
    sets: Iterable[AddressSet],
    policies: Iterable[Policy],
    uplinks: Collection[str],
    lans: Collection[str],
) -> dict[Path, Rule]:
    """The rules that nothing is wrong with, nor with their policies and sets, by their places."""
    targets = dict.fromkeys(("default", *(policy.name for policy in policies), *uplinks))
    names = tuple(one.name for one in sets)
    rules: dict[Path, Rule] = {}
    for i, rule in enumerate(reader.data["rules"] or []):
        path: Path = ("rules", i)
        if rule is None or not rule.get("match"):
            continue
        match = _match(reader, (*path, "match"), rule["match"], names, lans)
        use = rule.get("use")
        if use is not None and use not in targets:
            hint = near(use, targets) or f"there is {some(targets)}"
            reader.say((*path, "use"), f"no policy or uplink is called {shown(use)}", hint)
        if use is not None and all(reader.sound(*ground) for ground in _grounds(path, match, use)):
            rules[path] = Rule(match, use, Origin(dotted(path)))
    return rules


def _grounds(path: Path, match: Match, use: str) -> Iterator[Path]:
    """What a rule stands on: itself, its policy, its sets."""
    yield path
    yield ("policies", use)
    for end in (match.source, match.destination):
        for name in end.sets if end else ():
            yield ("sets", name)


def _match(
    reader: Reader,
    path: Path,
    match: dict[str, Any],
    sets: Collection[str],
    lans: Collection[str],
) -> Match:
    def lan(name: str) -> str:
        return _known(name, lans, "lan")

    protocols = reader.each((*path, "protocol"), values.protocol, match.get("protocol"))
    user = reader.attempt((*path, "user"), values.user, match.get("user"))
    _compatible(reader, path, match, protocols)
    return Match(
        source=_addresses(reader, (*path, "source"), match.get("source"), sets, lans),
        destination=_addresses(reader, (*path, "destination"), match.get("destination"), sets),
        protocols=tuple(dict.fromkeys(protocols)),
        sport=reader.ports((*path, "sport"), match.get("sport")),
        dport=reader.ports((*path, "dport"), match.get("dport")),
        lans=tuple(dict.fromkeys(reader.each((*path, "lan"), lan, match.get("lan")))),
        dscp=tuple(sorted(set(reader.each((*path, "dscp"), values.dscp, match.get("dscp"))))),
        user=user,
        time=read_hours(reader, (*path, "time"), match.get("time")),
    )


def _compatible(
    reader: Reader, path: Path, match: dict[str, Any], protocols: Collection[str]
) -> None:
    """Ports are those of some protocols; a user is on the router itself."""
    hint = "write 'protocol: tcp', udp, sctp or a list of them"
    for key in ("sport", "dport"):
        portless = [name for name in protocols if name not in values.WITH_PORTS]
        if key in match and "protocol" not in match:
            reader.say((*path, key), f"'{key}' needs a protocol", hint)
        elif key in match and portless:
            reader.say((*path, key), f"{portless[0]} has no ports", hint)
    if "user" in match and "lan" in match:
        sentence = "'user' is of the router's own flows, and none of them comes from a lan"
        reader.say((*path, "user"), sentence, "make two rules of it")


def _addresses(
    reader: Reader, path: Path, given: Any, sets: Collection[str], lans: Collection[str] = ()
) -> Addresses | None:
    """`lans` are the names that another key is for."""
    if given is None:
        return None
    texts = given if isinstance(given, list) else [given]
    names = [text for text in texts if isinstance(text, str) and text.startswith("@")]

    def read(text: str) -> Any:
        if text in sets:
            raise values.Wrong(
                f"{shown(text)} is no address", f"write {shown('@' + text)} for the set"
            )
        if text in lans:
            raise values.Wrong(f"{shown(text)} is no address", f"write 'lan: {text}' instead")
        return _known(text[1:], sets, "set") if text in names else values.span(text)

    found = reader.each(path, read, given)
    spans = values.spans([one for one in found if isinstance(one, tuple)])
    return Addresses(spans, tuple(dict.fromkeys(one for one in found if isinstance(one, str))))


def _known(name: str, names: Collection[str], what: str) -> str:
    if name in names:
        return name
    hint = near(name, names) or (f"there is {some(names)}" if names else f"there are no {what}s")
    raise values.Wrong(f"no {what} is called {shown(name)}", hint)
