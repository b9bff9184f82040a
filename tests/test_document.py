"""The text of balance.yaml: its scalars, the place of everything in it, and what it may not be."""

import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nib.document import Document, Path, Place, Problem, Rejected, dotted, parse, shown


def scalar(text: str) -> Any:
    return parse("balance.yaml", f"key: {text}\n".encode()).data["key"]


@pytest.mark.parametrize(
    "text",
    [
        *("52:54:00:12:34:56", "no", "No", "on", "off", "yes", "y", "1:30", "2026-01-02", "010"),
        *("0b11", "1_000", "0o8", "0xg", "1.2.3.4", "+", ".", "..", "<<", "=", "truE"),
    ],
)
def test_stays_text(text: str) -> None:
    assert scalar(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("-3", -3), ("+5", 5), ("0o17", 15), ("0x7f000000", 0x7F000000)),
        *(("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-.inf", float("-inf")), ("3.", 3.0)),
        *(("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None)),
        *(("'3'", "3"), ('"true"', "true"), ('""', ""), ("'~'", "~")),
    ],
)
def test_resolved_by_yaml_1_2(text: str, value: object) -> None:
    result = scalar(text)
    assert result == value
    assert type(result) is type(value)


def test_not_a_number() -> None:
    assert scalar(".nan") != scalar(".nan")


def test_a_number_too_long_to_mean_anything_stays_text() -> None:
    assert scalar("9" * 5000) == "9" * 5000


TEXT = """\
a: 1
b:
  c: [x, {d: y}]
  'e f':
  - z
  -   g: "ü"
h: {i: , j: 2}
"""


def test_places() -> None:
    document = parse("balance.yaml", TEXT.encode())
    assert document.keys == {
        ("a",): Place(1, 1),
        ("b",): Place(2, 1),
        ("b", "c"): Place(3, 3),
        ("b", "c", 1, "d"): Place(3, 11),
        ("b", "e f"): Place(4, 3),
        ("b", "e f", 1, "g"): Place(6, 7),
        ("h",): Place(7, 1),
        ("h", "i"): Place(7, 5),
        ("h", "j"): Place(7, 10),
    }
    assert document.values[()] == Place(1, 1)
    assert document.values[("b", "c", 0)] == Place(3, 7)
    assert document.values[("b", "c", 1, "d")] == Place(3, 14)
    assert document.values[("b", "e f", 1, "g")] == Place(6, 10)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a",), Place(1, 4)),  # a plain value
        (("b", "c"), Place(3, 3)),  # a list: its key
        (("b", "c", 1), Place(3, 10)),  # a map in a list has no key
        (("h", "i"), Place(7, 5)),  # nothing: its key
        (("b", "nowhere", "deep"), Place(2, 1)),  # what would contain it
        ((), None),
        (("nowhere",), None),
    ],
)
def test_where_to_point(path: Path, place: Place | None) -> None:
    assert parse("balance.yaml", TEXT.encode()).place(path) == place


def leaves(data: Any, path: Path = ()) -> dict[Path, Any]:
    match data:
        case dict():
            return {p: v for k, inner in data.items() for p, v in leaves(inner, (*path, k)).items()}
        case list():
            return {
                p: v for i, inner in enumerate(data) for p, v in leaves(inner, (*path, i)).items()
            }
        case _:
            return {path: data}


plain = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
trees = st.dictionaries(
    plain,
    st.recursive(
        plain | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
        max_leaves=10,
    ),
    min_size=1,
    max_size=4,
)


@given(trees, st.booleans(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_every_value_stands_where_its_place_says(
    tree: dict[str, Any], flow: bool, end: str, mark: str
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, width=40).replace("\n", end)
    document = parse("balance.yaml", (mark + text).encode())
    lines = text.split(end)
    places = [(path[-1], document.keys[path]) for path in document.keys]
    places += [(value, document.values[path]) for path, value in leaves(document.data).items()]
    for thing, place in places:
        if isinstance(thing, str | int):
            assert lines[place.line - 1][place.column - 1 :].lstrip("'? ").startswith(str(thing))


def test_a_file_of_ten_megabytes_is_refused_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(Rejected) as caught:
        parse("balance.yaml", b"- [a]\n" * 1_700_000)
    assert time.monotonic() - start < 2
    assert caught.value.report() == (
        "balance.yaml: the file has 9.7 MiB, more than 1 MiB\n    hint: is this the right file?\n"
    )


def test_a_mebibyte_is_read() -> None:
    raw = b"a:\n" + b"- b\n" * 1000
    assert len(parse("balance.yaml", raw + b"#" * ((1 << 20) - len(raw))).data["a"]) == 1000


@settings(max_examples=300)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(parse("balance.yaml", raw), Document)
    except Rejected as rejected:
        assert rejected.problems
        assert all(line.isprintable() for line in rejected.report().splitlines())


@settings(max_examples=500)
@given(st.text(alphabet="ab:-,?[]{}&*!|>'\"%@#\\xU9~ \n\t", max_size=40))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    try:
        document = parse("balance.yaml", text.encode())
    except Rejected as rejected:
        assert rejected.problems
        assert rejected.report()
    else:
        assert set(leaves(document.data)) <= set(document.values) | {()}


def test_problems_are_sorted_and_said_once() -> None:
    late, early = Problem(Place(2, 1), ("b",), "late"), Problem(Place(1, 9), ("a",), "early")
    whole = Problem(None, (), "whole")
    assert Rejected("n", "a\nb\n", [late, early, late, whole]).problems == (whole, early, late)


def test_the_caret_stands_below_its_column() -> None:
    text = "\tä 日本 x\n" + "y" * 300 + "!" + "z" * 300
    wide = Problem(Place(1, 7), (), "wide")
    deep = Problem(Place(2, 301), (), "deep")
    _, first, caret, _, second, below = Rejected("n", text, [wide, deep]).report().splitlines()
    assert first == "     ä 日本 x"
    assert len(caret) == len(first) + 2  # two characters are two columns wide
    assert second[below.index("^")] == "!"
    assert re.fullmatch(r" {4}…y+!z+…", second)


def test_shown_is_short_and_harmless() -> None:
    assert shown("a\x1b[31m\n") == r"'a\x1b[31m\n'"
    assert len(shown("x" * 1000)) == 42
    assert shown(10**200).endswith("…")
    values: list[object] = [None, True, 3.0, [], {}]
    assert [shown(value) for value in values] == ["nothing", "true", "3.0", "a list", "a map"]
    assert dotted(("uplinks", "a b", 3, "x")) == "uplinks.'a b'[3].x"
