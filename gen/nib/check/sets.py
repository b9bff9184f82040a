"""Sets: addresses under a name, written out or in a file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nib import values
from nib.check.reader import Reader
from nib.config import AddressSet, Origin, Span
from nib.document import Document, Path, dotted

_MOST_LINES = 5  # wrong lines of one file that are shown


@dataclass(frozen=True, slots=True)
class Listed:
    """The text of a file that a set names, or why it cannot be read."""

    text: str
    problem: str = ""


Listings = Mapping[str, Listed]
"""Every file that a document names, by its path."""


def files_of(document: Document) -> Iterator[str]:
    """The files that the sets name, whatever else is wrong: who calls the compiler reads them."""
    sets = document.data.get("sets") if isinstance(document.data, dict) else None
    for value in (sets if isinstance(sets, dict) else {}).values():
        file = value.get("file") if isinstance(value, dict) else None
        if isinstance(file, str) and file.startswith("/"):
            yield file


def read_sets(reader: Reader, listings: Listings) -> tuple[AddressSet, ...]:
    sets: dict[str, Any] = reader.data["sets"] or {}
    return tuple(_set(reader, name, value, listings) for name, value in sets.items())


def _set(reader: Reader, name: str, value: Any, listings: Listings) -> AddressSet:
    path: Path = ("sets", name)
    if isinstance(value, dict):
        found = _listed(reader, (*path, "file"), value.get("file"), listings)
    else:
        found = reader.each(path, values.span, value)
    return AddressSet(name, values.spans(found), Origin(dotted(path)))


def _listed(reader: Reader, path: Path, file: str | None, listings: Listings) -> list[Span]:
    """One address, network or range a line; `#` begins a comment."""
    if file is None:
        return []
    listed = listings.get(file, Listed("", "nobody has read it"))
    if listed.problem:
        reader.say(path, f"cannot read {file}: {listed.problem}")
        return []
    found: list[Span] = []
    wrong: list[tuple[int, values.Wrong]] = []
    for number, line in enumerate(listed.text.splitlines(), start=1):
        if entry := line.partition("#")[0].strip():
            try:
                found.append(values.span(entry))
            except values.Wrong as why_not:
                wrong.append((number, why_not))
    for line_number, why in wrong[:_MOST_LINES]:
        reader.say(path, f"{file}:{line_number}: {why.message}", why.hint)
    if len(wrong) > _MOST_LINES:
        reader.say(path, f"{file}: {len(wrong) - _MOST_LINES} more lines are wrong")
    if not found and not wrong:
        reader.say(path, f"{file} holds no address", "a set needs at least one")
    return found
