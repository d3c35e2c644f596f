"""A probe that does not answer: no data, so neither a pass nor a finding."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, errors, experiment, ns, tolerance, well

from chaosrunner.logic.judge import judge
from chaosrunner.model import events as e
from chaosrunner.model.experiment import RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Probe, Stat
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.verdict import Finding, Outcome, Return, Verdict

QUEUE = tolerance("queue < 5", Metric(stat=Stat.PROBE, probe="queue"), "<", 5.0)
PROBE = Probe(name="queue", kind="http", every_s=1.0, timeout_s=2.0)
AFTER = Hypothesis(after=(QUEUE,))
Said = list[tuple[float, e.Event]]


def said(*answers: tuple[float, float]) -> Said:
    return [(at, e.ProbeAnswered(probe="queue", at_ns=ns(at), ok=True, value=value)) for at, value in answers]


def each(value: float, begin: int, end: int) -> Said:
    """The same answer once a second."""
    return said(*[(float(at), value) for at in range(begin, end)])


def verdict(script: Script, answers: Said, within_s: float = 15.0, **changes: object) -> Verdict:
    target = RecoveryTarget(within_s=within_s, hold_s=10.0)
    whole: dict[str, object] = {"probes": (PROBE,), "hypothesis": AFTER, "recover": target, **changes}
    return judge(experiment(**whole), replace(script, extra=answers).state())


def found(seen: Verdict, start: str) -> Finding:
    return next(one for one in seen.findings if one.name.startswith(start))


WELL = Script(after=28.5, end=42.0)
LATE = Script(after=46.0, end=60.0)
ILL = [*each(1.0, 1, 22), *each(9.0, 23, 28)]


@pytest.mark.parametrize(
    ("script", "answers", "within_s", "outcome"),
    [
        pytest.param(WELL, each(1.0, 28, 42), 15.0, Outcome.HELD, id="it answers and is well"),
        pytest.param(LATE, each(1.0, 46, 60), 5.0, Outcome.UNKNOWN, id="silent until after the target"),
        pytest.param(LATE, each(9.0, 28, 46) + each(1.0, 46, 60), 5.0, Outcome.BROKEN, id="late"),
        pytest.param(
            Script(after=46.0, end=60.0),
            said((28.0, 9.0)) + each(1.0, 46, 60),
            5.0,
            Outcome.UNKNOWN,
            id="ill, then silent",
        ),
        pytest.param(WELL, said((28.0, 1.0)), 5.0, Outcome.UNKNOWN, id="one good answer, then silent"),
        pytest.param(
            Script(after=None, end=55.0), each(9.0, 28, 55), 15.0, Outcome.BROKEN, id="it answers and stays ill"
        ),
    ],
)
def test_silence_is_no_proof_of_a_recovery_and_none_against_it(
    script: Script, answers: Said, within_s: float, outcome: Outcome
) -> None:
    """What a probe did not say would have been good, or not: where that decides, the recovery is UNKNOWN."""
    assert found(verdict(script, ILL + answers, within_s), "recovery").outcome is outcome


@pytest.mark.parametrize(("every_s", "outcome"), [(1.0, Outcome.UNKNOWN), (30.0, Outcome.UNKNOWN)])
def test_a_probe_asked_too_seldom_proves_no_recovery(every_s: float, outcome: Outcome) -> None:
    """Where no question falls into a hold time that was over in time, nothing is known of it."""
    seen = verdict(
        Script(after=None, end=59.6, ended="not recovered"),
        said((10.0, 1.0), (26.0, 1.0), (56.0, 1.0)),
        probes=(replace(PROBE, every_s=every_s),),
    )
    assert found(seen, "recovery").outcome is outcome
    assert "had it answered well" in found(seen, "recovery").why


def test_a_phase_in_which_a_probe_fell_silent_is_no_pass() -> None:
    """One good answer of a fault of five seconds is not enough of a probe that is asked every second; a bad one is."""
    during = Hypothesis(during=(QUEUE,))
    one = found(verdict(WELL, said((10.0, 1.0), (22.7, 1.0)), hypothesis=during), "during")
    assert (one.outcome, one.why) == (Outcome.UNKNOWN, "the probe gave no answer for 4.8 s")
    assert found(verdict(WELL, said((22.7, 9.0)), hypothesis=during), "during").outcome is Outcome.BROKEN
    assert found(verdict(WELL, each(1.0, 20, 30), hypothesis=during), "during").outcome is Outcome.HELD


def test_a_probe_relapses() -> None:
    """Bad answers after the hold time are a relapse, told from the first to the last of those in a row."""
    answers = [*ILL, *each(1.0, 28, 42), *each(9.0, 42, 45), *each(1.0, 45, 50), *each(9.0, 50, 51), *each(1.0, 51, 60)]
    seen = verdict(Script(after=28.5, end=60.0), answers)
    assert seen.recovery.verdict is Return.RELAPSED
    assert [(round(one.begin_s, 1), round(one.end_s, 1)) for one in seen.recovery.relapses] == [
        (14.5, 16.5),
        (22.5, 22.5),
    ]


def test_a_margin_is_asked_though_nothing_says_what_recovered_means() -> None:
    """Without `before` and `after` a system that stays twice as slow is BROKEN where a margin was asked for."""
    script = Script(answer=lambda due, name: (Hits.OK, 0.01) if due >= 22 else well(due, name), after=28.5, end=60.0)
    target = RecoveryTarget(within_s=30.0, hold_s=10.0, margin=0.1)
    only = Hypothesis(during=(errors(0.5),))
    seen = judge(experiment(hypothesis=only, recover=target), script.state())
    assert (seen.recovery.verdict, found(seen, "recovery").outcome) == (Return.NOT_RECOVERED, Outcome.BROKEN)
    unproven = judge(experiment(hypothesis=only, recover=target), replace(script, proven=False).state())
    assert unproven.recovery.verdict is Return.INCONCLUSIVE


@pytest.mark.parametrize(
    ("answers", "within_s", "outcome"),
    [
        pytest.param([(5.0, 1.0), (15.0, 1.0), (25.0, 9.0), (35.0, 1.0), (45.0, 1.0)], 5.0, Outcome.UNKNOWN, id="ill"),
        pytest.param([(5.0, 1.0), (15.0, 1.0), (25.0, 9.0), (35.0, 1.0), (45.0, 1.0)], 9.0, Outcome.HELD, id="in time"),
        pytest.param([(5.0, 1.0), (15.0, 1.0), (25.0, 1.0), (35.0, 1.0), (45.0, 1.0)], 5.0, Outcome.HELD, id="well"),
        pytest.param([(2.0, 1.0), (12.0, 1.0), (22.0, 1.0), (35.0, 1.0), (45.0, 1.0)], 5.0, Outcome.UNKNOWN, id="none"),
    ],
)
def test_a_probe_says_nothing_between_its_answers(
    answers: list[tuple[float, float]], within_s: float, outcome: Outcome
) -> None:
    """What was ill when last asked, or was not asked while the fault lasted, is not well before it says so."""
    script = Script(after=35.0, end=52.0)
    seldom = (replace(PROBE, every_s=10.0, timeout_s=9.0),)
    seen = verdict(script, said(*answers), within_s, probes=seldom)
    assert found(seen, "recovery").outcome is outcome


def test_a_silent_baseline_is_no_yardstick() -> None:
    """One answer in a baseline of 20 s is not what a probe usually says."""
    twice = tolerance("queue <= 2x baseline", QUEUE.metric, "<=", 2.0, against=Against.TIMES_BASELINE)
    asked = {"hypothesis": Hypothesis(during=(twice,))}
    rest = each(15.0, 23, 42)
    assert found(verdict(WELL, each(2.0, 1, 22) + rest, **asked), "during").outcome is Outcome.BROKEN
    assert found(verdict(WELL, said((21.0, 9.0)) + rest, **asked), "during").outcome is Outcome.UNKNOWN
