"""A runner that dies on purpose: the law of crash safety, on the real engine and one real fault.

Its own process plays one fault (journal, claims and watchdog as in any run) and kills or stops itself at
a chosen moment. `dies` starts it, waits until the watchdog (or, where that died as well, `recover`) has paid, and
checks that nothing is left. `InjectorContract` makes a law of it.

Moments: the recipe is on disk and nothing is called yet; the inject was called so many milliseconds ago; it has come
back and nobody wrote that down; it is written down; the undo is about to be called; it has come back; it is paid.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import State, fold
from chaosrunner.model.events import Ended, Entry, Injected, Undone
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.fault import Context, Fault, Injector, Recipe, recipe_from_json
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.system import System

TORTURE_VARIABLE = "CHAOSRUNNER_TORTURE"
"""Set to a number: a runner dies at every moment in every way, and so many times at a random one."""
FOR_S = 0.3
GRACE_S = 0.5
"""A stopped runner is past its deadline this long after its fault should have ended."""
BEAT_LOST_S = 0.7
HOLD_S = 0.1
LOOK_EVERY_S = 0.05
PAID_WITHIN_S = 60.0


class Moment(StrEnum):
    """Where a runner dies."""

    PREPARED = "prepared"
    CALLED = "called"
    BACK = "back"
    INJECTED = "injected"
    UNDOING = "undoing"
    UNDONE = "undone"
    PAID = "paid"
    ANY = "any"
    """`delay_s` after the watchdog is ready, wherever the runner is by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a runner dies."""

    moment: Moment = Moment.BACK
    by: int = signal.SIGKILL
    """SIGKILL, or SIGSTOP: it is woken when its debts were paid, and must not be able to do anything any more."""
    delay_s: float = 0.0
    watchdog_too: bool = False


def ways(environ: Mapping[str, str] = os.environ, *, reversible: bool = True) -> list[Way]:
    """The ways to try: the worst one, or with `CHAOSRUNNER_TORTURE=n` all of them and n random moments.

    What cannot be undone is never undone, so nobody dies of that.
    """
    if not (count := int(environ.get(TORTURE_VARIABLE) or 0)):
        return [Way()]
    never = {Moment.ANY} if reversible else {Moment.ANY, Moment.UNDOING, Moment.UNDONE, Moment.PAID}
    moments = [moment for moment in Moment if moment not in never]
    rng = random.Random(4711)
    at_random = [
        Way(moment=Moment.ANY, by=rng.choice([signal.SIGKILL, signal.SIGSTOP]), delay_s=rng.uniform(0.0, 0.5))
        for _ in range(count)
    ]
    killed = [Way(moment=moment, watchdog_too=both) for moment in moments for both in (False, True)]
    return [*killed, *(Way(moment=moment, by=signal.SIGSTOP) for moment in moments), *at_random]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the runner has to do; it is pickled, so it crosses a pipe of this process only."""

    injector: str
    """`module:Class`."""
    fault: Fault
    system: System
    run: str
    seed: int
    spare: frozenset[int]
    budget_s: float
    folder: Path = Path()
    way: Way = Way()


async def dies(order: Order, way: Way) -> Recipe | None:
    """Have a runner die and its debts paid; its recipe, None if it died before that was written.

    Raises:
        AssertionError: a debt was left, or the runner did something after it was taken for dead.
    """
    with tempfile.TemporaryDirectory(prefix="chaosrunner-doomed-") as folder:
        order = replace(order, folder=Path(folder), way=way)
        with _started(order) as runner:
            try:
                await _mourned(order, runner)
            finally:
                for number in (signal.SIGCONT, signal.SIGKILL):
                    runner.send_signal(number)
        raw = _state(order).fault(0).recipe
        return None if raw is None else recipe_from_json(raw)


async def _mourned(order: Order, runner: subprocess.Popen[bytes]) -> None:
    """Return when the runner has died and others have paid."""
    await _until(
        lambda: runner.poll() is not None or _letter(runner.pid) == "T", "the runner neither ended nor stopped"
    )
    if runner.poll() is None:
        if _state(order).debts():
            paid = lambda: not _state(order).debts() or _given_up(order)  # noqa: E731
            await _until(paid, "the watchdog did not pay for a stopped runner")
            assert not _is_running(runner.pid), "a stopped runner that owed something was not killed"
        runner.send_signal(signal.SIGCONT)
        await _until(lambda: runner.poll() is not None, "the runner did not end when it was woken")
    if order.way.watchdog_too:
        # A killed process holds its lock until the kernel has taken it apart, which a crowded host puts off.
        await _until(lambda: not _is_owned(order), "a killed owner held its lock")
        await _recover(order)
    await _until(lambda: _settled(order) or _given_up(order), "a debt was left, or a watchdog")
    assert not _given_up(order), _state(order).fault(0).why
    complaint = (order.folder / "complaint").read_text()
    # A random moment may be the one before it has begun: then it owes nothing, and has not complained.
    early = order.way.moment is Moment.ANY and runner.returncode == -signal.SIGKILL and not complaint
    assert _state(order).watchdog_pid or early, f"the runner never began: {complaint[-2000:]}"
    met = order.way.moment is Moment.ANY or order.way.by == signal.SIGSTOP or runner.returncode == -signal.SIGKILL
    assert met, f"the runner lived through {order.way.moment}: {complaint[-2000:]}"


async def _recover(order: Order) -> None:
    """Pay by hand what runner and watchdog, both dead, have left."""
    from chaosrunner.world.clock import RealClock
    from chaosrunner.world.injectors import RealTools
    from chaosrunner.world.recover import recover
    from chaosrunner.world.state_home import StateHome
    from chaosrunner.world.succession import Heir

    heir = Heir(
        who="recover",
        clock=RealClock(),
        tools=RealTools(),
        home=StateHome(order.folder / "state"),
        injector=lambda _: _injector(order),
        budget_s=order.budget_s,
    )
    payments = await recover(order.folder / "run", heir)
    assert all(payment.paid for payment in payments), payments


def _started(order: Order) -> subprocess.Popen[bytes]:
    with (order.folder / "complaint").open("wb") as complaint:
        process = subprocess.Popen(
            [sys.executable, "-c", "from chaosrunner.doomed import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaint,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(order))
    process.stdin.close()
    process.stdin = None
    return process


async def _until(condition: Callable[[], object], otherwise: str) -> None:
    end = time.monotonic() + PAID_WITHIN_S
    while not condition():
        assert time.monotonic() < end, f"{otherwise}, within {PAID_WITHIN_S:g} s"
        await asyncio.sleep(LOOK_EVERY_S)


def _state(order: Order) -> State:
    from chaosrunner.world.journal import read
    from chaosrunner.world.segments import Damage

    try:
        return fold(read(order.folder / "run", Damage()))
    except FileNotFoundError:
        return State()


def _settled(order: Order) -> bool:
    """Whether nobody owns the run any more, nothing is owed, and its watchdog has gone."""
    state = _state(order)
    return not (_is_owned(order) or state.debts() or _is_running(state.watchdog_pid or -1))


def _is_owned(order: Order) -> bool:
    from chaosrunner.world.lock import OWNER, held

    return held(order.folder / "run" / OWNER)


def _given_up(order: Order) -> bool:
    return _state(order).fault(0).status is FaultStatus.STUCK


def _letter(pid: int) -> str:
    """The kernel's letter for a process; Z or X when it is over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _is_running(pid: int) -> bool:
    return _letter(pid) not in "XZ"


def _injector(order: Order) -> Injector:
    made: Injector = EntryPoint("it", order.injector, "").load()()
    return made


class _Death:
    """Comes at one moment."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self.watchdog_pid = 0

    def at(self, moment: Moment) -> None:
        """It comes now, if this is the moment."""
        if moment is self._way.moment:
            self.come()

    def come(self) -> None:
        """It comes now."""
        if self._way.watchdog_too and self.watchdog_pid:
            os.kill(self.watchdog_pid, signal.SIGKILL)
        os.kill(os.getpid(), self._way.by)

    def written(self, entry: Entry) -> None:
        """It may come when something was written down."""
        match entry.event:
            case Injected():
                self.at(Moment.INJECTED)
            case Undone():
                self.at(Moment.PAID)

    def later(self, moment: Moment) -> None:
        """It comes `delay_s` after this moment."""
        if moment is self._way.moment:
            asyncio.get_running_loop().call_later(self._way.delay_s, self.come)


class _Mortal:
    """An injector around whose calls death may come."""

    def __init__(self, injector: Injector, death: _Death) -> None:
        self._injector, self._death = injector, death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._injector, name)

    async def inject(self, recipe: Recipe, tools: Any) -> None:
        """As it is."""
        self._death.at(Moment.PREPARED)
        self._death.later(Moment.CALLED)
        await self._injector.inject(recipe, tools)
        self._death.at(Moment.BACK)

    async def undo(self, recipe: Recipe, tools: Any) -> None:
        """As it is."""
        self._death.at(Moment.UNDOING)
        await self._injector.undo(recipe, tools)
        self._death.at(Moment.UNDONE)


async def _play(order: Order) -> None:
    """There, hold, and back, unless death comes."""
    from chaosrunner.world.clock import RealClock
    from chaosrunner.world.guarding import guarded
    from chaosrunner.world.injectors import RealTools
    from chaosrunner.world.journal import Journal
    from chaosrunner.world.state_home import Registered, StateHome, registered
    from chaosrunner.world.undo import UndoKit, undoing
    from chaosrunner.world.watch_orders import orders_for

    injector, death, clock, tools = _injector(order), _Death(order.way), RealClock(), RealTools()
    fault = replace(order.fault, for_s=FOR_S)
    run_dir, home = order.folder / "run", StateHome(order.folder / "state")

    def context(_: Fault) -> Context:
        spare = order.spare | {os.getpid(), death.watchdog_pid}
        rng = random.Random(order.seed)
        return Context(run=order.run, system=order.system, tools=tools, rng=rng, spare=lambda: spare)

    recipe = await injector.prepare(fault, context(fault))
    journal = Journal.create(run_dir, clock)
    journal.on_entry = death.written
    orders = orders_for(run_dir, home, [injector], [recipe])
    orders = replace(orders, beat_lost_s=BEAT_LOST_S, budget_s=order.budget_s)
    kit = UndoKit(
        experiment=_experiment(order.system, fault),
        injectors={fault.injector: cast("Injector", _Mortal(injector, death))},
        tools=tools,
        clock=clock,
        home=home,
        run_dir=run_dir,
        context=context,
        grace_s=GRACE_S,
    )
    try:
        with registered(home, Registered(order.system.name, order.run, run_dir), journal):
            async with guarded(journal, orders) as watchdog:
                death.watchdog_pid = watchdog.pid
                death.later(Moment.ANY)
                async with undoing(replace(kit, guard=watchdog), journal) as undo:
                    undo.inject(fault.index)
                    await _fact(journal, lambda one: one.status in (FaultStatus.ACTIVE, FaultStatus.FAILED))
                    await asyncio.sleep(HOLD_S)
                    undo.heal(fault.index)
                    await _fact(journal, lambda one: one.over or not one.reversible)
                journal.write(Ended(why="proven", at_ns=clock.now()))
    finally:
        await journal.close()


async def _fact(journal: Any, known: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(PAID_WITHIN_S):
        while not known(journal.state.fault(0)) and not journal.state.watchdog_lost:
            await journal.news(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**8)


def _experiment(system: System, fault: Fault) -> Experiment:
    """An experiment that is nothing but this fault."""
    return Experiment(
        question="Does harm always find its way back?",
        file="doomed.yaml",
        source="",
        system=system,
        system_source="",
        load=LoadProfile(streams=()),
        baseline_s=1.0,
        faults=(fault,),
        hypothesis=Hypothesis(),
        recover=RecoveryTarget(),
    )


def main() -> None:
    """Read an order from standard input and obey it."""
    asyncio.run(_play(pickle.load(sys.stdin.buffer)))  # noqa: S301 - of the test that started us
