"""Traffic cut into phases and windows."""

from __future__ import annotations

import math

import pytest
from building import EPOCH, Script, away, experiment, ns, number, steps
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.detail import FINE_SLOTS
from chaosrunner.logic.fold import State, fold
from chaosrunner.logic.traffic import Span, Traffic, slots_in
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase, RecoveryTarget
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Slot


def traffic(script: Script, **changes: object) -> Traffic:
    return Traffic(experiment(**changes), script.state())


def test_phases_have_their_slots() -> None:
    """BASELINE and AFTER last as asked, FAULT and RECOVERY until the next phase begins."""
    cut = traffic(Script(after=30.0, end=45.0))
    spans = [cut.span(phase) for phase in Phase]
    assert spans == [
        Span(Phase.WARMUP, 0, 20),
        Span(Phase.BASELINE, 20, 220),
        Span(Phase.FAULT, 222, 275),
        Span(Phase.RECOVERY, 275, 300),
        Span(Phase.AFTER, 300, 400),
    ]
    assert [round(span.seconds, 1) for span in spans if span] == [2.0, 20.0, 5.3, 2.5, 10.0]


def test_a_phase_that_was_not_entered_has_none() -> None:
    """Without its beginning a phase has no slots, and without a load nothing has."""
    cut = traffic(Script(baseline=None, fault=None, recovery=None, inject=None, heal=None))
    assert [cut.span(phase) for phase in (Phase.BASELINE, Phase.FAULT, Phase.RECOVERY, Phase.AFTER)] == [None] * 4
    assert Traffic(experiment(), State()).span(Phase.AFTER) is None
    nothing = fold(number([e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH)]))
    assert Traffic(experiment(), nothing).span(Phase.WARMUP) is None


def test_a_phase_that_did_not_end_is_cut_short() -> None:
    """A FAULT without what follows is not whole; its hits up to the end of the play are known."""
    cut = traffic(Script(recovery=None, end=25.0))
    assert cut.span(Phase.FAULT) == Span(Phase.FAULT, 222, 250, whole=False)


def test_the_end_of_the_play_ends_the_last_phase() -> None:
    """Traffic after the end is in no phase; without an end, what was reported is."""
    entries = Script(recovery=None, end=25.0).entries()
    entries = [entry for entry in entries if not isinstance(entry.event, e.Ended)]
    ended = fold(entries)
    early = fold([*entries, *number([e.Ended(why="x", at_ns=ns(24.0))])])
    assert Traffic(experiment(), ended).span(Phase.FAULT) == Span(Phase.FAULT, 222, 250, whole=False)
    assert Traffic(experiment(), early).span(Phase.FAULT) == Span(Phase.FAULT, 222, 240, whole=False)


def test_a_baseline_that_was_not_reported_is_not_whole() -> None:
    """A BASELINE is whole when all of its slots have been reported."""
    span = traffic(Script(fault=None, recovery=None, inject=None, heal=None, end=15.0)).span(Phase.BASELINE)
    assert span == Span(Phase.BASELINE, 20, 220, whole=False)


@pytest.mark.parametrize(("end", "first", "whole"), [(60.0, 500, True), (30.0, 275, False)])
def test_what_users_were_left_with(end: float, first: int, whole: bool) -> None:
    """Without a recovery AFTER is the last hold time of RECOVERY, or what there is of it."""
    span = traffic(Script(end=end)).span(Phase.AFTER)
    assert span == Span(Phase.AFTER, first, int(end * 10), whole=whole)


def test_recovery_inside_the_fault() -> None:
    """When recovery came before FAULT ended, RECOVERY is empty and AFTER begins where it would."""
    cut = traffic(Script(after=27.5, end=45.0))
    assert cut.span(Phase.RECOVERY) == Span(Phase.RECOVERY, 275, 275)
    assert cut.span(Phase.AFTER) == Span(Phase.AFTER, 275, 375)


def test_samples_by_name() -> None:
    """A sample is of one request name or of all."""
    cut = traffic(Script(names=2, end=4.0), load=steps("read", "write"))
    span = Span(Phase.WARMUP, 0, 20)
    assert [cut.sample(span, name).hits for name in ("", "read", "write")] == [200, 100, 100]
    with pytest.raises(KeyError):
        cut.sample(span, "nothing")
    assert cut.sample(span) is cut.sample(span)


@given(st.integers(1, 60), st.integers(1, 60))
def test_windows_cover_their_span(length: int, width: int) -> None:
    """Windows have the length asked for, or that of a shorter span, and together see every hit."""
    cut = traffic(Script(answer=away(2.0, 2.1), rate=20.0, end=10.0))
    span = Span(Phase.BASELINE, 20, 20 + length)
    windows = list(cut.windows(span, width / 10))
    wide = min(length, width)
    assert {round(window.seconds * 10) for window in windows} == {wide}
    assert all(window.hits == 2 * wide for window in windows)
    assert windows[0].failures == 2
    steps_taken = math.ceil((length - wide) / min(wide, 10))
    assert len(windows) == steps_taken + 1


def test_an_empty_span_has_no_window() -> None:
    """Where there is no time there is no window."""
    assert list(traffic(Script(end=1.0)).windows(Span(Phase.FAULT, 5, 5), 10.0)) == []


def test_old_slots_count_in_their_phase() -> None:
    """Slots too old to be kept one by one are still in the sample of their phase, by name."""
    ok = {(n, n % 2): Slot(due=1, done={Outcome.OK: 1}) for n in range(FINE_SLOTS + 100)}
    events: list[e.Event] = [
        e.LoadStarted(epoch_ns=EPOCH, workers=1),
        e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH),
        e.PhaseEntered(phase=Phase.BASELINE, at_ns=ns(2.0)),
        e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=len(ok) * 100_000, slots=ok)),
    ]
    cut = Traffic(experiment(baseline_s=20.0, load=steps("read", "write")), fold(number(events)))
    span = cut.span(Phase.BASELINE)
    assert span == Span(Phase.BASELINE, 20, 220)
    assert [cut.sample(span, name).hits for name in ("", "read", "write")] == [200, 100, 100]


def test_slots_of_a_duration() -> None:
    """A duration takes as many slots as it touches."""
    assert [slots_in(seconds) for seconds in (0.0, 0.05, 0.1, 0.3, 1.0, 1.01)] == [0, 1, 1, 3, 10, 11]


def test_hold_is_the_experiments() -> None:
    """AFTER is as long as the experiment's hold time."""
    cut = traffic(Script(after=30.0, end=45.0), recover=RecoveryTarget(within_s=5.0, hold_s=3.0))
    assert cut.span(Phase.AFTER) == Span(Phase.AFTER, 300, 330)
