"""Until when detail is kept: by hits, by age, never the newest minute, and more of it from the first inject on."""

from __future__ import annotations

from building import EPOCH, experiment, number, steps

from chaosrunner.logic.detail import CALM_HITS, FAULT_HITS, FINE_SLOTS, Detail, representative
from chaosrunner.logic.findings import unfit_windows
from chaosrunner.logic.fold import State, fold
from chaosrunner.logic.tolerate import Judgement
from chaosrunner.logic.traffic import Span, Traffic
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Frame, Slot
from chaosrunner.model.verdict import Outcome


def seconds_of(count: int, due: int) -> list[Frame]:
    """A frame a second, of ten slots with so many hits each."""
    return [
        Frame(
            worker=0,
            seq=second,
            until_us=(second + 1) * 1_000_000,
            slots={(second * 10 + n, 0): Slot(due=due, done={Hits.OK: due}) for n in range(10)},
        )
        for second in range(count)
    ]


def detail_after(frames: list[Frame], *facts: e.Event) -> Detail:
    """What is known after facts and then frames."""
    detail = Detail()
    for fact in (e.LoadStarted(epoch_ns=EPOCH, workers=1), *facts):
        detail.note(fact)
    for frame in frames:
        detail.frame(frame)
    return detail


def test_the_busier_the_load_the_shorter_its_detail() -> None:
    """Detail is given up beyond so many hits, ten seconds at a time, but never that of the newest minute."""
    assert detail_after(seconds_of(300, 10)).until == 0
    kept = detail_after(seconds_of(300, CALM_HITS // 1_000))
    assert kept.until == 2_000
    assert detail_after(seconds_of(300, CALM_HITS)).until == 2_400
    assert (kept.place(1_234), kept.place(2_234)) == (1_200, 2_234)


def test_from_the_first_inject_on_more_detail_is_kept() -> None:
    """What is merged stays merged; from then on there is room for more hits."""
    calm = seconds_of(300, CALM_HITS // 1_000)
    inject = e.Injecting(fault=0, called_ns=EPOCH)
    assert detail_after(calm, inject).until == 0
    assert detail_after(seconds_of(300, FAULT_HITS // 1_000), inject).until == 2_000


def test_old_detail_is_given_up_however_little_there_is() -> None:
    """Slots older than half an hour are merged; before all workers have reported nothing is."""
    old = Frame(
        worker=0, seq=0, until_us=(FINE_SLOTS + 250) * 100_000, slots={(5, 0): Slot(due=1), (350, 0): Slot(due=1)}
    )
    assert detail_after([old]).until == 100
    assert detail_after([old], e.LoadStarted(epoch_ns=EPOCH, workers=2)).until == 0


def test_a_phase_before_the_load_is_not_counted() -> None:
    """Without an epoch no phase has a slot."""
    detail = Detail()
    detail.note(e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH))
    assert detail.phases == ()
    assert representative(57, ()) == 0


def busy(count: int = 300) -> State:
    """The fold of a busy load, of which the first 200 s of 300 are merged; its phase begins at 3.5 s."""
    return fold(
        number(
            [
                e.LoadStarted(epoch_ns=EPOCH, workers=1),
                e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH),
                e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH + 3_500_000_000),
                *(e.SlotsArrived(frame=frame) for frame in seconds_of(count, CALM_HITS // 1_000)),
            ]
        )
    )


def windows_of(span: Span, seconds: float) -> list[tuple[float, int]]:
    """(length, hits a second ÷ those that were due) of all windows of a span."""
    windows = Traffic(experiment(load=steps("read")), busy()).windows(span, seconds)
    return [(window.seconds, round(window.hits / window.seconds / (CALM_HITS / 100), 6)) for window in windows]


def test_windows_of_merged_slots_hold_what_was_due_in_them() -> None:
    """They begin and end where slots were merged, are as long as asked or longer, and never lack or repeat a hit."""
    whole = Span(Phase.BASELINE, 35, 3_000)
    for seconds in (2.0, 10.0, 25.0):
        lengths = {length for length, share in windows_of(whole, seconds) if share == 1}
        assert len(windows_of(whole, seconds)) > 90
        assert all(seconds <= length < seconds + 20 for length in lengths)
    assert {share for _, share in windows_of(whole, 25.0)} == {1}
    assert set(windows_of(whole, 1_000.0)) == {(296.5, 1)}
    assert windows_of(Span(Phase.BASELINE, 35, 2_050), 10.0)[-1] == (15.0, 1)
    assert windows_of(Span(Phase.BASELINE, 35, 2_000), 10.0)[-1] == (10.0, 1)


def test_sums_of_a_phase_count_in_its_sample_and_in_no_window() -> None:
    """What is only summed is part of its phase, and of no ten seconds of it."""
    state = busy()
    for first in [slot for slot in state.slots if slot < 100]:
        for name, slot in state.slots.pop(first).items():
            state.coarse[state.phase_of_slot(first) or Phase.AFTER, name] = slot
    state.coarse_until = 100
    traffic, span = Traffic(experiment(load=steps("read")), state), Span(Phase.BASELINE, 35, 3_000)
    assert traffic.sample(span).hits == 2_965 * CALM_HITS // 1_000
    assert len(list(traffic.windows(span, 10.0))) == len(windows_of(span, 10.0)) - 1


def judged(state: State, window_s: float, outcome: Outcome = Outcome.HELD) -> str:
    """Why a tolerance with such a window cannot have held over the busy load."""
    metric = Metric(stat=Stat.ERRORS)
    asked = Tolerance(text="errors", metric=metric, cmp="<", value=0.1, against=Against.ABSOLUTE, window_s=window_s)
    traffic = Traffic(experiment(load=steps("read")), state)
    return unfit_windows(traffic, Span(Phase.BASELINE, 35, 3_000), asked, Judgement(outcome=outcome))


def test_what_was_merged_away_cannot_have_held() -> None:
    """Shorter windows than are kept, and any of what is only summed, leave a tolerance undecided, unless it broke."""
    state = busy()
    assert judged(state, 0.0) == judged(state, 10.0) == judged(state, 5.0, Outcome.BROKEN) == ""
    assert judged(state, 5.0) == (
        "of the first 3 min 16 s every 10 s is kept, not every 5 s: ask for `in any 10s` under so much load"
    )
    state.coarse_until = 1_035
    assert judged(state, 10.0) == "of the first 100 s only sums are kept, not every 10 s"
