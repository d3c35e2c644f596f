"""The circuit breaker, by its laws."""

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.demo.breaker import Breaker


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def opened(threshold=3):
    clock = Clock()
    breaker = Breaker(threshold=threshold, rest_s=1.0, clock=clock)
    for _ in range(threshold):
        assert breaker.admit()
        breaker.failed()
    return breaker, clock


@given(st.integers(1, 20))
def test_exactly_threshold_failures_in_a_row_open_it(threshold):
    """It admits until `threshold` failures came in a row, and then it does not."""
    breaker, _ = opened(threshold)
    assert breaker.state == "open"
    assert not breaker.admit()


@given(st.lists(st.booleans(), max_size=60), st.integers(2, 5))
def test_a_success_forgets_all_failures_before_it(outcomes, threshold):
    """It is open exactly when the last `threshold` outcomes were failures and nothing succeeded since."""
    breaker = Breaker(threshold=threshold, rest_s=1.0, clock=Clock())
    in_a_row = 0
    for succeeded in outcomes:
        breaker.succeeded() if succeeded else breaker.failed()
        in_a_row = 0 if succeeded else in_a_row + 1
        assert (breaker.state == "open") == (in_a_row >= threshold)


def test_one_trial_at_a_time_is_admitted_after_the_rest():
    """After the rest one request goes through as a trial and the next one does not."""
    breaker, clock = opened()
    clock.now_s += 1.0
    assert breaker.state == "half-open"
    assert breaker.admit()
    assert not breaker.admit()


def test_a_trial_that_succeeds_closes_it():
    """A successful trial lets everyone through again."""
    breaker, clock = opened()
    clock.now_s += 1.0
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"


def test_a_trial_that_fails_starts_the_rest_again():
    """A failed trial keeps it open for another whole rest."""
    breaker, clock = opened()
    clock.now_s += 1.0
    assert breaker.admit()
    breaker.failed()
    clock.now_s += 0.99
    assert not breaker.admit()
    clock.now_s += 0.02
    assert breaker.admit()


def test_a_trial_that_never_reports_does_not_lock_it_for_ever():
    """A lost trial is given up after the rest, and another one is admitted."""
    breaker, clock = opened()
    clock.now_s += 1.0
    assert breaker.admit()
    clock.now_s += 1.0
    assert breaker.admit()
