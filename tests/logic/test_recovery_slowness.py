"""Recovery from slowness: responses that come back little by little, at once, or while others fail."""

from __future__ import annotations

import random
from math import exp

import pytest
from building import Script, away, errors, p95, steps
from recovering import HEAL, after, measured

from chaosrunner.model.load import Outcome


@pytest.mark.parametrize("ends", [10.0, 8.0])
def test_a_slow_return_is_timed_by_its_law(ends: float) -> None:
    """Responses that come back in a straight line meet their bound where the line does, inside the bounds."""
    chance = random.Random(2)

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        level = 4.0 if 22.5 <= due < HEAL else 1 + 3 * max(0.0, 1 - (due - HEAL) / ends) * (due >= HEAL)
        return Outcome.OK, 0.02 * level * 2.718281828 ** (0.2 * chance.gauss(0, 1))

    seen = measured(Script(answer=answer, rate=200.0), after(p95(0.02 * 2 * 2.718281828 ** (0.2 * 1.645))))
    assert seen.time_s is not None and seen.low_s is not None and seen.high_s is not None  # noqa: PT018
    assert seen.time_s == pytest.approx(ends * 2 / 3, abs=0.4)
    assert seen.low_s <= ends * 2 / 3 <= seen.high_s


def test_waiting_counts_failures_too() -> None:
    """Users whose request failed after a second have waited for a second."""

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        return (Outcome.TIMEOUT, 1.0) if 28.0 <= due < 29.0 else (Outcome.OK, 0.005)

    seen = measured(Script(answer=answer))
    assert (seen.lost, seen.waited_s) == (100, pytest.approx(99.5, rel=0.01))


def test_a_baseline_of_failures_has_no_median() -> None:
    """Without a success in the baseline neither waiting nor residual can be told."""
    seen = measured(Script(answer=away(0.0, 23.0)))
    assert (seen.waited_s, seen.residual) == (0.0, None)


def test_only_the_named_requests_count() -> None:
    """`errors of read` is not moved by failures of others, as long as reads go on."""

    def answer(due: float, name: int) -> tuple[Outcome, float]:
        ill = 24.0 <= due < (29.0 if name == 0 else 33.0)
        return (Outcome.STATUS, 0.001) if ill else (Outcome.OK, 0.005)

    script = Script(answer=answer, names=2, rate=200.0)
    load = steps("read", "write")
    reads = measured(script, after(errors(0.01, of="read"), load=load))
    both = measured(script, after(errors(0.01, of="read"), errors(0.01, of="write"), load=load))
    assert reads.time_s == pytest.approx(1.5, abs=0.01)
    assert both.time_s == pytest.approx(5.5, abs=0.01)


@pytest.mark.parametrize("odd", [30.033, 30.053, 30.103])
def test_a_step_of_slowness_is_told_by_how_slow_each_request_was(odd: float) -> None:
    """Right after a step back, a request that is slow by chance only does not make the recovery later."""

    def answer(due: float, _: int) -> tuple[Outcome, float]:
        if due < 30.003:
            return Outcome.OK, 0.3 if due >= 24.0 else 0.05
        return Outcome.OK, 0.12 if abs(due - odd) < 0.006 else 0.05

    seen = measured(Script(answer=answer), after(p95(0.1)))
    assert seen.time_s == pytest.approx(2.505, abs=0.002)
    assert seen.low_s is not None and seen.high_s is not None  # noqa: PT018
    assert seen.low_s <= 2.503 <= seen.high_s


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_failures_that_go_on_are_not_hidden_by_a_law_that_the_others_follow(share: float) -> None:
    """While a part of the requests still fails a quantile has not recovered, however smoothly the others come back."""
    chance = random.Random(5)

    def answer(due: float, _: int) -> tuple[Outcome, float]:
        usual = 0.02 * exp(0.1 * chance.gauss(0, 1))
        if due < 24.0:
            return Outcome.OK, usual
        if due < 40.0 and chance.random() < share:
            return Outcome.RESET, 0.001
        return Outcome.OK, usual * (1 + 6 * exp(-(due - 24.0) / 3.0))

    seen = measured(Script(answer=answer), after(p95(0.05)))
    assert seen.time_s == pytest.approx(12.5, abs=0.5)
