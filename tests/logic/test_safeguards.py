"""Safeguards: they trip on what they name, and are never silently blind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import EPOCH, Script, away, errors, experiment, ns, number, p95, steps, tolerance

from chaosrunner.logic.fold import State, fold
from chaosrunner.logic.safeguards import names, tripped
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Slot

TOO_MANY = errors(0.3, cmp=">", for_s=10.0, text="errors > 30% for 10s")
AT_ONCE = errors(0.3, cmp=">", text="errors > 30%")


def ask(script: Script, *abort: Tolerance, now: float | None = None, **changes: object) -> str:
    state = script.state()
    return tripped(experiment(abort=abort, **changes), state, ns(script.end if now is None else now))


@pytest.mark.parametrize(("end", "trips"), [(33.0, False), (34.4, False), (35.1, True), (50.0, True)])
def test_for_means_without_interruption(end: float, trips: bool) -> None:
    """`for 10s` trips once ten whole seconds in a row have violated."""
    why = ask(Script(answer=away(24.8, 99.0), end=end, ended=""), TOO_MANY)
    assert bool(why) is trips
    assert not why or why == "errors > 30% for 10s: 100 %"


def test_an_interruption_starts_anew() -> None:
    """One good second in ten keeps the safeguard from tripping."""
    back = away(24.0, 99.0, otherwise=away(0.0, 0.0))
    script = Script(answer=lambda due, name: back(due, name) if not 30.0 <= due < 31.0 else (Outcome.OK, 0.01))
    assert ask(replace(script, end=40.5), TOO_MANY) == ""
    assert ask(replace(script, end=41.5), TOO_MANY) != ""


def test_nothing_trips_before_the_baseline() -> None:
    """During the ramp, and without a load, safeguards sleep."""
    assert ask(Script(answer=away(0.0, 99.0), baseline=None, fault=None, end=30.0), TOO_MANY) == ""
    assert tripped(experiment(abort=(TOO_MANY,)), State(), EPOCH) == ""
    entered = fold(number([e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH)]))
    assert tripped(experiment(abort=(TOO_MANY,)), entered, ns(99.0)) == ""
    assert ask(Script(answer=away(0.0, 99.0), end=11.5, ended=""), TOO_MANY) == ""
    assert ask(Script(answer=away(0.0, 99.0), end=12.5, ended=""), TOO_MANY) != ""


def hole(seconds: float, *, until: float | None = None) -> State:
    """A target that answers nothing from 2 s on."""
    slots = {(n, 0): Slot(due=10) for n in range(20, int(seconds * 10))}
    return fold(
        number(
            [
                e.LoadStarted(epoch_ns=EPOCH, workers=1),
                e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH),
                e.PhaseEntered(phase=Phase.BASELINE, at_ns=ns(2.0)),
                e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=round((until or seconds) * 1e6), slots=slots)),
            ]
        )
    )


@pytest.mark.parametrize(("seconds", "trips"), [(13.9, False), (14.0, True)])
def test_a_black_hole_trips(seconds: float, trips: bool) -> None:
    """Requests unanswered for 2 s count as errors, younger ones are not judged."""
    asked = experiment(abort=(TOO_MANY,))
    assert bool(tripped(asked, hole(seconds), ns(seconds))) is trips
    assert tripped(asked, hole(3.5), ns(3.5)) == ""


def test_slow_is_only_slow_beyond_its_bound() -> None:
    """An open request violates `p95 > 5s` when it is older than 5 s, not when it is older than 2 s."""
    slow = experiment(abort=(p95(5.0, cmp=">", for_s=3.0),))
    assert tripped(slow, hole(9.9), ns(9.9)) == ""
    assert tripped(slow, hole(10.0), ns(10.0)) == "p95 > 5s: failed"


def test_without_for_the_last_second_decides() -> None:
    """A condition without `for` trips in the first second that violates, and not later when it is over."""
    assert ask(Script(answer=away(25.0, 26.0), end=26.2, ended=""), AT_ONCE) == "errors > 30%: 100 %"
    assert ask(Script(answer=away(25.0, 26.0), end=27.2, ended=""), AT_ONCE) == ""


def test_without_for_as_many_seconds_as_it_takes() -> None:
    """At 4 requests a second three seconds are looked at; at none in ten seconds' sight it is never judged."""
    script = Script(answer=away(25.0, 99.0), rate=4.0, end=28.2, ended="")
    assert ask(script, AT_ONCE) == "errors > 30%: 100 %"
    assert ask(replace(script, rate=0.5), AT_ONCE) == ""


@pytest.mark.parametrize(("now", "blind"), [(39.9, False), (40.1, True)])
def test_no_reports_is_blind(now: float, blind: bool) -> None:
    """When the load has reported nothing for 10 s the run cannot be guarded."""
    why = ask(Script(end=30.0, ended=""), now=now)
    assert why.startswith("blind: the load has reported nothing for") is blind


def test_a_name_without_requests_is_blind() -> None:
    """A safeguard on a request that is never due cannot be read."""
    named = errors(0.3, of="write", cmp=">", for_s=12.0)
    script = Script(end=13.4, ended="")
    load = steps("read", "write")
    assert ask(script, named, load=load) == ""
    assert ask(replace(script, end=14.1), named, load=load) == "blind: errors > 30%: no request was due for 12 s"


def test_relative_to_the_baseline() -> None:
    """A relative safeguard sleeps until the baseline is over, then counts from it."""
    slower = p95(3.0, cmp=">", for_s=2.0, against=Against.TIMES_BASELINE)
    script = Script(answer=lambda due, _: (Outcome.OK, 0.005 if due < 25.0 else 0.05))
    assert ask(replace(script, end=15.0), slower) == ""
    assert ask(replace(script, end=26.0), slower) == ""
    assert ask(replace(script, end=27.5), slower) == "p95 > 3s: 50 ms"
    assert ask(replace(script, end=27.5, dues=[25.0 + n / 50 for n in range(120)]), slower) == ""


QUEUE = tolerance("queue > 5 for 3s", Metric(stat=Stat.PROBE, probe="queue"), ">", 5.0, for_s=3.0)


def answers(*values: float | None, ok: bool = True) -> list[tuple[float, e.Event]]:
    """One answer a second from 23 s on."""
    return [
        (23.0 + n, e.ProbeAnswered(probe="queue", at_ns=ns(23.0 + n), ok=ok and value is not None, value=value))
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("said", "now", "why"),
    [
        (answers(1.0, 6.0, 7.0, 8.0), 26.5, ""),
        (answers(1.0, 6.0, 7.0, 8.0), 27.0, "queue > 5 for 3s: 8"),
        (answers(1.0, None, 7.0, 8.0), 27.0, "queue > 5 for 3s: 8"),
        (answers(9.0, 9.0, 9.0, 1.0), 27.0, ""),
        (answers(1.0, ok=False), 27.0, "queue > 5 for 3s: 1"),
        ([], 11.9, ""),
        ([], 12.1, "blind: queue > 5 for 3s: no answer for 10.1 s"),
    ],
)
def test_a_probe_trips(said: list[tuple[float, e.Event]], now: float, why: str) -> None:
    """A probe trips when it answered badly, or with an error, for long enough; silence is blindness."""
    assert ask(Script(extra=said, end=max(27.0, now), ended=""), QUEUE, now=now) == why


def test_a_probe_relative_to_the_baseline() -> None:
    """A relative probe needs a number in the baseline."""
    twice = replace(QUEUE, against=Against.TIMES_BASELINE, value=2.0)
    usual = (10.0, e.ProbeAnswered(probe="queue", at_ns=ns(10.0), ok=True, value=3.0))
    said = answers(7.0, 7.0, 7.0, 7.0)
    assert ask(Script(extra=said, end=27.0, ended=""), twice) == ""
    assert ask(Script(extra=[usual, *said], end=27.0, ended=""), twice) == "queue > 5 for 3s: 7"


def test_which_one_tripped() -> None:
    """The reason names the condition that tripped."""
    assert names(TOO_MANY, "errors > 30% for 10s: 100 %")
    assert not names(AT_ONCE, "errors > 30% for 10s: 100 %")
