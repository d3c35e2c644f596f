"""One machine is one, whatever it is called; and who is reached by ssh may be this very one."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Fault, Recipe, Target
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.far import SSH_VARIABLE, Reaching
from chaosrunner.world.injectors import RealTools
from chaosrunner.world.machine import machine
from fault_injectors.process import Pause

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
        process.communicate(b"\n")


async def prepared(pid: int, host: str, *spared: int) -> Recipe:
    """What a pause of a process would do, where a host is."""
    component = Component(name="api", processes=Processes(pids=(pid,)), host=host)
    fault = Fault(index=0, injector="process.pause", target=Target(component="api"), params=Pause.Params(), for_s=9.0)
    context = Context(
        run="r1",
        system=System(name="shop", file="shop.yaml", components={"api": component}),
        tools=RealTools({}),
        rng=random.Random(1),
        spare=lambda: frozenset(spared),
    )
    return await Reaching(Pause()).prepare(fault, context)


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


def test_where_no_kernel_tells_a_machine_has_no_name(tmp_path: Path) -> None:
    """Without /proc there is no word for it, and with it always the same one."""
    assert machine(tmp_path) == ""
    assert machine() == machine() != ""
