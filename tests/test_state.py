"""The text that flips the table: weights become ranges without a gap, and nft takes them."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import private
import samples
from nib.policies import Policy, Share
from nib.state import SLOTS, carriers, everything, render_state, route_weights, slots

WEIGHTS = st.lists(st.integers(1, 256), min_size=1, max_size=62)


@given(WEIGHTS)
def test_ranges_cover_all_slots_and_fit_the_weights(weights: list[int]) -> None:
    shares = [Share(f"u{number}", weight) for number, weight in enumerate(weights)]
    ranges = slots(shares)
    assert [name for _, _, name in ranges] == [share.uplink for share in shares]
    edge = 0
    for (first, last, _), share in zip(ranges, shares, strict=True):
        assert first == edge <= last
        edge = last + 1
        wanted = Fraction(share.weight, sum(weights))
        assert abs(Fraction(edge - first, SLOTS) - wanted) <= Fraction(1, SLOTS)
    assert edge == SLOTS


@given(st.lists(st.integers(1, 256 * 100), max_size=62))
def test_a_route_has_the_same_proportions(weights: list[int]) -> None:
    found = route_weights(weights)
    assert all(1 <= weight <= 256 for weight in found)
    assert len(found) == len(weights)
    for weight, of in zip(found, weights, strict=True):
        # the heaviest is exact, or as heavy as can be: the others are rounded to it
        exact = max(found) * of / max(weights)
        assert abs(weight - exact) <= 0.5 + 1e-9 or (weight == 1 and exact < 1)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([3, 1], [3, 1]),
        ([2, 2], [1, 1]),
        ([256, 255], [256, 255]),
        ([30, 100], [3, 10]),
        ([25600, 10], [256, 1]),
        ([7], [1]),
    ],
)
def test_examples_of_route_weights(weights: list[int], expected: list[int]) -> None:
    assert route_weights(weights) == expected


def test_examples_of_ranges() -> None:
    assert slots([Share("a", 3), Share("b", 1)]) == [(0, 49151, "a"), (49152, 65535, "b")]
    assert slots([Share("a", 1)]) == [(0, 65535, "a")]


POLICY = Policy("default", ((Share("a", 3), Share("b", 1)), (Share("c", 1),)))


@pytest.mark.parametrize(
    ("alive", "carry"),
    [("abc", "ab"), ("bc", "b"), ("ac", "a"), ("c", "c"), ("d", ""), ("", "")],
)
def test_the_first_tier_with_a_live_member_carries(alive: str, carry: str) -> None:
    assert "".join(share.uplink for share in carriers(POLICY, frozenset(alive))) == carry


def test_the_text_of_a_flip() -> None:
    plan = samples.plan()
    assert render_state(plan, {4: frozenset({"cable"})}) == (
        "flush map inet nib restore4\n"
        "add element inet nib restore4 { 0x2a000000 : goto use_cable, "
        "0x3f000000 : accept }\n"
        "flush map inet nib leave4\n"
        'add element inet nib leave4 { "wan1" : goto new_cable }\n'
        "flush chain inet nib balance_default4\n"
        "add rule inet nib balance_default4 numgen random mod 65536 vmap "
        "{ 0-65535 : goto new_cable }\n"
    )


def test_with_nobody_alive_new_flows_are_spread_as_if_all_were() -> None:
    plan = samples.plan()
    assert "vmap { 0-49151 : goto new_cable" in render_state(plan, {4: frozenset()})


@pytest.mark.parametrize("count", [1, 2, 3, 7, 31, 62])
def test_nft_takes_any_number_and_any_weight(count: int, tmp_path: Path) -> None:
    weights = [1 + number * 37 % 256 for number in range(count)]
    text = samples.uplinks(count, weights)
    plan, table = samples.plan(text), str(samples.files(text)["nib/nib.nft"])
    names = [uplink.name for uplink in plan.uplinks]
    flips = [
        render_state(plan, {4: frozenset(alive)})
        for alive in (names, names[:1], names[1:], names[::2], [])
    ]
    private.load([table, table, *flips], tmp_path)


def test_weights_that_are_far_apart(tmp_path: Path) -> None:
    text = samples.uplinks(62, [256] * 61 + [1])
    plan = samples.plan(text)
    table = str(samples.files(text)["nib/nib.nft"])
    private.load([table, render_state(plan, everything(plan))], tmp_path)
