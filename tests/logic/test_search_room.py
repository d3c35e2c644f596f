"""A level that our own connections or CPU limited is no evidence on the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from building import Script, errors, experiment, p95, well

from chaosrunner.logic.fold import State
from chaosrunner.logic.search.outcome import trial_of
from chaosrunner.logic.search.room import taken, without_room, without_waiting
from chaosrunner.logic.strain import Strain
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Hypothesis, Tolerance
from chaosrunner.model.load import Outcome
from chaosrunner.model.search import Trial
from chaosrunner.model.slots import Slot
from chaosrunner.model.verdict import Outcome as Judged

CALM = experiment(faults=(), hypothesis=Hypothesis(before=(p95(0.1), errors(0.01))))
CONNECTIONS = 10


def slot(wait_s: float, **done: int) -> Slot:
    """A thousand requests that took a second each once they were sent, and what became of others."""
    seen = Slot(due=1000 + sum(done.values()), done={Outcome(name): count for name, count in done.items()})
    for _ in range(1000):
        seen.service.record(1_000_000)
        seen.wait.record(round(wait_s * 1e6))
    return seen


def test_connections_are_taken_where_requests_wait_for_one() -> None:
    """A thousand seconds of service in five are 200 connections; none where nobody waits, or the target refuses."""
    assert taken(slot(2.0), 5.0) == pytest.approx(200.0, rel=0.05)
    assert taken(slot(2.0, shed=100, unfinished=100, timeout=100), 5.0) == pytest.approx(200.0, rel=0.05)
    assert taken(slot(0.001), 5.0) == 0.0
    assert taken(slot(2.0, status=100), 5.0) == 0.0
    assert taken(Slot(), 5.0) == 0.0


def test_too_few_connections_are_not_blamed_on_the_target() -> None:
    """A level at which all of ours were taken while answers were as quick as ever is UNKNOWN and says what to do."""
    held = Trial(level=100.0, outcome=Judged.HELD, service=1.0)
    full = Trial(level=300.0, outcome=Judged.BROKEN, service=1.05, taken=199.0, why="p95")
    seen = without_room(full, [held, replace(held, level=190.0, service=0.1)], 200)
    assert seen.outcome is Judged.UNKNOWN
    assert seen.why.startswith("p95 (all 200 connections of ours were taken and the target was as quick as ever")
    assert seen.why.endswith("use more `connections`)")
    for other, before in (
        (replace(full, service=2.0), [held]),  # overloaded: it answers late
        (replace(full, service=None), [held]),  # it answers nobody
        (replace(full, taken=100.0), [held]),
        (replace(full, slowed=1.6), []),  # it became slower while it was asked
        (replace(full, outcome=Judged.HELD), [held]),
    ):
        assert without_room(other, before, 200) is other


@pytest.mark.parametrize(("slowed", "says"), [(1.1, "as quick as at first"), (None, "nothing says how quick")])
def test_a_first_level_is_not_blamed_for_too_few_connections(slowed: float | None, says: str) -> None:
    """Before anything held, only the run's own first requests say how quick the target is: to begin lower says more."""
    full = Trial(level=300.0, outcome=Judged.BROKEN, service=9.0, slowed=slowed, taken=199.0, why="p95")
    seen = without_room(full, [replace(full, level=400.0)], 200)
    assert seen.outcome is Judged.UNKNOWN
    assert says in seen.why
    assert "or begin lower" in seen.why


def served(script: Script, service: Callable[[float], float], waited_s: float = 0.0) -> State:
    """A run of whose requests the service is known as well, by when they were due, and how long all waited for us."""
    state = script.state()
    for number in [*state.slots]:
        names = state.slots[number]
        for one in names.values():
            for _ in range(one.due):
                one.service.record(round(service(number / 10) * 1e6))
                one.wait.record(round(waited_s * 1e6))
        state.slots[number] = names
    return state


def baseline_only() -> Script:
    """A run that is nothing but a baseline from 2 to 22 s."""
    return Script(fault=None, inject=None, heal=None, recovery=None, end=25.0, ended="no fault")


def test_a_run_knows_how_much_slower_its_target_became() -> None:
    """Its requests beside its first twenty, by their medians; with a fault beside those a second after it began."""
    slower = served(baseline_only(), lambda due: 0.1 if due < 0.3 else 0.3)
    assert trial_of(CALM, slower, 100.0).slowed == pytest.approx(3.0, rel=0.01)
    ill = served(Script(), lambda due: 0.1 if due < 23.2 else 0.2 if due < 23.4 else 0.3)
    assert trial_of(experiment(), ill, 100.0).slowed == pytest.approx(1.5, rel=0.01)


def test_cold_first_answers_do_not_hide_that_a_target_became_slower() -> None:
    """Where the first twenty answers are slow for being the first, the hundred after them say how quick it can be."""
    cold = served(baseline_only(), lambda due: 0.3 if due < 0.3 else 0.1 if due < 2.0 else 0.3)
    assert trial_of(CALM, cold, 100.0).slowed == pytest.approx(3.0, rel=0.01)
    brief = Script(**{**vars(baseline_only()), "dues": [nth / 100 for nth in range(25)], "baseline": 0.0})
    seen = trial_of(replace(CALM, baseline_s=0.3), served(brief, lambda due: 0.3 if due < 0.2 else 0.1), 100.0)
    assert seen.slowed == pytest.approx(1.0, rel=0.01)  # five quick answers may be chance


def test_without_its_first_requests_a_run_knows_of_no_slowness() -> None:
    """Where none was served, and where the first seconds are no longer known one by one, there is nothing to say."""
    assert trial_of(CALM, baseline_only().state(), 100.0).slowed is None
    long = served(baseline_only(), lambda _: 0.1)
    long.detail.until = 100
    assert trial_of(CALM, long, 100.0).slowed is None


QUICK = p95(0.1)


def dose(during: Tolerance = QUICK) -> Experiment:
    """What is asked of a dose, before a target for which we have ten connections."""
    plain = experiment(hypothesis=Hypothesis(before=(errors(0.01),), during=(during,), after=(errors(0.01),)))
    return replace(plain, load=replace(plain.load, connections=CONNECTIONS))


def slow(due: float, name: int) -> tuple[Outcome, float]:
    """300 ms while the fault is in place."""
    return (Outcome.OK, 0.3) if 22.5 <= due < 27.5 else well(due, name)


@pytest.mark.parametrize(
    ("service", "outcome"),
    [
        pytest.param(lambda _: 0.095, Judged.UNKNOWN, id="only the wait for a connection breaks it"),
        pytest.param(lambda _: 0.2, Judged.BROKEN, id="so does what answers take once they are asked for"),
        pytest.param(lambda due: 0.05 if due < 24.4 else 0.12, Judged.BROKEN, id="it became slower"),
        pytest.param(lambda _: 0.05, Judged.BROKEN, id="half of the connections were free"),
    ],
)
def test_a_dose_that_only_our_connections_could_not_bear_is_unknown(
    service: Callable[[float], float], outcome: Judged
) -> None:
    """At 100 requests a second and 10 connections a dose of 95 ms makes a queue before the target, which is ours."""
    seen = trial_of(dose(), served(Script(answer=slow), service, waited_s=0.2), 0.09, of_load=False)
    assert seen.outcome is outcome
    assert ("all 10 connections of ours were taken" in seen.why) is (outcome is Judged.UNKNOWN)


def test_a_dose_that_a_load_would_bear_is_not_asked_for_room() -> None:
    """A dose that holds is a dose that holds, and a load is judged beside other loads."""
    state = served(Script(answer=slow), lambda _: 0.095, waited_s=0.2)
    assert trial_of(dose(p95(0.5)), state, 0.09, of_load=False).outcome is Judged.HELD
    assert trial_of(dose(), state, 100.0).outcome is Judged.BROKEN


@pytest.mark.parametrize(
    ("how", "outcome"), [(Outcome.TIMEOUT, Judged.UNKNOWN), (Outcome.STATUS, Judged.BROKEN), (Outcome.OK, Judged.HELD)]
)
@pytest.mark.parametrize("when", [range(22, 28), range(28, 60)])
def test_a_worker_that_was_never_idle_says_nothing_of_a_dose(how: Outcome, outcome: Judged, when: range) -> None:
    """What was given up while we had no CPU to see answers is no evidence, in the fault or after it; wrong answers
    are.
    """
    state = Script(answer=lambda due, _: (how if due >= 22.5 else Outcome.OK, 0.3)).state()
    state.strains = {(second, 0): Strain(full_us=1e6) for second in when}
    seen = trial_of(dose(errors(0.5)), state, 0.09, of_load=False)
    assert seen.outcome is outcome
    assert ("worker 0 of the load was never idle" in seen.why) is (outcome is Judged.UNKNOWN)


def test_without_waiting_answers_take_what_they_took_once_they_were_asked_for() -> None:
    """Slots, sums and hits: waits are taken off, what was given up counts as answered, wrong answers stay wrong."""
    state = served(Script(answer=slow), lambda _: 0.095, waited_s=0.2)
    hits = [replace(state.hits[0], response_us=300_000, sent_us=200_000), state.hits[1]]
    hits += [replace(hits[0], outcome=Outcome.SHED), replace(hits[0], outcome=Outcome.STATUS)]
    state.hits = hits
    state.coarse = {(state.phases[0][0], 0): slot(2.0, timeout=7, status=2)}
    kind = without_waiting(state, served=True)
    assert [hit.response_us for hit in kind.hits] == [100_000, hits[1].response_us, 0, 300_000]
    assert [hit.outcome for hit in kind.hits] == [Outcome.OK, Outcome.OK, Outcome.OK, Outcome.STATUS]
    [summed] = kind.coarse.values()
    assert (summed.done, summed.ok) == ({Outcome.STATUS: 2, Outcome.OK: 7}, slot(2.0).service)
    assert kind.slots[230][0].ok.quantile(0.5) == pytest.approx(95_000, rel=0.01)
    assert state.slots[230][0].ok.quantile(0.5) == pytest.approx(300_000, rel=0.01)
    at_once = without_waiting(state, served=False)
    assert at_once.slots[230][0].ok.quantile(0.99) == 0
    assert [hit.response_us for hit in at_once.hits] == [0, 0, 0, 300_000]
    plain = Script().state()
    assert without_waiting(plain, served=True).slots[230][0].ok == plain.slots[230][0].ok  # nothing says what it took
