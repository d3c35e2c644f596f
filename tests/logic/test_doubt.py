"""Whose doing was it? What missing CPU may explain is no finding; what it cannot explain is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import HOGS, Answer, Script, away, errors, experiment, host, ns, p95, slow, tolerance, well

from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.strain import Strain
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Closed
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.verdict import Finding, Outcome, Verdict

ITSELF = replace(HOGS, target_cpu=1.8, others_cpu=0.1)
QUICK = Hypothesis(during=(p95(0.1),))


def verdict(script: Script, **changes: object) -> Verdict:
    return judge(experiment(**changes), script.state())


def found(seen: Verdict, start: str) -> Finding:
    return next(one for one in seen.findings if one.name.startswith(start))


SLOW = Script(answer=slow(22.0, 28.0, 0.3), after=28.5, end=42.0)
"""During the fault everything takes 300 ms."""


@pytest.mark.parametrize(
    ("extra", "seconds", "outcome"),
    [
        pytest.param([], 0.3, Outcome.BROKEN, id="nobody else"),
        pytest.param(host(HOGS, 20, 30), 0.3, Outcome.UNKNOWN, id="two hogs"),
        pytest.param(host(HOGS, 0, 20), 0.3, Outcome.BROKEN, id="hogs long before"),
        pytest.param(host(HOGS, 20, 30), 3.0, Outcome.BROKEN, id="far too slow for two hogs"),
        pytest.param(host(ITSELF, 20, 30), 0.3, Outcome.BROKEN, id="it fills the CPU itself"),
        pytest.param(host(HOGS, 20, 30), 0.05, Outcome.HELD, id="quick in spite of hogs"),
    ],
)
def test_two_hogs_from_outside_are_no_finding(
    extra: list[tuple[float, e.Event]], seconds: float, outcome: Outcome
) -> None:
    """A slow target is BROKEN unless strangers that had its CPU may explain that; then it is UNKNOWN."""
    seen = verdict(replace(SLOW, answer=slow(22.0, 28.0, seconds), extra=extra), hypothesis=QUICK)
    assert found(seen, "during").outcome is outcome


def test_the_reason_says_who_it_was_and_what_to_do() -> None:
    """The reason names the stranger, what would have been seen without it, and a way out."""
    why = found(verdict(replace(SLOW, extra=host(HOGS, 20, 30)), hypothesis=QUICK), "during").why
    assert why == (
        "others on this host had the CPUs (hog (7)), the target waited 450 ms a second: "
        "without that 0 s, HELD; stop them, or give the target a host of its own"
    )
    nameless = host(replace(HOGS, busiest=""), 20, 30)
    why = found(verdict(replace(SLOW, extra=nameless), hypothesis=QUICK), "during").why
    assert why.startswith("others on this host had the CPUs, the target waited")


def test_a_generator_that_stands_still_is_no_finding() -> None:
    """Answers that a worker could not see because it stood still are not slow answers of the target."""
    state = SLOW.state()
    state.strains = {(second, 0): Strain(still_us=300_000) for second in range(22, 29)}
    one = found(judge(experiment(hypothesis=QUICK), state), "during")
    assert one.outcome is Outcome.UNKNOWN
    assert one.why.startswith("the load generator stood still for 300 ms at once: without that")
    assert one.why.endswith("use more `workers`, a less busy host or a lower load")


STARVED = [
    (2.88, 0.09, 0.06, 1.98, {Hits.OK: 36, Hits.STATUS: 5, Hits.TIMEOUT: 1}),
    (3.58, 0.07, 0.06, 1.89, {Hits.OK: 8, Hits.STATUS: 1, Hits.TIMEOUT: 20}),
    (5.49, 0.08, 0.07, 1.75, {Hits.OK: 10, Hits.STATUS: 5, Hits.TIMEOUT: 20}),
    (4.42, 0.09, 0.09, 1.90, {Hits.OK: 15, Hits.STATUS: 3, Hits.TIMEOUT: 20}),
    (4.91, 0.05, 0.05, 1.88, {Hits.OK: 3, Hits.STATUS: 3, Hits.TIMEOUT: 19}),
    (4.09, 0.06, 0.05, 1.90, {Hits.OK: 2, Hits.STATUS: 8, Hits.TIMEOUT: 16}),
]
"""The careful demo in containers on two crowded cores, measured: the target's wait, CPUs of it, us, others; answers."""

TOOK = {Hits.OK: 3.0, Hits.STATUS: 2.5, Hits.TIMEOUT: 10.0}
"""About what they took: the gateway gives up after 2.5 s, the load after 10 s."""


@pytest.mark.parametrize(
    ("others", "outcome"),
    [pytest.param(1.0, Outcome.UNKNOWN, id="as it was"), pytest.param(0.05, Outcome.BROKEN, id="nobody beside it")],
)
def test_a_target_that_starves_denies_what_it_cannot_do_in_time(others: float, outcome: Outcome) -> None:
    """503 and 504 of a target whose own deadlines pass for want of CPU are no finding; without strangers they are."""
    plan = {22.0 + n: [one for one, count in row[4].items() for _ in range(count)] for n, row in enumerate(STARVED)}
    dues = {at + nth / len(answers): one for at, answers in plan.items() for nth, one in enumerate(answers)}
    calm = [second + nth / 20 for second in (*range(22), *range(28, 42)) for nth in range(20)]
    host_then = [
        (
            23.0 + n,
            e.Pressure(
                at_ns=ns(23.0 + n), cpu_some=0.8, target_wait_s=wait, target_cpu=target, our_cpu=ours,
                others_cpu=theirs * others,
            ),
        )
        for n, (wait, target, ours, theirs, _) in enumerate(STARVED)
    ]  # fmt: skip
    script = Script(
        answer=lambda due, name: (dues[due], TOOK[dues[due]]) if due in dues else well(due, name),
        dues=sorted([*calm, *dues]),
        after=28.5,
        end=42.0,
        extra=host_then,
    )
    state = script.state()
    state.counts.outside(Phase.FAULT, "read.status.504", 25)
    seen = judge(experiment(hypothesis=Hypothesis(during=(errors(0.02), p95(1.0)))), state)
    during = [one for one in seen.findings if one.name.startswith("during")]
    assert [one.outcome for one in during] == [outcome] * 2


def test_a_single_bad_second_does_not_excuse_a_phase() -> None:
    """One second short of CPU explains the answers of a second or two, not those of a whole phase."""
    assert found(verdict(replace(SLOW, extra=host(HOGS, 29, 30)), hypothesis=QUICK), "during").outcome is Outcome.BROKEN


def test_a_baseline_may_have_been_better_than_it_looks() -> None:
    """A relative bound that was held only because strangers spoilt the baseline is not held."""
    relative = Tolerance(
        text="p95 <= 2x baseline",
        metric=Metric(stat=Stat.QUANTILE, quantile=0.95),
        cmp="<=",
        against=Against.TIMES_BASELINE,
        value=2.0,
    )
    both = replace(SLOW, answer=lambda due, _: (Hits.OK, 0.2 + (due * 7919 % 1) / 1000))
    assert found(verdict(both, hypothesis=Hypothesis(during=(relative,))), "during").outcome is Outcome.HELD
    light = replace(HOGS, target_wait_s=0.13)
    one = found(verdict(replace(both, extra=host(light, 0, 22)), hypothesis=Hypothesis(during=(relative,))), "during")
    assert one.outcome is Outcome.UNKNOWN
    assert one.why.startswith("baseline: others on this host had the CPUs (hog (7))")
    tiny = replace(HOGS, target_wait_s=0.05, others_cpu=0.1)
    fine = verdict(replace(both, extra=host(tiny, 0, 22)), hypothesis=Hypothesis(during=(relative,)))
    assert found(fine, "during").outcome is Outcome.HELD


def test_a_baseline_that_is_judged_itself_is_seen_kindly() -> None:
    """A load that breaks nothing is judged on its baseline: what strangers did to that is no finding either."""
    plain = Script(
        answer=slow(0.0, 99.0, 0.3), fault=None, inject=None, heal=None, recovery=None, end=23.0, ended="no fault"
    )
    asked: dict[str, object] = {"faults": (), "hypothesis": Hypothesis(before=(p95(0.1),))}
    assert found(verdict(plain, **asked), "before").outcome is Outcome.BROKEN
    assert found(verdict(replace(plain, extra=host(HOGS, 0, 23)), **asked), "before").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("answer", "extra", "outcome"),
    [
        pytest.param(slow(24.0, 99.0, 0.3), [], Outcome.BROKEN, id="never"),
        pytest.param(slow(24.0, 99.0, 0.3), host(HOGS, 20, 60), Outcome.UNKNOWN, id="hogs"),
        pytest.param(away(24.0, 99.0), host(HOGS, 20, 60), Outcome.BROKEN, id="hogs do not reset connections"),
    ],
)
def test_a_recovery_that_strangers_delayed(
    answer: Answer, extra: list[tuple[float, e.Event]], outcome: Outcome
) -> None:
    """A recovery that would have come without the strangers is not missing; one that would not have come is."""
    script = Script(answer=answer, after=None, end=60.0, extra=extra)
    seen = verdict(script, hypothesis=Hypothesis(after=(p95(0.1),)), recover=RecoveryTarget(within_s=15.0, hold_s=10.0))
    assert found(seen, "recovery").outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert "without that recovered" in found(seen, "recovery").why


QUEUE = tolerance("queue < 5", Metric(stat=Stat.PROBE, probe="queue"), "<", 5.0)


def asked(*values: float, begin: float = 1.0, ok: bool = True) -> list[tuple[float, e.Event]]:
    """A probe asked once a second."""
    return [
        (begin + n, e.ProbeAnswered(probe="queue", at_ns=ns(begin + n), ok=ok, value=value))
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("extra", "outcome", "why"),
    [
        pytest.param([], Outcome.BROKEN, "5 of 5 answers", id="nobody else"),
        pytest.param(host(HOGS, 20, 30), Outcome.UNKNOWN, "others on this host had the CPUs (hog (7))", id="two hogs"),
        pytest.param(host(HOGS, 20, 24), Outcome.BROKEN, "5 of 5 answers", id="two hogs for a part of it"),
        pytest.param(
            host(replace(HOGS, target_wait_s=0.08), 20, 30), Outcome.BROKEN, "5 of 5 answers", id="a little in the way"
        ),
        pytest.param(host(ITSELF, 20, 30), Outcome.BROKEN, "5 of 5 answers", id="it fills the CPU itself"),
    ],
)
@pytest.mark.parametrize("ok", [True, False])
def test_a_probe_asked_while_strangers_had_the_cpu_blames_nobody(
    extra: list[tuple[float, e.Event]], outcome: Outcome, why: str, ok: bool
) -> None:
    """An answer that is bad, or late, for want of CPU is no finding; one asked when there was enough is."""
    answers = asked(*[9.0] * 5, begin=23.2, ok=ok)
    one = found(verdict(replace(SLOW, extra=[*extra, *answers]), hypothesis=Hypothesis(during=(QUEUE,))), "during")
    assert one.outcome is outcome
    assert one.why.startswith(why)


def test_a_recovery_that_a_probe_tells_of_may_be_delayed_by_strangers() -> None:
    """As long as strangers have the CPU nobody knows what a probe would say; without them it says that nothing came."""
    answers = asked(*[1.0] * 21, *[9.0] * 38)
    asking, target = Hypothesis(after=(QUEUE,)), RecoveryTarget(within_s=15.0, hold_s=10.0)
    for extra, outcome in ([], Outcome.BROKEN), (host(HOGS, 20, 60), Outcome.UNKNOWN):
        script = Script(after=None, end=60.0, extra=[*extra, *answers])
        assert found(verdict(script, hypothesis=asking, recover=target), "recovery").outcome is outcome


GUARD = p95(0.2, cmp=">", for_s=3.0, text="p95 > 200ms for 3s")


@pytest.mark.parametrize(
    ("seconds", "extra", "outcome"),
    [
        pytest.param(0.3, [], Outcome.BROKEN, id="the target"),
        pytest.param(0.3, host(HOGS, 20, 28), Outcome.UNKNOWN, id="hogs"),
        pytest.param(4.0, host(HOGS, 20, 28), Outcome.BROKEN, id="too slow for hogs"),
        pytest.param(0.01, host(HOGS, 20, 28), Outcome.UNKNOWN, id="it tripped on what is not to be seen any more"),
    ],
)
def test_a_safeguard_that_strangers_tripped(
    seconds: float, extra: list[tuple[float, e.Event]], outcome: Outcome
) -> None:
    """A safeguard that would not have tripped without the strangers blames nobody."""
    stop = e.Decided(step="abort", why="p95 > 200ms for 3s: 300 ms", now_ns=ns(27.0))
    script = Script(answer=slow(22.0, 28.0, seconds), end=28.0, extra=[*extra, (27.0, stop)])
    assert found(verdict(script, abort=(GUARD,)), "abort").outcome is outcome


@pytest.mark.parametrize(
    ("asked", "full", "outcome"),
    [
        pytest.param(p95(0.1), {(22, 1): 1e6, (24, 1): 1e6, (25, 0): 1e5}, Outcome.UNKNOWN, id="a full worker"),
        pytest.param(p95(0.1), {(22, 1): 1e5, (5, 0): 9e6}, Outcome.BROKEN, id="hardly ever full"),
        pytest.param(errors(0.0, cmp=">="), {(22, 1): 1e6}, Outcome.HELD, id="nothing broken"),
        pytest.param(errors(0.5, cmp=">"), {(22, 1): 1e6}, Outcome.BROKEN, id="not about speed"),
    ],
)
def test_a_worker_at_its_limit_blames_nobody(
    asked: Tolerance, full: dict[tuple[int, int], float], outcome: Outcome
) -> None:
    """When a worker was never idle, slow answers may be its own: UNKNOWN, with the worker and what to do."""
    state = SLOW.state()
    state.strains = {key: Strain(full_us=micros) for key, micros in full.items()}
    one = found(judge(experiment(hypothesis=Hypothesis(during=(asked,))), state), "during")
    assert one.outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert one.why.startswith("worker 1 of the load was never idle for 33.3 % of the time; use more `workers`")


@pytest.mark.parametrize(
    ("closed", "wait", "outcome"),
    [(True, 0.5, Outcome.UNKNOWN), (True, 0.051, Outcome.BROKEN), (False, 0.5, Outcome.BROKEN)],
)
def test_users_who_wait_ask_less(closed: bool, wait: float, outcome: Outcome) -> None:
    """In a closed model strangers lower the rate, which then blames nobody; an open model asks all the same."""
    rate = tolerance("rate >= 200/s", Metric(stat=Stat.RATE), ">=", 200.0)
    plain = experiment(hypothesis=Hypothesis(during=(rate,)))
    (stream,) = plain.load.streams
    load = replace(plain.load, streams=(replace(stream, closed=Closed() if closed else None),))
    state: State = replace(SLOW, extra=host(replace(HOGS, target_wait_s=wait), 20, 30)).state()
    one = found(judge(replace(plain, load=load), state), "during")
    assert one.outcome is outcome
    assert ("users who wait longer ask less" in one.why) == (outcome is Outcome.UNKNOWN)
