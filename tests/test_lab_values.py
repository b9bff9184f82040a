"""The lab's values: what a record of traffic says, and what is chance."""

import pytest

from lab.record import Attempt, Attempts, Gap, Timeline
from lab.stats import chi_square_p, chi_square_tail


@pytest.mark.parametrize(
    ("statistic", "freedom"),
    [(3.841459, 1), (5.991465, 2), (7.814728, 3), (9.487729, 4), (11.0705, 5), (82.528727, 63)],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic: float, freedom: int) -> None:
    assert chi_square_tail(statistic, freedom) == pytest.approx(0.05, abs=1e-6)


def test_shares_fit_their_weights_or_do_not() -> None:
    weights = {"isp1": 3, "isp2": 1, "isp3": 0}
    assert chi_square_p({"isp1": 1500, "isp2": 500}, weights) == 1
    assert chi_square_p({"isp1": 1460, "isp2": 540}, weights) > 1e-3
    assert chi_square_p({"isp1": 1000, "isp2": 1000}, weights) < 1e-100
    assert chi_square_p({"isp1": 1500, "isp2": 500, "isp3": 1}, weights) == 0


def test_a_timeline_knows_its_gaps() -> None:
    answers = ((1.0, "a"), (1.02, "a"), (2.0, "b"), (2.02, "a"))
    timeline = Timeline(1.0, 5.02, answers, ((1.9, "reset"), (4.0, "timeout")))
    assert timeline.gaps == (Gap(1.02, 0.98), Gap(2.02, 3.0))
    assert timeline.longest_gap == 3
    assert timeline.resets == 1
    assert timeline.seen == ("a", "b", "a")
    assert timeline.answered_after(2.01)
    assert not timeline.answered_after(2.02)


def test_attempts_settle_after_the_last_failure() -> None:
    attempts = Attempts(
        (
            Attempt(1, 1.1, "a", ""),
            Attempt(2, 2.5, "", "timeout"),
            Attempt(3, 3.1, "b", ""),
            Attempt(4, 4.1, "b", ""),
        )
    )
    assert attempts.settled == 3
    assert attempts.counts == {"a": 1, "timeout": 1, "b": 2}
    assert attempts.since(2.5).failed == ()
    assert Attempts((Attempt(1, 2, "", "reset"),)).settled == float("inf")
