"""Injecting and healing: the order, the failures, and that no way out leaves harm behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

import pytest
from world_rig import Flag, LateFlag, PlainTools, broken, experiment_on, kit_for

from chaosrunner.errors import InjectorError
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.model import events as e
from chaosrunner.model.fault import Evidence, Recipe, recipe_to_json
from chaosrunner.model.rules import AtMost, Rules
from chaosrunner.testing import FakeClock, MemoryJournal
from chaosrunner.world.orphans import debts
from chaosrunner.world.payment import Payer
from chaosrunner.world.reservations import reserving
from chaosrunner.world.shield import unshakable
from chaosrunner.world.undo import IN_ORDER_S, undoing


def kinds(journal, fault=None):
    """Kinds of the facts written, of one fault or of all."""
    return [
        type(entry.event).__name__
        for entry in journal.entries
        if fault is None or getattr(entry.event, "fault", None) == fault
    ]


async def until(journal, condition):
    """Wait until a condition holds of the journal's state; bounded by the clock's jumps."""
    for _ in range(2000):
        if condition(journal.state):
            return
        await journal.news(journal._clock.now() + 10**8)
    raise AssertionError(f"never came: {kinds(journal)}")


async def test_a_fault_goes_there_and_back_in_the_promised_order(tmp_path):
    """All that becomes of a fault is written once each, in this order."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        assert broken(tmp_path) == ["c0"]
        undo.heal(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.PAID)
        assert broken(tmp_path) == []
    assert kinds(journal) == ["Prepared", "Injecting", "Injected", "Verified", "VerifiedAgain", "Undoing", "Undone"]


async def test_leaving_heals_what_nobody_healed_newest_first(tmp_path):
    """On leaving the body by an exception all faults are undone, the newest first."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    experiment = experiment_on(tmp_path, *["test.flag"] * 3)

    async def play():
        async with undoing(kit_for(experiment, tmp_path, clock=clock), journal) as undo:
            for index in range(3):
                undo.inject(index)
            await until(journal, lambda state: all(state.fault(i).proven for i in range(3)))
            raise RuntimeError("anything")

    with pytest.raises(RuntimeError, match="anything"):
        await play()
    assert [entry.event.fault for entry in journal.entries if isinstance(entry.event, e.Undoing)] == [2, 1, 0]
    assert broken(tmp_path) == []
    assert journal.state.debts() == []


async def test_nothing_is_injected_when_the_recipe_is_not_durable(tmp_path):
    """A journal that cannot be synced stops the inject before it is called."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    journal.paper.why = "no space left"
    async with undoing(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.FAILED)
    assert "Injecting" not in kinds(journal)
    failed = next(entry.event for entry in journal.entries if isinstance(entry.event, e.InjectFailed))
    assert not failed.touched
    assert "no space left" in failed.why
    assert journal.state.debts() == []


class Lost:
    """A guard that is gone."""

    lost = "it was killed"


async def test_nothing_is_injected_when_nobody_guards_it(tmp_path):
    """A lost watchdog stops the inject before it is called."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock, guard=Lost())
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.FAILED)
    assert "Injecting" not in kinds(journal)
    assert broken(tmp_path) == []


class Halfway(Flag):
    """Does the harm, then says that it failed."""

    name: ClassVar[str] = "test.halfway"
    settle_s: ClassVar[float] = 1.5

    async def inject(self, recipe, tools):
        """Harm, and an error."""
        await super().inject(recipe, tools)
        raise InjectorError("connection lost")


async def test_a_failed_inject_is_a_debt_until_it_cannot_land_any_more(tmp_path):
    """An inject that failed after it was called is undone until its settle time has passed."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.halfway"), tmp_path, Halfway(), clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.FAILED)
        assert broken(tmp_path) == ["c0"]
        began = clock.now()
    assert broken(tmp_path) == []
    assert clock.now() - began >= 1.5e9
    undone = next(entry.event for entry in journal.entries if isinstance(entry.event, e.Undone))
    assert undone.attempts > 2
    assert undone.answered_ns - began < 1e9
    assert kinds(journal).count("Undoing") == 1


class Slow(Flag):
    """Its inject is answered when the test says so."""

    name: ClassVar[str] = "test.slow"

    def __init__(self):
        self.called = asyncio.Event()
        self.answer = asyncio.Event()

    async def inject(self, recipe, tools):
        """Wait, then harm."""
        self.called.set()
        await self.answer.wait()
        await super().inject(recipe, tools)


async def test_an_inject_under_way_is_awaited_not_abandoned(tmp_path):
    """A heal asked for while the inject is being called undoes what lands afterwards."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    slow = Slow()
    async with undoing(kit_for(experiment_on(tmp_path, "test.slow"), tmp_path, slow, clock=clock), journal) as undo:
        undo.inject(0)
        await slow.called.wait()
        undo.heal(0)
        await asyncio.sleep(0)
        slow.answer.set()
    assert broken(tmp_path) == []
    assert kinds(journal) == ["Prepared", "Injecting", "Injected", "Verified", "Undoing", "Undone"]


async def test_an_inject_that_never_answers_is_not_called_paid(tmp_path):
    """What is still being called may land: it is undone for the whole budget, then said to be not restored."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    slow = Slow()
    async with undoing(kit_for(experiment_on(tmp_path, "test.slow"), tmp_path, slow, clock=clock), journal) as undo:
        undo.inject(0)
        await slow.called.wait()
    assert journal.state.fault(0).status is FaultStatus.STUCK
    assert "may still land" in journal.state.fault(0).why
    assert journal.state.debts() == [0]
    slow.answer.set()


async def test_a_heal_before_the_inject_is_called_prevents_it(tmp_path):
    """A fault that is wanted back while it is prepared is never injected."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        undo.heal(0)
    assert kinds(journal) == ["InjectFailed"]
    assert broken(tmp_path) == []


class Stubborn(Flag):
    """Refuses to be undone the first times it is asked."""

    name: ClassVar[str] = "test.stubborn"

    def __init__(self, refusals):
        self.refusals = refusals

    async def undo(self, recipe, tools):
        """Not yet."""
        self.refusals -= 1
        if self.refusals >= 0:
            raise InjectorError("not reachable")
        await super().undo(recipe, tools)


async def test_undo_is_tried_again(tmp_path):
    """An undo that fails five times succeeds at the sixth, and says so."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.stubborn"), tmp_path, Stubborn(5), clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
    assert journal.state.fault(0).status is FaultStatus.PAID
    assert journal.state.fault(0).attempts == 6


async def test_an_undo_that_never_works_delays_no_other_and_is_said(tmp_path):
    """One stuck debt is written down as failed after its budget; the others are paid all the same."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    experiment = experiment_on(tmp_path, "test.flag", "test.stubborn", "test.flag")
    began = clock.now()
    async with undoing(kit_for(experiment, tmp_path, Stubborn(10**9), clock=clock), journal) as undo:
        for index in range(3):
            undo.inject(index)
        await until(journal, lambda state: all(state.fault(i).proven for i in range(3)))
    assert broken(tmp_path) == ["c1"]
    assert journal.state.fault(1).status is FaultStatus.STUCK
    assert "not reachable" in journal.state.fault(1).why
    assert journal.state.debts() == [1]
    assert clock.now() - began < 30e9


class Kill(Flag):
    """Cannot be undone."""

    name: ClassVar[str] = "test.kill"
    reversible: ClassVar[bool] = False


async def test_a_kill_leaves_no_debt(tmp_path):
    """What has no undo is written down and proven, and never undone."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.kill"), tmp_path, Kill(), clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
    assert kinds(journal) == ["Prepared", "Injecting", "Injected", "Verified"]
    assert journal.state.debts() == []


class Culling(Kill):
    """Kills one of those that live, and says how many do."""

    live = 3

    async def prepare(self, fault, context):
        """Another one each time."""
        context.drawn((f"c0-{self.live}",), self.live)
        return replace(await Kill.prepare(self, fault, context), claims=(f"test:{fault.index}",))

    async def inject(self, recipe, tools):
        """One fewer lives."""
        self.live -= 1
        await Kill.inject(self, recipe, tools)


async def test_a_kill_counts_until_as_many_live_as_before(tmp_path):
    """However short a kill's own time: the next one is too much for `1 of c0` until the first victim is back."""
    clock, culling = FakeClock(), Culling()
    journal = MemoryJournal(clock)
    limit = AtMost(text="1 of c0", file="system.yaml", line=3, component="c0", count=1)
    asked = experiment_on(tmp_path, *["test.kill"] * 3, for_s=0.1, same=True)
    asked = replace(asked, system=replace(asked.system, rules=Rules(at_most=(limit,))))
    kit = kit_for(asked, tmp_path, culling, clock=clock)
    with reserving(kit.home, asked, kit.run_dir) as reservation:
        async with undoing(replace(kit, reservation=reservation), journal) as undo:
            for index, came_back in ((0, 0), (1, 1), (2, 0)):
                undo.inject(index)
                await until(journal, lambda state, nth=index: state.fault(nth).proven or state.fault(nth).why)
                await clock.sleep_until(clock.now() + 10**9)
                culling.live += came_back
    seen = [journal.state.fault(index) for index in range(3)]
    assert [fault.proven for fault in seen] == [True, None, True]
    assert "2 of 3 c0 would be under faults at once" in seen[1].why
    assert "system.yaml:3: '1 of c0'" in seen[1].why


class Shy(Flag):
    """Shows no evidence, or evidence of the contrary."""

    name: ClassVar[str] = "test.shy"

    def __init__(self, ok):
        self.ok = ok

    async def verify(self, recipe, tools):
        """What it was told."""
        return Evidence(ok=self.ok, says="looked")


@pytest.mark.parametrize(("ok", "proven"), [(None, None), (False, False)])
async def test_no_evidence_is_not_evidence_of_the_contrary(tmp_path, ok, proven):
    """Nothing to see writes no Verified; only what was seen not to be is written as such, once, at the end."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.shy"), tmp_path, Shy(ok), clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.ACTIVE)
        await clock.sleep_until(clock.now() + 3 * 10**9)
    assert journal.state.fault(0).proven is proven
    assert kinds(journal).count("Verified") == (proven is False)


class Fading(Flag):
    """Proven once; from then on its looks say what they were told, an error is raised."""

    name: ClassVar[str] = "test.fading"

    def __init__(self, then, left):
        self.then, self.left, self.looks = then, left, 0

    async def verify(self, recipe, tools):
        """First there, then what it was told."""
        self.looks += 1
        return Evidence(ok=True, says="there") if self.looks == 1 else told(self.then)

    async def absent(self, recipe, tools):
        """What it was told, until it is undone."""
        undone = not (await super().verify(recipe, tools)).ok
        return Evidence(ok=True, says="undone") if undone else told(self.left)


def told(answer):
    """An answer, or an error that is raised."""
    if isinstance(answer, Exception):
        raise answer
    return Evidence(says="looked", **answer)


@pytest.mark.parametrize(
    ("then", "left", "ok", "proven"),
    [
        ({"ok": True}, {"ok": False}, True, True),
        ({"ok": False}, {"ok": False}, False, False),
        ({"ok": False, "ended": True}, {"ok": True}, None, True),
        ({"ok": None}, {"ok": False}, None, True),
        ({"ok": None}, {"ok": True}, False, False),
        (OSError("no route"), {"ok": False}, None, True),
        ({"ok": None}, OSError("no route"), None, True),
    ],
    ids=["still there", "seen not to be", "its target ended", "users stay away", "gone", "no look", "half a look"],
)
async def test_a_proven_fault_is_looked_at_again_at_its_end(tmp_path, then, left, ok, proven):
    """What is gone before it is undone was not in effect to its end; what only cannot be seen stays proven."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    fading = Fading(then, left)
    async with undoing(kit_for(experiment_on(tmp_path, "test.fading"), tmp_path, fading, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        undo.heal(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.PAID)
    assert [entry.event.ok for entry in journal.entries if isinstance(entry.event, e.VerifiedAgain)] == [ok]
    assert journal.state.fault(0).proven is proven


@pytest.mark.parametrize("looking", [False, True])
async def test_nobody_waits_for_a_look_once_the_run_is_given_up(tmp_path, looking):
    """A fault is undone at once, also when a look that hangs is under way."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    hangs = asyncio.Event()

    class Hanging(Flag):
        name: ClassVar[str] = "test.hanging"

        async def verify(self, recipe, tools):
            """There at first; later nobody knows."""
            if journal.state.fault(0).proven:
                hangs.set()
                await asyncio.Event().wait()
            return await super().verify(recipe, tools)

    async with undoing(
        kit_for(experiment_on(tmp_path, "test.hanging"), tmp_path, Hanging(), clock=clock), journal
    ) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        if not looking:
            undo.hurry()
        undo.heal(0)
        if looking:
            await hangs.wait()
            undo.hurry()
        await until(journal, lambda state: state.fault(0).status is FaultStatus.PAID)
    assert hangs.is_set() is looking
    assert "VerifiedAgain" not in kinds(journal)


async def test_whoever_leaves_early_does_not_stop_to_look(tmp_path):
    """On leaving the body early a proven fault is undone at once."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
    assert kinds(journal)[-3:] == ["Verified", "Undoing", "Undone"]


class Moving(Flag):
    """Chooses another target each time it looks."""

    name: ClassVar[str] = "test.moving"
    looks = 0

    async def prepare(self, fault, context):
        """Somewhere else."""
        from dataclasses import replace

        self.looks += 1
        recipe = await super().prepare(fault, context)
        return replace(recipe, claims=(f"flag:{self.looks}",))


async def test_a_target_that_changes_while_it_is_claimed_is_not_hit(tmp_path):
    """The second look must see what was claimed."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.moving"), tmp_path, Moving(), clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.FAILED)
    assert kinds(journal) == ["InjectFailed"]
    assert "changed while it was claimed" in journal.state.fault(0).why


class Looking(Flag):
    """Looks for its target until somebody lets it."""

    name: ClassVar[str] = "test.looking"

    def __init__(self):
        self.looks, self.enough = asyncio.Event(), asyncio.Event()

    async def prepare(self, fault, context):
        """It takes a while."""
        self.looks.set()
        await self.enough.wait()
        return await Flag.prepare(self, fault, context)


async def test_no_heal_waits_for_a_newer_fault_that_is_still_looking(tmp_path):
    """What has not been called and is wanted back will not be, so older faults are healed at once."""
    clock, looking = FakeClock(), Looking()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.flag", "test.looking"), tmp_path, looking, clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        undo.inject(1)
        await looking.looks.wait()
        began = clock.now()
        undo.heal(1)
        undo.heal(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.PAID)
        assert clock.now() - began < IN_ORDER_S * 10**9
        looking.enough.set()
    assert kinds(journal, 1) == ["InjectFailed"]
    assert broken(tmp_path) == []


async def test_two_faults_of_one_run_never_overlap_on_a_claim(tmp_path):
    """The second fault on a claimed target fails untouched while the first is in effect, and may come after it."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    experiment = experiment_on(tmp_path, "test.flag", "test.flag", "test.flag", same=True)
    async with undoing(kit_for(experiment, tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        undo.inject(1)
        await until(journal, lambda state: state.fault(1).status is FaultStatus.FAILED)
        assert "is under a fault" in journal.state.fault(1).why
        undo.heal(0)
        await until(journal, lambda state: state.fault(0).status is FaultStatus.PAID)
        undo.inject(2)
        await until(journal, lambda state: state.fault(2).proven)
    assert kinds(journal, 1) == ["InjectFailed"]
    assert journal.state.fault(2).status is FaultStatus.PAID
    assert list((tmp_path / "state/claims").iterdir()) == []


async def test_no_number_of_cancels_ends_an_undo(tmp_path):
    """A task cancelled again and again while it heals finishes healing, and is cancelled then."""
    clock = FakeClock()
    journal = MemoryJournal(clock)

    async def play():
        kit = kit_for(experiment_on(tmp_path, "test.stubborn"), tmp_path, Stubborn(8), clock=clock)
        async with undoing(kit, journal) as undo:
            undo.inject(0)
            await until(journal, lambda state: state.fault(0).proven)
            await asyncio.Event().wait()

    playing = asyncio.create_task(play())
    await until(journal, lambda state: state.fault(0).proven)
    for _ in range(10_000):
        if playing.done():
            break
        playing.cancel()
        await asyncio.sleep(0)
    assert playing.cancelled()
    assert broken(tmp_path) == []
    assert journal.state.fault(0).status is FaultStatus.PAID


async def test_shielded_work_gives_its_result_and_its_error():
    """Without a cancel the shield changes nothing; an error of the work wins over a cancel."""

    async def seven():
        return 7

    async def fails():
        await asyncio.sleep(0.01)
        raise ValueError("mine")

    assert await unshakable(seven()) == 7
    task = asyncio.create_task(unshakable(fails()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(ValueError, match="mine"):
        await task


async def test_a_late_effect_is_awaited_in_process(tmp_path):
    """A fault that lands 20 ms after it was asked for is proven and undone like any other."""
    from chaosrunner.world.clock import RealClock

    clock = RealClock()
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(tmp_path, "test.late"), tmp_path, LateFlag(), clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        await asyncio.sleep(0.005)
    assert broken(tmp_path) == []
    assert journal.state.debts() == []


async def test_undo_never_waits_for_the_journal(tmp_path):
    """A disk that never answers again does not keep a fault from being undone."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    async with undoing(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=clock), journal) as undo:
        undo.inject(0)
        await until(journal, lambda state: state.fault(0).proven)
        journal.paper.mute = True
    assert broken(tmp_path) == []
    assert journal.state.debts() == []


class Remote:
    """A target that queues what it is asked and does it 20 ms later, whoever asked."""

    def __init__(self, clock):
        self.clock = clock
        self.broken = False

    async def ask(self):
        """Queue it."""
        await self.clock.sleep_until(self.clock.now() + 20_000_000)
        self.broken = True


class AtRemote(Flag):
    """Undoes what the remote has done so far."""

    def __init__(self, remote):
        self.remote = remote

    async def undo(self, recipe, tools):
        """What is queued is not undone."""
        self.remote.broken = False

    async def absent(self, recipe, tools):
        """As of now."""
        return Evidence(ok=not self.remote.broken, says="a look")


async def leaks(settle_s):
    """Whether a fault is left when a successor pays for a runner that died while the remote had its inject queued."""
    clock = FakeClock()
    journal, remote = MemoryJournal(clock), Remote(clock)
    recipe = Recipe(injector="test.flag", says="x", data={}, claims=(), settle_s=settle_s)
    journal.write(e.Prepared(fault=0, recipe=recipe_to_json(recipe), deadline_ns=0))
    journal.write(e.Injecting(fault=0, called_ns=clock.now()))
    landing = asyncio.create_task(remote.ask())
    await asyncio.sleep(0)
    payer = Payer(journal=journal, clock=clock, tools=PlainTools(), injector=lambda _: AtRemote(remote))
    assert await payer.pay(debts(journal.state), budget_s=20)
    await landing
    return remote.broken


async def test_what_lands_late_does_not_leak_and_would_without_a_settle_time():
    """Of 100 faults that land 20 ms after the runner died none is left; without a settle time all 100 are."""
    assert [await leaks(settle_s=0.25) for _ in range(100)] == [False] * 100
    assert [await leaks(settle_s=0.0) for _ in range(100)] == [True] * 100
