"""The text of balance.yaml as plain data, and the place of every key and value.

Scalars follow YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), so a MAC address, `no`,
`on`, a date and `1:30` stay text; so does `010`, which the versions of YAML read as 8 or as 10.
What makes a file hard to read for people is refused: aliases, tags, duplicate keys.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from nib.problem import LINE_BREAK, Path, Place, Problem, Rejected, dotted, shown

__all__ = ["Document", "Path", "Place", "Problem", "Rejected", "dotted", "parse", "shown"]

SIZE_LIMIT = 1 << 20
"""Bytes.  Sixty uplinks need 20 KiB; a bigger file is not balance.yaml."""

DEPTH_LIMIT = 20
"""Maps and lists inside each other; balance.yaml needs six."""

_DIGITS_LIMIT = 100  # a longer number is left as text: no key takes it and `int()` may refuse it

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# NEL, LS and PS end a line for PyYAML but not for YAML 1.2 nor for an editor; the bidirectional
# controls make a line look like another one.
_FORBIDDEN = re.compile(
    r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u2070-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """What the user wrote.  `data` is exactly that, without defaults and without duplicates.

    `problems` are those with which the rest can still be read; `check` adds its own to them.
    """

    name: str
    text: str
    data: dict[str, Any]
    keys: dict[Path, Place]
    values: dict[Path, Place]
    problems: tuple[Problem, ...] = ()

    def place(self, path: Path) -> Place | None:
        """Where to point for `path`: a plain value, else its key, else what would contain it."""
        value: Any = self.data
        for depth, step in enumerate(path):
            match value:
                case dict() if step in value:
                    value = value[step]
                case list() if isinstance(step, int) and step < len(value):
                    value = value[step]
                case _:
                    return self.place(path[:depth])
        if path in self.keys and (value is None or isinstance(value, dict | list)):
            return self.keys[path]
        return self.values.get(path) if path else None


def parse(name: str, raw: bytes) -> Document:
    """Read the bytes of a file; `name` is what the report calls it.

    UTF-8 with or without a byte order mark, any line ends; JSON is YAML too.  Raises Rejected
    with every problem found until the text cannot be read any further.
    """
    if len(raw) > SIZE_LIMIT:
        size = f"the file has {len(raw) / (1 << 20):.1f} MiB, more than 1 MiB"
        raise Rejected(name, "", [Problem(None, (), size, "is this the right file?")])
    text = _decode(name, raw)
    _refuse_forbidden(name, text)
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except _Unreadable as stop:
        raise Rejected(name, text, [*builder.all_problems(), stop.problem]) from None
    except yaml.MarkedYAMLError as error:
        problem = _explained(error, LINE_BREAK.split(text))
        raise Rejected(name, text, [*builder.all_problems(), problem]) from None
    if builder.fatal or builder.anchors:
        raise Rejected(name, text, builder.all_problems())
    data = builder.root[0] if builder.root else None
    match data:
        case dict():
            return Document(name, text, data, builder.keys, builder.values, tuple(builder.problems))
        case None:
            sentence, hint, place = "the file is empty", "start with 'uplinks:'", None
        case _:
            sentence = f"the file must be a map of keys, not {_kind(data)}"
            hint, place = "start with 'uplinks:'", builder.values[()]
    raise Rejected(name, text, [*builder.problems, Problem(place, (), sentence, hint)])


def _decode(name: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a byte order mark the codec counts from behind it.
        before = error.object[: error.start].decode("utf-8", "replace")
    text = raw.decode("utf-8-sig", "replace")
    before = before.replace("\r\n", "\n").replace("\r", "\n")
    place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
    hint = "save the file as UTF-8"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        hint += "; it looks like UTF-16"
    raise Rejected(name, text, [Problem(place, (), "the text is not UTF-8", hint)])


def _refuse_forbidden(name: str, text: str) -> None:
    problems = []
    for number, line in enumerate(LINE_BREAK.split(text), 1):
        if found := _FORBIDDEN.search(line):
            sentence = f"the invisible character U+{ord(found[0]):04X} is not allowed"
            place = Place(number, found.start() + 1)
            problems.append(Problem(place, (), sentence, "delete it and type the line again"))
    if problems:
        raise Rejected(name, text, problems)


class _Unreadable(Exception):
    """Nothing behind this problem can be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _events(text: str) -> Iterator[yaml.Event]:
    loader: Any = yaml.BaseLoader(text)
    while True:
        try:
            event = loader.get_event() if loader.check_event() else None
        except yaml.MarkedYAMLError:
            raise
        except (ValueError, OverflowError):
            # PyYAML trips over an escape like "\U99999999", which is no character.
            place = Place(loader.line + 1, loader.column + 1)
            sentence = "this is no valid escape or number"
            raise _Unreadable(Problem(place, (), sentence)) from None
        if event is None:
            return
        yield event


@dataclass(slots=True)
class _Open:
    """A map or list that is being read.  Not `kept`: it belongs to a duplicate key."""

    path: Path
    into: dict[str, Any] | list[Any]
    kept: bool
    key: str | None = None
    duplicate: bool = False


@dataclass(slots=True)
class _Builder:
    """Makes data from events with a stack of its own: no recursion that a file could exhaust."""

    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    fatal: list[Problem] = field(default_factory=list)
    anchors: dict[str, Problem] = field(default_factory=dict)
    root: list[Any] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    documents: int = 0

    def all_problems(self) -> list[Problem]:
        return [*self.problems, *self.fatal, *self.anchors.values()]

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    sentence = "a second document starts here; the file may hold only one"
                    raise _Unreadable(Problem(_place(event), (), sentence, "remove the '---'"))
            case yaml.AliasEvent():
                # No complaint about the anchor as well.
                self.anchors.pop(str(event.anchor), None)
                sentence = f"aliases like '*{event.anchor}' are not supported"
                self._fatal(event, sentence, f"write the value of '&{event.anchor}' again here")
                self._scalar(event, None, f"*{event.anchor}")
            case yaml.ScalarEvent():
                self._decorations(event)
                plain = event.style is None and event.tag is None
                self._scalar(event, _resolved(event.value) if plain else event.value, event.value)
            case yaml.MappingStartEvent():
                self._decorations(event)
                self._start(event, {})
            case yaml.SequenceStartEvent():
                self._decorations(event)
                self._start(event, [])
            case yaml.CollectionEndEvent():
                self.stack.pop()
            case _:
                pass

    def _decorations(self, event: Any) -> None:
        if event.tag is not None:
            sentence = f"the tag {shown(_tag(event.tag))} is not supported"
            self._fatal(
                event, sentence, "remove it; text that looks like a number is put in quotes"
            )
        if event.anchor is not None:
            sentence = f"anchors like '&{event.anchor}' are not supported"
            self.anchors[event.anchor] = Problem(_place(event), self._here(), sentence, "remove it")

    def _fatal(self, event: yaml.Event, sentence: str, hint: str) -> None:
        self.fatal.append(Problem(_place(event), self._here(), sentence, hint))

    def _here(self) -> Path:
        if not self.stack:
            return ()
        top = self.stack[-1]
        match top.into:
            case list():
                return (*top.path, len(top.into))
            case dict():
                return top.path if top.key is None else (*top.path, top.key)

    def _scalar(self, event: yaml.Event, value: Any, text: str) -> None:
        top = self.stack[-1] if self.stack else None
        if top and isinstance(top.into, dict) and top.key is None:
            self._key(event, top, text)
        else:
            self._put(event, value)

    def _key(self, event: yaml.Event, top: _Open, key: str) -> None:
        if not key:
            self.fatal.append(Problem(_place(event), top.path, "the key before ':' is empty"))
        path = (*top.path, key)
        top.key = key
        top.duplicate = key in top.into
        if top.duplicate:
            first = self.keys.get(path)
            hint = f"first on line {first.line}" if first else ""
            sentence = f"{shown(key)} is given twice"
            self.problems.append(Problem(_place(event), path, sentence, hint))
        elif top.kept:
            self.keys[path] = _place(event)

    def _put(self, event: yaml.Event, value: Any) -> tuple[Path, bool]:
        """Store a value where it belongs; its path, and whether it is kept."""
        path = self._here()
        if not self.stack:
            self.root.append(value)
            self.values[path] = _place(event)
            return path, True
        top = self.stack[-1]
        kept = top.kept and not top.duplicate
        if kept:
            self.values[path] = _place(event)
        match top.into:
            case list():
                top.into.append(value)
            case dict():
                top.into.setdefault(top.key or "", value)
                top.key, top.duplicate = None, False
        return path, kept

    def _start(self, event: yaml.Event, empty: dict[str, Any] | list[Any]) -> None:
        top = self.stack[-1] if self.stack else None
        if top and isinstance(top.into, dict) and top.key is None:
            sentence = f"a key must be a word, not {_kind(empty)}"
            hint = "text with braces or brackets is put in quotes"
            raise _Unreadable(Problem(_place(event), top.path, sentence, hint))
        if len(self.stack) >= DEPTH_LIMIT:
            sentence = f"maps and lists are nested more than {DEPTH_LIMIT} deep"
            raise _Unreadable(Problem(_place(event), (), sentence))
        path, kept = self._put(event, empty)
        self.stack.append(_Open(path, empty, kept))


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _kind(value: object) -> str:
    return shown(value) if isinstance(value, list | dict) else "a single value"


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _resolved(text: str) -> bool | int | float | str | None:
    """A plain scalar by the rules of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _DIGITS_LIMIT:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def _explained(error: yaml.MarkedYAMLError, lines: list[str]) -> Problem:
    """PyYAML's complaint in words for people who never wrote a parser."""
    mark = error.problem_mark or error.context_mark
    opened = error.context_mark or mark
    place = Place(mark.line + 1, mark.column + 1) if mark else None
    begin = Place(opened.line + 1, opened.column + 1) if opened else None
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    said = error.problem or ""
    if mark and (tabs := re.match(r"[ -]*\t", line)) and tabs.end() <= mark.column + 1:
        return Problem(
            Place(mark.line + 1, tabs.end()), (), "a tab in the indentation", "use spaces"
        )
    word = re.match(r":[A-Za-z]+", line[mark.column :]) if mark else None
    since = f"the bracket is opened on line {begin.line}" if begin else ""
    quotes = "text with special characters is put in quotes"
    match said:
        case "could not find expected ':'":
            return Problem(begin, (), "a ':' is missing after this", "write 'key: value'")
        case "mapping values are not allowed here":
            hint = _colon_hint(lines, mark.line, mark.column) if mark else ""
            return Problem(place, (), "a ':' is not expected here", hint)
        case "sequence entries are not allowed here":
            hint = "a list starts on a line of its own, below its key"
            return Problem(place, (), "a '-' is not expected here", hint)
        case "found unexpected end of stream" | "found unexpected document separator":
            return Problem(begin, (), "this quote is never closed")
        case _ if "expected the node content" in said and word:
            hint = f'write "{word[0]}", in quotes'
            return Problem(place, (), f"'{word[0]}' needs quotes inside brackets", hint)
        case _ if said.startswith("expected ',' or"):
            close = "]" if "]" in said else "}"
            if "<stream end>" in said:
                return Problem(begin, (), f"the '{close}' that ends this is missing")
            return Problem(place, (), f"a ',' or '{close}' is missing before this", since)
        case _ if said.startswith("expected <block end>"):
            hint = "the keys of a map start in one column, and so do the '-' of a list"
            return Problem(place, (), "this line does not fit the lines above", hint)
        case _ if "<stream end>" in said:
            return Problem(place, (), "the file ends here, but a bracket is still open")
        case _ if "cannot start any token" in said and "\\t" in said:
            return Problem(place, (), "a tab where a space is due", "use spaces")
        case _ if "cannot start any token" in said:
            character = shown(line[mark.column : mark.column + 1]) if mark else "this"
            return Problem(place, (), f"a value cannot start with {character}", quotes)
        case _ if "escape" in said:
            hint = "in double quotes a backslash is special; use single quotes"
            return Problem(place, (), "this escape is unknown", hint)
        case _:
            sentence = f"this is no valid YAML ({' '.join(said.split())})"
            return Problem(place, (), sentence, quotes)


def _colon_hint(lines: list[str], row: int, column: int) -> str:
    """What may be wrong before a ':' that PyYAML did not expect; rows and columns from 0."""
    if not re.fullmatch(r"[\s-]*[^\s:]+", lines[row][:column]):
        return "text with ': ' in it is put in quotes"
    above = row - 1
    while above > 0 and not lines[above].strip():
        above -= 1
    before = lines[above].strip() if row else ""
    if re.fullmatch(r"(?:- )?[\w-]+:\S+", before):
        return f"a space is missing behind the ':' in line {above + 1}"
    if re.fullmatch(r"(?:- )?[\w-]+", before):
        return f"is a ':' missing at the end of line {above + 1}?"
    return "check the indentation of this line and the one above"
