"""Whatever a verdict rests on is doubted in the same way: recoveries, baselines and safeguards as well as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from building import HOGS, Script, errors, experiment, host, ns, p95, slow, tolerance, well

from chaosrunner.logic.judge import judge
from chaosrunner.logic.strain import Strain
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Probe, Stat
from chaosrunner.model.load import Closed
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Hit
from chaosrunner.model.verdict import Change, Finding, Outcome, Return, Verdict

NOTHING = Hypothesis()
OVER = {"after": 28.5, "end": 42.0}
METRIC = Metric(stat=Stat.PROBE, probe="queue")
TWICE = tolerance("queue <= 2x baseline", METRIC, "<=", 2.0, against=Against.TIMES_BASELINE)
SLOWLY = p95(0.2, cmp=">", for_s=3.0, text="p95 > 200ms for 3s")
FAILING = errors(0.1, cmp=">", for_s=3.0, text="errors > 10% for 3s")
Facts = list[tuple[float, e.Event]]


def said(value: float, begin: float, end: float, *, ok: bool = True) -> Facts:
    """A probe's answer, once a second."""
    at = [begin + nth for nth in range(round(end - begin))]
    return [(one, e.ProbeAnswered(probe="queue", at_ns=ns(one), ok=ok, value=value)) for one in at]


def stop(at: float, why: str) -> Facts:
    return [(at, e.Decided(step="abort", why=why, now_ns=ns(at)))]


def closed(plain: Experiment) -> Experiment:
    (stream,) = plain.load.streams
    return replace(plain, load=replace(plain.load, streams=(replace(stream, closed=Closed()),)))


def full(script: Script, seconds: Sequence[int], asked: Experiment) -> Verdict:
    """With a worker that was never idle in these seconds."""
    state = script.state()
    state.strains = {(second, 1): Strain(full_us=1e6) for second in seconds}
    return judge(asked, state)


def verdict(script: Script, **changes: object) -> Verdict:
    return judge(experiment(**changes), script.state())


def found(seen: Verdict, start: str) -> Finding:
    return next(one for one in seen.findings if one.name.startswith(start))


def within(seconds: float, margin: float | None = None) -> RecoveryTarget:
    return RecoveryTarget(within_s=seconds, hold_s=10.0, margin=margin)


@dataclass(kw_only=True)
class Lagging(Script):
    """The generator was late in the baseline only."""

    def _hit(self, due: float, name: int) -> Hit:
        outcome, response = self.answer(due, name)
        lag = 0.3 if 2 <= due < 22 else 0.0
        return Hit(round(due * 1e6), name, outcome, round((response + lag) * 1e6), round(lag * 1e6))


@dataclass(kw_only=True)
class Mixed(Script):
    """After the fault the generator's lag slows what is quick, and strangers slow what is slow."""

    def _hit(self, due: float, name: int) -> Hit:
        big = round(due * 100) % 10 == 0
        ill = due >= 28.5
        lag = 0.002 if ill and not big else 0.0
        response = 0.2 if ill and int(due) % 10 in (3, 4) else 0.01 if big else 0.005
        return Hit(round(due * 1e6), name, Hits.OK, round((response + lag) * 1e6), round(lag * 1e6))


def test_no_recovery_to_a_baseline_that_strangers_had_spoilt() -> None:
    """A target that stays slow is not as before because it was as slow while strangers had its CPU."""
    script = Script(answer=slow(2.0, 99.0, 0.2), **OVER, extra=host(HOGS, 2, 22))
    seen = verdict(script, hypothesis=Hypothesis(after=(p95(0.5),)), recover=within(20.0, 0.1))
    assert seen.recovery.verdict is Return.INCONCLUSIVE
    assert seen.recovery.verdict_why.startswith("baseline: with the CPU that was missing it was better")
    assert found(seen, "recovery").outcome is Outcome.UNKNOWN


def test_strangers_that_were_there_all_along_change_nothing() -> None:
    """Where before and after lacked the same, what is as before still is."""
    script = Script(answer=slow(2.0, 99.0, 0.2), **OVER, extra=host(HOGS, 0, 42))
    assert verdict(script, hypothesis=Hypothesis(after=(p95(0.5),))).recovery.verdict is Return.RECOVERED


def test_no_recovery_to_a_baseline_that_the_generator_had_spoilt() -> None:
    """A target that stays slow is not as before because the generator was late before."""
    script = Lagging(answer=slow(22.0, 99.0, 0.3), **OVER)
    seen = verdict(script, hypothesis=Hypothesis(after=(p95(0.5),)), recover=within(20.0, 0.1))
    assert seen.recovery.verdict is Return.INCONCLUSIVE
    assert "without the generator's own lag it was better" in seen.recovery.verdict_why


@pytest.mark.parametrize("value", [7.0, 3.0])
def test_a_probes_baseline_in_doubt_is_none(value: float) -> None:
    """What a probe usually says while strangers have the CPU is no yardstick, neither for good nor for bad."""
    script = Script(**OVER, extra=[*host(HOGS, 0, 21), *said(2.0, 1, 22), *said(value, 23, 28)])
    assert found(verdict(script, hypothesis=Hypothesis(during=(TWICE,))), "during").outcome is Outcome.UNKNOWN
    late = Script(after=None, end=60.0, extra=[*host(HOGS, 0, 21), *said(2.0, 1, 22), *said(7.0, 23, 60)])
    seen = verdict(late, hypothesis=Hypothesis(after=(TWICE,)), recover=within(15.0))
    assert found(seen, "recovery").outcome is Outcome.UNKNOWN


def test_users_who_waited_before_are_no_yardstick_of_a_rate() -> None:
    """In a closed model a rate is not kept because it had been low while strangers had the CPU."""
    kept = tolerance("rate >= 0.8x baseline", Metric(stat=Stat.RATE), ">=", 0.8, against=Against.TIMES_BASELINE)
    asked = closed(experiment(hypothesis=Hypothesis(during=(kept,))))
    state = Script(rate=200.0, **OVER, extra=host(HOGS, 0, 22)).state()
    assert "users who wait longer ask less" in found(judge(asked, state), "during").why


@pytest.mark.parametrize(("hogs", "outcome"), [(True, Outcome.UNKNOWN), (False, Outcome.BROKEN)])
def test_users_who_wait_ask_less_after_the_faults_too(hogs: bool, outcome: Outcome) -> None:
    """Neither a recovery asked of a rate, nor goodput, nor a safeguard on it is the target's doing then."""
    extra = host(HOGS, 20, 60) if hogs else []
    dues = [*(nth / 100 for nth in range(2200)), *(22 + nth / 50 for nth in range(1900))]
    enough = tolerance("rate >= 90/s", Metric(stat=Stat.RATE), ">=", 90.0)
    asked = closed(experiment(hypothesis=Hypothesis(after=(enough,)), recover=within(15.0)))
    assert found(judge(asked, Script(dues=dues, end=60.0, extra=extra).state()), "recovery").outcome is outcome
    asked = closed(experiment(recover=within(20.0, 0.1)))
    script = Script(dues=[due for due in dues if due < 42], **OVER, extra=extra)
    assert found(judge(asked, script.state()), "recovery").outcome is outcome
    low = tolerance("rate < 80/s", Metric(stat=Stat.RATE), "<", 80.0)
    stopped = Script(
        dues=[due for due in dues if due < 28], end=28.0, extra=[*extra[:8], *stop(27.0, "rate < 80/s: 50/s")]
    )
    asked = closed(experiment(hypothesis=NOTHING, abort=(low,)))
    assert found(judge(asked, stopped.state()), "abort").outcome is outcome


def test_a_full_worker_sees_no_recovery() -> None:
    """What is slow where a worker was never idle may have recovered; what failed has not."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(0.1),)), recover=within(15.0))
    script = Script(answer=slow(24.0, 99.0, 0.3), after=None, end=60.0)
    assert found(full(script, range(22, 60), asked), "recovery").why.startswith("worker 1 of the load was never idle")
    assert found(full(script, (), asked), "recovery").outcome is Outcome.BROKEN
    failing = replace(script, answer=lambda due, name: (Hits.RESET, 0.001) if due >= 24 else well(due, name))
    asked = replace(asked, hypothesis=Hypothesis(after=(errors(0.1), p95(0.1))))
    assert found(full(failing, range(22, 60), asked), "recovery").outcome is Outcome.BROKEN


def test_lag_and_missing_cpu_add_up() -> None:
    """What neither explains alone is no finding where both together do, be it a recovery or a tolerance."""
    light = replace(HOGS, target_wait_s=0.13)
    script = Script(answer=slow(22.0, 99.0, 0.2), lag=0.3, end=60.0, extra=host(light, 20, 60))
    seen = verdict(script, hypothesis=Hypothesis(after=(p95(0.1),)), recover=within(15.0))
    assert found(seen, "recovery").why.startswith(
        "the generator's own lag decides: without it, and with the CPU that was missing, 0.00 s"
    )
    little = replace(HOGS, target_wait_s=0.05, others_cpu=0.1, target_cpu=0.15, our_cpu=0.15)
    for hogs, outcome in ([], Outcome.BROKEN), (host(little, 20, 42), Outcome.UNKNOWN):
        script = Script(answer=slow(22.0, 28.0, 0.104), lag=0.024, **OVER, extra=hogs)
        assert found(verdict(script, hypothesis=Hypothesis(during=(p95(0.1),))), "during").outcome is outcome


def test_a_verdict_of_which_nothing_is_left_is_none() -> None:
    """Where lag explains one change and strangers another, nothing is worse, and so it is not NOT RECOVERED."""
    hogs = [one for begin in (33, 43, 53) for one in host(HOGS, begin, begin + 2)]
    seen = verdict(Mixed(after=28.5, end=60.0, extra=hogs), recover=within(20.0, 0.1))
    assert Change.WORSE not in [one.proves for one in seen.recovery.residuals]
    assert seen.recovery.verdict is Return.INCONCLUSIVE


@pytest.mark.parametrize(
    ("extra", "outcome"), [([], Outcome.BROKEN), (host(HOGS, 20, 30), Outcome.UNKNOWN)], ids=["nobody else", "hogs"]
)
@pytest.mark.parametrize("ok", [True, False])
def test_a_safeguard_on_a_probe_that_strangers_tripped(extra: Facts, outcome: Outcome, ok: bool) -> None:
    """A probe that was asked while strangers had the CPU trips a safeguard, and blames nobody."""
    many = tolerance("queue > 5", METRIC, ">", 5.0)
    script = Script(
        end=28.0, extra=[*extra, *said(1.0, 1, 22), *said(9.0, 22.2, 27.2, ok=ok), *stop(27.0, "queue > 5: 9")]
    )
    assert found(verdict(script, hypothesis=NOTHING, abort=(many,)), "abort").outcome is outcome


def test_a_probe_that_gave_up_among_strangers_blames_nobody() -> None:
    """An error may have come as late as the probe waits: what was asked before they came may be theirs."""
    answers = [*said(1.0, 1, 22), *said(1.0, 22.5, 23.5), *said(0.0, 24.5, 25.5, ok=False)]
    asked = Hypothesis(during=(tolerance("queue < 5", METRIC, "<", 5.0),))
    script = Script(**OVER, extra=[*host(HOGS, 27, 34), *answers])
    for timeout_s, outcome in (5.0, Outcome.UNKNOWN), (0.1, Outcome.BROKEN):
        probe = Probe(name="queue", kind="http", every_s=2.0, timeout_s=timeout_s)
        assert found(verdict(script, hypothesis=asked, probes=(probe,)), "during").outcome is outcome


def test_a_safeguard_that_the_generators_lag_tripped() -> None:
    """A latency that the generator made trips a safeguard, and blames nobody."""
    script = Script(end=28.0, lag=0.3, extra=stop(27.0, "p95 > 200ms for 3s: 305 ms"))
    one = found(verdict(script, hypothesis=NOTHING, abort=(SLOWLY,)), "abort")
    assert (one.outcome, one.why[:31]) == (Outcome.UNKNOWN, "the generator's own lag decides")


@pytest.mark.parametrize(("seconds", "outcome"), [(range(20, 28), Outcome.UNKNOWN), ((), Outcome.BROKEN)])
def test_a_safeguard_that_a_full_worker_tripped(seconds: Sequence[int], outcome: Outcome) -> None:
    """What a worker that was never idle saw late trips a safeguard, and blames nobody."""
    script = Script(answer=slow(22.0, 28.0, 0.3), end=28.0, extra=stop(27.0, "p95 > 200ms for 3s: 305 ms"))
    assert found(full(script, seconds, experiment(hypothesis=NOTHING, abort=(SLOWLY,))), "abort").outcome is outcome


@pytest.mark.parametrize(
    ("proven", "outcome"), [(True, Outcome.BROKEN), (None, Outcome.BROKEN), (False, Outcome.UNKNOWN)]
)
def test_a_safeguard_that_tripped_without_the_fault(proven: bool | None, outcome: Outcome) -> None:
    """What was seen not to be in effect broke nothing; where that is not known yet, the harm is the target's."""
    script = Script(
        answer=slow(15.0, 28.0, 0.3), end=28.0, proven=proven, extra=stop(27.0, "p95 > 200ms for 3s: 305 ms")
    )
    assert found(verdict(script, hypothesis=NOTHING, abort=(SLOWLY,)), "abort").outcome is outcome


def test_a_safeguard_that_tripped_on_a_load_that_was_not_there() -> None:
    """Load that the generator did not deliver is asked for until the moment at which a safeguard tripped."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        if due < 28:
            return well(due, name)
        return (Hits.LATE, 0.0) if round(due * 100) % 10 else (Hits.RESET, 0.001)

    script = Script(answer=answer, end=33.0, extra=stop(32.0, "errors > 10% for 3s: 50 %"))
    one = found(verdict(script, hypothesis=NOTHING, abort=(FAILING,)), "abort")
    assert (one.outcome, one.why[:19]) == (Outcome.UNKNOWN, "load not delivered:")


def test_a_safeguard_asks_the_same_question_of_the_kinder_view() -> None:
    """Where `for 3s` needs three bad seconds, one of the target's own beside two of the strangers' is not enough."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        if 24 <= due < 25:
            return Hits.RESET, 0.001
        return (Hits.TIMEOUT, 1.0) if 25 <= due < 27 else well(due, name)

    script = Script(end=28.0, answer=answer, extra=[*host(HOGS, 25, 28), *stop(27.3, "errors > 10% for 3s: 100 %")])
    assert found(verdict(script, hypothesis=NOTHING, abort=(FAILING,)), "abort").outcome is Outcome.UNKNOWN


def test_a_safeguard_without_for_asks_as_many_requests_of_the_kinder_view() -> None:
    """Of few requests the last ten seconds were asked: one of them that failed by itself is not most of them."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        if 19 <= due < 19.5:
            return Hits.RESET, 0.001
        return (Hits.TIMEOUT, 1.0) if 22 <= due < 28 else well(due, name)

    most = errors(0.5, cmp=">", text="errors > 50%")
    script = Script(rate=1.0, end=28.0, answer=answer, extra=stop(28.0, "errors > 50%: 60 %"))
    for extra, outcome in ([], Outcome.BROKEN), (host(HOGS, 21, 28), Outcome.UNKNOWN):
        seen = verdict(replace(script, extra=[*extra, *script.extra]), hypothesis=NOTHING, abort=(most,))
        assert found(seen, "abort").outcome is outcome
