"""What is measured beside the hits: kept apart from every overall figure, judged by its own name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from building import EPOCH, Script, errors, experiment, number

from chaosrunner.logic.detail import FINE_SLOTS
from chaosrunner.logic.fold import NOTES_KEPT, fold
from chaosrunner.logic.judge import judge
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import LoadProfile, Outcome, Scenario, Stage, Stream, single
from chaosrunner.model.slots import Frame, Slot
from chaosrunner.model.verdict import Of
from chaosrunner.model.verdict import Outcome as Judged

ALWAYS = (Stage(start=100.0, end=100.0, lasts_s=None),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk(Request):
    """A request that measures something beside its hits."""

    @property
    def series(self) -> tuple[str, ...]:
        return ("talk.pushed",)


def load() -> LoadProfile:
    """One step with a series, and one without, in two scenarios."""
    talk = Scenario(name="chat", steps=(Talk(name="talk", method="GET", path="/"),), tags=("live",))
    read = Scenario(name="browse", steps=(Request(name="read", method="GET", path="/"),))
    return LoadProfile(streams=(Stream(scenarios=(talk, read), stages=ALWAYS),))


def pushed(second: float, outcomes: dict[Outcome, int]) -> tuple[tuple[int, int], Slot]:
    """Messages that came at a second, 2 ms each."""
    slot = Slot(due=sum(outcomes.values()), done=dict(outcomes))
    for _ in range(outcomes.get(Outcome.OK, 0)):
        slot.ok.record(2_000)
    for _ in range(slot.due - outcomes.get(Outcome.OK, 0)):
        slot.failed.record(2_000)
    return (int(second * 10), SERIES), slot


def entries(lost: int, at_s: float) -> list[e.Entry]:
    """A quiet run of two steps in which so many pushed messages were lost at a second."""
    told = Script(names=2, fault=None, inject=None, heal=None, recovery=None, end=23.0, ended="").entries()
    slots = dict(pushed(second, {Outcome.OK: 10}) for second in range(3, 22))
    key, slot = pushed(at_s, {Outcome.OK: 10, Outcome.LOST: lost} if lost else {Outcome.OK: 10})
    slots[key] = slot
    frame = e.SlotsArrived(frame=Frame(worker=1, seq=0, until_us=23_000_000, slots=slots, last=True))
    return number([*(entry.event for entry in told), frame])


def verdict_of(lost: int, share: float, of: str = "talk.pushed") -> Judged:
    asked = experiment(load=load(), faults=(), hypothesis=Hypothesis(before=(errors(share, of=of),)))
    return judge(asked, fold(entries(lost, at_s=10.0))).findings[0].outcome


def test_a_series_is_judged_by_its_name() -> None:
    """Lost messages break a tolerance on the series, and no other."""
    assert verdict_of(lost=0, share=0.01) is Judged.HELD
    assert verdict_of(lost=20, share=0.01) is Judged.BROKEN
    assert verdict_of(lost=20, share=0.01, of="") is Judged.HELD
    assert verdict_of(lost=20, share=0.01, of="talk") is Judged.HELD


def test_overall_figures_leave_series_out() -> None:
    """Hits and series have lines of their own; the generator's account and the total count hits only."""
    asked = experiment(load=load(), faults=(), hypothesis=Hypothesis(before=(errors(0.01),)))
    told = entries(lost=20, at_s=10.0)
    seen = judge(asked, fold(told))
    lines = {stats.name: stats.hits for stats in seen.phases if stats.phase is Phase.BASELINE}
    assert set(lines) == {"", "talk", "read", "chat", "browse", "live", "talk.pushed"}
    assert lines[""] == lines["talk"] + lines["read"] == lines["chat"] + lines["browse"]
    assert (lines["live"], lines["talk.pushed"]) == (lines["talk"], 210)
    quiet = judge(asked, fold([entry for entry in told if getattr(entry.event, "frame", Frame).worker != 1]))
    assert seen.trust.offered == quiet.trust.offered
    assert {(stats.name, stats.of) for stats in seen.phases if stats.phase is Phase.BASELINE} == {
        ("", Of.ALL), ("talk", Of.STEP), ("read", Of.STEP), ("chat", Of.GROUP), ("browse", Of.GROUP),
        ("live", Of.GROUP), ("talk.pushed", Of.SERIES),
    }  # fmt: skip
    assert "talk.pushed" not in {stats.name for stats in seen.phases if stats.phase is Phase.WARMUP}


def test_old_series_are_merged_like_old_slots() -> None:
    """What is too old to be kept one by one is merged, under its name, and nothing is lost."""
    many = FINE_SLOTS + 100
    slots = {(n, SERIES): Slot(due=1, done={Outcome.OK: 1}) for n in range(many)}
    state = fold(
        number(
            [
                e.LoadStarted(epoch_ns=EPOCH, workers=1),
                e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH),
                e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=many * 100_000, slots=slots)),
            ]
        )
    )
    assert (len(state.series), state.series[0][SERIES].due, state.slots) == (FINE_SLOTS + 1, 100, {})
    asked = experiment(load=load(), faults=(), baseline_s=many / 10)
    traffic = Traffic(asked, state)
    span = traffic.span(Phase.BASELINE)
    assert span is not None
    assert (traffic.sample(span, "talk.pushed").slot.due, traffic.sample(span).slot.due) == (many, 0)
    assert judge(asked, state).trust.offered == 0
    state.coarse[Phase.BASELINE, SERIES] = state.series.pop(0)[SERIES]
    assert judge(asked, state).trust.offered == 0


def test_counts_are_summed_by_phase() -> None:
    """A count belongs to the phase that its frame ends in; before the first phase and after the play to none."""
    frames = [
        Frame(worker=0, seq=seq, until_us=until, slots={}, counts={"chat.reconnects": n})
        for seq, (until, n) in enumerate([(1_000_000, 1), (5_000_000, 2), (6_000_000, 4)])
    ]
    state = fold(
        number(
            [
                e.LoadStarted(epoch_ns=EPOCH, workers=1),
                e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH + 2_000_000_000),
                *(e.SlotsArrived(frame=frame) for frame in frames),
            ]
        )
    )
    told = {(None, "chat.reconnects"): 1, (Phase.BASELINE, "chat.reconnects"): 6}
    assert state.counts.by_phase(state.phase_of_slot) == told
    ended = number([e.Ended(why="", at_ns=EPOCH), e.Ended(why="proven", at_ns=EPOCH), e.SlotsArrived(frame=frames[0])])
    assert fold(ended).counts.settled == {(None, "chat.reconnects"): 1}
    before = fold(number([e.SlotsArrived(frame=frames[0])]))
    assert before.counts.settled == {(None, "chat.reconnects"): 1}


def test_notes_are_kept_up_to_a_bound() -> None:
    """What workers note is kept in order, a thousand at most."""
    notes = [e.LoadNoted(worker=0, about="plan", data={"n": n}) for n in range(NOTES_KEPT + 5)]
    assert fold(number(notes)).notes == notes[:NOTES_KEPT]


def test_a_step_without_anything_beside_it() -> None:
    """A plain step keeps nothing, needs no place and measures nothing more."""
    plain = Request(name="a", method="GET", path="/")
    assert (plain.series, plain.keeps, plain.places) == ((), (), ())
    profile = single(steps=(plain, replace(plain, name="b")), stages=ALWAYS)
    assert (profile.places, profile.names) == (frozenset(), {0: "a", 1: "b"})


def test_a_verdict_has_counts_by_name_and_phase_and_the_notes() -> None:
    """Names are in order of the alphabet, phases in order of time; notes are as they were told."""
    told = entries(lost=0, at_s=10.0)
    frames = [
        Frame(worker=2, seq=seq, until_us=until, slots={}, counts=counts)
        for seq, (until, counts) in enumerate([(0, {"b": 1}), (10_000_000, {"b": 2, "a": 3})])
    ]
    more: list[e.Event] = [e.SlotsArrived(frame=frame) for frame in frames]
    note = e.LoadNoted(worker=2, about="plan", data={"x": 1})
    asked = experiment(load=load(), faults=(), hypothesis=Hypothesis(before=(errors(0.01),)))
    seen = judge(asked, fold(number([*(entry.event for entry in told), *more, note])))
    assert seen.counts == {"a": {"baseline": 3}, "b": {"warmup": 1, "baseline": 2}}
    assert list(seen.counts) == ["a", "b"]
    assert seen.notes == ({"about": "plan", "worker": 2, "data": {"x": 1}},)
