"""The shape of balance.yaml, by `schema.json`: complaints in plain words, and the defaults."""

import copy
import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from nib.document import Document, Path, Problem, shown

# What other programs call a thing, where the spelling is too far from ours for a near miss.
_SYNONYMS = {
    "interface": "device",
    "iface": "device",
    "dev": "device",
    "nic": "device",
    "ip": "address",
    "addresses": "address",
    "gw": "gateway",
    "via": "gateway",
    "gateway": "via",
    "destination": "to",
    "host": "to",
    "snat": "masquerade",
    "nat": "masquerade",
    "metric": "tier",
    "priority": "tier",
    "share": "weight",
    "check": "probe",
    "monitor": "probe",
    "wan": "uplinks",
    "wans": "uplinks",
    "isp": "uplinks",
    "isps": "uplinks",
    "lan": "lans",
    "ports": "port",
    "dport": "port",
    "sources": "source",
    "from": "source",
}

# What people write for `off` and `false`, for `true`; to YAML 1.2 they are text.
_NO = ("no", "none", "never", "false")
_YES = ("yes", "on", "true")

# Maps of which one value is written for the whole: the key that it belongs to, and what it is like.
_SHORT = {
    "limit": ("rate", r"[0-9]+/[a-z]+"),
    "metered": ("budget", r"[0-9]+[kMG]B"),
    "modem": ("address", r"[0-9.]+"),
    "notify": ("mail", r"[^\s@]+@[^\s@]+"),
}

_TYPES = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
}


def schema_text() -> str:
    """`schema.json` as it is in the package: what `nib-gen --schema` prints."""
    return files("nib").joinpath("schema.json").read_text(encoding="utf-8")


@cache
def schema() -> dict[str, Any]:
    """The parsed schema.  Shared: do not change it."""
    parsed: dict[str, Any] = json.loads(schema_text())
    return parsed


def shape(document: Document) -> tuple[dict[str, Any], list[Problem]]:
    """The data with every default applied, and what is wrong with its shape.

    Where something is wrong, the returned data has None (or the default), so that the meaning of
    the rest can be checked as well.  An uplink's `probe` is complete: its own keys, then those of
    the top level, then the defaults.
    """
    data = copy.deepcopy(document.data)
    problems = list(document.problems)
    errors = list(_validator().iter_errors(document.data))
    for error in errors:
        problems += _problems(document, error)
    for error in errors:
        _prune(data, error)
    _inherit_probe(data)
    _fill(schema(), data)
    return data, problems


def near(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `word`; empty if none is close."""
    words = list(known)
    folded = {w.lower(): w for w in words}
    if close := get_close_matches(word.lower(), folded, 1):
        return f"did you mean {shown(folded[close[0]])}?"
    synonym = _SYNONYMS.get(word.lower())
    return f"did you mean '{synonym}'?" if synonym in words else ""


def listed(words: Iterable[str]) -> str:
    """`'a', 'b' or 'c'`."""
    *first, last = [f"'{word}'" for word in words]
    return f"{', '.join(first)} or {last}" if first else last


@cache
def _validator() -> Any:
    untyped: Any = extend
    return untyped(Draft202012Validator, {"pattern": _pattern})(schema())


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    # In JSON Schema `$` is the very end; in Python it is also before a last line feed.
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    place = document.place(path)
    value: Any = error.instance
    rule: Any = error.validator_value
    details: Any = error.schema
    if "propertyNames" in error.absolute_schema_path:
        sentence = f"the name {shown(value)} {details['patternErrorMessage']}"
        yield Problem(document.keys[(*path, value)], path, sentence, _name_hint(value))
        return
    match error.validator:
        case "additionalProperties":
            known = details["properties"]
            for key in [key for key in value if key not in known]:
                yield _unknown(document, path, key, [k for k in known if k not in value])
        case "required":
            glued = {key.partition(":")[0] for key in value}  # said of them: `address:dhcp`
            for key in [key for key in rule if key not in glued]:
                yield Problem(place, path, f"missing key '{key}'", _missing_hint(path))
        case "enum":
            hint = near(value, rule) if isinstance(value, str) else ""
            if (value is False or value in _NO) and "off" in rule:
                hint = "write off"
            if len(rule) > 4 and isinstance(value, str):
                hint = hint or f"there is {', '.join(rule)}"
                yield Problem(place, path, f"unknown {path[-1]} {shown(value)}", hint)
                return
            yield Problem(place, path, f"must be {listed(rule)}, not {shown(value)}", hint)
        case "pattern":
            sentence = f"{details['patternErrorMessage']}, not {shown(value)}"
            yield Problem(place, path, sentence, _pattern_hint(value, details["pattern"]))
        case "minimum" | "maximum" if isinstance(value, float) and not value.is_integer():
            pass  # said already: it is no whole number
        case "minimum" | "maximum":
            low, high = details["minimum"], details["maximum"]
            sentence = f"must be between {low} and {high}, not {shown(value)}"
            yield Problem(place, path, sentence)
        case "minItems" | "minProperties":
            hint = (
                "what no rule matches uses the policy 'default'" if path[-1:] == ("match",) else ""
            )
            yield Problem(place, path, "is empty; it needs at least one entry", hint)
        case "maxItems":
            yield Problem(place, path, f"has {len(value)} entries; at most {rule} are allowed")
        case _:
            yield _wrong_type(document, path, value, details)


def _unknown(document: Document, path: Path, key: str, known: list[str]) -> Problem:
    place = document.keys[(*path, key)]
    hint = near(key, known)
    name, colon, rest = key.partition(":")
    if colon and name in known:
        hint = f"write '{name}: {rest}', with a space behind the colon"
    return Problem(place, path, f"unknown key {shown(key)}", hint)


def _wrong_type(document: Document, path: Path, value: Any, details: dict[str, Any]) -> Problem:
    place = document.place(path)
    types = details["type"] if isinstance(details["type"], list) else [details["type"]]
    must = details.get("errorMessage") or details.get("patternErrorMessage")
    if not must:
        must = "must be " + " or ".join(_TYPES[kind] for kind in types)
    if value is None:
        return Problem(place, path, f"has no value; it {must}")
    return Problem(place, path, f"{must}, not {shown(value)}", _type_hint(path, value, details))


def _type_hint(path: Path, value: Any, details: dict[str, Any]) -> str:
    types = details["type"]
    match value:
        case bool():
            return "write off" if details.get("pattern") == "^off$" and not value else ""
        case int() if "ms" in details.get("pattern", ""):
            return f"write {value}s or {value}ms" if value else "write 0s"
        case str() if "integer" in types and re.fullmatch(r"[0-9]{1,9}", value):
            return f"write {int(value)}, without quotes and leading zeros"
        case str() if types == "array" and re.fullmatch(r"[A-Za-z0-9_.:]{1,40}", value):
            return f"write [{value}]" if not value.startswith(":") else f'write ["{value}"]'
        case str() if "boolean" in types and value.lower() in (*_YES, *_NO, "off"):
            return f"write {'true' if value.lower() in _YES else 'false'}"
        case str() if (short := _SHORT.get(str(path[-1]))) and re.fullmatch(short[1], value):
            return f"write {{{short[0]}: {value}}}"
        case dict() if types == "array":
            return "start each entry with '- '"
        case list() if path == ("uplinks",):
            return "give each a name, like 'cable: {device: wan1, address: dhcp}'"
        case list() if path == ("lans",):
            return "give each a name, like 'home: {device: lan1, address: 192.168.10.1/24}'"
        case _:
            return ""


def _name_hint(name: str) -> str:
    better = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:15]
    fits = re.fullmatch(schema()["$defs"]["name"]["pattern"], better)
    return f"did you mean '{better}'?" if fits else ""


def _missing_hint(path: Path) -> str:
    return "" if path else "a minimal file has one uplink: 'uplinks: {cable: {device: …}}'"


def _pattern_hint(value: str, pattern: str) -> str:
    if pattern == "^off$" and value.lower() in (*_NO, "off"):
        return "write off"
    if "minute" in pattern and (short := re.fullmatch(r"([1-9][0-9]*) ?/ ?([smhd])[a-z]*", value)):
        unit = {"s": "second", "m": "minute", "h": "hour", "d": "day"}[short[2]]
        return f"did you mean '{short[1]}/{unit}'?"
    if units := re.search(r"\((k\w+)\|(M\w+)\|(G\w+)\)", pattern):
        folded = {one.lower(): one for one in units.groups()}
        given = re.fullmatch(r"([1-9][0-9]{0,8}) *([a-zA-Z]+)", value)
        if given and given[2].lower() in folded:
            return f"write {given[1]}{folded[given[2].lower()]}"
    if "ms" in pattern and (spaced := re.fullmatch(r"([0-9]+)\s+(ms|s|m|h)", value)):
        return f"write {spaced[1]}{spaced[2]}, without the space"
    if "ms" in pattern and re.fullmatch(r"[0-9]+", value):
        return f"write {value}s or {value}ms"
    if "ms" in pattern and (broken := re.fullmatch(r"([0-9])\.([0-9])s", value)):
        return f"write {broken[1]}{broken[2]}00ms"
    return ""


def _prune(data: Any, error: ValidationError) -> None:
    """Take out what `error` is about."""
    path = list(error.absolute_path)
    if error.validator == "required" or "propertyNames" in error.absolute_schema_path:
        return
    if error.validator == "additionalProperties":
        holder = data
        for step in path:
            holder = holder[step]
            if holder is None:
                return
        rules: Any = error.schema
        for key in [key for key in holder if key not in rules["properties"]]:
            del holder[key]
    elif path:
        *parents, last = path
        holder = data
        for step in parents:
            holder = holder[step]
            if holder is None:
                return
        holder[last] = None


def _inherit_probe(data: dict[str, Any]) -> None:
    common = data.get("probe") or {}
    for uplink in (data.get("uplinks") or {}).values():
        if uplink is not None:
            # what is wrong there becomes the default: the common value stands elsewhere
            uplink["probe"] = {**copy.deepcopy(common), **(uplink.get("probe") or {})}


def _fill(rules: dict[str, Any], data: Any) -> None:
    """Put the default of every key that is absent, below `data`, in its place."""
    if "$ref" in rules:
        definition = rules["$ref"].removeprefix("#/$defs/")
        rules = {**schema()["$defs"][definition], **rules}
    if isinstance(data, dict):
        known = rules.get("properties", {})
        for key, inner in known.items():
            if data.get(key) is None and "default" in inner:
                data[key] = copy.deepcopy(inner["default"])
        for key, value in data.items():
            inner = known.get(key, rules.get("additionalProperties"))
            if isinstance(inner, dict):
                _fill(inner, value)
    elif isinstance(data, list) and "items" in rules:
        for value in data:
            _fill(rules["items"], value)
