"""One machine is one, whatever it is called; and who is reached by ssh may be this very one."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world_rig import Flag, experiment_on, kit_for

from chaosrunner.errors import InjectorError
from chaosrunner.model import events as e
from chaosrunner.model.fault import Context, Fault, Recipe, Target, recipe_from_json, recipe_to_json
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.testing import FakeClock, MemoryJournal
from chaosrunner.world.clock import RealClock
from chaosrunner.world.far import SSH_VARIABLE, Reaching, received
from chaosrunner.world.far_scan import recorded_on
from chaosrunner.world.hand import GRACE_S
from chaosrunner.world.injectors import RealTools, load, scanners
from chaosrunner.world.machine import machine
from chaosrunner.world.recover import scan
from chaosrunner.world.residue import sweep
from chaosrunner.world.state_home import Registered, StateHome
from chaosrunner.world.succession import Heir
from chaosrunner.world.tags import bears
from fault_injectors.process import Pause
from fault_injectors.resources import Cpu

PROGRAM = f"{Path(sys.executable).parent}/chaosrunner"


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The pid of a process to break, with an ssh that leads to this machine, whatever it is asked for."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor command; do :; done\nexec sh -c "$command"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv(SSH_VARIABLE, str(ssh))
    monkeypatch.setenv("CHAOSRUNNER_STATE", str(tmp_path / "state"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


async def prepared(pid: int, host: str, *spared: int) -> Recipe:
    """What a pause of a process would do, where a host is."""
    component = Component(name="api", processes=Processes(pids=(pid,)), host=host)
    fault = Fault(index=0, injector="process.pause", target=Target(component="api"), params=Pause.Params(), for_s=60.0)
    context = Context(
        run="r1",
        system=System(name="shop", file="shop.yaml", components={"api": component}),
        tools=RealTools({}),
        rng=random.Random(1),
        spare=lambda: frozenset(spared),
    )
    return await Reaching(Pause()).prepare(fault, context)


async def burner() -> Recipe:
    """What a little load on one CPU of this host would do."""
    params = Cpu.Params(load=0.05, cores=1)
    fault = Fault(index=0, injector="resources.cpu", target=None, params=params, for_s=120.0)
    system = System(name="shop", file="shop.yaml")
    context = Context(run="r2", system=system, tools=RealTools({}), rng=random.Random(1), spare=frozenset)
    return await Cpu().prepare(fault, context)


async def test_a_far_host_that_is_this_machine_claims_what_is_claimed_here(sleeper: int) -> None:
    """By ssh under any name, or without: the claims on one process are the same, so only one fault can have it."""
    here = await prepared(sleeper, "")
    for host in (f"ssh://localhost{PROGRAM}", f"ssh://root@this-very-one:2022{PROGRAM}"):
        there = await prepared(sleeper, host)
        assert there.claims == here.claims
        assert there.guard == "target"


async def test_what_the_runner_spares_is_spared_by_way_of_ssh(sleeper: int) -> None:
    """A process of the runner's own is refused as well when its own machine is reached by ssh."""
    with pytest.raises(InjectorError, match="never touched"):
        await prepared(sleeper, f"ssh://localhost{PROGRAM}", sleeper)


async def test_what_a_hand_refuses_says_by_which_claim(sleeper: int) -> None:
    """A process there that is stopped already is refused with the claim that a fault on it would have."""
    pause, here = Pause(), await prepared(sleeper, "")
    await pause.inject(here, RealTools({}))
    try:
        while not (await pause.verify(here, RealTools({}))).ok:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
        with pytest.raises(InjectorError, match="stopped already") as refused:
            await prepared(sleeper, f"ssh://localhost{PROGRAM}")
    finally:
        await pause.undo(here, RealTools({}))
    assert refused.value.claims == here.claims


def heir(folder: Path) -> Heir:
    """Whoever recovers, with a state directory of the runner's side."""
    home = StateHome(folder / "ours")
    return Heir(who="recover", clock=RealClock(), tools=RealTools({}), home=home, injector=load, budget_s=30.0)


class Hurried(FakeClock):
    """A clock on which whoever waits a little has waited for ten seconds, so that nobody looks again and again."""

    async def sleep_until(self, ns: int) -> None:
        """Return ten seconds too late."""
        await super().sleep_until(ns + 10**10)


def over_there(host: str, recipe: Recipe, tag: str) -> Recipe:
    """A recipe of this machine as one that is carried out by its hand."""
    return received(host, {"machine": machine()}, recipe_to_json(recipe), tag)


async def residue(
    folder: Path, recipes: Sequence[Recipe], *, system: System | None = None, scanning: Any = scanners
) -> list[str]:
    """What run r2 says to be left at its end, when it has prepared these recipes."""
    journal = MemoryJournal()
    for index, recipe in enumerate(recipes):
        journal.write(e.Prepared(fault=index, recipe=recipe_to_json(recipe), deadline_ns=0))
    experiment = experiment_on(folder, "test.flag")
    experiment = replace(experiment, system=system or experiment.system)
    used = {"test.flag": Flag(), **{name: load(name) for name in ("process.pause", "network.loss", "resources.cpu")}}
    kit = kit_for(experiment, folder, clock=Hurried(), injectors=used, run_dir=folder / "r2")
    await sweep(kit, journal, scanning)
    return [entry.event.says for entry in journal.entries if isinstance(entry.event, e.Residue)]


class Seer(Flag):
    """Remembers which components of a system it was to look at."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.saw: list[list[str]] = []

    async def scan(self, system: System, tools: object) -> list[Recipe]:
        """Nothing is left."""
        self.saw.append([*system.components])
        return []


@pytest.mark.alone
async def test_a_scan_finds_what_runs_have_left_there(sleeper: int, tmp_path: Path) -> None:
    """By the notes of the hand, marked or not, and by our tag where there are none, as at the end of a run."""
    there, pause, burn = f"ssh://localhost{PROGRAM}", Reaching(Pause()), Reaching(Cpu())
    component = Component(name="api", processes=Processes(pids=(sleeper,)), host=there)
    system = System(name="shop", file="shop.yaml", components={"api": component})
    paused, burning = await prepared(sleeper, there), await burner()
    await pause.inject(paused, RealTools({}))
    await burn.inject(burning, RealTools({}))
    (recorded,), unread = await recorded_on(there)
    assert (recorded.run, unread) == ("r1", [])
    assert 0 < recorded.left_s <= 60.0 + GRACE_S
    assert bears(recorded.recipe, "r1")
    assert (recorded.recipe.injector, recorded.recipe.claims) == ("process.pause", paused.claims)
    whose = heir(tmp_path)
    whose.home.sign_on(Registered("shop", "r1", tmp_path / "gone"))
    payments = await scan(system, [pause, burn], whose)
    assert [str(one) for one in payments if not one.paid] == []
    assert whose.home.runs() == []
    assert payments[0].says == recorded.recipe.says
    assert payments[1].says.endswith(f" on {there}")
    for injector, recipe in ((pause.here, recipe_from_json(paused.data["recipe"])), (burn.here, burning)):
        assert (await injector.absent(recipe, RealTools({}))).ok


async def test_a_run_looks_at_its_end_where_it_has_used_what(sleeper: int, tmp_path: Path) -> None:
    """What of ours is left is found with the scanners of what was used here, and there of what was used there."""
    there, burning = f"ssh://localhost{PROGRAM}", await burner()
    burn, far = Cpu(), over_there(there, burning, "chaosrunner/r2/0/aa")
    other = over_there(there, replace(burning, injector="network.loss"), "chaosrunner/r2/1/aa")
    await burn.inject(burning, RealTools({}))
    try:
        (here,) = await residue(tmp_path, [burning, other])
        (also,) = await residue(tmp_path, [far])
    finally:
        await burn.undo(burning, RealTools({}))
    assert here.startswith("resources.cpu: holders of chaosrunner/r2/0")
    assert also.startswith(f"{there}: holders of chaosrunner/r2/0")


@pytest.mark.alone
async def test_who_cannot_look_takes_nothing_from_others(sleeper: int, tmp_path: Path) -> None:
    """What one injector finds on a host is told and undone, though another one cannot look, which is told as well.

    Servers with an address of their own are looked at from here, wherever they are; a host's faults where they are.
    """
    there, burning, burn = f"ssh://localhost{PROGRAM}", await burner(), load("resources.cpu")
    server, family = Seer("test.seer"), Seer("network.seer")
    components = {"api": Component(name="api"), "db": Component(name="db", host=there)}
    system = System(name="shop", file="shop.yaml", components=components)
    await burn.inject(burning, RealTools({}))
    far = over_there(there, burning, "chaosrunner/r2/0/aa")
    (left,) = await residue(tmp_path, [far], system=system, scanning=lambda used: [*used, family])
    assert left.startswith(f"{there}: holders of chaosrunner/r2/0")
    assert "it cannot be looked at: network.seer: " in left
    flag = Recipe(injector="test.flag", says="a flag", data={}, claims=())
    await residue(tmp_path, [flag], system=system, scanning=lambda used: [server, family])
    payments = await scan(system, [burn, server, family], heir(tmp_path))
    assert [payment.paid for payment in payments] == [True, True, False]  # by way of ssh, and here as well
    assert payments[0].says.endswith(f" on {there}")
    assert payments[2].why.startswith("network.seer: ")
    assert (await burn.absent(burning, RealTools({}))).ok
    assert (server.saw, family.saw) == ([["api", "db"]] * 2, [["api"]] * 2)


@pytest.mark.alone
async def test_faults_of_strangers_go_on_until_their_time_is_past(sleeper: int, tmp_path: Path) -> None:
    """A host that is shared: what a hand injected for a run unknown here is left alone, told, and no failure."""
    there, pause, burn = f"ssh://localhost{PROGRAM}", load("process.pause"), load("resources.cpu")
    component = Component(name="api", processes=Processes(pids=(sleeper,)), host=there)
    system = System(name="shop", file="shop.yaml", components={"api": component})
    paused, burning = await prepared(sleeper, there), await burner()
    there_burning = over_there(there, burning, "chaosrunner/r2/0/aa")
    await pause.inject(paused, RealTools({}))
    await burn.inject(there_burning, RealTools({}))
    payments = await scan(system, [pause, burn], heir(tmp_path))
    assert [(one.paid, one.theirs) for one in payments] == [(True, True)] * 2
    assert "left alone: of run r1, unknown here; it ends by itself within" in str(payments[0])
    assert (await pause.verify(paused, RealTools({}))).ok
    assert not (await burn.absent(burning, RealTools({}))).ok
    (order,) = (tmp_path / "state/hands").glob("chaosrunner_r2_*/order.json")
    order.write_text(json.dumps({**json.loads(order.read_text()), "ends_ns": 0}))
    (order,) = (tmp_path / "state/hands").glob("chaosrunner_r1_*/order.json")
    order.write_text(json.dumps({**json.loads(order.read_text()), "machine": "of another boot"}))
    payments = await scan(system, [pause, burn], heir(tmp_path))
    assert [(one.paid, one.theirs) for one in payments] == [(True, False)] * 2
    assert (await pause.absent(paused, RealTools({}))).ok
    assert (await burn.absent(burning, RealTools({}))).ok


async def test_a_host_that_cannot_be_scanned_is_no_pass(sleeper: int, tmp_path: Path) -> None:
    """Who has no hand may have anything left, and that is said."""
    component = Component(name="api", processes=Processes(pids=(sleeper,)), host="ssh://localhost/nowhere/chaosrunner")
    system = System(name="shop", file="shop.yaml", components={"api": component})
    (payment,) = await scan(system, [Reaching(Pause())], heir(tmp_path))
    assert not payment.paid
    assert "there is no chaosrunner on" in payment.why


def test_where_no_kernel_tells_a_machine_has_no_name(tmp_path: Path) -> None:
    """Without /proc there is no word for it, and with it always the same one."""
    assert machine(tmp_path) == ""
    assert machine() == machine() != ""
