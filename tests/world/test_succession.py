"""What outlives a run: registrations, claims, orphaned debts, and paying them by hand or from outside."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import stat
from pathlib import Path
from typing import ClassVar

import pytest
from world_rig import Flag, PlainTools, Unready, broken, eventually, experiment_on, kit_for

from chaosrunner.errors import Busy, ChaosrunnerError, Exit, InjectorError, JournalBroken, Orphaned, Unavailable
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import fold
from chaosrunner.model import events as e
from chaosrunner.model.fault import Recipe, recipe_to_json
from chaosrunner.world import claims
from chaosrunner.world.clock import RealClock
from chaosrunner.world.guard import guard
from chaosrunner.world.guarding import guarded
from chaosrunner.world.journal import Journal, read
from chaosrunner.world.lock import OWNER, FileLock, held
from chaosrunner.world.orphans import orphaned, refuse_orphans
from chaosrunner.world.recover import recover, recover_all, scan
from chaosrunner.world.runner_process import RunnerProcess, started_at
from chaosrunner.world.state_home import Registered, StateHome, registered
from chaosrunner.world.succession import Heir
from chaosrunner.world.watch_orders import orders_for
from chaosrunner.world.watchdog import secrets_in


class Harder(Flag):
    """Cannot be undone as long as `<flag>.stuck` is there."""

    name: ClassVar[str] = "test.harder"

    async def undo(self, recipe, tools):
        """Maybe."""
        if os.path.exists(f"{recipe.data['flag']}.stuck"):  # noqa: ASYNC240, PTH110
            raise InjectorError("no way")
        await super().undo(recipe, tools)


KNOWN = {injector.name: injector for injector in (Flag(), Harder())}


def heir(home, who="recover", budget_s=1.0):
    """One that knows the test's injectors."""
    return Heir(
        who=who,
        clock=RealClock(),
        tools=PlainTools(),
        home=home,
        injector=KNOWN.__getitem__,
        budget_s=budget_s,
    )


async def died(folder, run="r1", injector="test.flag", system="shop"):
    """A run that broke c0 and died: its directory, registered."""
    folder.mkdir(exist_ok=True)
    home = StateHome(folder / "state")
    run_dir = folder / run
    flag = folder / f"{run}.broken"
    journal = Journal.create(run_dir, RealClock())
    home.sign_on(Registered(system, run, run_dir))
    recipe = Recipe(injector=injector, says=f"{run} broke it", data={"flag": str(flag)}, claims=(f"flag:{flag}",))
    journal.write(e.Prepared(fault=0, recipe=recipe_to_json(recipe), deadline_ns=0))
    journal.write(e.Injecting(fault=0, called_ns=1))
    flag.touch()
    journal.write(e.Injected(fault=0, called_ns=1, answered_ns=2))
    claims.hold(home, recipe.claims, run_dir).locks[0].release()
    await journal.close()
    return home, run_dir


def test_the_state_directory_is_where_people_expect_it(tmp_path):
    """CHAOSRUNNER_STATE wins over XDG_STATE_HOME, which wins over the home directory."""
    assert StateHome.find({"CHAOSRUNNER_STATE": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}).path.as_posix() == "/a"
    assert StateHome.find({"XDG_STATE_HOME": "/b", "HOME": "/c"}).path.as_posix() == "/b/chaosrunner"
    assert StateHome.find({"HOME": "/c"}).path.as_posix() == "/c/.local/state/chaosrunner"


@pytest.mark.parametrize("name", ["shop", "../../etc", ".hidden", "a/b", "a*", "ein Laden", "100%", ".."])
def test_any_system_name_is_one_private_folder(tmp_path, name):
    """Whatever a system is called, its runs are found under that name, inside a directory nobody else can enter."""
    home = StateHome(tmp_path / "state")
    run = Registered(name, "r/1", tmp_path / "run")
    home.sign_on(Registered("another", "r", tmp_path / "other"))
    home.sign_on(run)
    assert home.runs(name) == [run]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and home.path not in path.parents]
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    home.sign_off(run)
    home.sign_off(run)
    assert home.runs(name) == []


async def test_a_run_that_owes_nothing_is_signed_off(tmp_path):
    """A run is registered while it lasts, and stays so afterwards only if it owes."""
    home = StateHome(tmp_path / "state")
    run = Registered("shop", "r1", tmp_path / "run")
    journal = Journal.create(run.run_dir, RealClock())
    with registered(home, run, journal):
        assert home.runs("shop") == [run]
    assert home.runs("shop") == []
    journal.write(e.Prepared(fault=0, recipe={"injector": "x"}, deadline_ns=0))
    with registered(home, run, journal):
        pass
    assert home.runs("shop") == [run]
    await journal.close()


def test_a_lock_says_who_holds_it_and_goes_with_its_file(tmp_path):
    """A held lock is refused with the holder's words; a released and removed one leaves nothing."""
    path = tmp_path / "x.lock"
    assert not held(path)
    lock = FileLock.take(path, says="me, since noon")
    assert held(path)
    with pytest.raises(Busy, match="me, since noon"):
        FileLock.take(path)
    lock.release(remove=True)
    lock.release(remove=True)
    assert not path.exists()


def test_a_claim_is_held_by_one_and_all_or_none(tmp_path):
    """A second run is refused a claim, takes none of the others, and gets all once they are free."""
    home = StateHome(tmp_path / "state")
    first = claims.hold(home, ("a", "b"), tmp_path / "one")
    with pytest.raises(Busy, match="b is under a fault of another run"):
        claims.hold(home, ("b", "c"), tmp_path / "two")
    with pytest.raises(Busy):
        claims.refuse_held(home, ("a",))
    claims.refuse_held(home, ("c",))
    claims.hold(home, ("c",), tmp_path / "three").release()
    first.release()
    claims.hold(home, ("a", "b", "c"), tmp_path / "two").release()
    assert list((home.path / "claims").iterdir()) == []


async def test_a_claim_of_a_dead_run_that_owes_is_refused(tmp_path):
    """What a dead run may have left broken cannot be claimed, until the debt is paid."""
    home, run_dir = await died(tmp_path)
    claim = f"flag:{tmp_path / 'r1.broken'}"
    with pytest.raises(Orphaned) as refused:
        claims.hold(home, (claim,), tmp_path / "two")
    assert refused.value.advice == f"chaosrunner recover {run_dir}"
    with pytest.raises(Orphaned):
        claims.refuse_held(home, (claim,))
    await recover(run_dir, heir(home))
    assert list((home.path / "claims").iterdir()) == []
    claims.hold(home, (claim,), tmp_path / "two").release()


async def test_a_claim_tells_whose_the_state_of_a_target_is(tmp_path):
    """A state that a run may have caused is said to be of that run, active, dead or lost; any other is nobody's."""
    home, run_dir = await died(tmp_path)
    claim = f"flag:{tmp_path / 'r1.broken'}"
    with pytest.raises(Orphaned, match=r"^it is broken: flag:.* of an earlier run$") as dead:
        claims.refuse_ours(home, "it is broken", [claim])
    assert dead.value.advice == f"chaosrunner recover {run_dir}"
    held_now = claims.hold(home, ("other",), tmp_path / "r2")
    with pytest.raises(Busy, match=r"^it is broken: other is under a fault of another run"):
        claims.refuse_ours(home, "it is broken", ["other"])
    held_now.release()
    shutil.rmtree(run_dir)
    with pytest.raises(Orphaned, match=r"its journal .* is gone") as lost:
        claims.refuse_ours(home, "it is broken", [claim])
    assert lost.value.advice == "chaosrunner recover --scan shop"
    claims.refuse_ours(home, "it is broken", ["another claim"])


async def test_a_new_run_refuses_to_start_over_orphaned_debts(tmp_path):
    """Orphaned is exit 4 and names the one command; other systems are not concerned; after it all is well."""
    home, run_dir = await died(tmp_path)
    with pytest.raises(Orphaned, match="r1 broke it") as refused:
        refuse_orphans("shop", home)
    assert refused.value.exit_code is Exit.NOT_RESTORED
    assert refused.value.advice == f"chaosrunner recover {run_dir}"
    refuse_orphans("another", home)
    payments = await recover(run_dir, heir(home))
    assert [(payment.paid, payment.says) for payment in payments] == [(True, "r1 broke it")]
    assert broken(tmp_path) == []
    refuse_orphans("shop", home)
    assert home.runs() == []


async def test_recovering_writes_down_who_did_it(tmp_path):
    """A recovered journal has a new owner, an Undone and an end, and recovering again finds nothing to do."""
    home, run_dir = await died(tmp_path)
    await recover(run_dir, heir(home))
    state = fold(read(run_dir))
    assert state.fault(0).status is FaultStatus.PAID
    assert state.ended.startswith("failed: its owner died")
    assert await recover(run_dir, heir(home)) == []
    assert fold(read(run_dir)).ended == state.ended


async def test_an_active_run_is_never_touched(tmp_path):
    """While a runner has it recover is refused; while an heir pays for it, it is not called put back, nor touched."""
    home, run_dir = await died(tmp_path)
    runner = FileLock.take(run_dir / OWNER)
    with pytest.raises(Busy):
        await recover(run_dir, heir(home))
    runner.release()
    owner = Journal.take_over(run_dir, RealClock(), "watchdog")
    assert orphaned(home) == []
    for payments in (await recover(run_dir, heir(home)), await recover_all(heir(home))):
        (payment,) = payments
        assert not payment.paid
        assert payment.why.endswith("just now; wait for it with: chaosrunner abort r1")
    assert broken(tmp_path) == ["r1"]
    await owner.close()
    assert len(await recover_all(heir(home))) == 1


async def test_what_cannot_be_undone_stays_orphaned(tmp_path):
    """A debt that cannot be paid is said, the others are paid, and it can be paid later."""
    home, _ = await died(tmp_path, "r1", "test.harder")
    await died(tmp_path, "r2")
    await died(tmp_path, "r3", "test.unknown")
    stuck = tmp_path / "r1.broken.stuck"
    stuck.touch()
    payments = await recover_all(heir(home, budget_s=0.2))
    assert [(payment.run_dir.name, payment.paid) for payment in payments] == [
        ("r1", False),
        ("r2", True),
        ("r3", False),
    ]
    assert payments[0].why == "no way"
    assert "test.unknown" in payments[2].why
    with pytest.raises(Orphaned) as refused:
        refuse_orphans("shop", home)
    assert refused.value.advice == f"chaosrunner recover {tmp_path / 'r1'} {tmp_path / 'r3'}"
    stuck.unlink()
    assert [payment.paid for payment in await recover_all(heir(home, budget_s=0.2))] == [True, False]
    assert broken(tmp_path) == ["r3"]


async def test_a_lost_journal_is_no_reason_to_go_on(tmp_path):
    """When the run directory of a dead run is gone, a new run refuses and names the scan."""
    home, run_dir = await died(tmp_path)
    shutil.rmtree(run_dir)
    with pytest.raises(Orphaned, match="is gone") as refused:
        refuse_orphans("shop", home)
    assert refused.value.advice == "chaosrunner recover --scan shop"
    with pytest.raises(JournalBroken):
        await recover(run_dir, heir(home))
    assert [payment.paid for payment in await recover_all(heir(home))] == [False]


async def lost(folder, injector="test.flag"):
    """State home, run directory and recipe of a dead run of which only its claims are left."""
    home, run_dir = await died(folder, injector=injector, system="test-system")
    data = {"flag": str(folder / "r1.broken")}
    recipe = Recipe(injector=injector, says="r1 broke it", data=data, claims=("a", "b"))
    claimed = claims.hold(home, recipe.claims, run_dir.absolute())
    claimed.remember(recipe)
    for lock in claimed.locks:
        lock.release()
    shutil.rmtree(run_dir)
    return home, run_dir, recipe


async def test_what_a_claim_remembers_is_paid_with_all_others_and_the_rest_is_said_to_be_unknown(tmp_path):
    """Without its journal a dead run's known debt is paid, and it still asks for a scan of what else it left."""
    home, run_dir, _ = await lost(tmp_path)
    payments = await recover_all(heir(home))
    assert [(payment.says, payment.paid) for payment in payments] == [
        ("r1 broke it", True),
        ("run r1 on test-system", False),
    ]
    assert broken(tmp_path) == []
    assert claims.recipes_of(home, run_dir) == []
    assert [run.run for run in home.runs()] == ["r1"]


async def test_a_claim_that_nobody_can_read_stops_no_other_payment(tmp_path):
    """What a lost run claimed in words of another version is told as unpaid, and all other runs are paid."""
    home, run_dir, _ = await lost(tmp_path)
    for file in home.folder("claims").iterdir():
        file.write_text(file.read_text().replace('"injector"', '"unheard_of"'))
    with pytest.raises(TypeError):
        claims.recipes_of(home, run_dir)
    await died(tmp_path, "r2", system="test-system")
    payments = await recover_all(heir(home))
    assert [(payment.run_dir.name, payment.paid) for payment in payments] == [("r1", False), ("r2", True)]
    assert "cannot be read" in payments[0].why


@pytest.mark.parametrize("injector", ["test.flag", "test.harder"])
async def test_a_scan_pays_what_a_claim_remembers(tmp_path, injector):
    """What bears no mark is put back by the recipe in its claim when the journal is gone, or is said not to be."""
    home, run_dir, recipe = await lost(tmp_path, injector)
    (tmp_path / "r1.broken.stuck").touch()
    system = experiment_on(tmp_path, "test.flag").system
    payments = await scan(system, [Flag()], heir(home, budget_s=0.2))
    paid = injector == "test.flag"
    assert [(payment.says, payment.paid) for payment in payments] == [("r1 broke it", paid)]
    assert broken(tmp_path) == ([] if paid else ["r1"])
    assert (home.runs() == []) == paid
    assert claims.recipes_of(home, run_dir) == ([] if paid else [recipe])


def test_a_claim_stays_whole_on_a_full_disk(tmp_path):
    """A way back for which the disk has no room is refused, and the claim still says whose it is."""
    home, run_dir = StateHome(tmp_path / "state"), tmp_path / "r1"
    recipe = Recipe(injector="test.flag", says="r1 broke it", data={"flag": "x" * 9000}, claims=("a",))
    claimed = claims.hold(home, recipe.claims, run_dir)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(ChaosrunnerError, match="the way back could not be written"):
            claimed.remember(recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    claimed.locks[0].release()
    assert claims.left(home, "a") == run_dir
    assert claims.recipes_of(home, run_dir) == []


async def test_a_scan_pays_by_the_journal_where_there_is_one(tmp_path):
    """A dead run on the scanned system is recovered as if it had been named; one on another system is left alone."""
    home, _ = await died(tmp_path, "r1", system="test-system")
    await died(tmp_path, "r2", system="another")
    payments = await scan(experiment_on(tmp_path, "test.flag").system, [Flag()], heir(home))
    assert [(payment.says, payment.paid) for payment in payments] == [("r1 broke it", True)]
    assert [run.run for run in home.runs()] == ["r2"]
    assert broken(tmp_path) == ["r2"]


class Findable(Flag):
    """Finds its flags by their names."""

    name: ClassVar[str] = "test.findable"

    async def scan(self, system, tools):
        """All there are."""
        folder = Path(system.components["c0"].at[0])
        return [
            Recipe(injector=self.name, says=str(flag), data={"flag": str(flag)}, claims=(f"flag:{flag}",), settle_s=0.0)
            for flag in sorted(folder.glob("*.broken"))  # noqa: ASYNC240
        ]


async def test_a_scan_finds_what_no_journal_knows_and_spares_active_runs(tmp_path):
    """Leftovers are found by tag and undone; what belongs to a run that is active is left alone."""
    home, _ = await died(tmp_path, "r1")
    experiment = experiment_on(tmp_path, "test.findable")
    active = Journal.create(tmp_path / "r9", RealClock())
    home.sign_on(Registered("test-system", "r9", tmp_path / "r9"))
    (tmp_path / "r9.broken").touch()
    claimed = claims.hold(home, (f"flag:{tmp_path / 'claimed.broken'}",), tmp_path / "r9")
    (tmp_path / "claimed.broken").touch()
    home.sign_on(Registered("test-system", "r5", tmp_path / "r5"))
    payments = await scan(experiment.system, [Findable(), Flag()], heir(home))
    assert [(payment.says, payment.paid) for payment in payments] == [(str(tmp_path / "r1.broken"), True)]
    assert broken(tmp_path) == ["claimed", "r9"]
    assert [run.run for run in home.runs("test-system")] == ["r9"]
    claimed.release()
    await active.close()


class Blind(Findable):
    """Cannot look."""

    name: ClassVar[str] = "test.blind"

    async def scan(self, system, tools):
        """No."""
        raise InjectorError("connection refused")


async def test_a_scan_that_cannot_look_is_not_a_pass(tmp_path):
    """An injector that cannot look is said, and a run whose journal is gone is not signed off on its word."""
    home = StateHome(tmp_path / "state")
    home.sign_on(Registered("test-system", "r5", tmp_path / "r5"))
    payments = await scan(experiment_on(tmp_path, "test.flag").system, [Blind(), Findable()], heir(home))
    assert [(payment.paid, payment.why) for payment in payments] == [(False, "connection refused")]
    assert home.runs() != []


async def test_the_outside_guard_pays_when_a_runner_is_gone(tmp_path):
    """A guard in another process's place pays what a dead run owes, leaves an active one alone, and stops when told."""
    home, run_dir = await died(tmp_path)
    owner = Journal.take_over(run_dir, RealClock(), "runner")
    stop, reports = asyncio.Event(), []
    guarding = asyncio.create_task(guard(heir(home, "guard"), stop, reports.append))
    await asyncio.sleep(0.05)
    assert broken(tmp_path) == ["r1"]
    await owner.close()
    await eventually(lambda: reports)
    assert broken(tmp_path) == []
    assert [payment.paid for payment in reports] == [True]
    stop.set()
    await guarding
    changes = [entry.event.who for entry in read(run_dir) if isinstance(entry.event, e.OwnerChanged)]
    assert changes == ["runner", "guard"]


async def test_a_debt_of_another_boot_is_paid_all_the_same(tmp_path):
    """Deadlines of another boot mean nothing; whoever finds such a run unowned pays it."""
    home, run_dir = await died(tmp_path)
    journal = Journal.take_over(run_dir, RealClock(), "runner")
    journal.write(
        e.Prepared(
            fault=1,
            recipe={"injector": "test.flag", "says": "s", "data": {"flag": str(tmp_path / "z")}},
            deadline_ns=2**62,
        )
    )
    await journal.close()
    payments = await recover(run_dir, heir(home))
    assert [payment.paid for payment in payments] == [True, True]


async def watched(folder, injector):
    """A journal of a run that was watched, with nothing injected."""
    experiment = experiment_on(folder, injector.name)
    kit = kit_for(experiment, folder, injector, clock=RealClock())
    recipe = await injector.prepare(experiment.faults[0], kit.context(experiment.faults[0]))
    journal = Journal.create(kit.run_dir, RealClock())
    try:
        async with guarded(journal, orders_for(kit.run_dir, kit.home, [injector], [recipe])) as watchdog:
            assert not watchdog.lost
            assert journal.state.watchdog_pid == watchdog.pid
    finally:
        await journal.close()
    return journal


async def test_a_watchdog_that_cannot_go_the_way_back_is_not_ready(tmp_path):
    """No READY without a look at the target: what refuses it is said, and nothing was touched."""
    with pytest.raises(Unavailable, match="the way back cannot be gone: password refused"):
        await watched(tmp_path, Unready())
    assert broken(tmp_path) == []


async def test_a_watchdog_that_is_not_needed_goes_without_a_trace(tmp_path):
    """Released by a run that owes nothing, a watchdog ends, and only the journal is left."""
    journal = await watched(tmp_path, Flag())
    assert not (Path("/proc") / str(journal.state.watchdog_pid)).exists()
    assert not journal.state.watchdog_lost
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["events.jsonl", "owner.lock", "slots"]


async def test_a_watchdog_needs_every_secret(tmp_path, monkeypatch):
    """A secret that cannot be resolved is no READY; its reference is named, never a value."""
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    recipe = Recipe(
        injector="test.flag",
        says="x",
        data={"flag": str(tmp_path / "f"), "deep": [{"dsn": {"secret": "${NOT_SET_ANYWHERE}"}}]},
        claims=(),
    )
    assert list(secrets_in(recipe.data)) == ["${NOT_SET_ANYWHERE}"]
    journal = Journal.create(tmp_path / "run", RealClock())
    orders = orders_for(tmp_path / "run", StateHome(tmp_path / "state"), [KNOWN["test.flag"]], [recipe])

    async def watch():
        async with guarded(journal, orders):
            raise AssertionError("ready without its secret")

    with pytest.raises(Unavailable, match="NOT_SET_ANYWHERE"):
        await watch()
    await journal.close()


def test_a_process_is_told_from_another_of_the_same_number():
    """A pid that belongs to another process now, or to none, is refused before anything could be sent to it."""
    me = RunnerProcess(os.getpid(), started_at(os.getpid()))
    assert not me.dead()
    with pytest.raises(ProcessLookupError):
        RunnerProcess(os.getpid(), started_at(os.getpid()) + 1)
    with pytest.raises(ProcessLookupError):
        started_at(2**22 - random.randrange(1, 5))
