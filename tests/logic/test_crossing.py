"""When a quantile crossed its bound, by a law that is given."""

from __future__ import annotations

import math
from random import Random

import pytest

from chaosrunner.logic.crossing import Fitted, crossing
from chaosrunner.logic.return_laws import Fit, exponential, swings

FALLS = Fit(exponential, (math.log(3.0), math.log(4.0)), 0.0, 0.0, ((200.0, 10.0), (10.0, 300.0)))
INSTANTS = [nth / 50 for nth in range(1000)]


def seen(fit: Fit = FALLS, *, wide: float = 0.1, before: float | None = None) -> Fitted:
    """A thousand hits, and as many before the effect if their scatter is given."""
    chance = Random(3)
    rest, more = ([chance.gauss(0.0, one) for _ in range(1000)] for one in (wide, before or wide))
    return Fitted(fit, wide, INSTANTS, rest, more if before else [])


def test_the_law_carries_the_quantile_to_the_bound() -> None:
    """The median of what began four times as slow is half as slow again when the exponential has fallen to a sixth."""
    found = crossing(seen(), (math.log(1.5), 0.5), 100.0)
    assert found is not None
    assert found.at_s == pytest.approx(100.0 + 4 * math.log(6), abs=0.2)
    assert found.low_s < found.at_s < found.high_s


def test_who_knows_less_says_more() -> None:
    """The interval is wider where hits scatter more, and narrower with those from before that are alike."""

    def width(one: Fitted) -> float:
        found = crossing(one, (math.log(1.5), 0.5), 0.0)
        assert found is not None
        return found.high_s - found.low_s

    assert width(seen(wide=0.2)) > 1.5 * width(seen())
    assert width(seen(before=0.1)) < width(seen())


def test_those_before_that_are_not_alike_do_not_count() -> None:
    """Hits whose slow share was another one before the effect are not asked for the quantile."""
    asked = (math.log(1.5) + 0.16, 0.95)
    assert crossing(seen(before=0.01), asked, 0.0) == crossing(seen(), asked, 0.0)


@pytest.mark.parametrize(("bound", "says"), [(math.log(5.0), "never beyond"), (math.log(1.001), "beyond at the end")])
def test_a_bound_that_is_not_crossed(bound: float, says: str) -> None:
    """A law that begins within the bound does not cross it, nor does one that ends beyond it."""
    assert crossing(seen(wide=1e-4), (bound, 0.5), 0.0) is None, says


def test_an_interval_ends_with_the_watch() -> None:
    """Where all the band may be beyond or within the bound, the interval is from the first hit to the last."""
    vague = Fit(FALLS.law, FALLS.numbers, 0.0, 0.0, ((1e-3, 0.0), (0.0, 1e-3)))
    found = crossing(seen(vague), (math.log(1.5), 0.5), 0.0)
    assert found is not None
    assert (found.low_s, found.high_s) == (0.0, INSTANTS[-1])


def test_the_last_swing_counts() -> None:
    """Of swings that are beyond the bound again and again the end of the last one is the moment."""
    curvature = tuple(tuple(1e4 * (row == column) for column in range(4)) for row in range(4))
    fit = Fit(swings, (math.log(3.0), math.log(4.0), math.log(2.0), 0.0), 0.0, 0.0, curvature)
    found = crossing(seen(fit, wide=0.01), (math.log(1.5), 0.5), 0.0)
    assert found is not None
    assert found.at_s == pytest.approx(6.292, abs=0.005)
