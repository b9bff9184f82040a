"""Decoded JSON -> frozen dataclasses, by their annotations."""

from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: type[T], data: object) -> T:
    """Build a `kind` out of what `json.loads` gave for its `asdict`.

    Knows dataclasses, tuples and unions with None; anything else is taken as it is.  Raises
    ValueError when a field is missing or a shape is wrong.
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
    if get_origin(kind) in (Union, UnionType) and value is not None:
        inner = next((k for k in get_args(kind) if is_dataclass(k)), None)
        return _decode(inner, value) if inner else value
    return value
