"""What is found when all should have been put back; targets that cannot be reached; and asking a run to abort."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import pytest
from world_rig import Flag, PlainTools, Unreachable, broken, eventually, experiment_on, kit_for

from chaosrunner.errors import Busy, ChaosrunnerError, Exit, InjectorError, Orphaned
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.judge import judge
from chaosrunner.logic.parse.rules import parse_at_most, parse_dates
from chaosrunner.model import events as e
from chaosrunner.model.fault import Recipe
from chaosrunner.model.rules import Rules
from chaosrunner.testing import FakeClock, MemoryJournal
from chaosrunner.world.abort import REQUEST, abort, ask, watch_requests
from chaosrunner.world.clock import RealClock
from chaosrunner.world.guarding import guarded
from chaosrunner.world.hours import watch_hours
from chaosrunner.world.journal import Journal
from chaosrunner.world.orphans import known, refuse_orphans
from chaosrunner.world.reservations import reserving
from chaosrunner.world.residue import sweep
from chaosrunner.world.state_home import Registered, StateHome
from chaosrunner.world.succession import Heir
from chaosrunner.world.undo import undoing
from chaosrunner.world.watch_orders import orders_for

HERE = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
"""For processes that import what is here."""


class Tagged(Flag):
    """Leaves another flag, tagged with its run, that its undo forgets; a scan finds it."""

    name: ClassVar[str] = "test.tagged"
    left: ClassVar[list[str]] = []
    hidden: ClassVar[bool] = False

    async def scan(self, system: object, tools: object) -> list[Recipe]:
        """Whatever was left."""
        if self.hidden:
            raise InjectorError("no route to the flags")
        return [Recipe(injector=self.name, says=f"{tag} is up", data={"tag": tag}, claims=(tag,)) for tag in self.left]


async def there_and_back(folder, injector, clock, *between):
    """A run of one fault that was undone, `between` done after that, and swept: its journal."""
    folder.mkdir(exist_ok=True)
    journal = MemoryJournal(clock)
    kit = kit_for(experiment_on(folder, injector.name), folder, injector, clock=clock)
    async with undoing(kit, journal) as undo:
        undo.inject(0)
        while not journal.state.fault(0).proven:
            await journal.news(clock.now() + 10**8)
    assert journal.state.fault(0).status is FaultStatus.PAID
    for act in between:
        act()
    await sweep(kit, journal, lambda used: [one for one in used if hasattr(one, "scan")])
    return kit, journal


def found(journal):
    """What the sweep has written."""
    return [(entry.event.fault, entry.event.says) for entry in journal.entries if isinstance(entry.event, e.Residue)]


async def test_a_clean_end_writes_nothing(tmp_path):
    """When everything is gone the sweep has nothing to say, and without any fault it does not even look."""
    _, journal = await there_and_back(tmp_path, Flag(), FakeClock())
    assert found(journal) == []
    idle = MemoryJournal()
    await sweep(kit_for(experiment_on(tmp_path, "test.flag"), tmp_path, clock=FakeClock()), idle, list)
    assert idle.entries == []


async def test_a_fault_that_came_back_is_owed_again(tmp_path):
    """A late landing or an external hand opens the debt again: not restored, whoever pays it later."""
    _, journal = await there_and_back(tmp_path, Flag(), FakeClock(), (tmp_path / "c0.broken").touch)
    assert found(journal) == [(0, "it was undone, but is there again: a look at the flag")]
    assert journal.state.debts() == [0]
    seen = judge(experiment_on(tmp_path, "test.flag"), journal.state)
    assert seen.exit is Exit.NOT_RESTORED


async def test_what_cannot_be_looked_at_again_is_not_taken_for_gone(tmp_path):
    """A target that cannot be reached at the end is looked at until the time is over, and then not restored."""
    clock = FakeClock()
    away = tmp_path / "c0.broken.unreachable"
    _, journal = await there_and_back(tmp_path, Unreachable(), clock, away.touch)
    assert found(journal) == [(0, "it cannot be looked at: no route to the flag")]
    seen = [entry for entry in journal.entries if isinstance(entry.event, e.Residue)]
    assert seen[0].at_ns - journal.entries[-2].at_ns >= 5 * 10**9


async def test_what_bears_the_runs_tag_is_found(tmp_path):
    """Something of this run that no recipe knows is residue; of another run it is not ours to tell."""
    Tagged.left[:] = ["ours-r1-0", "ours-r11-0"]
    _, journal = await there_and_back(tmp_path / "a", Tagged(), FakeClock())
    assert found(journal) == []  # the run's directory is called `run`: nothing bears that name
    Tagged.left[:] = ["ours-run-0", "ours-r11-0"]
    _, journal = await there_and_back(tmp_path / "b", Tagged(), FakeClock())
    assert found(journal) == [(None, "test.tagged: ours-run-0 is up")]
    assert (journal.state.debts(), journal.state.residue) == ([], ["test.tagged: ours-run-0 is up"])
    Tagged.left.clear()


async def test_a_scan_that_cannot_look_is_said(tmp_path):
    """What cannot be looked for is not taken for absent."""
    (tmp_path / "c").mkdir()
    try:
        _, journal = await there_and_back(
            tmp_path / "c", Tagged(), FakeClock(), lambda: setattr(Tagged, "hidden", True)
        )
    finally:
        Tagged.hidden = False
    assert found(journal) == [(None, "test.tagged: it cannot be looked at: no route to the flags")]


async def owing(folder, budget_s):
    """In a process of its own, for its watchdog ends it: break c0, which then cannot be reached, and end owing."""
    injector, clock = Unreachable(), RealClock()
    experiment = experiment_on(folder, injector.name)
    kit = kit_for(experiment, folder, injector, clock=clock, budget_s=0.2)
    kit.home.sign_on(Registered("test-system", "r1", kit.run_dir))
    recipe = await injector.prepare(experiment.faults[0], kit.context(experiment.faults[0]))
    journal = Journal.create(kit.run_dir, clock)
    orders = replace(orders_for(kit.run_dir, kit.home, [injector], [recipe]), budget_s=budget_s)
    try:
        async with guarded(journal, orders) as watchdog, undoing(replace(kit, guard=watchdog), journal) as undo:
            undo.inject(0)
            while not journal.state.fault(0).proven:
                await journal.news(clock.now() + 10**8)
            (folder / "c0.broken.unreachable").touch()
    finally:
        await journal.close()
    assert journal.state.fault(0).status is FaultStatus.STUCK
    assert judge(experiment, journal.state).exit is Exit.NOT_RESTORED


BEGIN = "import asyncio, sys, test_residue as t; asyncio.run(t.owing(t.Path(sys.argv[1]), float(sys.argv[2])))"


async def broken_and_left(folder, budget_s):
    """What a run that ended owing leaves behind: its watchdog, at work for so long, a journal and a registration."""
    command = [sys.executable, "-c", BEGIN, str(folder), str(budget_s)]
    run = await asyncio.create_subprocess_exec(*command, env=HERE)
    assert await run.wait() == 0
    return StateHome(folder / "state"), folder / "run"


def standing(run_dir):
    """Whether another owner has taken over, and where the fault stands."""
    state = known(run_dir)
    return state.epoch, state.fault(0).status


async def test_a_target_that_can_be_reached_again_is_put_back_by_the_watchdog(tmp_path):
    """The runner has given up with exit 4; its watchdog goes on until the target answers, and then pays."""
    home, run_dir = await broken_and_left(tmp_path, budget_s=60.0)
    await eventually(lambda: standing(run_dir) == (1, FaultStatus.UNDOING))
    assert broken(tmp_path) == ["c0"]
    (tmp_path / "c0.broken.unreachable").unlink()
    await eventually(lambda: standing(run_dir) == (1, FaultStatus.PAID))
    assert broken(tmp_path) == []
    await eventually(lambda: home.runs() == [])
    refuse_orphans("test-system", home)


def heir(home, budget_s=1.0):
    """One that aborts."""
    return Heir(
        who="abort",
        clock=RealClock(),
        tools=PlainTools(),
        home=home,
        injector={"test.flag": Flag(), "test.unreachable": Unreachable()}.__getitem__,
        budget_s=budget_s,
    )


async def test_a_target_that_stays_away_is_reported_when_the_budget_ends(tmp_path):
    """The watchdog gives up by a fact; a new run is then exit 4 with the one command; asking again pays once it can."""
    home, run_dir = await broken_and_left(tmp_path, budget_s=0.6)
    await eventually(lambda: standing(run_dir) == (1, FaultStatus.STUCK))
    pid = known(run_dir).watchdog_pid
    await eventually(
        lambda: not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    )
    assert "no route to the flag" in known(run_dir).fault(0).why
    with pytest.raises(Orphaned) as refused:
        refuse_orphans("test-system", home)
    assert (refused.value.exit_code, refused.value.advice) == (4, f"chaosrunner recover {run_dir}")
    assert "MAY STILL BE IN PLACE" in (run_dir / "watchdog.log").read_text()
    (unpaid,) = await abort(run_dir, heir(home, budget_s=0.1))
    assert (unpaid.paid, unpaid.why) == (False, "no route to the flag")
    (tmp_path / "c0.broken.unreachable").unlink()
    (paid,) = await abort(run_dir, heir(home))
    assert paid.paid
    assert broken(tmp_path) == []
    (again,) = await abort(run_dir, heir(home))
    assert (again.paid, again.says) == (True, paid.says)


async def test_a_request_to_abort_is_heard_once(tmp_path):
    """Whoever asks leaves a file, however often; the runner hears it as the signal that is none."""
    heard = []
    ask(tmp_path)
    ask(tmp_path)
    await watch_requests(tmp_path, clock=FakeClock(), report=heard.append)
    assert heard == [e.Signalled(signal=e.ABORT)]
    assert (tmp_path / REQUEST).exists()
    with pytest.raises(ChaosrunnerError, match="takes no request to abort: No such file"):
        ask(tmp_path / "nowhere")


async def test_hours_are_watched_until_they_close(tmp_path):
    """At the first second that a rule forbids a fact is written; without rules about time nobody watches."""
    clock, said = FakeClock(86_397 * 10**9), []
    experiment = experiment_on(tmp_path, "test.flag")
    await watch_hours(experiment, clock=clock, report=said.append)
    assert said == []
    tomorrow = parse_dates("2026-01-02 to 2026-12-31 UTC", "shop.yaml", 3)
    closing = replace(experiment, rules=Rules(never=(tomorrow,)))
    await watch_hours(closing, clock=clock, report=said.append)
    assert [event.why for event in said] == ["no fault on shop.yaml:3: '2026-01-02 to 2026-12-31 UTC'"]
    assert datetime.fromisoformat(clock.wall()).isoformat().startswith("2026-01-02T00:00:00")


async def drawn(experiment, *names):
    """What a plan has drawn, by the names of instances."""
    kit = {"says": "", "data": {}, "live": 3}
    return [
        Recipe(injector=fault.injector, claims=(f"claim:{name}",), names=(name,), **kit)
        for fault, name in zip(experiment.faults, names, strict=True)
    ]


async def test_what_is_reserved_is_refused_to_others(tmp_path):
    """A claim of another run's plan, and what both together would be too much, are refused; released, they are free."""
    home, alone = StateHome(tmp_path / "state"), experiment_on(tmp_path, "test.flag")
    limit = parse_at_most("1 of c0", "shop.yaml", 7, ())
    limited = replace(alone, system=replace(alone.system, rules=Rules(at_most=(limit,))))
    with reserving(home, limited, tmp_path / "one") as mine:
        await mine.take(await drawn(limited, "api-1"))
        with reserving(home, limited, tmp_path / "two") as other:
            with pytest.raises(Busy, match=r"claim:api-1 is under a fault of another run, or will be: .*/one"):
                await other.take(await drawn(limited, "api-1"))
            with pytest.raises(
                Busy, match=r"2 of 3 c0 .*test.flag on c0 of run one\), more than shop.yaml:7: '1 of c0'"
            ):
                await other.take(await drawn(limited, "api-2"))
            elsewhere = replace(limited, system=replace(limited.system, name="another"))
            with reserving(home, elsewhere, tmp_path / "three") as third:
                await third.take(await drawn(elsewhere, "api-2"))
        pairs = list(zip(limited.faults, await drawn(limited, "api-1"), strict=True))
        await mine.also(pairs)
        with pytest.raises(Busy, match="2 of 3 c0"):
            await mine.also([*pairs, *zip(limited.faults, await drawn(limited, "api-2"), strict=True)])
    with reserving(home, limited, tmp_path / "two") as other:
        await other.take(await drawn(limited, "api-1"))
    assert list((tmp_path / "state/reserved").iterdir()) == []


RESERVE = """
import asyncio, sys, time
from pathlib import Path
from test_residue import drawn, experiment_on
from chaosrunner.world.reservations import reserving
from chaosrunner.world.state_home import StateHome
folder, nth = Path(sys.argv[1]), sys.argv[2]
experiment = experiment_on(folder, "test.flag")
async def main():
    while not (folder / "go").exists():
        await asyncio.sleep(0.001)
    with reserving(StateHome(folder / "state"), experiment, folder / nth) as mine:
        try:
            await mine.take(await drawn(experiment, "api-1"))
        except Exception as error:
            print(type(error).__name__)
        else:
            print("took")
            sys.stdout.flush()
            sys.stdin.read()
asyncio.run(main())
"""


def test_of_many_that_reserve_at_once_one_succeeds(tmp_path):
    """Four processes want one claim at the same moment: one takes it, three are refused."""
    command = [sys.executable, "-c", RESERVE, str(tmp_path)]
    four = [
        subprocess.Popen([*command, str(n)], env=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    (tmp_path / "go").touch()
    said = sorted(one.stdout.readline().strip() for one in four)
    for one in four:
        one.communicate("")
    assert said == ["Busy"] * 3 + ["took"]
