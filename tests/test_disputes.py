"""Who removes what nib puts back: how long it is fought, and what people hear of it."""

from typing import Any

import pytest

from nib.families import Family
from nib.ip_rules import MAIN, Mark, Priority, Rule, Table
from nib.monitor.disputes import (
    LONGEST_S,
    PATIENCE,
    PEACE_S,
    Dispute,
    PutBack,
    contested,
    news,
)
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Default,
    LanNetwork,
    NextHop,
    Say,
    SetBalance,
)
from nib.status import Disputed


def test_each_time_it_waits_twice_as_long() -> None:
    pauses = [Dispute(times, 0.0).pause_s for times in range(PATIENCE + 7)]
    assert pauses == [0, 0, 0, 0, 0, 2, 4, 8, 16, LONGEST_S, LONGEST_S, LONGEST_S]


def test_what_is_left_alone_for_a_while_is_no_longer_in_dispute() -> None:
    fight = Dispute(PATIENCE, 100.0)
    assert fight.peace_s == 100 + 2 + PEACE_S
    assert fight.again(111.0) == Dispute(PATIENCE + 1, 111.0)
    assert fight.again(113.0) == Dispute(1, 113.0)


def rule(family: Family = 4, **selectors: Any) -> AddRule:
    return AddRule(Rule(family, Priority(30500), "", **selectors))


def default(family: Family, gateway: str | None, table: Table) -> AddDefault:
    return AddDefault(Default(family, table, "wan1", gateway, 1, ours=True))


@pytest.mark.parametrize(
    ("effect", "name"),
    [
        (rule(), "the ip rule 30500"),
        (rule(family=6), "the ip rule 30500 of IPv6"),
        (rule(source="192.0.2.1"), "the ip rule 30500 from 192.0.2.1"),
        (rule(oif="wan1"), "the ip rule 30500 out by wan1"),
        (rule(iif="lan1"), "the ip rule 30500 in by lan1"),
        (rule(mark=Mark(0x2A000000)), "the ip rule 30500 with mark 0x2a000000"),
        (default(4, "192.0.2.1", MAIN), "the default route by wan1 via 192.0.2.1 in main"),
        (default(4, None, Table(7001)), "the default route by wan1 in table 7001"),
        (default(6, "fe80::1", MAIN), "the IPv6 default route by wan1 via fe80::1 in main"),
        (AddNetwork(LanNetwork("2001:db8::/64", "lan1", 1)), "2001:db8::/64 of lan1"),
        (SetBalance(4, ()), "the balance table (empty)"),
        (
            SetBalance(6, (NextHop("wan1", "fe80::1", 3), NextHop("wan2", "fe80::2", 1))),
            "the balance table of IPv6 (wan1 via fe80::1 weight 3, wan2 via fe80::2 weight 1)",
        ),
    ],
)
def test_it_has_a_name_once_it_is_more_than_an_accident(effect: PutBack, name: str) -> None:
    assert contested({effect: Dispute(PATIENCE, 7.0)}, {}) == (Disputed(name, PATIENCE, 7.0),)
    assert contested({effect: Dispute(PATIENCE - 1, 7.0)}, {}) == ()


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
