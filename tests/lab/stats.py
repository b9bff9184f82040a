"""Whether observed shares fit their weights."""

import math
from collections.abc import Mapping


def chi_square_p(observed: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """The probability that shares like these, or worse ones, come about by chance.

    Pearson's test.  A count for something that has no weight cannot be chance: 0.
    """
    drawn = {name: weight for name, weight in weights.items() if weight}
    if any(count and name not in drawn for name, count in observed.items()):
        return 0.0
    total, whole = sum(observed.values()), sum(drawn.values())
    expected = {name: total * weight / whole for name, weight in drawn.items()}
    statistic = sum((observed.get(n, 0) - e) ** 2 / e for n, e in expected.items())
    return chi_square_tail(statistic, len(drawn) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square value of at least `statistic`, exactly, by its finite series.

    Q(x; k) grows by one term with every two degrees of freedom, from erfc for odd and exp for even.
    """
    if freedom <= 0 or statistic <= 0:
        return 1.0
    half = statistic / 2
    if freedom % 2:
        tail, order, term = math.erfc(math.sqrt(half)), 0.5, 2 * math.sqrt(half / math.pi)
        term *= math.exp(-half)
    else:
        tail, order, term = math.exp(-half), 1.0, half * math.exp(-half)
    while order < freedom / 2:
        tail += term
        order += 1
        term *= half / order
    return min(1.0, tail)
