"""What becomes of the old configuration, as plain data with remarks beside it; and its YAML."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nib.importer.remarks import Kind, Notebook, Remark, Spot
from nib.problem import Path

_ORDER = (
    *("mode", "uplinks", "lans", "forwarding", "routes", "sets", "policies", "rules"),
    *("firewall", "probe", "notify", "hooks"),
)
"""The keys of balance.yaml in the order of its documentation."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_MEASURE = re.compile(r"[0-9]+(ms|s|m|h|%|/[a-z]+|-[0-9]+)")
_WIDTH = 98


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of a list, and what it was translated from."""

    value: Any
    spot: Spot


@dataclass(slots=True)
class Draft:
    """`data` is the future balance.yaml; `above` and `beside` are comments by path.

    `spots` says from where uplinks, lans and options are.  What is left out gets its comment from
    its remark.
    """

    data: dict[str, Any] = field(default_factory=dict)
    spots: dict[Path, Spot] = field(default_factory=dict)
    above: dict[Path, list[str]] = field(default_factory=dict)
    beside: dict[Path, str] = field(default_factory=dict)
    notes: Notebook = field(default_factory=lambda: Notebook([]))

    def explain(self, path: Path, *lines: str) -> None:
        """Put a comment above the key at `path`."""
        self.above.setdefault(path, []).extend(lines)

    def entries(self, path: tuple[str, ...]) -> list[Entry]:
        """The list at `path`; an empty one if there is none."""
        holder = self.data
        for key in path[:-1]:
            holder = holder.get(key, {})
        found: list[Entry] = holder.get(path[-1], [])
        return found

    def add(self, path: tuple[str, ...], value: Any, spot: Spot) -> None:
        """Append to the list at `path` what is not in it yet."""
        if all(entry.value != value for entry in self.entries(path)):
            holder = self.data
            for key in path[:-1]:
                holder = holder.setdefault(key, {})
            holder.setdefault(path[-1], []).append(Entry(value, spot))

    def text(self, head: Iterable[str]) -> str:
        """balance.yaml, with `head` as its first comment."""
        comments = {path: list(lines) for path, lines in self.above.items()}
        for remark in self.notes.remarks:
            if remark.kind is Kind.LEFT_OUT:
                comments.setdefault(self._existing(remark.path), []).extend(_left_out(remark))
        lines = [f"# {line}".rstrip() for line in head]
        for key in sorted({*self.data, *(path[0] for path in comments if path)}, key=_rank):
            lines.append("")
            lines += _lines(self.data, (key,), comments, self.beside)
        return "\n".join(lines) + "\n"

    def _existing(self, path: Path) -> Path:
        """`path`, or where it would be: a comment about nothing stands above the whole part."""
        value: Any = self.data
        for i, step in enumerate(path):
            if not isinstance(value, dict) or step not in value:
                return path[: max(i, 1)]
            value = value[step]
        return path


def _rank(key: str | int) -> int:
    return _ORDER.index(str(key))


def _left_out(remark: Remark) -> Iterator[str]:
    where = f"{remark.spot.file}:{remark.spot.place.line}"
    first, *rest = remark.spot.text.splitlines() or [""]
    yield f"left out ({where}): {remark.message}"
    for line in (first, *rest):
        if line.strip():
            yield f"    {line.rstrip()}"


def _lines(
    data: Any, path: Path, above: dict[Path, list[str]], beside: dict[Path, str]
) -> Iterator[str]:
    """The block of the key at `path`: comments, then the key with its value below or beside it."""
    indent = "  " * (len(path) - 1)
    for comment in above.get(path, ()):
        yield from (
            f"{indent}# {line}".rstrip() for line in _wrapped(comment, _WIDTH - len(indent))
        )
    if path[-1] not in data:
        return
    value = data[path[-1]]
    name = f"{indent}{_scalar(path[-1])}:"
    if isinstance(value, dict) and value and _is_block(path):
        yield name
        for key in value:
            yield from _lines(value, (*path, key), above, beside)
    elif isinstance(value, list) and value and _is_block(path):
        yield name
        for item in value:
            origin = (
                f"  # {item.spot.file}:{item.spot.place.line}" if isinstance(item, Entry) else ""
            )
            yield f"{indent}  - {_flow(item)}{origin}"
    else:
        line = f"{name} {_flow(value)}"
        comment = beside.get(path, "")
        yield f"{line}  # {comment}" if comment else line


def _is_block(path: Path) -> bool:
    """Whether what is at `path` has lines of its own; the rest stands in braces."""
    return len(path) == 1 or (len(path) == 2 and path[0] in ("uplinks", "lans", "firewall"))


def _flow(value: Any) -> str:
    match value:
        case Entry(inner, _):
            return _flow(inner)
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case _:
            return _scalar(value)


def _scalar(value: object) -> str:
    """Plain where every YAML reads it as the same text, quoted otherwise."""
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) or _MEASURE.fullmatch(text)
    return text if plain and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """`text` in lines that fit, harmless to a terminal; old, indented lines stay whole."""
    text = "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in text)
    if text.startswith("    "):
        yield text
        return
    while len(text) > width - 2 and (at := text.rfind(" ", 1, width - 2)) > 0:
        yield text[:at]
        text = "  " + text[at + 1 :]
    yield text
