"""What is said of a recovery: what was cut short, or seen by a generator in trouble, is neither bad nor good."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from building import HOGS, Script, away, errors, experiment, host, ns, p95, slow, well

from chaosrunner.logic.judge import judge
from chaosrunner.logic.strain import Strain
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Hit
from chaosrunner.model.verdict import Finding, Outcome, Return, Verdict

PATIENT = RecoveryTarget(within_s=120.0, hold_s=10.0, margin=0.1)
STRICT = RecoveryTarget(within_s=20.0, hold_s=10.0, margin=0.1)
A_LITTLE = replace(HOGS, target_wait_s=0.06)
SIGNALLED = "interrupted: SIGINT"


def found(seen: Verdict, start: str) -> Finding:
    return next(one for one in seen.findings if one.name.startswith(start))


def full(script: Script, seconds: range, asked: Experiment) -> Verdict:
    """With a worker that was never idle in these seconds."""
    state = script.state()
    state.strains = {(second, 1): Strain(full_us=1e6) for second in seconds}
    return judge(asked, state)


@dataclass(kw_only=True)
class Late(Script):
    """The generator was late from some moment on."""

    lag_s: float

    def _hit(self, due: float, name: int) -> Hit:
        outcome, response = self.answer(due, name)
        lag = self.lag_s if due >= 22 else 0.0
        return Hit(round(due * 1e6), name, outcome, round((response + lag) * 1e6), round(lag * 1e6))


@pytest.mark.parametrize("hypothesis", [Hypothesis(after=(p95(0.5),)), Hypothesis(during=(errors(0.5),))])
@pytest.mark.parametrize(("ended", "end"), [(SIGNALLED, 45.0), ("failed: its owner died", 45.0), ("", 45.0)])
def test_a_run_that_was_cut_short_never_failed_to_return(hypothesis: Hypothesis, ended: str, end: float) -> None:
    """What is still slow when a run is cut short, long before its target, may have come back in time."""
    extra = [(end, e.Decided(step="abort", why=ended, now_ns=ns(end)))] if ended else []
    script = Script(answer=slow(23.0, 999.0, 0.02), after=28.5, end=end + 0.5, extra=extra, ended=ended)
    seen = judge(experiment(hypothesis=hypothesis, recover=PATIENT), script.state())
    assert seen.recovery.verdict is Return.INCONCLUSIVE
    assert "the run was cut short 18 s after the fault" in found(seen, "recovery").why
    assert seen.outcome is Outcome.UNKNOWN


def test_what_is_still_ill_when_a_run_is_cut_short_was_not_asked_yet() -> None:
    """What `after` asks is asked after the target: a run that ends before has not broken it."""
    extra = [(45.0, e.Decided(step="abort", why=SIGNALLED, now_ns=ns(45.0)))]
    script = Script(answer=away(23.0, 999.0), after=None, end=46.0, extra=extra, ended=SIGNALLED)
    seen = judge(experiment(hypothesis=Hypothesis(after=(errors(0.01),)), recover=PATIENT), script.state())
    assert found(seen, "after").why == "the phase was cut short"


def test_a_full_worker_proves_no_change() -> None:
    """Twice as slow by a worker that was never idle is no NOT RECOVERED; failures are no matter of time."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(0.5),)), recover=STRICT)
    twice = Script(answer=slow(22.0, 99.0, 0.01), after=28.5, end=58.0)
    assert found(full(twice, range(22, 58), asked), "recovery").outcome is Outcome.UNKNOWN
    assert found(full(twice, range(0), asked), "recovery").outcome is Outcome.BROKEN
    failing = Script(answer=lambda due, name: (Hits.RESET, 0.001) if due >= 23 and due % 1 < 0.03 else well(due, name))
    failing = replace(failing, after=28.5, end=58.0)
    assert full(failing, range(22, 58), asked).recovery.verdict is Return.NOT_RECOVERED


def test_a_worker_that_was_full_before_is_no_yardstick() -> None:
    """What is as slow as a worker in trouble had seen it is not as before, nor within a multiple of that."""
    twice = p95(1.5, against=Against.TIMES_BASELINE, text="p95 <= 1.5x baseline")
    asked = experiment(hypothesis=Hypothesis(during=(twice,), after=(p95(0.5),)), recover=STRICT)
    script = Script(answer=slow(0.0, 99.0, 0.01), after=28.5, end=58.0)
    seen = full(script, range(2, 22), asked)
    assert seen.recovery.verdict_why.startswith("baseline: worker 1 of the load was never idle")
    assert found(seen, "during").why.startswith("baseline: worker 1")
    for always in (range(58), range(0)):
        seen = full(script, always, asked)
        assert (seen.recovery.verdict, found(seen, "during").outcome) == (Return.RECOVERED, Outcome.HELD)


@pytest.mark.parametrize(
    ("lag_s", "missing_s", "slower_s", "verdict"),
    [
        (0.15, 0.1, 0.0, Return.INCONCLUSIVE),
        (0.15, 0.0, 0.0, Return.INCONCLUSIVE),
        (0.15, 0.1, 0.5, Return.NOT_RECOVERED),
    ],
)
def test_lag_and_missing_cpu_together(lag_s: float, missing_s: float, slower_s: float, verdict: Return) -> None:
    """What the generator's lag and missing CPU explain together is no change; what goes beyond both is."""

    def answer(due: float, _name: int) -> tuple[Hits, float]:
        return Hits.OK, 0.5 + (missing_s + slower_s if due >= 22 else 0.0)

    extra = host(A_LITTLE, 20, 58) if missing_s else []
    script = Late(answer=answer, lag_s=lag_s, after=28.5, end=58.0, extra=extra)
    asked = experiment(hypothesis=Hypothesis(after=(p95(5.0),)), recover=STRICT)
    assert judge(asked, script.state()).recovery.verdict is verdict


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("spoilt", [False, True])
def test_a_relapse_makes_nothing_greener(again: bool, spoilt: bool) -> None:
    """A baseline that drifts, or was spoilt, proves no return to it beneath a relapse either."""

    def answer(due: float, _name: int) -> tuple[Hits, float]:
        if 23 <= due < 27.5 or (again and 41 <= due < 44):
            return Hits.RESET, 0.001
        return Hits.OK, 0.2 if due >= 22 or spoilt else 0.16 + 0.08 * (due - 2) / 20

    extra = host(HOGS, 2, 22) if spoilt else []
    script = Script(answer=answer, after=28.5, end=78.0, extra=extra)
    seen = judge(experiment(hypothesis=Hypothesis(after=(errors(0.05),)), recover=STRICT), script.state())
    assert seen.recovery.verdict is (Return.RELAPSED if again else Return.INCONCLUSIVE)
    assert seen.recovery.beneath is (Return.INCONCLUSIVE if again else None)
    assert found(seen, "recovery").outcome is Outcome.UNKNOWN


def test_no_recovery_that_a_better_baseline_does_not_prove() -> None:
    """Where strangers were there before only, what is as before must be so beside the better baseline, too."""

    def outcome(begin: float, end: float) -> Return | None:
        dice = random.Random(3)

        def answer(_due: float, _name: int) -> tuple[Hits, float]:
            return Hits.OK, 2.0 * (1 + 0.2 * (dice.random() - 0.5))

        script = Script(answer=answer, after=28.5, end=58.0, extra=host(A_LITTLE, begin, end))
        asked = experiment(hypothesis=Hypothesis(after=(p95(5.0),)), recover=STRICT)
        return judge(asked, script.state()).recovery.verdict

    assert outcome(0, 22) is Return.INCONCLUSIVE
    assert outcome(0, 60) is Return.RECOVERED


def test_no_return_on_half_a_load() -> None:
    """Where nothing is asked after the faults, the load must have been delivered all the same."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        return (Hits.LATE, 0.0) if due >= 28 and round(due * 200) % 2 else well(due, name)

    script = Script(rate=200.0, answer=answer, after=28.5, end=118.0)
    seen = judge(experiment(hypothesis=Hypothesis(during=(errors(0.5),))), script.state())
    assert seen.recovery.verdict_why.startswith("load not delivered")
