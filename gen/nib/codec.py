"""Decoded JSON -> frozen dataclasses, by their annotations."""

from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: type[T], data: object) -> T:
    """Build a `kind` out of what `json.loads` gave for its `asdict`.

    Knows dataclasses, tuples, literals, unions with None, str, int, float and bool.  Raises
    ValueError when a field is missing, or is not what its annotation says.
    """
    try:
        value = _decode(kind, data)
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"damaged {kind.__name__.lower()}: {problem!r}") from None
    assert isinstance(value, kind)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{f.name: _decode(hints[f.name], value[f.name]) for f in fields(kind)})
    if get_origin(kind) is tuple:
        args = get_args(kind)
        kinds = [args[0]] * len(value) if args[-1] is ... else args
        return tuple(_decode(k, v) for k, v in zip(kinds, value, strict=True))
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind), value)
    if get_origin(kind) in (Union, UnionType):
        return value if value is None and NoneType in get_args(kind) else _first(kind, value)
    # a NewType is what it is made of
    kind = getattr(kind, "__supertype__", kind)
    numbers: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if type(value) not in numbers:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _one_of(options: tuple[object, ...], value: Any) -> Any:
    if value not in options:
        raise TypeError(f"{value!r} is none of {options}")
    return value


def _first(kind: Any, value: Any) -> Any:
    """Of a union the first part that fits."""
    for part in get_args(kind):
        if part is not NoneType:
            with suppress(TypeError, KeyError):
                return _decode(part, value)
    raise TypeError(f"{value!r} is no {kind}")
