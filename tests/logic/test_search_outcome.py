"""What one run says of its level, and what a ramp up and down says of both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, errors, experiment, p95, well

from chaosrunner.logic.judge import judge
from chaosrunner.logic.search.grid import Cell, cell_of, score_of
from chaosrunner.logic.search.outcome import trial_of
from chaosrunner.logic.search.ramp import Ramps, Side, Strip, ramps_of
from chaosrunner.logic.search.vary import lead_s
from chaosrunner.logic.strain import Strain
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Hypothesis, Tolerance
from chaosrunner.model.load import Outcome
from chaosrunner.model.verdict import Outcome as Judged

CALM = experiment(faults=(), hypothesis=Hypothesis(before=(p95(0.1), errors(0.01))))


def baseline_only(**changes: object) -> Script:
    """A run that is nothing but a baseline from 2 to 22 s."""
    plain = {"fault": None, "inject": None, "heal": None, "recovery": None, "end": 25.0, "ended": "no fault"}
    return Script(**(plain | changes))  # type: ignore[arg-type]


def test_a_level_that_holds_is_measured() -> None:
    """Offered and goodput per second, quantiles, and by Little's law what is inside at once."""
    seen = trial_of(CALM, baseline_only().state(), 100.0)
    assert (seen.outcome, seen.level, seen.why) == (Judged.HELD, 100.0, "")
    assert seen.offered == pytest.approx(100.0)
    assert seen.goodput == pytest.approx(100.0)
    assert seen.inside == pytest.approx(0.5, rel=0.05)
    assert seen.p95 == pytest.approx(0.005, rel=0.01)
    assert seen.seconds == 20.0


def test_what_succeeds_late_succeeds_at_the_rate_of_the_server() -> None:
    """Of 100 requests a second each waits a little longer than the one before: 80 a second are answered."""
    queue = baseline_only(answer=lambda due, name: (Outcome.OK, 0.005 + max(0.0, due - 2.0) / 4))
    seen = trial_of(CALM, queue.state(), 100.0)
    assert (seen.offered, seen.goodput) == (pytest.approx(100.0), pytest.approx(80.0, rel=0.02))
    brief = baseline_only(answer=queue.answer)
    assert trial_of(replace(CALM, baseline_s=1.0), brief.state(), 100.0).goodput == pytest.approx(100.0)


def test_a_level_that_does_not_hold_says_why() -> None:
    """A violated tolerance is BROKEN, with its figure."""
    slow = baseline_only(answer=lambda due, name: (Outcome.OK, 0.3))
    seen = trial_of(CALM, slow.state(), 100.0)
    assert seen.outcome is Judged.BROKEN
    assert seen.why == "before: p95 <= 0.1s: 300 ms"


def test_a_share_that_chance_may_explain_counts_as_it_was_seen() -> None:
    """A run of few requests calls three failures of 300 UNKNOWN; a search, which looks again, takes what it saw."""
    asked = replace(CALM, hypothesis=Hypothesis(before=(errors(0.01),)))
    few = baseline_only(rate=15.0, answer=lambda due, _: (Outcome.OK if round(due * 15) % 100 else Outcome.RESET, 0.01))
    assert judge(asked, few.state()).outcome is Judged.UNKNOWN
    seen = trial_of(asked, few.state(), 15.0)
    assert seen.outcome is Judged.BROKEN


def test_a_baseline_that_does_not_hold_under_load_breaks_although_faults_follow() -> None:
    """What a run calls UNKNOWN, because nothing was broken yet, is for a search a level that does not hold."""
    with_fault = experiment(hypothesis=replace(CALM.hypothesis))
    slow = baseline_only(answer=lambda due, name: (Outcome.OK, 0.3))
    seen = trial_of(with_fault, slow.state(), 100.0)
    assert seen.outcome is Judged.BROKEN
    assert "p95" in seen.why
    dose = trial_of(with_fault, slow.state(), 0.1, of_load=False)
    assert dose.outcome is Judged.UNKNOWN  # of a dose that was never given it says nothing


def test_a_run_without_data_is_unknown_and_measures_nothing() -> None:
    """No phase, or no hit in it, gives no figures."""
    none = trial_of(CALM, baseline_only(baseline=None).state(), 5.0)
    assert (none.outcome, none.seconds) == (Judged.UNKNOWN, 0.0)
    assert none.why
    empty = trial_of(CALM, baseline_only(dues=[0.5]).state(), 5.0)
    assert (empty.outcome, empty.seconds) == (Judged.UNKNOWN, 0.0)


def test_with_faults_the_time_in_which_they_were_in_place_is_measured() -> None:
    """Of a run with a fault the figures are those of the fault's phase."""
    ill = Script(answer=lambda due, name: (Outcome.RESET, 0.001) if 22.5 <= due < 25.0 else well(due, name))
    seen = trial_of(experiment(), ill.state(), 100.0)
    assert seen.seconds == pytest.approx(5.3)
    assert seen.errors == pytest.approx(250 / 530, abs=0.02)


def ramp(failing: tuple[float, float] = (0.0, 0.0)) -> tuple[Experiment, Ramps]:
    """A ramp of 10 s each way whose requests fail between two times after it has begun."""
    asked = experiment(baseline_s=20.0)
    begin = lead_s(asked)

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        return (Outcome.RESET, 0.001) if failing[0] <= due - begin < failing[1] else (Outcome.OK, 0.005)

    run = Script(answer=answer, heal=(50.0, 50.0), recovery=50.0, end=70.0)
    return asked, ramps_of(Traffic(asked, run.state()), (10.0, 110.0), 10.0)


def test_a_system_without_memory_answers_alike_on_both_ways() -> None:
    """Strip by strip success is the same, and nothing is lost."""
    asked, seen = ramp()
    assert lead_s(asked) == 27.0
    assert len(seen.strips) == 10
    assert [strip.level for strip in seen.strips] == [15.0 + 10 * nth for nth in range(10)]
    assert seen.widest is None
    assert seen.lost == pytest.approx(0.0)


def test_what_fails_only_on_the_way_down_is_hysteresis() -> None:
    """Where the overload leaves something behind, the same load fares worse on the way down."""
    _, seen = ramp((9.0, 15.0))
    assert seen.widest is not None
    assert (seen.widest.up.success, seen.widest.down.success) == (1.0, 0.0)
    assert seen.widest.gap > 0.5
    assert seen.lost == pytest.approx(4 / 9, abs=0.03)


def test_a_level_says_how_many_requests_broke_what_was_asked() -> None:
    """The share beyond the tolerance nearest to its limit; none with faults, or where something else is asked, too."""
    slow = baseline_only(answer=lambda due, name: (Outcome.OK, 0.3 if round(due * 100) % 10 == 0 else 0.005)).state()
    seen = trial_of(CALM, slow, 100.0)
    assert (seen.beyond, seen.allowed) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.05))
    failing = baseline_only(
        answer=lambda due, name: (Outcome.RESET if round(due * 100) % 50 == 0 else Outcome.OK, 0.005)
    )
    seen = trial_of(CALM, failing.state(), 100.0)
    assert (seen.beyond, seen.allowed) == (pytest.approx(0.02, abs=0.005), 0.01)
    assert trial_of(experiment(hypothesis=CALM.hypothesis), slow, 100.0).beyond is None
    for other in (p95(0.1, window_s=2.0), p95(0.1, cmp=">"), errors(0.0, cmp="<=")):
        assert trial_of(replace(CALM, hypothesis=Hypothesis(before=(p95(0.1), other))), slow, 100.0).beyond is None
    assert trial_of(replace(CALM, hypothesis=Hypothesis()), slow, 100.0).beyond is None


@pytest.mark.parametrize(
    ("asked", "how", "outcome"),
    [
        pytest.param(errors(0.01), Outcome.TIMEOUT, Judged.UNKNOWN, id="too late"),
        pytest.param(errors(0.01), Outcome.STATUS, Judged.BROKEN, id="wrong answers"),
        pytest.param(errors(0.01), Outcome.OK, Judged.HELD, id="nothing wrong"),
        pytest.param(p95(0.1), Outcome.OK, Judged.UNKNOWN, id="a latency"),
    ],
)
def test_a_generator_that_was_never_idle_blames_nobody(asked: Tolerance, how: Outcome, outcome: Judged) -> None:
    """What was given up may have been answered in time, had we had the CPU to see it: the level is UNKNOWN."""
    late = baseline_only(answer=lambda due, name: (how, 0.3))
    state = late.state()
    state.strains = {(second, 0): Strain(full_us=1e6) for second in range(2, 22)}
    seen = trial_of(replace(CALM, hypothesis=Hypothesis(before=(asked,))), state, 100.0)
    assert seen.outcome is outcome
    if asked == errors(0.01) and outcome is Judged.UNKNOWN:
        assert "worker 0 of the load was never idle for 100 % of the time; use more `workers`" in seen.why


def test_requests_that_nobody_sent_are_no_loss() -> None:
    """Where fewer became due on the way down but all of them succeeded, nothing is lost."""
    side = Side(offered=10.0, goodput=10.0, success=1.0, low=0.9, high=1.0, p95=0.1)
    seen = Ramps((Strip(level=10.0, up=side, down=replace(side, offered=8.0, goodput=8.0)),))
    assert seen.lost == 0.0


def test_a_ramp_that_was_not_reached_has_no_strips() -> None:
    """Without traffic there is nothing to lay over itself."""
    seen = ramps_of(Traffic(CALM, baseline_only().state()), (10.0, 110.0), 10.0)
    assert (seen.strips, seen.widest, seen.lost) == ((), None, 0.0)


def failing(due: float, name: int) -> tuple[Outcome, float]:
    """Reset from 22.5 to 25 s."""
    return (Outcome.RESET, 0.001) if 22.5 <= due < 25.0 else well(due, name)


def cell(**changes: object) -> Cell:
    """The cell of a run with an outage of 2.5 s, at 100 requests a second; 25 s count."""
    ill = Script(**({"answer": failing} | changes))  # type: ignore[arg-type]
    return cell_of(experiment(), ill.state(), 100.0, "noop")


def test_a_cell_is_scored_by_what_is_left_of_the_rectangle() -> None:
    """250 of the 2,500 requests that count are lost: 90 of 100."""
    seen = cell()
    assert (seen.fault, seen.recovery, seen.lost) == ("noop", "recovered", 250)
    assert seen.score == pytest.approx(90.0, abs=0.1)
    assert seen.trial.level == 100.0


def test_a_cell_whose_fault_was_not_proven_has_no_score() -> None:
    """Nothing is said of a fault that may not have been there."""
    assert cell(proven=None).score is None


def test_the_score_is_a_range_where_cells_are_not_known() -> None:
    """An unknown cell counts as 0 and as 100; without any known one there is no score."""
    known, silent = cell(), cell(proven=None)
    assert score_of([known]).low == score_of([known]).high == pytest.approx(90.0, abs=0.1)
    both = score_of([known, silent])
    assert (both.low, both.high) == (pytest.approx(45.0, abs=0.1), pytest.approx(95.0, abs=0.1))
    assert (both.known, both.cells) == (1, 2)
    assert score_of([silent]).low is None
