"""Recovery from users' own requests: on outages whose every instant is known."""

from __future__ import annotations

import random

import pytest
from building import Script, away, errors, experiment, fault, noisy, ns, p95
from hypothesis import given, settings
from hypothesis import strategies as st
from recovering import FEW, FEW_AND_FAST, HEAL, LATER, after, measured

from chaosrunner.logic.fold import State, fold
from chaosrunner.logic.recovery import recovery
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot


@settings(max_examples=15, deadline=None)
@given(
    begin=st.floats(22.5, 27.0),
    lasts=st.floats(0.6, 12.0),
    rate=st.sampled_from([20.0, 50.0, 100.0, 200.0]),
    seed=st.integers(),
)
def test_an_outage_is_measured_to_one_request(begin: float, lasts: float, rate: float, seed: int) -> None:
    """Whatever its length, an outage's end is known to half the distance of two requests, inside the bounds."""
    end = begin + lasts
    quiet = noisy(seed, wrong=0.0, slow=0.0)
    seen = measured(Script(answer=away(begin, end, otherwise=quiet), rate=rate), FEW_AND_FAST)
    truth, step = max(0.0, end - HEAL), 1.001 / rate
    assert seen.state == "recovered"
    assert seen.time_s is not None and seen.low_s is not None and seen.high_s is not None  # noqa: PT018
    assert seen.low_s - 1e-6 <= truth <= seen.high_s + step
    assert abs(seen.time_s - truth) <= step / 2 + 1e-6
    assert seen.detected_s is not None
    assert begin - 22.5 - 1e-6 <= seen.detected_s <= begin - 22.5 + step
    assert seen.outage_low_s is not None and seen.outage_high_s is not None  # noqa: PT018
    assert seen.outage_low_s <= lasts <= seen.outage_high_s + 1e-6
    assert seen.depth == 1.0 if lasts >= 1.1 else seen.depth is not None


@pytest.mark.parametrize("raw", [True, False], ids=["raw hits", "slots"])
def test_noise_hardly_moves_it(raw: bool) -> None:
    """With 0.2 % errors and 4 % slow hits all the time, most ends are known to two requests; the bounds hold them."""
    rate, close, covered = 50.0, 0, 0
    for seed in range(20):
        end = HEAL + 0.2 + 8 * random.Random(seed).random()
        script = Script(answer=away(24.0, end, otherwise=noisy(seed)), rate=rate, raw=raw, baseline=18.0)
        seen = measured(script, FEW_AND_FAST)
        assert seen.time_s is not None and seen.low_s is not None and seen.high_s is not None  # noqa: PT018
        wrong = abs(seen.time_s - (end - HEAL)) * rate
        assert wrong <= 20 if raw else wrong <= 40
        close += wrong <= (2 if raw else 6)
        covered += seen.low_s - 1e-6 <= end - HEAL <= seen.high_s + 1e-6
    assert close >= 17
    assert covered >= 18


def test_natural_noise_is_no_outage() -> None:
    """Where nothing happened but the usual noise, users never noticed, and recovery took no time."""
    for seed in range(10):
        seen = measured(Script(answer=noisy(seed), rate=100.0, end=50.0), FEW_AND_FAST)
        assert (seen.state, seen.time_s, seen.low_s, seen.detected_s) == ("recovered", 0.0, 0.0, None)


def test_users_who_never_noticed() -> None:
    """Without one bad hit the time is 0, its upper bound the distance of requests, and nothing was lost."""
    seen = measured(Script(rate=8.0, heal=(27.45, 27.48), recovery=27.5), after(errors(0.1)))
    assert (seen.state, seen.time_s, seen.low_s, seen.lost, seen.detected_s) == ("recovered", 0.0, 0.0, 0, None)
    assert seen.high_s == pytest.approx(0.05)
    assert (seen.outage_s, seen.depth) == (None, None)


def test_healed_before_the_fault_ended() -> None:
    """A system that found its way while the fault was still on has recovered in no time, and the outage is told."""
    seen = measured(Script(answer=away(23.0, 25.0), rate=100.0))
    assert (seen.time_s, seen.low_s, seen.high_s) == (0.0, 0.0, 0.0)
    assert seen.detected_s == pytest.approx(0.5)
    assert seen.outage_s == pytest.approx(1.99)
    assert (seen.outage_low_s, seen.outage_high_s) == (
        pytest.approx(1.989),
        pytest.approx(2.015),
    )  # with the answers' own time
    assert seen.lost == 200


def test_the_width_of_the_heal_is_in_the_bounds() -> None:
    """A heal that was called at 27.0 and answered at 27.5 leaves half a second of doubt."""
    seen = measured(Script(answer=away(23.0, 30.003), heal=(27.0, 27.5)))
    assert seen.time_s == pytest.approx(2.505)
    assert (seen.low_s, seen.high_s) == (pytest.approx(2.50), pytest.approx(3.01))
    assert seen.at_ns == ns(30.01)
    assert seen.from_inject_s == pytest.approx(7.505)


def test_a_kill_counts_from_the_kill() -> None:
    """What has no undo ends with its inject, and users may have it back while FAULT lasts."""
    killed = Script(answer=away(22.5, 24.003), heal=None, reversible=False, inject=(22.4, 22.5))
    seen = measured(killed)
    assert seen.time_s == pytest.approx(1.505)
    assert (seen.low_s, seen.high_s) == (pytest.approx(1.5), pytest.approx(1.61))
    assert seen.from_inject_s == seen.time_s


def test_the_last_fault_counts() -> None:
    """With several faults the effect ends with the one that was healed last, and begins with the first inject."""
    second = [
        (24.0, e.Prepared(fault=1, recipe={}, deadline_ns=0)),
        (24.0, e.Injecting(fault=1, called_ns=ns(24.0))),
        (24.0, e.Injected(fault=1, called_ns=ns(24.0), answered_ns=ns(24.0))),
        (29.0, e.Undone(fault=1, called_ns=ns(28.9), answered_ns=ns(29.0), attempts=1, says="")),
    ]
    two = after(errors(0.01), faults=(fault(0), fault(1)))
    seen = measured(Script(answer=away(23.0, 30.003), extra=second), two)
    assert seen.time_s == pytest.approx(1.005)
    assert seen.from_inject_s == pytest.approx(7.505)


def test_a_partial_outage() -> None:
    """When a third of the requests fails, the end is known to a dozen requests, and the depth is a third."""
    chance = random.Random(3)

    def third(due: float, _name: int) -> tuple[Outcome, float]:
        ill = 23.0 <= due < 31.0 and chance.random() < 1 / 3
        return (Outcome.RESET, 0.001) if ill else (Outcome.OK, 0.005)

    seen = measured(Script(answer=third, rate=200.0))
    assert seen.time_s == pytest.approx(3.5, abs=12 / 200)
    assert seen.depth == pytest.approx(1 / 3, abs=0.1)


def test_a_brown_out_after_the_outage_is_not_yet_recovery() -> None:
    """As long as 8 % are slow where 5 % may be, `after` does not hold."""
    chance = random.Random(5)

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        if 24.0 <= due < 29.0:
            return Outcome.RESET, 0.001
        return Outcome.OK, 1.0 if due < 40.0 and due >= 29.0 and chance.random() < 0.25 else 0.005

    seen = measured(Script(answer=answer, rate=200.0, end=70.0), after(p95(0.1)))
    assert seen.state == "recovered"
    assert seen.time_s == pytest.approx(40.0 - HEAL, abs=0.2)


def test_a_relapse_starts_anew() -> None:
    """An outage that comes back within the hold time was not over."""
    back = away(24.0, 29.0, otherwise=away(33.0, 34.005))
    seen = measured(Script(answer=back))
    assert seen.time_s == pytest.approx(6.505)
    assert seen.outage_s == pytest.approx(10.0)


def test_a_relapse_after_the_hold_time_is_told() -> None:
    """What comes back after it was proven is told, not hidden."""
    seen = measured(Script(answer=away(24.0, 28.0, otherwise=away(45.0, 47.0))))
    assert (seen.state, seen.why) == ("recovered", "it relapsed later")
    assert seen.held_s == pytest.approx(17.0, abs=0.5)


def test_worse_than_allowed_is_not_over_though_no_stretch_is_striking() -> None:
    """Where 6 % are slow instead of 5 and an outage follows, recovery is the end of that outage."""

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        if 24.0 <= due < 27.5 or 45.0 <= due < 50.0:
            return Outcome.RESET, 0.001
        slow = due < 45.0 and round(due * 100) % 16 == 0
        return Outcome.OK, 1.0 if due >= 27.5 and slow else 0.005

    asked = after(p95(0.1), recover=RecoveryTarget(within_s=30.0, hold_s=10.0))
    seen = measured(Script(answer=answer, end=75.0), asked)
    assert seen.time_s == pytest.approx(22.5, abs=0.05)
    assert seen.state == "recovered"


def test_late_is_not_recovered() -> None:
    """A recovery after the target is late."""
    quick = after(errors(0.01), recover=RecoveryTarget(within_s=2.0, hold_s=10.0))
    assert measured(Script(answer=away(24.0, 30.0)), quick).state == "late"
    assert measured(Script(answer=away(24.0, 29.4)), quick).state == "recovered"


def test_never() -> None:
    """Watched until target and hold without recovery is NEVER, with what it cost so far."""
    seen = measured(Script(answer=away(24.0, 999.0), end=58.0))
    assert (seen.state, seen.at_ns, seen.time_s) == ("never", None, None)
    assert seen.why == "not within target and hold, watched for 30.5 s"
    assert seen.lost == 3400
    assert seen.depth == 1.0


def test_good_too_late_is_never() -> None:
    """Recovery that began too late to be held within the watch is NEVER, and says since when it held."""
    seen = measured(Script(answer=away(24.0, 53.0), end=58.0))
    assert (seen.state, seen.held_s) == ("never", 5.0)
    assert seen.why == "holding only for the last 5 s, watched for 30.5 s"


def test_a_watch_cut_short_is_unknown() -> None:
    """Before target and hold have passed nothing is never."""
    seen = measured(Script(answer=away(24.0, 30.0), end=36.0))
    assert (seen.state, seen.held_s) == ("unknown", 6.0)
    assert seen.why == "watched for 8.5 s, holding for 6 s"
    assert measured(Script(answer=away(24.0, 99.0), end=36.0)).why == "watched for 8.5 s, holding for 0 s"


def test_too_few_requests_prove_nothing() -> None:
    """Where the hold time has too few requests, recovery is unknown, not proven."""
    seen = measured(Script(answer=away(24.0, 29.0), rate=4.0), after(p95(0.1)))
    assert (seen.state, seen.why) == ("unknown", "60 requests too few in 10 s to prove a recovery")


def test_too_few_requests_that_all_fail_are_never() -> None:
    """A dead target is not excused by the few requests that are left."""
    assert measured(Script(answer=away(24.0, 999.0), rate=4.0), after(p95(0.1))).state == "never"


def test_open_requests_are_not_guessed() -> None:
    """The watch ends before the first request without an outcome."""
    state = Script(answer=away(24.0, 30.0), end=45.0).state()
    state.slots[380] = {**state.slots[380], 1: Slot(due=1)}
    assert recovery(FEW, state, LATER).state == "unknown"
    state.slots[380][1].done[Outcome.TIMEOUT] = 1
    assert recovery(FEW, state, LATER).state == "recovered"


def test_nothing_due_later_is_looked_at() -> None:
    """The clock ends the watch as well."""
    state = Script(answer=away(24.0, 30.0)).state()
    assert recovery(FEW, state, ns(35.0)).state == "unknown"
    assert recovery(FEW, state, ns(41.0)).state == "recovered"


@pytest.mark.parametrize(
    ("script", "asked", "state", "why"),
    [
        (Script(), experiment(faults=()), "none", "there is no fault to recover from"),
        (Script(inject=None, heal=None), FEW, "none", "noop was not injected"),
        (Script(heal=None), FEW, "unknown", "noop is still in place"),
        (Script(), after(errors(0.01), faults=(fault(0), fault(1))), "unknown", "noop was not injected"),
        (
            Script(extra=[(30.0, e.LoadLost(worker=0, why="exit -9"))]),
            FEW,
            "unknown",
            "the load has gaps: worker 0: exit -9",
        ),
        (
            Script(baseline=None),
            after(p95(2.0, against=Against.TIMES_BASELINE)),
            "unknown",
            "'p95 <= 2s': the baseline has no data to compare with",
        ),
        (
            Script(),
            after(errors(0.01, cmp=">")),
            "unknown",
            "'errors > 1%' asks for the worse: it cannot say that something has recovered",
        ),
    ],
)
def test_what_cannot_be_measured(script: Script, asked: Experiment, state: str, why: str) -> None:
    """No fault, no inject, no heal, gaps, no baseline and tolerances that ask for the worse are told as such."""
    seen = measured(script, asked)
    assert (seen.state, seen.why, seen.time_s) == (state, why, None)


def test_before_the_load_nothing_is_measured() -> None:
    """Without an epoch there is no time to count in."""
    assert recovery(FEW, State(), LATER).state == "none"


def test_nothing_asked_of_after() -> None:
    """Without `after` the tolerances of `before` say what recovered means; without any, the effect's end stands in."""
    gate = experiment(hypothesis=Hypothesis(before=(errors(0.01),)))
    assert measured(Script(answer=away(24.0, 30.0)), gate).time_s == pytest.approx(2.495)
    nothing = measured(Script(), experiment(hypothesis=Hypothesis()))
    assert (nothing.state, nothing.at_ns, nothing.time_s) == ("none", ns(27.5), 0.0)
    assert nothing.held_s == pytest.approx(32.5)


def test_relative_tolerances_rest_on_the_baseline() -> None:
    """`2x baseline` of 5 ms is recovered when 95 % take less than 10 ms again."""

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        return Outcome.OK, 0.012 if 24.0 <= due < 31.005 else 0.005

    seen = measured(Script(answer=answer), after(p95(2.0, against=Against.TIMES_BASELINE)))
    assert seen.time_s == pytest.approx(3.505)
    assert seen.lost == 0
    assert seen.waited_s == pytest.approx(0.007 * 701, rel=0.01)
    assert seen.residual == pytest.approx(1.0)


def test_no_requests_at_all() -> None:
    """Without traffic there is nothing to measure on."""
    seen = measured(Script(dues=[]))
    assert (seen.state, seen.why) == ("unknown", "100 requests too few in 10 s to prove a recovery")


def test_a_hit_of_ours_is_not_the_targets() -> None:
    """Requests the generator never started are neither good nor bad."""
    seen = measured(Script(answer=away(28.0, 29.0, outcome=Outcome.LATE)))
    assert (seen.state, seen.time_s, seen.lost) == ("recovered", 0.0, 0)


def test_the_same_entries_give_the_same_recovery() -> None:
    """Recovery is a function of the journal."""
    entries = Script(answer=away(24.0, 30.0, otherwise=noisy(4))).entries()
    assert recovery(FEW, fold(entries), LATER) == recovery(FEW, fold(entries), LATER)
