"""How the lines are asked, and which targets count."""

from hypothesis import given

import samples
from nib.monitor.events import Silenced, Watch
from nib.targets import Ping
from play import Play
from test_core import begun, settled
from test_histories import HISTORIES, lived

NINE, EIGHT = Ping("ping", "9.9.9.9"), Ping("ping", "8.8.8.8")


def test_a_line_is_asked_as_what_it_is_believed_to_be() -> None:
    of = begun("two")
    of.act(
        "0.1 cable .\n1 cable !\n2 cable .\n2.5 cable .\n3 wan1 loses carrier\n"
        "4 wan1 gets carrier\n5 end"
    )
    watched = [one for _, one in of.done if isinstance(one, Watch) and one.uplink == "cable"]
    assert [(one.mode, one.quorum) for one in watched] == [
        ("unknown", 1),
        ("up", 1),
        ("down", 1),
        ("up", 1),
        ("off", 1),
        ("down", 1),
    ]


@given(HISTORIES)
def test_whatever_happens_it_is_asked_as_it_is_believed(history: list[tuple[float, str]]) -> None:
    of = lived(history)
    of.act(f"{of.now_s!r} end")
    for key, health in of.world.healths.items():
        mode = "off" if key in of.world.obstacles else health.state
        assert of.world.watched[key] == Watch(*key, mode, 1)


def heard(script: str, *silenced: Silenced) -> list[str]:
    """What the journal hears of targets."""
    of = Play(samples.plan("probe: {quorum: 3, rise: 1}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    for one in silenced:
        of.later(one)
    lines = of.act(script).splitlines()
    return [line.strip() for line in lines if "answers on no" in line or "answers again" in line]


def test_a_target_that_is_silent_on_one_uplink_only_is_not_blamed() -> None:
    assert heard("10 end", Silenced(2.0, "cable", 4, (NINE,))) == []
    # nor by a second one that is dead, or has no carrier
    assert heard("1.5 dsl !\n10 end", Silenced(2.0, "cable", 4, (NINE,))) == []
    away = Silenced(1.2, "dsl", 4, (NINE,))
    assert heard("1.5 wan2 loses carrier\n10 end", away, Silenced(2.0, "cable", 4, (NINE,))) == []


def test_a_dead_line_speaks_only_of_what_was_silent_while_it_lived() -> None:
    first, second = Silenced(2.0, "dsl", 4, (NINE,)), Silenced(3.0, "cable", 4, (NINE,))
    assert heard("2.5 dsl !\n10 end", first, second) != []
    of = settled("tiers")
    of.act("2 dsl !")
    for name in ("cable", "lte", "spare"):
        of.later(Silenced(3.0, name, 4, (NINE,)))
    assert "9.9.9.9 answers on no uplink" in of.act("10 end")


def test_who_was_blamed_stays_so_until_somebody_hears_of_him() -> None:
    both = [Silenced(2.0, name, 4, (NINE,)) for name in ("cable", "dsl")]
    blamed = "2 warn 9.9.9.9 answers on no uplink, but others do: it is left out of account"
    assert heard("70 wan2 loses carrier\n80 wan1 has 192.0.2.77\n90 end", *both) == [blamed]
    again = Silenced(85.0, "cable", 4, ())
    assert heard("70 wan2 loses carrier\n90 end", *both, again) == [
        blamed,
        "85 say 9.9.9.9 answers again",
    ]


def test_targets_are_blamed_and_forgiven_each_by_itself() -> None:
    silenced = [
        Silenced(at_s, name, 4, targets)
        for at_s, targets in ((2.0, (NINE,)), (70.0, (NINE, EIGHT)), (140.0, (NINE,)), (150.0, ()))
        for name in ("cable", "dsl")
    ]
    assert [line.partition(" answers")[0] for line in heard("160 end", *silenced)] == [
        "2 warn 9.9.9.9",
        "70 warn 8.8.8.8",
        "140 say 8.8.8.8",
        "150 say 9.9.9.9",
    ]


def test_several_are_blamed_in_the_same_order_always() -> None:
    both = [Silenced(2.0, name, 4, (NINE, EIGHT)) for name in ("cable", "dsl")]
    back = Silenced(3.0, "dsl", 4, ())
    assert [line.partition(" answers")[0] for line in heard("10 end", *both, back)] == [
        "2 warn 8.8.8.8",
        "2 warn 9.9.9.9",
        "3 say 8.8.8.8",
        "3 say 9.9.9.9",
    ]


def test_who_is_left_out_of_account_need_not_answer() -> None:
    """But a line is up only if somebody does, were it he."""
    text = samples.uplinks(3).replace("wan0,", "wan0, probe: {targets: [9.9.9.9], quorum: 1},")
    of = Play(samples.plan("probe: {quorum: 3, rise: 1}\n" + text))
    of.act("1 u0 !\n1 u1 .\n1 u2 .")
    for name in ("u1", "u2"):
        of.later(Silenced(2.0, name, 4, (NINE,)))
    assert "9.9.9.9 answers on no uplink" in of.act("10 end")
    assert [of.world.watched[name, 4].quorum for name in ("u0", "u1", "u2")] == [1, 2, 2]
