"""`decide`: what comes next, in every phase and for every reason to give up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from chaosrunner.logic.decide import decide
from chaosrunner.logic.fold import State, step
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.fault import Fault
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Outcome, Stage, single
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Wait
from chaosrunner.model.system import System
from chaosrunner.model.units import NANOS, SLOT_NS

EPOCH = 50 * NANOS
FEW_ERRORS = Tolerance(
    text="errors < 1%", metric=Metric(stat=Stat.ERRORS), cmp="<", against=Against.ABSOLUTE, value=0.01
)


def experiment(*faults: Fault, abort: tuple[Tolerance, ...] = ()) -> Experiment:
    """Warm-up 2 s, baseline 5 s, recover within 10 s and hold 3 s."""
    return Experiment(
        question="?",
        file="x.yaml",
        source="",
        system=System(name="s", file="s.yaml"),
        system_source="",
        load=single(
            steps=(Request(name="read", method="GET", path="/"),),
            stages=(Stage(start=100.0, end=100.0, lasts_s=None),),
            warmup_s=2.0,
        ),
        baseline_s=5.0,
        faults=faults,
        hypothesis=Hypothesis(before=(FEW_ERRORS,), after=(FEW_ERRORS,)),
        recover=RecoveryTarget(within_s=10.0, hold_s=3.0),
        abort=abort,
    )


def fault(index: int = 0, **changes: object) -> Fault:
    return replace(Fault(index=index, injector="noop", target=None, params=None, for_s=4.0), **changes)  # type: ignore[arg-type]


@dataclass
class Story:
    """A run told event by event: traffic flows at 100 requests a second, answered as `outcome` says."""

    experiment: Experiment
    state: State = field(default_factory=State)
    now: int = EPOCH
    slot: int = 0
    seq: int = 0

    def happens(self, *events: e.Event) -> Story:
        for event in events:
            entry = e.Entry(n=self.state.n + 1, at_ns=self.now, wall="", epoch=0, event=event)
            self.state = step(self.state, entry)
        return self

    def flows(self, seconds: float, outcome: Outcome | None = Outcome.OK) -> Story:
        """Let time pass; `None` leaves requests unanswered."""
        slots, hits = {}, []
        until = self.slot + round(seconds * 10)
        for number in range(self.slot, until):
            slot = Slot(due=10)
            if outcome is not None:
                slot.done[outcome] = 10
                for nth in range(10):
                    hits.append(Hit(number * 100_000 + nth * 10_000, 0, outcome, 5000, 0))
                    for histogram in (slot.ok, slot.adjusted) if outcome is Outcome.OK else (slot.failed,):
                        histogram.record(5000)
            for histogram in (slot.lag, slot.wait):
                for _ in range(10):
                    histogram.record(0)
            slots[number, 0] = slot
        self.slot = until
        self.now = EPOCH + until * SLOT_NS
        frame = Frame(worker=0, seq=self.seq, until_us=until * 100_000, slots=slots, hits=tuple(hits))
        self.seq += 1
        return self.happens(e.SlotsArrived(frame=frame))

    def begins(self) -> Story:
        """Through warm-up and baseline up to the first instant of FAULT."""
        self.happens(e.LoadStarted(epoch_ns=EPOCH, workers=1), e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH))
        self.flows(7.0)
        self.happens(
            e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH + 2 * NANOS),
            e.PhaseEntered(phase=Phase.FAULT, at_ns=self.now),
        )
        return self

    def injected(self, index: int = 0, *, reversible: bool = True) -> Story:
        return self.happens(
            e.Decided(step=f"inject {index}", why="", now_ns=self.now),
            e.Prepared(fault=index, recipe={"injector": "noop", "reversible": reversible}, deadline_ns=0),
            e.Injecting(fault=index, called_ns=self.now),
            e.Injected(fault=index, called_ns=self.now, answered_ns=self.now),
            e.Verified(fault=index, ok=True, says="seen", at_ns=self.now),
        )

    def healed(self, index: int = 0) -> Story:
        return self.happens(
            e.Decided(step=f"heal {index}", why="", now_ns=self.now),
            e.Undoing(fault=index, attempt=1, called_ns=self.now),
            e.Undone(fault=index, called_ns=self.now, answered_ns=self.now, attempts=1, says="gone"),
        )

    def next(self) -> object:
        return decide(self.experiment, self.state, self.now)


def test_waits_for_the_load() -> None:
    """Before the workers are ready there is nothing to do but wait."""
    assert isinstance(Story(experiment(fault())).next(), Wait)


def test_warm_up_begins_with_the_load() -> None:
    """The warm-up begins at the epoch of the load."""
    story = Story(experiment(fault())).happens(e.LoadStarted(epoch_ns=EPOCH, workers=1))
    assert story.next() == Enter(Phase.WARMUP, EPOCH, "load workers are ready")


def test_baseline_begins_on_the_plateau() -> None:
    """The baseline begins on the slot edge where the warm-up ends, not before."""
    story = Story(experiment(fault())).happens(
        e.LoadStarted(epoch_ns=EPOCH, workers=1), e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH)
    )
    assert story.next() == Wait(EPOCH + 2 * NANOS)
    entered = story.flows(2.0).next()
    assert isinstance(entered, Enter)
    assert (entered.phase, entered.at_ns) == (Phase.BASELINE, EPOCH + 2 * NANOS)


def baseline(story: Story, outcome: Outcome | None = Outcome.OK, seconds: float = 5.0) -> Story:
    story.happens(e.LoadStarted(epoch_ns=EPOCH, workers=1), e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH))
    story.flows(2.0).happens(e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH + 2 * NANOS))
    return story.flows(seconds, outcome)


def test_a_steady_system_may_be_broken() -> None:
    """With the steady state met, FAULT begins on a slot edge ahead, and the numbers are in the reason."""
    entered = baseline(Story(experiment(fault()))).next()
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.FAULT
    assert entered.at_ns > EPOCH + 7 * NANOS
    assert "errors < 1%" in entered.why


def test_a_sick_system_is_not_hurt() -> None:
    """Without a steady state the run ends before any fault."""
    done = baseline(Story(experiment(fault())), Outcome.STATUS).next()
    assert isinstance(done, Done)
    assert done.why.startswith("steady state not met before any fault: ")


def test_the_baseline_waits_for_its_last_answers() -> None:
    """Requests still open at the end of the baseline get the time to be answered before the gate is asked."""
    story = baseline(Story(experiment(fault())), seconds=4.9).flows(0.1, None)
    assert isinstance(story.next(), Wait)
    story.now += 3 * NANOS
    assert not isinstance(story.next(), Wait)


def test_before_its_end_the_baseline_only_waits() -> None:
    """The gate is not asked early."""
    assert baseline(Story(experiment(fault())), seconds=2.0).next() == Wait(EPOCH + 7 * NANOS)


def test_missing_frames_are_not_waited_for() -> None:
    """When the workers stop reporting the run is given up, not judged."""
    story = baseline(Story(experiment(fault())), seconds=4.0)
    story.now = EPOCH + 8 * NANOS
    assert isinstance(story.next(), Wait)
    story.now = EPOCH + 13 * NANOS
    step_taken = story.next()
    assert isinstance(step_taken, Abort)
    assert "blind" in step_taken.why or "stopped reporting" in step_taken.why or "no data" in step_taken.why


def test_without_a_fault_the_baseline_is_all() -> None:
    """An experiment without a fault ends with its baseline."""
    assert baseline(Story(experiment())).next() == Done("no fault")


def test_faults_begin_at_their_time() -> None:
    """A fault with `at` is injected that long after the phase began, and not twice."""
    story = Story(experiment(fault(0), fault(1, at_s=2.0))).begins()
    assert story.next() == Inject(0, "0 s into the phase")
    story.injected(0)
    assert isinstance(story.next(), Wait)
    story.flows(2.0)
    assert story.next() == Inject(1, "2 s into the phase")


def test_a_fault_waits_for_the_one_before() -> None:
    """What stands in turn begins when the one before is undone and the pause has passed, however late that is."""
    turn = (fault(0), fault(1, at_s=5.0, after=(0,), pause_s=1.0), fault(2, at_s=20.0, after=(1,)))
    story = Story(experiment(*turn)).begins().injected(0).flows(6.0)
    assert story.next() == Heal(0, "it has lasted 4 s")
    story.happens(e.Decided(step="heal 0", why="", now_ns=story.now)).flows(2.0)
    assert isinstance(story.next(), Wait), "its time is over, but it is not undone"
    story.healed(0)
    assert isinstance(story.next(), Wait), "the pause is not over"
    story.flows(1.0)
    assert story.next() == Inject(1, "9 s into the phase")
    assert 2 not in story.state.faults, "asking whether a fault is due leaves no trace of it"


def test_an_inject_under_way_is_awaited() -> None:
    """A fault whose inject has no answer yet is neither healed nor injected again."""
    story = Story(experiment(fault())).begins()
    story.happens(e.Decided(step="inject 0", why="", now_ns=story.now))
    assert isinstance(story.next(), Wait)


def test_a_fault_is_healed_when_it_has_lasted() -> None:
    """Heal comes `for` after the answer of the inject, and once."""
    story = Story(experiment(fault())).begins().injected()
    assert isinstance(story.next(), Wait)
    story.flows(4.0)
    assert story.next() == Heal(0, "it has lasted 4 s")
    story.happens(e.Decided(step="heal 0", why="", now_ns=story.now))
    assert isinstance(story.next(), Wait)


def test_recovery_begins_when_every_fault_has_ended() -> None:
    """RECOVERY begins on the slot edge after the last heal was answered."""
    story = Story(experiment(fault())).begins().injected().flows(4.0).healed()
    entered = story.next()
    assert isinstance(entered, Enter)
    assert (entered.phase, entered.at_ns) == (Phase.RECOVERY, story.now)


def test_a_kill_has_no_heal() -> None:
    """A fault without an undo ends by its `for` alone."""
    story = Story(experiment(fault())).begins().injected(reversible=False).flows(4.0)
    entered = story.next()
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.RECOVERY


def recovering(story: Story) -> Story:
    story.begins().injected().flows(4.0, Outcome.STATUS).healed()
    return story.happens(e.PhaseEntered(phase=Phase.RECOVERY, at_ns=story.now))


def test_recovery_is_believed_after_the_hold_time() -> None:
    """AFTER begins at the moment of recovery once `after` has held for the hold time, and ends the run when full."""
    story = recovering(Story(experiment(fault())))
    begin = story.now
    assert isinstance(story.flows(1.0, Outcome.STATUS).next(), Wait)
    assert isinstance(story.flows(2.0).next(), Wait)
    entered = story.flows(1.5).next()
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.AFTER
    assert begin + NANOS <= entered.at_ns <= begin + NANOS + 2 * SLOT_NS
    story.happens(e.PhaseEntered(phase=Phase.AFTER, at_ns=entered.at_ns))
    assert story.next() == Done("proven")


def test_after_is_watched_to_its_end() -> None:
    """A run is not over before AFTER has lasted for the hold time."""
    story = recovering(Story(experiment(fault()))).flows(1.0)
    story.happens(e.PhaseEntered(phase=Phase.AFTER, at_ns=story.now))
    assert isinstance(story.next(), Wait)
    assert story.flows(3.0).next() == Done("proven")


def test_what_never_recovers_is_watched_until_target_and_hold() -> None:
    """Without recovery the run ends when target, hold and answer time have passed."""
    story = recovering(Story(experiment(fault()))).flows(14.0, Outcome.STATUS)
    assert isinstance(story.next(), Wait)
    assert story.flows(1.5, Outcome.STATUS).next() == Done("not recovered")


REASONS = [
    (e.Signalled(signal="SIGTERM"), "interrupted: SIGTERM"),
    (e.Crashed(where="load", why="ValueError: x"), "failed: load: ValueError: x"),
    (e.WatchdogLost(why="exit -9"), "failed: the watchdog is gone (exit -9)"),
    (e.InjectFailed(fault=0, why="no such proxy", touched=False), "failed: noop: no such proxy"),
    (e.LoadLost(worker=0, why="exit -9"), "failed: load lost: worker 0: exit -9"),
    (e.LoadEnded(at_ns=1), "failed: the load ended"),
]


@pytest.mark.parametrize(("event", "why"), REASONS, ids=lambda value: type(value).__name__)
def test_reasons_to_give_up(event: e.Event, why: str) -> None:
    """A signal, a crash, a lost watchdog, a failed inject or lost load is a reason to give up, once."""
    story = Story(experiment(fault())).begins().happens(event)
    abort = story.next()
    assert isinstance(abort, Abort)
    assert abort.why.startswith(why)
    story.happens(e.Decided(step="abort", why=abort.why, now_ns=story.now))
    assert story.next() == Done(abort.why)


def test_giving_up_heals_newest_first() -> None:
    """After an abort what was injected is healed, newest first, and the run ends when all of it is paid."""
    story = Story(experiment(fault(0), fault(1))).begins().injected(0).injected(1)
    story.happens(e.Signalled(signal="SIGINT"), e.Decided(step="abort", why="interrupted: SIGINT", now_ns=story.now))
    assert story.next() == Heal(1, "interrupted: SIGINT")
    story.happens(e.Decided(step="heal 1", why="", now_ns=story.now))
    assert story.next() == Heal(0, "interrupted: SIGINT")
    story.happens(e.Decided(step="heal 0", why="", now_ns=story.now))
    assert isinstance(story.next(), Wait)
    assert story.healed(1).healed(0).next() == Done("interrupted: SIGINT")


def test_a_tripped_safeguard_is_a_reason_to_give_up() -> None:
    """`errors > 30% for 3s` ends the run while the fault is on."""
    trip = Tolerance(
        text="errors > 30% for 3s",
        metric=Metric(stat=Stat.ERRORS),
        cmp=">",
        against=Against.ABSOLUTE,
        value=0.3,
        for_s=3.0,
    )
    story = Story(experiment(fault(for_s=30.0), abort=(trip,))).begins().injected().flows(5.0, Outcome.STATUS)
    abort = story.next()
    assert isinstance(abort, Abort)
    assert "errors > 30%" in abort.why
