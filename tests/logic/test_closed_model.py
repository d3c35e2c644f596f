"""What is said, and what is not believed, of a load whose users wait for their answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from building import EPOCH, Script, errors, experiment, fault, number, steps

from chaosrunner.logic.fold import fold
from chaosrunner.logic.imagine import imagine
from chaosrunner.logic.judge import judge
from chaosrunner.logic.steady import steady
from chaosrunner.logic.traffic import Span, Traffic
from chaosrunner.logic.validity import user_time_lost
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Closed, LoadProfile, Outcome, Shape, Stage, Wave, single
from chaosrunner.model.slots import Frame
from chaosrunner.model.steps import Done, Enter
from chaosrunner.model.verdict import Outcome as Judged

BEFORE = Script(fault=None, inject=None, heal=None, recovery=None, end=23.0, ended="")


def with_stream(load: LoadProfile, **fields: object) -> LoadProfile:
    """The same load, its only stream changed."""
    return replace(load, streams=(replace(load.streams[0], **fields),))  # type: ignore[arg-type]


def closed(
    every_s: float | None = None, stages: tuple[Shape, ...] = (Stage(start=5, end=5, lasts_s=None),)
) -> Experiment:
    """Five users whose errors must stay below 1 %, for 20 s from second 2 on: 100 seconds of users."""
    load = with_stream(steps("read"), stages=stages, closed=Closed(every_s=every_s))
    return experiment(load=load, hypothesis=Hypothesis(before=(errors(0.01),)))


def late(count: int) -> Script:
    """So many of the 2,000 requests of the baseline were never fired."""
    number_of = iter(range(10**6))

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        is_late = 5 <= due < 7 and next(number_of) < count
        return (Outcome.LATE if is_late else Outcome.OK), 0.005

    return replace(BEFORE, answer=answer)


@pytest.mark.parametrize(
    ("script", "every_s", "why"),
    [
        (late(0), None, ""),
        (late(1), None, ""),
        (late(2), None, "load not delivered: the generator kept its users waiting for 2 % of their time"),
        (late(2), 0.1, ""),
        (late(1), 10.0, "load not delivered: the generator kept its users waiting for 10 % of their time"),
        (late(30), 0.01, "load not delivered: 1.5 % of the requests due were never started by the generator"),
        (replace(BEFORE, lag=0.005), None, ""),
        (replace(BEFORE, lag=0.02), None, "load not delivered: the generator kept its users waiting for 40 % of their"),
    ],
)
def test_time_taken_from_users_is_load_not_delivered(script: Script, every_s: float | None, why: str) -> None:
    """A late journey stands for a second of its user, or a turn; a stall for itself. Above 1 % nothing is judged."""
    (finding,) = steady(closed(every_s), script.state())
    assert finding.why.startswith(why)
    assert finding.outcome is (Judged.UNKNOWN if why else Judged.HELD)


def test_an_open_load_is_measured_by_its_requests() -> None:
    """In the open model the same two late requests of 2,000 do not matter, and neither do stalls as such."""
    asked = experiment(hypothesis=Hypothesis(before=(errors(0.01),)))
    assert [finding.outcome for finding in steady(asked, late(2).state())] == [Judged.HELD]
    traffic = Traffic(asked, replace(BEFORE, lag=0.02).state())
    assert user_time_lost(traffic, Span(Phase.BASELINE, 20, 220)) == 0.0


def test_nobody_there_has_no_time_to_lose() -> None:
    """Where no user was asked for, none was kept waiting."""
    asked = closed(stages=(Stage(start=5, end=5, lasts_s=1.0),))
    assert user_time_lost(Traffic(asked, late(2).state()), Span(Phase.BASELINE, 20, 220)) == 0.0


def test_a_verdict_says_that_the_model_was_closed() -> None:
    """Users as asked, journeys a second as they came about, and what such a load cannot see."""
    seen = judge(closed(), BEFORE.state())
    assert (seen.users, seen.users_per_s, seen.requests_per_s) == (5, 100.0, 100.0)
    assert seen.trust.notes[0].startswith("closed model: who waits for an answer asks nothing more")
    assert "coordinated omission" in seen.trust.notes[0]
    assert judge(experiment(), BEFORE.state()).users is None
    nothing = replace(closed(), load=single(steps=(), stages=closed().load.streams[0].stages, closed=Closed()))
    assert judge(nothing, BEFORE.state()).users_per_s == 0.0


def test_a_verdict_says_how_often_pacing_was_not_kept() -> None:
    """Journeys that began behind their turn are counted beside all journeys."""
    frames = [e.SlotsArrived(frame=Frame(worker=0, seq=n, until_us=1, slots={}, journeys=50, behind=6)) for n in (0, 1)]
    state = fold(number([e.LoadStarted(epoch_ns=EPOCH, workers=1), *frames]))
    assert state.behind == 12
    notes = judge(closed(every_s=10.0), state).trust.notes
    assert notes[1] == "12 of 100 journeys began behind their turn, because the one before took longer than 10 s"


def models() -> Iterator[LoadProfile]:
    """One load of each model, with a second of warm-up."""
    plain = replace(steps("read", "write"), warmup_s=1.0)
    yield plain
    yield with_stream(plain, at_random=True)
    yield with_stream(plain, stages=(Wave(low=10, high=30, period_s=1, lasts_s=None),))
    yield with_stream(plain, stages=(Stage(start=10, end=10, lasts_s=30), Stage(start=90, end=90, lasts_s=None)))
    yield with_stream(plain, closed=Closed())
    yield with_stream(plain, closed=Closed(every_s=10.0, iterations=3))


@pytest.mark.parametrize("load", list(models()))
def test_every_model_can_be_imagined(load: LoadProfile) -> None:
    """A plan says when phases begin, whatever the load is: warm-up, then the baseline, then the fault."""
    asked = experiment(load=load, baseline_s=2.0, faults=(fault(),), recover=RecoveryTarget(within_s=5.0, hold_s=1.0))
    planned = list(imagine(asked))
    begins = {one.step.phase: one.step.at_ns / 1e9 for one in planned if isinstance(one.step, Enter)}
    assert begins[Phase.BASELINE] == 1.0
    assert begins[Phase.FAULT] == pytest.approx(3.0, abs=0.5)
    assert planned[-1].step == Done("proven")
