"""The verdict on a recovery: by equivalence to the baseline, with relapses, and what the faults did to users."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from building import Answer, Script, away, errors, experiment, ns, p95, steps, tolerance, well

from chaosrunner.errors import Exit
from chaosrunner.logic.appraisal import appraisal, doubted, glance
from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.residual import concluded, margin_of, metrics, tail
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.events import Pressure
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Closed, Outcome, Stage
from chaosrunner.model.verdict import Change, Degradation, Recovery, Relapse, Residual, Return

LATER = ns(1000.0)
P50, P95 = (Metric(stat=Stat.QUANTILE, quantile=share) for share in (0.5, 0.95))
ERRORS, RATE = Metric(stat=Stat.ERRORS), Metric(stat=Stat.RATE)
FEW = experiment(hypothesis=Hypothesis(before=(errors(0.01),), after=(errors(0.05),)))


def slower(factor: float, since: float, until: float = 99.0, *, sigma: float = 0.2) -> Answer:
    """Everything is answered in about 5 ms, in a stretch so many times as slow."""
    chance = random.Random(10_000)

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        usual = 0.005 * math.exp(sigma * chance.gauss(0, 1))
        return Outcome.OK, usual * (factor if since <= due < until else 1.0)

    return answer


def returning(due: float, name: int) -> tuple[Outcome, float]:
    """Since the fault slower, and better all the time until all is as before at 55 s."""
    later = USUAL(due, name)[1]
    return Outcome.OK, later * (1 + max(0.0, 55 - due) / 9 if due >= 23 else 1.0)


def clearing(due: float, name: int) -> tuple[Outcome, float]:
    """Since the fault every other request fails, until 54 s."""
    return (Outcome.STATUS, 0.004) if 23 <= due < 54 and round(due * 50) % 2 == 0 else USUAL(due, name)


USUAL = slower(1.0, 0.0)
ANSWERS: Mapping[str, Answer] = {
    "returning": returning,
    "clearing": clearing,
    "thrice": slower(3.0, 23.0),
    "well": slower(1.0, 0.0),
    "quarter": slower(1.25, 23.0),
    "outage": away(23.0, 29.0, otherwise=slower(1.0, 0.0)),
    "relapse": away(23.0, 29.0, otherwise=away(35.0, 40.0, otherwise=slower(1.0, 0.0))),
    "gone": away(23.0, 99.0, otherwise=slower(1.0, 0.0)),
    "slow": slower(3.0, 23.0, 29.0),
    "faint": lambda due, name: (
        (Outcome.STATUS, 0.004) if 23 <= due < 29 and round(due * 100) % 10 == 0 else well(due, name)
    ),
    "drift": lambda due, _name: (Outcome.OK, 0.005 * (1 + due / 20)),
}


@cache
def state(name: str, **more: float) -> State:
    """A run of sixty seconds, 50 requests a second; its fault is healed at 27.5 s."""
    return Script(answer=ANSWERS[name], **{"after": 29.0, "rate": 50.0, **more}).state()  # type: ignore[arg-type]


def appraised(name: str, asked: Experiment = FEW, **more: float) -> Recovery:
    return appraisal(asked, state(name, **more), LATER)


def residual(seen: Recovery, metric: str) -> Residual:
    return next(one for one in seen.residuals if one.metric == metric)


def test_as_before_is_recovered() -> None:
    """An outage that ended and left nothing behind is RECOVERED: errors, p50 and p95 are proven as before."""
    seen = appraised("outage")
    assert (seen.state, seen.verdict) == ("recovered", Return.RECOVERED)
    assert [one.metric for one in seen.residuals] == ["errors", "p50", "p95"]
    assert {one.proves for one in seen.residuals} <= {Change.EQUAL, Change.BETTER}
    assert "p50" in seen.verdict_why
    assert seen.longer_than_s is None


def test_a_quarter_that_remains_is_not_recovered() -> None:
    """A system that stays a quarter slower is NOT RECOVERED though `after` holds, and the headline does not hide it."""
    seen = appraised("quarter")
    assert (seen.state, seen.verdict) == ("recovered", Return.NOT_RECOVERED)
    assert residual(seen, "p50").proves is Change.WORSE
    verdict = judge(FEW, state("quarter"))
    assert verdict.exit is Exit.HELD
    assert "NOT RECOVERED: p50 +2" in verdict.headline
    assert "recovered in" not in verdict.headline


@pytest.mark.parametrize(("name", "metric"), [("returning", "p95"), ("clearing", "errors"), ("clearing", "p95")])
def test_what_is_on_its_way_back_is_not_worse(name: str, metric: str) -> None:
    """Worse on the whole, but in the end within the margin and better than before, is INCONCLUSIVE."""
    asked = experiment(hypothesis=Hypothesis(after=(tolerance("rate >= 1/s", RATE, ">=", 1.0),)))
    seen = appraised(name, asked)
    assert (seen.verdict, residual(seen, metric).proves) == (Return.INCONCLUSIVE, Change.UNCLEAR)
    assert "still on its way back" in residual(seen, metric).why
    early = appraised(name, asked, end=49.0)
    assert (early.verdict, residual(early, metric).proves) == (Return.NOT_RECOVERED, Change.WORSE)


@pytest.mark.parametrize(("end", "proves"), [(53.5, Change.WORSE), (54.5, Change.UNCLEAR)])
def test_what_counts_is_where_it_leads(end: float, proves: Change) -> None:
    """A sixth slower at the very end is worse, a twentieth is not, though all of the last third was beyond a tenth."""
    asked = experiment(hypothesis=Hypothesis(after=(tolerance("rate >= 1/s", RATE, ">=", 1.0),)))
    assert residual(appraised("returning", asked, end=end), "p95").proves is proves


def test_too_short_a_time_shows_no_way_back() -> None:
    """Where no part of the time can be told from the rest, worse remains worse."""
    for end in (30.0, 31.5):  # 125 requests, of which no part is enough; 200, of which a half is
        assert residual(appraised("thrice", end=end), "p95").proves is Change.WORSE


def test_who_asked_for_it_gets_it_judged() -> None:
    """With `to within 10% of baseline` the same run is BROKEN, and to within 50 % it holds."""
    strict = replace(FEW, recover=RecoveryTarget(within_s=20.0, hold_s=10.0, margin=0.1))
    assert judge(strict, state("quarter")).exit is Exit.BROKEN
    kind = replace(FEW, recover=RecoveryTarget(within_s=20.0, hold_s=10.0, margin=0.5))
    assert judge(kind, state("quarter")).exit is Exit.HELD
    relapsed = judge(kind, state("relapse", after=40.0))
    assert (relapsed.recovery.verdict, relapsed.exit) == (Return.RELAPSED, Exit.HELD)


def test_ill_again_is_relapsed() -> None:
    """Well for six seconds and ill for five more is RELAPSED, however well it is in the end."""
    seen = appraised("relapse")
    assert (seen.state, seen.verdict) == ("recovered", Return.RELAPSED)
    assert [round(one.begin_s, 1) for one in seen.relapses] == [7.5]
    assert seen.verdict_why.partition("; INC")[0] == "well 1.5 s after the last fault, ill again from 7.5 s to 12.5 s"
    assert "RELAPSED" in judge(FEW, state("relapse", after=40.0)).headline
    cut = appraised("relapse", end=41.0)
    assert cut.verdict is Return.RELAPSED
    assert "INCONCLUSIVE" in cut.verdict_why or "NOT RECOVERED" in cut.verdict_why


def test_never_is_not_recovered_and_cut_off() -> None:
    """Who never comes back is NOT RECOVERED for longer than the watch lasted."""
    seen = appraised("gone")
    assert (seen.state, seen.verdict, seen.longer_than_s) == ("never", Return.NOT_RECOVERED, 32.5)
    assert seen.verdict_why.startswith("'after' never held long enough")
    strict = experiment(hypothesis=Hypothesis(after=(p95(0.001),)))
    assert appraised("well", strict).verdict_why.startswith("'after' never held long enough")


@pytest.mark.parametrize(
    ("names", "verdict", "metric"),
    [
        (("quick", "slow", "never asked"), Return.RECOVERED, "p50 by kind"),
        (("read", "read"), Return.INCONCLUSIVE, "p50"),
    ],
    ids=["two kinds", "one kind"],
)
def test_a_median_between_two_kinds_is_told_by_each_of_them(
    names: tuple[str, str], verdict: Return, metric: str
) -> None:
    """Where half of the requests are quick and half slow, the median of all jumps; those of both kinds do not."""
    chance = random.Random(1)

    def answer(_due: float, name: int) -> tuple[Outcome, float]:
        return Outcome.OK, (0.05 if name else 0.005) * math.exp(0.02 * chance.gauss(0, 1))

    script = Script(answer=answer, names=2, after=29.0, rate=100.0)
    seen = appraisal(replace(FEW, load=steps(*names)), script.state(), LATER)
    assert seen.verdict is verdict, seen.verdict_why
    assert seen.residuals[1].metric == metric


def test_too_little_is_inconclusive() -> None:
    """A watch that was cut short, faults never injected, a tolerance without a baseline: nothing is claimed."""
    short = appraised("outage", end=32.0)
    assert (short.state, short.verdict, short.longer_than_s) == ("unknown", Return.INCONCLUSIVE, 4.5)
    assert appraisal(experiment(faults=()), state("well"), LATER).verdict is None
    unhealed = Script(answer=well, heal=None, recovery=None).state()
    assert appraisal(FEW, unhealed, LATER).verdict is Return.INCONCLUSIVE
    assert glance(FEW, unhealed, LATER).verdict is Return.INCONCLUSIVE
    relative = experiment(hypothesis=Hypothesis(after=(p95(1.1, against=Against.TIMES_BASELINE),)))
    without = Script(answer=well, baseline=None).state()
    seen = appraisal(relative, without, LATER)
    assert (seen.verdict, seen.verdict_why) == (Return.INCONCLUSIVE, "the baseline is not kept slot by slot any more")
    assert seen.relapses == ()
    assert seen.impact is None
    thin = Script(answer=well, rate=4.0).state()
    few = appraisal(experiment(hypothesis=Hypothesis(after=(errors(0.5),))), thin, LATER)
    assert (few.state, few.verdict) == ("recovered", Return.INCONCLUSIVE)
    assert "it takes" in few.verdict_why


def test_what_cannot_be_measured_is_inconclusive() -> None:
    """A state that makes measuring fail is judged INCONCLUSIVE, with the reason."""
    broken = state("outage")
    measured = judge(FEW, replace(broken, hits=[None])).recovery  # type: ignore[list-item]
    assert measured.verdict is Return.INCONCLUSIVE
    assert measured.verdict_why.startswith("measuring failed")


def test_a_drifting_baseline_proves_nothing() -> None:
    """Where the baseline itself becomes slower all the time, there is nothing to come back to."""
    seen = appraised("drift")
    assert seen.verdict is Return.INCONCLUSIVE
    assert "the baseline itself drifts" in seen.verdict_why


def test_the_generators_lag_blames_nobody() -> None:
    """A system that only a late generator made slow is not called worse than before."""
    late = Script(answer=ANSWERS["well"], lag=0.0).state()
    lagging = {number: dict(names) for number, names in late.slots.items()}
    seen = judge(FEW, _lagged(late, lagging))
    assert seen.recovery.verdict is Return.INCONCLUSIVE
    assert "generator's own lag" in seen.recovery.verdict_why


def worse(*metrics: str) -> tuple[Residual, ...]:
    """p50 and p95, some of which are a quarter slower than before."""
    plain = Residual(metric="", scale="ratio", before=1.0, after=1.25, margin=0.1, change=1.25, low=1.2, high=1.3)
    proven = {True: Change.WORSE, False: Change.EQUAL}
    return tuple(replace(plain, metric=name, proves=proven[name in metrics]) for name in ("p50", "p95"))


AGAIN = tuple(Relapse(well_s=at, begin_s=at + 1, end_s=at + 2) for at in (1.0, 3.0, 5.0, 7.0))
WELL = Recovery(state="recovered", target_s=20.0, verdict=Return.RECOVERED, residuals=worse())
SLOW = replace(WELL, verdict=Return.NOT_RECOVERED, verdict_why="p50, p95", residuals=worse("p50", "p95"))
ILL_AGAIN = replace(SLOW, verdict=Return.RELAPSED, verdict_why="again; NOT RECOVERED: p50, p95", relapses=AGAIN)


@pytest.mark.parametrize(
    ("plain", "view", "verdict", "why", "proven"),
    [
        pytest.param(WELL, SLOW, Return.RECOVERED, "", [Change.EQUAL] * 2, id="nothing to doubt"),
        pytest.param(SLOW, SLOW, Return.NOT_RECOVERED, "p50, p95", [Change.WORSE] * 2, id="the same"),
        pytest.param(
            SLOW, WELL, Return.INCONCLUSIVE, "lag decides: with it p50, p95", [Change.UNCLEAR] * 2, id="not slow"
        ),
        pytest.param(
            ILL_AGAIN,
            WELL,
            Return.INCONCLUSIVE,
            "lag decides: with it RELAPSED: well 1 s after the last fault, ill again from 2 s to 3 s; "
            "well 3 s after the last fault, ill again from 4 s to 5 s; and 2 more",
            [Change.UNCLEAR] * 2,
            id="no relapse",
        ),
        pytest.param(
            ILL_AGAIN, SLOW, Return.NOT_RECOVERED, "p50, p95", [Change.WORSE] * 2, id="slow, but without a relapse"
        ),
        pytest.param(
            replace(ILL_AGAIN, relapses=AGAIN[:1]),
            replace(ILL_AGAIN, residuals=worse()),
            Return.RELAPSED,
            "well 1 s after the last fault, ill again from 2 s to 3 s; INCONCLUSIVE: "
            "p50: lag decides: with it p50 +25 % (+20 % to +30 %), +10 % is allowed; "
            "p95: lag decides: with it p95 +25 % (+20 % to +30 %), +10 % is allowed",
            [Change.UNCLEAR] * 2,
            id="a relapse, but not slow",
        ),
        pytest.param(
            ILL_AGAIN, ILL_AGAIN, Return.RELAPSED, ILL_AGAIN.verdict_why, [Change.WORSE] * 2, id="relapsed in both"
        ),
    ],
)
def test_a_bad_verdict_needs_the_kinder_view_too(
    plain: Recovery, view: Recovery, verdict: Return, why: str, proven: list[Change]
) -> None:
    """Neither a relapse nor a change for the worse is said where a view without others' doing does not have it."""
    seen = doubted(plain, view, "lag decides")
    assert (seen.verdict, seen.verdict_why, [one.proves for one in seen.residuals]) == (verdict, why, proven)
    assert bool(seen.relapses) == (verdict is Return.RELAPSED)


def _lagged(state: State, slots: dict[int, dict[int, object]]) -> State:
    """From 29 s on every response is 2 ms longer, by the generator's doing."""
    from chaosrunner.model.slots import Slot

    made: dict[int, dict[int, Slot]] = {}
    for number, names in slots.items():
        for name, slot in names.items():
            assert isinstance(slot, Slot)
            copy = Slot()
            copy.add(slot)
            if number >= 290:
                copy.ok.cells, copy.ok.total = {}, 0
                for cell, count in slot.adjusted:
                    for _ in range(count):
                        copy.ok.record(cell + 2500)
            made.setdefault(number, {})[name] = copy
    hits = [
        replace(hit, response_us=hit.response_us + 2500, lag_us=2500) if hit.due_us >= 29_000_000 else hit
        for hit in state.hits
    ]
    return replace(state, slots=made, hits=hits)  # type: ignore[arg-type]


def test_evidence_that_is_not_fit_proves_nothing() -> None:
    """Where the fault was not proven, or had no effect, the verdict is INCONCLUSIVE, whatever the figures say."""
    unproven = Script(answer=ANSWERS["outage"], after=29.0, proven=False).state()
    assert judge(FEW, unproven).recovery.verdict is Return.INCONCLUSIVE


def test_without_a_tolerance_the_baseline_still_tells() -> None:
    """Where `after` asks for nothing, what remains is told all the same."""
    nothing = experiment(hypothesis=Hypothesis())
    assert appraised("quarter", nothing).verdict is Return.NOT_RECOVERED
    assert appraised("well", nothing).verdict is Return.RECOVERED


@pytest.mark.parametrize(
    ("own", "metric", "margin"),
    [
        ((), P95, 0.1),
        ((errors(0.05),), ERRORS, 0.05),
        ((errors(0.002),), ERRORS, 0.01),
        ((errors(0.03, against=Against.PLUS_BASELINE),), ERRORS, 0.03),
        ((errors(2.0, against=Against.TIMES_BASELINE),), ERRORS, 0.01),
        ((p95(1.3, against=Against.TIMES_BASELINE),), P95, 0.3),
        ((p95(1.05, against=Against.TIMES_BASELINE),), P95, 0.1),
        ((p95(1.0),), P95, 0.1),
        ((), RATE, 0.05),
    ],
)
def test_how_much_may_remain(own: tuple[Tolerance, ...], metric: Metric, margin: float) -> None:
    """A tenth of latency, a point of errors, a twentieth of goodput, unless `after` allows more of this very metric."""
    asked = experiment(hypothesis=Hypothesis(after=own))
    assert margin_of(Traffic(asked, state("well")), metric) == pytest.approx(margin)


def test_the_users_margin_is_for_latency_and_goodput() -> None:
    """`to within 20% of baseline` leaves errors at a point, and replaces what `after` would allow."""
    asked = experiment(
        hypothesis=Hypothesis(after=(p95(2.0, against=Against.TIMES_BASELINE),)), recover=RecoveryTarget(margin=0.2)
    )
    traffic = Traffic(asked, state("well"))
    assert [margin_of(traffic, metric) for metric in (P95, RATE, ERRORS)] == [0.2, 0.2, 0.01]


def test_without_a_baseline_a_relative_bound_widens_nothing() -> None:
    """A bound that rests on a baseline which is not there leaves the usual margin."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(2.0, against=Against.TIMES_BASELINE),)))
    assert margin_of(Traffic(asked, Script(baseline=None).state()), P95) == 0.1


def test_what_the_verdict_rests_on() -> None:
    """Errors, p50 and p95; goodput in a closed model; and what `after`, or without it `before`, asks for."""
    own = tolerance("mean", Metric(stat=Stat.MEAN), "<=", 1.0)
    probe = tolerance("queue", Metric(stat=Stat.PROBE, probe="queue"), "<", 5.0)
    asked = experiment(hypothesis=Hypothesis(before=(own, errors(0.01), probe)))
    assert list(metrics(asked)) == [ERRORS, P50, P95, own.metric]
    stream = replace(asked.load.streams[0], stages=(Stage(start=5.0, end=5.0, lasts_s=None),), closed=Closed())
    closed = replace(asked, load=replace(asked.load, streams=(stream,)), hypothesis=Hypothesis())
    assert list(metrics(closed)) == [ERRORS, P50, P95, RATE]


def test_the_last_stretch_is_judged() -> None:
    """The last hold time after recovery, all of it if there is no more, half if the watch went on."""
    asked = experiment(recover=RecoveryTarget(hold_s=10.0))
    assert tail(asked, 300, 420) == range(320, 420)
    assert tail(asked, 350, 420) == range(350, 420)
    assert tail(asked, 300, 900) == range(600, 900)
    assert len(tail(asked, 430, 420)) == 0


def test_what_follows_from_what_remains() -> None:
    """One that is worse is enough, one that is unclear leaves it open, and what is not judged changes nothing."""
    plain = Residual(metric="p50", scale="ratio", before=1.0, after=1.0, change=1.0, low=0.9, high=1.05, margin=0.1)
    equal, worse = (replace(plain, proves=one) for one in (Change.EQUAL, Change.WORSE))
    assert concluded([equal]) == (Return.RECOVERED, "p50 -10 % to +5 %")
    assert concluded([equal, plain])[0] is Return.INCONCLUSIVE
    assert concluded([equal, plain, replace(worse, high=math.inf)]) == (
        Return.NOT_RECOVERED,
        "p50 +0 % (-10 % to any amount), +10 % is allowed",
    )
    assert concluded([replace(worse, change=math.inf)])[1] == "p50 failed"
    assert concluded([equal, replace(worse, judged=False)])[0] is Return.RECOVERED
    assert concluded([replace(worse, change=None, metric="rate")])[1].endswith("-10 % is allowed")


def test_what_an_outage_did() -> None:
    """An outage is called one; its budget, curve and area follow from the requests that failed."""
    asked = experiment(hypothesis=Hypothesis(before=(errors(0.01),), during=(errors(0.5),), after=(errors(0.05),)))
    told = appraised("outage", asked).impact
    assert told is not None
    assert told.degradation is Degradation.OUTAGE
    assert told.budget_share == 0.01
    assert told.budget_s == pytest.approx(600.0, rel=0.01)
    assert told.area_s == pytest.approx(6.0, abs=0.2)
    assert told.sure_s == pytest.approx(0.5, abs=0.1)
    assert (told.curve[0], told.step_s) == ((0.0, pytest.approx(0.5, abs=0.01)), 1.0)
    assert min(ratio for _, ratio in told.curve) == 0.0
    assert (told.drain_s, told.in_flight) == (0.0, 1)
    assert [one.metric for one in told.early] == ["p50", "rate"]
    assert not any(one.judged for one in told.early)


@pytest.mark.parametrize(
    ("name", "degradation"),
    [
        ("well", Degradation.NONE),
        ("slow", Degradation.DEGRADED),
        ("faint", Degradation.PARTIAL),
        ("gone", Degradation.OUTAGE),
    ],
)
def test_the_classes_of_degradation(name: str, degradation: Degradation) -> None:
    """Nothing, slower, some that fail and all that fail are four classes."""
    told = appraised(name).impact
    assert told is not None
    assert told.degradation is degradation


def test_what_a_missing_cpu_explains_is_no_degradation() -> None:
    """Slower while strangers had the CPUs is no degradation, and an outage is one all the same."""
    robbed = [
        Pressure(at_ns=ns(at), cpu_some=0.9, target_wait_s=0.5, target_cpu=0.1, our_cpu=0.1, others_cpu=1.8)
        for at in range(20, 40)
    ]
    found = {}
    for name in ("slow", "gone"):
        impact = judge(FEW, replace(state(name), pressure=robbed)).recovery.impact
        assert impact is not None
        found[name] = impact.degradation
    assert found == {"slow": Degradation.NONE, "gone": Degradation.OUTAGE}


def test_a_tolerance_violated_is_degraded() -> None:
    """What violates a tolerance beyond chance is degraded, even where neither median nor p95 moved much."""

    def spiky(due: float, name: int) -> tuple[Outcome, float]:
        return (Outcome.OK, 1.0) if 23 <= due < 29 and round(due * 100) % 25 == 0 else well(due, name)

    asked = experiment(
        hypothesis=Hypothesis(after=(tolerance("p99", Metric(stat=Stat.QUANTILE, quantile=0.99), "<=", 0.1),))
    )
    told = appraisal(asked, Script(answer=spiky, after=29.0).state(), LATER)
    assert told.impact is not None
    assert told.impact.degradation is Degradation.DEGRADED


def test_a_backlog_drains() -> None:
    """What waited until 30 s is in flight until then, and that is when the backlog has drained."""

    def hung(due: float, name: int) -> tuple[Outcome, float]:
        return (Outcome.OK, 30.0 - due) if 24 <= due < 30 else well(due, name)

    told = appraisal(FEW, Script(answer=hung, rate=50.0).state(), LATER).impact
    assert told is not None
    assert told.drain_s == pytest.approx(2.5, abs=0.11)
    assert told.in_flight == pytest.approx(300, abs=10)
    for never in (
        Script(answer=lambda due, name: (Outcome.OK, 99.0) if due > 24 else well(due, name), rate=20.0),
        Script(raw=False, rate=20.0),
    ):
        without = appraisal(FEW, never.state(), LATER).impact
        assert without is not None
        assert (without.drain_s, without.in_flight) == (None, None)


def test_without_a_good_baseline_little_is_told() -> None:
    """A baseline in which everything failed has no goodput to be measured by, and no budget is counted without hits."""
    told = appraisal(FEW, Script(answer=away(0.0, 99.0), rate=20.0).state(), LATER).impact
    assert told is not None
    assert (told.curve, told.area_s) == ((), None)
    silent = Script(dues=[30 + nth / 100 for nth in range(2000)]).state()
    told = appraisal(FEW, silent, LATER).impact
    assert told is not None
    assert (told.budget_s, told.degradation) == (None, Degradation.NONE)
