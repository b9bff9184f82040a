"""What the readers of the parts share: the shaped data, the problems, and what is in two parts."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nib import values
from nib.check.conflicts import Facts
from nib.document import Document, Path, Problem, shown
from nib.shape import near

T = TypeVar("T")
V = TypeVar("V")


@dataclass(slots=True)
class Reader:
    """A part that cannot be read is None, and a problem is noted."""

    document: Document
    data: dict[str, Any]
    problems: list[Problem]
    facts: Facts = field(default_factory=Facts)

    def say(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.document.place(path), path, message, hint))

    def sound(self, *path: str | int) -> bool:
        """Whether nothing is wrong with what stands at `path` or below it."""
        return not any(problem.path[: len(path)] == path for problem in self.problems)

    def attempt(self, path: Path, read: Callable[[V], T], value: V | None) -> T | None:
        """`read(value)`, or None and a problem at `path`; None stays None."""
        if value is None:
            return None
        try:
            return read(value)
        except values.Wrong as wrong:
            self.say(path, wrong.message, wrong.hint)
            return None

    def each(self, path: Path, read: Callable[[Any], T], given: Any) -> list[T]:
        """What can be read of one value or a list of them."""
        if isinstance(given, list):
            values = [self.attempt((*path, i), read, one) for i, one in enumerate(given)]
        else:
            values = [self.attempt(path, read, given)]
        return [value for value in values if value is not None]

    def ports(self, path: Path, port: Any) -> tuple[tuple[int, int], ...]:
        return values.merged(self.each(path, values.port_range, port))

    def members(
        self, path: Path, group: list[Any], kinds: dict[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The names that a list means, each once, in the order of the list."""
        known = {name: None for names in kinds.values() for name in names}
        result: dict[str, None] = {}
        seen: set[str | None] = set()  # None is what the shape has refused already
        for i, name in enumerate(group):
            if name in seen and name is not None:
                self.say((*path, i), f"{shown(name)} is given twice")
            elif name in kinds:
                result.update(dict.fromkeys(kinds[name]))
            elif name in known:
                result[name] = None
            elif name is not None:
                what = " or ".join(kind[1:-1] for kind in kinds)
                hint = near(name, [*known, *kinds])
                if not hint and known:
                    hint = f"there is {some(known)}"
                self.say((*path, i), f"no {what} is called {shown(name)}", hint)
            seen.add(name)
        if (
            group
            and not result
            and kinds.get(":uplinks", True)
            and all(name in kinds for name in group)
        ):
            self.say(path, "names nothing: there are no lans", "add a lan or remove this group")
        return tuple(result)


def count(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def some(names: Iterable[str]) -> str:
    """The first few names, for a hint."""
    first = [shown(name) for name in names]
    return ", ".join(first[:5]) + (", …" if len(first) > 5 else "")
