"""Laws of return, and their fit to stretches of hits."""

from __future__ import annotations

import math
from random import Random
from statistics import pstdev

import pytest

from chaosrunner.logic.return_laws import FAR_S, Law, Numbers, cut, exponential, fitted, line, solved, swings, tried
from chaosrunner.logic.return_starts import falling, swinging

INSTANTS = [nth / 50 for nth in range(1000)]
TWO = (math.log(3.0), math.log(4.0))
FOUR = (*TWO, math.log(2.0), 0.4)


@pytest.mark.parametrize(("law", "numbers"), [(line, TWO), (exponential, TWO), (swings, (*TWO, math.log(2.0), 0.0))])
def test_a_law_falls_from_its_height_to_nothing(law: Law, numbers: Numbers) -> None:
    """Each law begins four times as slow and is over in the end."""
    first, last = law([0.0, FAR_S], numbers)
    assert first == pytest.approx(math.log(4.0))
    assert last == 0.0


@pytest.mark.parametrize(("law", "numbers"), [(line, TWO), (exponential, TWO), (swings, FOUR)])
def test_the_fit_finds_what_was_there(law: Law, numbers: Numbers) -> None:
    """Without scatter the numbers and the usual response come out, from a start that is off."""
    stretches = cut(INSTANTS, [7.0 + level for level in law(INSTANTS, numbers)], 5)
    fit = fitted(law, stretches, tuple(number + 0.1 for number in numbers))
    assert fit.numbers == pytest.approx(numbers, abs=0.01)
    assert fit.usual == pytest.approx(7.0, abs=0.01)
    assert fit.unknowns == len(numbers) + 1


def test_a_fit_ends_where_no_step_is_better() -> None:
    """At the best numbers the fit stays where it is."""
    stretches = cut(INSTANTS, exponential(INSTANTS, TWO), 1)
    assert fitted(exponential, stretches, TWO).numbers == TWO


def test_the_usual_response_before_holds_the_end() -> None:
    """A million hits before the effect decide what the return ends at."""
    chance = Random(1)
    early = [y + chance.gauss(0.0, 0.3) for y in exponential(INSTANTS[:200], TWO)]
    stretches = cut(INSTANTS[:200], early, 5)
    assert abs(fitted(exponential, stretches.with_usual(0.0, 1_000_000), TWO).usual) < 0.001
    assert abs(fitted(exponential, stretches, TWO).usual) > 0.01


def test_the_covariance_is_that_of_many_fits() -> None:
    """Numbers fitted to 100 samples scatter as the covariance of one of them says."""
    chance = Random(1)
    fits = [
        fitted(exponential, cut(INSTANTS, [y + chance.gauss(0, 0.3) for y in exponential(INSTANTS, TWO)], 5), TWO)
        for _ in range(100)
    ]
    said = [0.3 * math.sqrt(fits[0].covariance()[nth][nth]) for nth in range(2)]
    seen = [pstdev(fit.numbers[nth] for fit in fits) for nth in range(2)]
    assert seen == pytest.approx(said, rel=0.3)


def test_slopes_are_those_of_the_law() -> None:
    """A higher A moves an exponential by A·g/(1 + A·g)."""
    fit = tried(exponential, cut(INSTANTS, exponential(INSTANTS, TWO), 5), TWO)
    [by_extra, _] = fit.slopes([2.0])
    above = 3.0 * math.exp(-0.5)
    assert by_extra == [pytest.approx(above / (1 + above), rel=1e-3)]


def test_a_linear_system() -> None:
    """Two equations are solved; a number of which nothing is known is 0."""
    assert solved([[2.0, 1.0], [1.0, 3.0]], [5.0, 10.0]) == pytest.approx([1.0, 3.0])
    assert solved([[2.0, 0.0], [0.0, 0.0]], [4.0, 0.0]) == [2.0, 0.0]


def test_what_is_left_over_is_no_stretch() -> None:
    """Eleven hits are three stretches of three, at the middles of their hits."""
    stretches = cut(INSTANTS[:11], INSTANTS[:11], 3)
    assert list(stretches.hits) == [3, 3, 3]
    assert stretches.means == pytest.approx([0.02, 0.08, 0.14])
    assert (stretches.early[0] + stretches.late[0]) / 2 == pytest.approx(0.02)


@pytest.mark.parametrize("law", [line, exponential])
@pytest.mark.parametrize("lasts_s", [1.0, 4.0, 15.0])
def test_a_falling_law_is_found_from_nowhere(law: Law, lasts_s: float) -> None:
    """Short and long returns are found without being told where to begin."""
    numbers = (math.log(3.0), math.log(lasts_s))
    stretches = cut(INSTANTS, law(INSTANTS, numbers), 10)
    assert falling(law, stretches, stretches.means[-1]).numbers == pytest.approx(numbers, abs=0.05)


@pytest.mark.parametrize(("lasts_s", "period_s", "phase"), [(2.0, 1.5, 0.3), (6.0, 2.0, -0.9), (9.0, 7.0, 0.0)])
def test_swings_are_found_from_nowhere(lasts_s: float, period_s: float, phase: float) -> None:
    """Fast and slow swings are found without being told their period, in scatter."""
    chance = Random(2)
    numbers = (math.log(3.0), math.log(lasts_s), math.log(period_s), phase)
    stretches = cut(INSTANTS, [y + chance.gauss(0.0, 0.1) for y in swings(INSTANTS, numbers)], 10)
    assert swinging(stretches, 0.0).numbers == pytest.approx(numbers, abs=0.1)
