"""The story of a run, on a made-up world in which no time passes: what is done, what is written, how it is judged."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from chaosrunner.errors import Exit, InjectorError, LoadBroken
from chaosrunner.logic.composite import drawn
from chaosrunner.logic.decide import decide
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import State, fold, step
from chaosrunner.logic.judge import judge
from chaosrunner.model import events as e
from chaosrunner.model.composite import Again, InTurn
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.fault import Context, Fault, Recipe
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Stage, single
from chaosrunner.model.secret import Secret
from chaosrunner.model.slots import from_json as frame_from_json
from chaosrunner.model.slots import to_json as frame_to_json
from chaosrunner.model.steps import name_of, why_of
from chaosrunner.model.system import System
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Outcome, Verdict
from chaosrunner.run import World, run
from chaosrunner.testing import FakeClock, FakeInjector, FakeKill, FakeLoad, FakeTarget, MemoryJournal
from chaosrunner.world.injection import UndoKit
from chaosrunner.world.state_home import StateHome

STARTED = e.RunStarted(
    run="7f3a",
    question="?",
    file="x.yaml",
    source="",
    system="s",
    system_file="s.yaml",
    system_source="",
    seed=1,
    boot="fake-boot",
    version="0",
)


def errors(cmp: str, share: float, **more: object) -> Tolerance:
    text = f"errors {cmp} {share * 100:g}%"
    return Tolerance(text=text, metric=Metric(stat=Stat.ERRORS), cmp=cmp, against=Against.ABSOLUTE, value=share, **more)


def fault(index: int = 0, **changes: object) -> Fault:
    return replace(Fault(index=index, injector="fake.harm", target=None, params=None, for_s=4.0), **changes)


def experiment(*faults: Fault, **changes: object) -> Experiment:
    """Warm-up 2 s, baseline 5 s; nothing is asked during the fault; recover within 8 s, hold 3 s."""
    plain = Experiment(
        question="Does it hold?",
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
        hypothesis=Hypothesis(before=(errors("<", 0.01),), after=(errors("<", 0.01),)),
        recover=RecoveryTarget(within_s=8.0, hold_s=3.0),
    )
    return replace(plain, **changes)


class PlainTools:
    """Secrets are what they look like."""

    def reveal(self, secret: Secret) -> str:
        return secret.template


class Recorder(MemoryJournal):
    """Remembers what the live state was after every entry."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.lived: list[bytes] = []

    def write(self, event: e.Event) -> int:
        n = super().write(event)
        self.lived.append(pickle.dumps(self.state))
        return n


@dataclass
class Play:
    """Everything a run needs, made up; what happens meanwhile is told by `when`."""

    experiment: Experiment
    folder: Path
    target: FakeTarget = field(init=False)
    clock: FakeClock = field(default_factory=FakeClock)
    load: FakeLoad = field(init=False)
    harm: FakeInjector = field(init=False)
    kill: FakeKill = field(init=False)
    journal: MemoryJournal = field(init=False)
    observers: list[Callable[[MemoryJournal], Awaitable[None]]] = field(default_factory=list)
    recorded: bool = False

    def __post_init__(self) -> None:
        self.target = FakeTarget(self.clock)
        self.load = FakeLoad(self.target, clock=self.clock)
        self.harm, self.kill = FakeInjector(self.target), FakeKill(self.target)
        self.journal = Recorder(self.clock) if self.recorded else MemoryJournal(self.clock)

    def when(self, seen: Callable[[State], object], then: Callable[[], object]) -> Play:
        """Do something once, as soon as the journal shows something."""

        async def director(journal: MemoryJournal) -> None:
            for _ in range(4000):
                if seen(journal.state):
                    then()
                    return
                await self.clock.sleep_until(self.clock.now() + NANOS // 20)

        self.observers.append(director)
        return self

    def signal(self, *names: str) -> None:
        for name in names:
            self.journal.write(e.Signalled(signal=name))

    async def plays(self) -> Verdict:
        self.journal.write(STARTED)
        return await run(self.experiment, self.world(), self.journal)

    def world(self) -> World:
        kit = UndoKit(
            experiment=self.experiment,
            injectors={"fake.harm": self.harm, "fake.kill": self.kill},
            tools=PlainTools(),
            clock=self.clock,
            home=StateHome(self.folder / "state"),
            run_dir=self.folder / "run",
            context=self.context,
        )
        return World(clock=self.clock, load=self.load, undo=kit, observers=tuple(self.observers))

    def context(self, fault: Fault) -> Context:
        rng = random.Random(fault.index)
        return Context(run="7f3a", system=self.experiment.system, tools=PlainTools(), rng=rng, spare=frozenset)

    def events(self, kind: type[e.Event]) -> list[e.Event]:
        return [entry.event for entry in self.journal.entries if isinstance(entry.event, kind)]

    def steps(self) -> list[str]:
        return [decided.step for decided in self.events(e.Decided)]

    def harmless(self) -> bool:
        return not self.target.in_place and not self.journal.state.debts()


def active(index: int = 0) -> Callable[[State], bool]:
    return lambda state: index in state.faults and state.faults[index].status is FaultStatus.ACTIVE


def entered(phase: Phase) -> Callable[[State], bool]:
    return lambda state: state.phase is phase


ALL_OF_IT = [
    "enter warmup",
    "enter baseline",
    "enter fault",
    "inject 0",
    "heal 0",
    "enter recovery",
    "enter after",
    "done",
]


async def test_a_run_that_goes_well(tmp_path: Path) -> None:
    """Each phase is entered, the fault is injected, proven, healed, recovery is proven, and the verdict is HELD."""
    stage = Play(experiment(fault()), tmp_path)
    verdict = await stage.plays()
    assert (verdict.outcome, verdict.exit, verdict.restored) == (Outcome.HELD, Exit.HELD, True)
    assert verdict.recovery.state == "recovered"
    assert stage.steps() == ALL_OF_IT
    assert stage.harmless()
    errors_seen = sum(phase.errors for phase in verdict.phases if phase.phase is Phase.FAULT)
    assert errors_seen > 300, "4 s of 100 requests a second saw the harm"


async def test_the_load_outlives_the_harm(tmp_path: Path) -> None:
    """The run is over and everything healed before the load is stopped; nothing due is left without an outcome."""
    stage = Play(experiment(fault()), tmp_path)
    verdict = await stage.plays()
    kinds = [type(entry.event).__name__ for entry in stage.journal.entries]
    assert kinds.index("Undone") < kinds.index("Ended") < kinds.index("LoadEnded")
    assert verdict.trust.unaccounted == 0


async def test_a_control_holds(tmp_path: Path) -> None:
    """Without a fault nothing is injected, and a healthy system is HELD."""
    stage = Play(experiment(hypothesis=Hypothesis(before=(errors("<", 0.01),))), tmp_path)
    verdict = await stage.plays()
    assert verdict.exit is Exit.HELD
    assert stage.steps() == ["enter warmup", "enter baseline", "done"]
    assert stage.harm.calls == []


async def test_what_was_never_seen_is_not_held(tmp_path: Path) -> None:
    """A control that asks about a phase it does not have gets no answer, not a pass."""
    verdict = await Play(experiment(), tmp_path).plays()
    assert verdict.exit is Exit.UNKNOWN
    assert [finding.why for finding in verdict.findings] == ["", "the run did not get that far"]


async def test_a_sick_system_is_left_alone(tmp_path: Path) -> None:
    """Where the steady state is not met before, nothing is injected and nothing is said of resilience."""
    stage = Play(experiment(fault()), tmp_path)
    stage.target.harm("something else")
    verdict = await stage.plays()
    assert stage.harm.calls == []
    assert verdict.exit is Exit.UNKNOWN
    assert "steady state not met" in stage.journal.state.ended


async def test_a_composite_is_proven_and_undone_one_by_one(tmp_path: Path) -> None:
    """Faults in turn never overlap, though each undo takes its time, and recovery is measured from the last."""
    parts = tuple(fault(for_s=1.0) for _ in range(3))
    asked = (InTurn(parts=parts, title="in turn", pause_s=0.5), replace(fault(for_s=0.5), at_s=1.0))
    stage = Play(drawn(experiment(fault(), asked=asked), seed=3), tmp_path)

    async def take_time(_: int) -> None:
        await stage.clock.sleep_until(stage.clock.now() + NANOS)

    stage.harm.before["undo"] = take_time
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.HELD, True)
    assert [report.proven for report in verdict.faults] == [True] * 4
    in_turn = [stage.journal.state.faults[index] for index in range(3)]
    for before, after in pairwise(in_turn):
        assert after.inject_called_ns >= before.undone_answered_ns + NANOS // 2
    begins = [step for step in stage.steps() if "inject" in step]
    assert begins == ["inject 0", "inject 3", "inject 1", "inject 2"], "the fourth overlaps the first"


async def test_a_kill_holds_its_claim_no_longer_than_others_wait(tmp_path: Path) -> None:
    """What is killed again and again under the same name is not refused as if two faults were on it."""
    kill = fault(injector="fake.kill", for_s=1.0)
    again = Again(part=kill, title="again", times=3, every_s=2.0)
    stage = Play(drawn(experiment(kill, asked=(again,)), seed=3), tmp_path)
    stage.kill = OneName(stage.target)
    verdict = await stage.plays()
    assert [report.note for report in verdict.faults] == ["has no undo"] * 3
    assert verdict.restored


class OneName(FakeKill):
    """Claims the same each time, as a container that keeps its name."""

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        return replace(await super().prepare(fault, context), claims=("fake:one",))


async def test_slow_recovery_is_measured(tmp_path: Path) -> None:
    """When users suffer for 2 s after the heal, the time to recover is 2 s within its bounds."""
    stage = Play(experiment(fault()), tmp_path)
    stage.target.lingers_s = 2.0
    verdict = await stage.plays()
    assert verdict.exit is Exit.HELD
    assert verdict.recovery.low_s <= 2.0 <= verdict.recovery.high_s
    assert verdict.recovery.time_s == pytest.approx(2.0, abs=0.2)


async def test_recovery_later_than_its_target_is_broken(tmp_path: Path) -> None:
    """Users who have it back only after the target make the run BROKEN."""
    stage = Play(experiment(fault()), tmp_path)
    stage.target.lingers_s = 9.0
    verdict = await stage.plays()
    assert (verdict.exit, verdict.recovery.state) == (Exit.BROKEN, "late")


async def test_what_never_returns_is_broken_not_unrestored(tmp_path: Path) -> None:
    """A killed part whose replacement never comes is NEVER, BROKEN, exit 1; a kill leaves no debt."""
    stage = Play(experiment(fault(injector="fake.kill")), tmp_path)
    verdict = await stage.plays()
    assert verdict.recovery.state == "never"
    assert (verdict.exit, verdict.restored) == (Exit.BROKEN, True)
    assert "heal 0" not in stage.steps()
    assert stage.journal.state.ended == "not recovered"


async def refuses(_fault: int) -> None:
    raise InjectorError("connection refused")


async def test_a_fault_that_cannot_be_prepared_ends_the_run(tmp_path: Path) -> None:
    """When prepare fails nothing was touched, nothing is undone, and the run is UNKNOWN."""
    stage = Play(experiment(fault()), tmp_path)
    stage.harm.before["prepare"] = refuses
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.UNKNOWN, True)
    assert stage.harm.calls == [("prepare", 0)]
    assert "connection refused" in stage.journal.state.aborted


async def test_a_fault_that_fails_while_injected_is_undone(tmp_path: Path) -> None:
    """When inject fails it may have landed all the same: it is undone, seen to be gone, and the run is UNKNOWN."""
    stage = Play(experiment(fault()), tmp_path)

    async def halfway(_fault: int) -> None:
        stage.target.harm("chaosrunner/7f3a/0")
        raise InjectorError("connection lost")

    stage.harm.before["inject"] = halfway
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.UNKNOWN, True)
    assert stage.harmless()
    assert ("undo", 0) in stage.harm.calls


async def test_a_fault_without_evidence_is_unknown(tmp_path: Path) -> None:
    """What was injected but never proven is healed in time, and no verdict rests on it."""
    stage = Play(experiment(fault()), tmp_path)
    stage.harm.proves = None
    verdict = await stage.plays()
    assert verdict.exit is Exit.UNKNOWN
    assert not stage.events(e.Verified)
    assert stage.steps() == ALL_OF_IT
    assert any("not verified" in finding.why for finding in verdict.findings)


async def test_a_fault_that_is_proven_to_be_absent_is_unknown(tmp_path: Path) -> None:
    """Evidence of the contrary is written down once and makes the verdict UNKNOWN."""
    stage = Play(experiment(fault()), tmp_path)
    stage.harm.proves = False
    verdict = await stage.plays()
    assert verdict.exit is Exit.UNKNOWN
    assert [verified.ok for verified in stage.events(e.Verified)] == [False]


async def test_a_fault_that_ends_early_is_unknown(tmp_path: Path) -> None:
    """What somebody else has taken away before we did has not lasted as it should, and no verdict rests on it."""
    stage = Play(experiment(fault()), tmp_path)
    stage.when(lambda state: bool(state.fault(0).proven), lambda: stage.target.mend(*stage.target.in_place))
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.UNKNOWN, True)
    assert any("not to its end" in finding.why for finding in verdict.findings)


async def test_a_lost_load_worker_heals_everything(tmp_path: Path) -> None:
    """When the load dies while a fault is in place it is healed, and the run is UNKNOWN."""
    stage = Play(experiment(fault()), tmp_path)
    stage.when(active(), lambda: stage.load.lose("exit -9"))
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.UNKNOWN, True)
    assert stage.harmless()
    assert "load lost" in stage.journal.state.aborted


async def test_a_load_that_cannot_start_is_an_internal_error(tmp_path: Path) -> None:
    """A load driver that raises is a crash of ours: nothing is injected, exit 70."""
    stage = Play(experiment(fault()), tmp_path)
    stage.load.crash(LoadBroken("no worker started"))
    verdict = await stage.plays()
    assert verdict.exit is Exit.INTERNAL
    assert stage.harm.calls == []


async def test_an_observer_that_crashes_is_a_fact(tmp_path: Path) -> None:
    """When what only watches raises, everything is healed and the exit code is 70."""
    stage = Play(experiment(fault()), tmp_path)

    def crash() -> None:
        raise ZeroDivisionError("a bug")

    stage.when(active(), crash)
    verdict = await stage.plays()
    assert verdict.exit is Exit.INTERNAL
    assert stage.events(e.Crashed) == [e.Crashed(where="director", why="ZeroDivisionError: a bug")]
    assert stage.harmless()
    assert stage.events(e.Undone)


PHASES = [None, Phase.WARMUP, Phase.BASELINE, Phase.FAULT, Phase.RECOVERY]  # AFTER is over when it is found


@pytest.mark.parametrize("phase", PHASES, ids=str)
@pytest.mark.parametrize("signals", [("SIGINT",), ("SIGTERM", "SIGHUP", "SIGINT", "SIGINT")], ids=len)
async def test_a_signal_in_any_phase_heals_and_ends_the_run(
    tmp_path: Path, phase: Phase | None, signals: tuple[str, ...]
) -> None:
    """One signal or many, in whatever phase: what was injected is undone, and the exit code is 130."""
    stage = Play(experiment(fault()), tmp_path)
    stage.target.lingers_s = 1.0
    stage.when(entered(phase) if phase else lambda _: True, lambda: stage.signal(*signals))
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.INTERRUPTED, True)
    assert stage.harmless()
    assert stage.steps()[-1] == "done"
    assert stage.steps().count("abort") == 1
    assert stage.steps().count("heal 0") == stage.steps().count("inject 0")


@pytest.mark.parametrize("method", ["prepare", "inject", "verify", "undo", "absent"])
async def test_a_signal_during_any_call_of_an_injector(tmp_path: Path, method: str) -> None:
    """A signal while an injector works cancels nothing: harm is undone, exit 130."""
    stage = Play(experiment(fault()), tmp_path)

    async def interrupted(_fault: int) -> None:
        if not stage.journal.state.signals:
            stage.signal("SIGINT", "SIGTERM")
        await stage.clock.sleep_until(stage.clock.now() + NANOS // 5)

    stage.harm.before[method] = interrupted
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.INTERRUPTED, True)
    assert stage.harmless()


async def test_an_abort_is_seen_while_an_inject_hangs(tmp_path: Path) -> None:
    """An inject that never answers blocks nothing: a signal ends the run, and what may still land is said: exit 4."""
    stage = Play(experiment(fault()), tmp_path)
    called = asyncio.Event()

    async def hangs(_fault: int) -> None:
        called.set()
        await asyncio.Event().wait()

    stage.harm.before["inject"] = hangs
    stage.when(lambda _: called.is_set(), lambda: stage.signal("SIGINT"))
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.NOT_RESTORED, False)
    assert stage.journal.state.aborted == "interrupted: SIGINT"


async def test_a_tripped_safeguard_ends_the_run(tmp_path: Path) -> None:
    """An abort condition that is met heals at once, long before the fault's time, and is BROKEN."""
    stage = Play(experiment(fault(for_s=60.0), abort=(errors(">", 0.3, for_s=2.0),)), tmp_path)
    began = stage.clock.now()
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.BROKEN, True)
    assert stage.clock.now() - began < 20 * NANOS
    assert stage.harmless()


async def test_a_black_hole_trips_a_safeguard(tmp_path: Path) -> None:
    """Requests that are never answered count as errors once they are old, so a silent target trips as well."""
    stage = Play(experiment(fault(for_s=60.0), abort=(errors(">", 0.3, for_s=2.0),)), tmp_path)
    stage.target.harmed = None
    began = stage.clock.now()
    verdict = await stage.plays()
    assert verdict.exit is Exit.BROKEN
    assert stage.clock.now() - began < 25 * NANOS
    assert verdict.trust.unaccounted == 0


async def test_a_lost_watchdog_heals_everything(tmp_path: Path) -> None:
    """Without a watchdog nothing may stay broken: it is healed, and the run is UNKNOWN."""
    stage = Play(experiment(fault()), tmp_path)
    stage.when(active(), lambda: stage.journal.write(e.WatchdogLost(why="exit -9")))
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.UNKNOWN, True)
    assert stage.harmless()


async def test_an_undo_that_sticks_is_said(tmp_path: Path) -> None:
    """A fault that cannot be undone is exit 4, with the command that repairs it."""
    stage = Play(experiment(fault()), tmp_path)
    stage.harm.before["undo"] = refuses
    verdict = await stage.plays()
    assert (verdict.exit, verdict.restored) == (Exit.NOT_RESTORED, False)
    assert "chaosrunner recover" in verdict.headline
    assert stage.journal.state.fault(0).status is FaultStatus.STUCK
    assert stage.journal.state.ended


async def test_faults_are_healed_newest_first_when_given_up(tmp_path: Path) -> None:
    """Of two faults the later one is undone first, and both are."""
    stage = Play(experiment(fault(0, for_s=30.0), fault(1, at_s=1.0, for_s=30.0)), tmp_path)
    stage.when(active(1), lambda: stage.signal("SIGTERM"))
    await stage.plays()
    assert stage.steps()[-4:] == ["abort", "heal 1", "heal 0", "done"]
    assert [undoing.fault for undoing in stage.events(e.Undoing)] == [1, 0]
    assert stage.harmless()


async def test_nothing_is_injected_once_the_journal_is_broken(tmp_path: Path) -> None:
    """A disk that fails before the recipe is safe means no harm at all."""
    stage = Play(experiment(fault()), tmp_path)
    stage.journal.paper.why = "No space left on device"
    verdict = await stage.plays()
    assert ("inject", 0) not in stage.harm.calls
    assert verdict.restored
    assert verdict.exit in (Exit.UNKNOWN, Exit.INTERNAL)


class Failing(FakeClock):
    """Tells the same time as another clock until it has to fail."""

    def __init__(self, clock: FakeClock, fails: Callable[[], object]) -> None:
        super().__init__()
        self.clock, self.fails = clock, fails

    def now(self) -> int:
        if self.fails():
            raise RuntimeError("a bug")
        return self.clock.now()


async def test_a_bug_in_the_loop_heals_everything(tmp_path: Path) -> None:
    """An exception in the main loop itself undoes what is in place and is exit 70."""
    stage = Play(experiment(fault()), tmp_path)
    world = replace(stage.world(), clock=Failing(stage.clock, lambda: stage.target.in_place))
    verdict = await run(stage.experiment, world, stage.journal)
    assert (verdict.exit, verdict.restored) == (Exit.INTERNAL, True)
    assert stage.harmless()
    assert stage.events(e.Crashed) == [e.Crashed(where="engine", why="RuntimeError: a bug")]


async def test_cancelling_the_run_heals_first(tmp_path: Path) -> None:
    """However often the task itself is cancelled, harm is undone before the cancel is delivered."""
    stage = Play(experiment(fault(for_s=60.0)), tmp_path)
    playing = asyncio.create_task(stage.plays())
    pulled: list[bool] = []

    async def slow(_fault: int) -> None:
        for _ in range(20):
            playing.cancel()
            pulled.append(True)
            await asyncio.sleep(0)

    stage.harm.before["undo"] = slow
    for _ in range(20_000):
        if active()(stage.journal.state):
            break
        await asyncio.sleep(0)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert len(pulled) >= 20
    assert stage.harmless()
    assert stage.events(e.Undone)


# --- what a journal is worth

STORIES = ["well", "aborted", "broken", "stuck"]


async def told(story: str, folder: Path) -> tuple[Play, Verdict]:
    """A recorded run."""
    faults = fault(0, for_s=2.0), fault(1, at_s=0.5, for_s=2.5)
    stage = Play(experiment(*faults, abort=(errors(">", 0.9, for_s=6.0),)), folder, recorded=True)
    if story == "aborted":
        stage.when(active(1), lambda: stage.signal("SIGINT"))
    if story == "broken":
        stage.target.lingers_s = 60.0
    if story == "stuck":
        stage.harm.before["undo"] = refuses
    return stage, await stage.plays()


def through_json(entry: e.Entry) -> e.Entry:
    """An entry as it comes back from a disk."""
    if isinstance(entry.event, e.SlotsArrived):
        wire = json.loads(json.dumps(frame_to_json(entry.event.frame)))
        return replace(entry, event=e.SlotsArrived(frame=frame_from_json(wire)))
    return replace(entry, event=e.from_json(json.loads(json.dumps(e.to_json(entry.event)))))


@pytest.mark.parametrize("story", STORIES)
async def test_the_fold_of_any_prefix_is_what_was_known_then(tmp_path: Path, story: str) -> None:
    """Folding a journal's prefix, as read back, gives the very state that the run lived in at that entry."""
    stage, _ = await told(story, tmp_path)
    entries = [through_json(entry) for entry in stage.journal.entries]
    lived = [pickle.loads(state) for state in stage.journal.lived]
    assert len(entries) == len(lived)
    state = State()
    for entry, then in zip(entries, lived, strict=True):
        state = step(state, entry)
        assert state == then, f"after entry {entry.n}"
    for upto in random.Random(story).sample(range(1, len(entries)), 8):
        assert fold(entries[:upto]) == lived[upto - 1]


@pytest.mark.parametrize("story", STORIES)
async def test_decisions_are_replayed(tmp_path: Path, story: str) -> None:
    """At every decision, what was written before it leads `decide` to the same step for the same reason."""
    stage, _ = await told(story, tmp_path)
    state, replayed = State(), 0
    for entry in map(through_json, stage.journal.entries):
        if isinstance(entry.event, e.Decided):
            chosen = decide(stage.experiment, state, entry.event.now_ns)
            assert (name_of(chosen), why_of(chosen)) == (entry.event.step, entry.event.why)
            replayed += 1
        state = step(state, entry)
    assert replayed == len(stage.steps()) > 4


@pytest.mark.parametrize("story", STORIES)
async def test_judging_again_gives_the_same_verdict(tmp_path: Path, story: str) -> None:
    """The verdict on what was read back is the verdict of the run, but for what was written after it."""
    stage, verdict = await told(story, tmp_path)
    again = judge(stage.experiment, fold(map(through_json, stage.journal.entries)))
    assert again == verdict
