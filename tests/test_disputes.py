"""Who removes what nib puts back: how long it is fought, and what people hear of it."""

import pytest

from nib.monitor.disputes import (
    LONGEST_S,
    NONE,
    PATIENCE,
    PEACE_S,
    Dispute,
    PutBack,
    contested,
    news,
)
from nib.monitor.events import AddDefault, AddNetwork, AddRule, Default, LanNetwork, Say, SetBalance
from nib.plan import Priority, Rule, Table


def test_each_time_it_waits_twice_as_long() -> None:
    pauses = [Dispute(times, 0.0).pause_s for times in range(PATIENCE + 7)]
    assert pauses == [0, 0, 0, 0, 0, 2, 4, 8, 16, LONGEST_S, LONGEST_S, LONGEST_S]


def test_what_is_left_alone_for_a_while_is_no_longer_in_dispute() -> None:
    fight = Dispute(PATIENCE, 100.0)
    assert fight.peace_s == 100 + 2 + PEACE_S
    assert fight.again(111.0) == Dispute(PATIENCE + 1, 111.0)
    assert fight.again(113.0) == Dispute(1, 113.0)


@pytest.mark.parametrize(
    ("effect", "name"),
    [
        (AddRule(Rule(4, Priority(30500), "")), "the ip rule 30500"),
        (AddRule(Rule(6, Priority(30500), "")), "the ip rule 30500 of IPv6"),
        (AddDefault(Default(4, Table(254), "wan1", None, 1, True)), "the default route by wan1"),
        (
            AddDefault(Default(6, Table(254), "wan1", None, 1, True)),
            "the IPv6 default route by wan1",
        ),
        (AddNetwork(LanNetwork("2001:db8::/64", "lan1", 1)), "2001:db8::/64 of lan1"),
        (SetBalance(4, ()), "the balance table"),
        (SetBalance(6, ()), "the balance table of IPv6"),
    ],
)
def test_it_has_a_name_once_it_is_more_than_an_accident(effect: PutBack, name: str) -> None:
    assert contested({effect: Dispute(PATIENCE, 0.0)}, NONE) == (name,)
    assert contested({effect: Dispute(PATIENCE - 1, 0.0)}, NONE) == ()


@pytest.mark.parametrize(
    ("names", "listed", "hint"),
    [
        (("the default route by wan1",), "the default route by wan1", "ip monitor route"),
        (("the ip rule 1", "the ip rule 2"), "the ip rule 1, the ip rule 2", "ip monitor rule"),
        (("a", "b", "c"), "a, b, c", "ip monitor route"),
        (("a", "b", "c", "d"), "a, b, c and 1 more", "ip monitor route"),
        (("a", "nib's nft table"), "a, nib's nft table", "nft monitor"),
    ],
)
def test_the_journal_hears_what_and_how_to_find_out_by_whom(
    names: tuple[str, ...], listed: str, hint: str
) -> None:
    assert news(("a before",), ("a before", *names)) == [
        Say(
            f"something keeps removing {listed}: from now on nib puts it back more rarely; "
            f"to see what does it: {hint}",
            warning=True,
        )
    ]
    assert news(names, ()) == [Say(f"nothing removes {listed} any more")]
