"""The compiler has the last word: what it would not accept is left out, and its reason is told."""

from collections.abc import Iterable
from typing import Any

from nib.check import check
from nib.document import Problem, Rejected, parse
from nib.importer.draft import Draft, Entry
from nib.importer.remarks import Spot
from nib.problem import Path


def fitted(draft: Draft, head: Iterable[str]) -> str | None:
    """The text of the draft without what the compiler refuses; None if no uplink is left.

    What is taken out of the draft becomes a remark with the compiler's words.  Raises Rejected
    where nothing can be taken out, as with more uplinks than there are marks.
    """
    head = tuple(head)
    while draft.data.get("uplinks"):
        text = draft.text(head)
        try:
            check(parse("balance.yaml", text.encode()))
        except Rejected as rejected:
            if not _without(draft, rejected.problems):
                raise
        else:
            return text
    return None


def _without(draft: Draft, problems: Iterable[Problem]) -> bool:
    """Take out what the problems are about; whether anything could be.

    Backwards, so that the numbers in the other paths stay right.
    """
    parts: dict[Path, Problem] = {}
    for problem in problems:
        if part := _part(draft, problem.path):
            parts.setdefault(part, problem)
    for part in sorted(parts, key=lambda path: tuple(map(_rank, path)), reverse=True):
        section = tuple(step for step in part[:2] if step in ("firewall", "allow", "forwards"))
        for spot in _take(draft, part):
            message = parts[part].message
            draft.notes.left_out(spot, section or part[:1], message, parts[part].hint)
    return bool(parts)


def _rank(step: str | int) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (-1, step)


def _part(draft: Draft, path: Path) -> Path:
    """The smallest part around `path` that balance.yaml can do without; empty if there is none."""
    match path:
        case ("uplinks", name, "probe", *_) if "probe" in draft.data["uplinks"][name]:
            return path[:3]
        case ("uplinks" | "lans" as kind, name, "address" | "gateway", *_) if (
            draft.data[kind][name]["address"] != "external"
        ):
            return (kind, name, "address")
        case ("uplinks" | "lans", _, *_) | ("routes" | "rules",):
            return path[:2]
        case ("probe", str(), *_) | ("routes" | "rules", int(), *_):
            return path[:2]
        case ("forwarding", int(), int(), *_) | ("firewall", "allow" | "forwards", int(), *_):
            return path[:3]
        case ("forwarding", int(), *_) | ("firewall", "forwards"):
            return path[:2]
        case _:
            return ()


def _take(draft: Draft, part: Path) -> list[Spot]:
    """Take a part out; where it came from.  An address becomes `external`."""
    holder: Any = draft.data
    for step in part[:-1]:
        holder = holder[step]
        holder = holder.value if isinstance(holder, Entry) else holder
    if part[-1] == "address":
        holder["address"] = "external"
        draft.beside[part] = "configured by another tool"
        return [draft.spots[part[:2]]]
    match holder.pop(part[-1]):
        case Entry(_, spot):
            return [spot]
        case [*entries] if entries and isinstance(entries[0], Entry):
            return [entry.spot for entry in entries]
    if part[0] == "forwarding":
        return [draft.data["forwarding"][part[1]].spot]
    return [draft.spots[part[:2]]]
