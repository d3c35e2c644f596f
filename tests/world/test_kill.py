"""The kill test: a runner killed or stopped anywhere leaves no fault behind, and a journal that says so.

`CHAOSRUNNER_KILLS=200` sets how many random moments are tried (50 otherwise).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from world_rig import Flag, LateFlag, PlainTools, broken, eventually, python

from chaosrunner.errors import Exit, Orphaned
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import fold
from chaosrunner.model import events as e
from chaosrunner.world.abort import abort
from chaosrunner.world.clock import RealClock
from chaosrunner.world.journal import read
from chaosrunner.world.lock import OWNER, held
from chaosrunner.world.orphans import orphaned, refuse_orphans
from chaosrunner.world.recover import recover
from chaosrunner.world.segments import Damage
from chaosrunner.world.state_home import StateHome
from chaosrunner.world.succession import Heir

KILLS = int(os.environ.get("CHAOSRUNNER_KILLS", "50"))
AT_ONCE = 6
PAID_WITHIN_S = 30.0
LATEST_S = 0.1
"""A late effect comes 20 ms after the kill; this much later none is under way any more."""


@dataclass
class Victim:
    """A runner in a process of its own, and the folder it works in."""

    folder: Path
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, folder: Path, **wishes: float) -> Victim:
        """Start one; `grace_s` is how long its watchdog would wait for it after its deadline."""
        order = {
            "folder": str(folder),
            "dies_at": -1,
            "of": int(signal.SIGKILL),
            "hold_s": 0.1,
            "grace_s": 30.0,
            **wishes,
        }
        process = await asyncio.create_subprocess_exec(
            *python("-c", "import world_victim; world_victim.main()", json.dumps(order)),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        )
        return cls(folder, process)

    async def begun(self) -> None:
        """Return when its watchdog is ready and it begins to inject, or when it is dead."""
        assert self.process.stdout is not None
        await self.process.stdout.readline()

    def send(self, number: int) -> None:
        """A signal, unless it has ended. Not by `Popen`, which would reap it, so that nobody knew how it ended."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def ended(self) -> str:
        """What it said last, once it is gone."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PAID_WITHIN_S):
            said = await self.process.stdout.read()
            await self.process.wait()
        return said.decode().strip()

    def state(self):
        """The fold of its journal; a new one every time."""
        try:
            return fold(read(self.folder / "run", Damage()))
        except FileNotFoundError:
            return None

    def is_stopped(self) -> bool:
        """Whether it is stopped now."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    async def settled(self) -> None:
        """Return when nobody owns the run, its watchdog is gone, and nothing is owed; fail if that never comes."""
        await eventually(self.is_settled, PAID_WITHIN_S)

    def is_settled(self) -> bool:
        """Whether nobody owns the run any more, nothing is owed, and it can be signed off: its watchdog may be late."""
        state = self.state()
        if held(self.folder / "run" / OWNER):
            return False
        if state is None:
            return True
        home = StateHome(self.folder / "state")
        return not (state.debts() or alive(state.watchdog_pid) or orphaned(home) or home.runs())

    def check(self) -> None:
        """Nothing of the run is left but a journal that can be read and owes nothing."""
        assert broken(self.folder) == []
        state = self.state()
        if state is None:
            return
        damage = Damage()
        list(read(self.folder / "run", damage))
        assert damage.lines <= 1, "one death tears one line"
        for fault in state.faults.values():
            assert fault.status is FaultStatus.PAID or fault.recipe is None
        home = StateHome(self.folder / "state")
        assert orphaned(home) == []
        assert home.runs() == []
        assert not [lock for lock in home.folder("claims").iterdir() if held(lock)]
        if state.watchdog_pid:
            assert state.ended


def alive(pid) -> bool:
    """Whether there is such a process."""
    return bool(pid) and Path(f"/proc/{pid}").exists()


async def at_once(count, one):
    """Run `one(index)` for each index, a few at a time, and fail with all that failed."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(index):
        async with gate:
            await one(index)

    results = await asyncio.gather(*(gated(index) for index in range(count)), return_exceptions=True)
    failed = {index: repr(result) for index, result in enumerate(results) if result is not None}
    assert not failed


async def boundaries_of_a_whole_run(folder) -> int:
    """How many there are in a run that nobody kills."""
    alone = await Victim.start(folder)
    said = await alone.ended()
    await alone.settled()
    alone.check()
    return int(said.split()[-1])


@pytest.mark.timeout(600)
async def test_a_runner_killed_at_any_boundary_leaks_nothing(tmp_path):
    """Killed before, within or after every write, sync, inject and undo, a runner leaves no fault behind."""
    boundaries = await boundaries_of_a_whole_run(tmp_path / "alone")
    assert boundaries >= 50

    async def one(index):
        victim = await Victim.start(tmp_path / str(index), dies_at=index)
        await victim.ended()
        assert victim.process.returncode == -signal.SIGKILL
        await victim.settled()
        await asyncio.sleep(LATEST_S)
        victim.check()

    await at_once(boundaries, one)


@pytest.mark.timeout(900 + 3 * KILLS)
async def test_a_runner_killed_at_a_random_moment_leaks_nothing(tmp_path):
    """Killed at any time between READY and its end, a runner leaves no fault behind."""
    rng = random.Random(4711)
    moments = [rng.uniform(0.0, 0.25) for _ in range(KILLS)]

    async def one(index):
        victim = await Victim.start(tmp_path / str(index))
        await victim.begun()
        await asyncio.sleep(moments[index])
        victim.send(signal.SIGKILL)
        await victim.ended()
        await victim.settled()
        await asyncio.sleep(LATEST_S)
        victim.check()

    await at_once(KILLS, one)


async def left_stopped_and_woken(victim) -> bool:
    """See that a stopped runner that owes is killed and its debts are paid; wake it, check all; whether it owed."""
    state = victim.state()
    owed = bool(state and state.debts()) and victim.is_stopped()
    if owed:
        await eventually(lambda: not victim.state().debts(), PAID_WITHIN_S)
        assert broken(victim.folder) == []
    victim.send(signal.SIGCONT)
    await victim.ended()
    await victim.settled()
    await asyncio.sleep(LATEST_S)
    victim.check()
    if owed:
        assert victim.process.returncode == -signal.SIGKILL
        assert victim.state().epoch == 1
    return owed


@pytest.mark.timeout(600)
async def test_a_runner_stopped_at_any_boundary_and_woken_past_its_deadline_leaks_nothing(tmp_path):
    """A runner that hangs past its deadline is killed first, so that it can do nothing when it is woken."""
    boundaries = await boundaries_of_a_whole_run(tmp_path / "alone")
    owed = []

    async def one(index):
        victim = await Victim.start(tmp_path / str(index), dies_at=index, of=int(signal.SIGSTOP), grace_s=0.3)
        await eventually(victim.is_stopped, PAID_WITHIN_S)
        owed.append(await left_stopped_and_woken(victim))

    await at_once(boundaries, one)
    assert sum(owed) >= 30


@pytest.mark.timeout(900 + 3 * KILLS)
async def test_a_runner_stopped_at_a_random_moment_and_woken_past_its_deadline_leaks_nothing(tmp_path):
    """Stopped at any time between READY and its end, and woken past its deadline, a runner leaves no fault behind."""
    rng = random.Random(815)
    moments = [rng.uniform(0.0, 0.25) for _ in range(KILLS)]
    owed = []

    async def one(index):
        victim = await Victim.start(tmp_path / str(index), grace_s=0.3)
        await victim.begun()
        await asyncio.sleep(moments[index])
        victim.send(signal.SIGSTOP)
        await eventually(lambda: victim.is_stopped() or victim.process.returncode is not None, PAID_WITHIN_S)
        owed.append(await left_stopped_and_woken(victim))

    await at_once(KILLS, one)
    assert any(owed), "no runner was stopped while it owed something: choose other moments"


async def test_a_killed_watchdog_is_noticed_and_everything_healed(tmp_path):
    """When its watchdog is killed the runner says so, heals, and comes to its own end."""
    victim = await Victim.start(tmp_path / "v", hold_s=30.0)
    await victim.begun()
    await eventually(lambda: victim.state().fault(0).proven)
    os.kill(victim.state().watchdog_pid, signal.SIGKILL)
    said = await victim.ended()
    await victim.settled()
    victim.check()
    assert said.startswith("ended")
    assert "killed by signal 9" in victim.state().watchdog_lost
    assert victim.state().epoch == 0


async def test_a_watchdog_outlives_what_ends_a_session(tmp_path):
    """HUP, INT and TERM to the watchdog change nothing: it still pays when the runner is killed."""
    victim = await Victim.start(tmp_path / "v", hold_s=30.0)
    await victim.begun()
    await eventually(lambda: victim.state().fault(1).proven)
    pid = victim.state().watchdog_pid
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) * 3:
        os.kill(pid, number)
    assert os.getsid(pid) == pid
    victim.send(signal.SIGKILL)
    await victim.ended()
    await victim.settled()
    victim.check()
    assert [entry.event.who for entry in read(tmp_path / "v/run") if isinstance(entry.event, e.OwnerChanged)] == [
        "watchdog"
    ]


async def test_no_number_of_signals_ends_an_undo(tmp_path):
    """HUP, INT and TERM, hundreds of times while it heals slowly, do not keep a runner from healing everything."""
    victim = await Victim.start(tmp_path / "v", hold_s=30.0, undo_takes_s=0.5)
    await victim.begun()
    await eventually(lambda: victim.state().fault(1).proven)
    for _ in range(200):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            victim.send(number)
        await asyncio.sleep(0.005)
    said = await victim.ended()
    await victim.settled()
    victim.check()
    assert said.startswith("ended")
    assert len(victim.state().signals) > 10
    assert victim.state().epoch == 0


def heir(who, home):
    """One that knows the victim's injectors."""
    return Heir(
        who=who,
        clock=RealClock(),
        tools=PlainTools(),
        home=home,
        injector={"test.flag": Flag(), "test.late": LateFlag()}.__getitem__,
        budget_s=5.0,
    )


async def test_with_nobody_left_whoever_aborts_stands_in(tmp_path):
    """Runner stopped and watchdog dead: the one who asks kills the runner and pays in its place."""
    victim = await Victim.start(tmp_path / "v", hold_s=30.0)
    await victim.begun()
    await eventually(lambda: victim.state().fault(1).proven)
    victim.send(signal.SIGSTOP)
    await eventually(victim.is_stopped)
    os.kill(victim.state().watchdog_pid, signal.SIGKILL)
    payments = await abort(victim.folder / "run", heir("abort", StateHome(victim.folder / "state")), deaf_s=0.5)
    assert [payment.paid for payment in payments] == [True, True]
    await victim.ended()
    assert victim.process.returncode == -signal.SIGKILL
    owners = [entry.event.who for entry in read(tmp_path / "v/run") if isinstance(entry.event, e.OwnerChanged)]
    assert owners == ["abort"]
    victim.check()


async def test_when_all_of_it_dies_a_new_run_refuses_and_recover_pays(tmp_path):
    """Runner and watchdog killed at once: the debt is orphaned, exit 4 names the command, and the command pays."""
    victim = await Victim.start(tmp_path / "v", hold_s=30.0)
    await victim.begun()
    await eventually(lambda: victim.state().fault(1).proven)
    os.kill(victim.state().watchdog_pid, signal.SIGKILL)
    victim.send(signal.SIGKILL)
    await victim.ended()
    home, run_dir = StateHome(victim.folder / "state"), victim.folder / "run"
    await eventually(lambda: not held(run_dir / OWNER))
    assert broken(victim.folder) != []
    with pytest.raises(Orphaned) as refused:
        refuse_orphans("test-system", home)
    assert refused.value.exit_code is Exit.NOT_RESTORED
    assert refused.value.advice == f"chaosrunner recover {run_dir}"
    payments = await recover(run_dir, heir("recover", home))
    assert all(payment.paid for payment in payments)
    await victim.settled()
    victim.check()
    refuse_orphans("test-system", home)
