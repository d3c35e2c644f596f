"""Finding, choosing and signalling real processes."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import sys
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from contract_rig import api_of, fault_of, servers, system_of

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Target
from chaosrunner.model.rules import Pattern, Protections, Rules
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.injectors import RealTools
from fault_injectors import processes
from fault_injectors.process import Kill, Pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOOLS = RealTools({})
ONE = Target(component="api")
FAMILY = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    time.sleep(60)
print(listener.getsockname()[1], flush=True)
time.sleep(60)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
TWINS = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
print(listener.getsockname()[1], flush=True)
time.sleep(60)
"""


def context_of(system: System, *, seed: int = 1, spare: frozenset[int] = frozenset()) -> Context:
    """What a run would give."""
    return Context(run="r1", system=system, tools=TOOLS, rng=random.Random(seed), spare=lambda: spare)


@asynccontextmanager
async def python(code: str, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """An interpreter with its first line of output; ended with all its family."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", code, *arguments, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            line = await process.stdout.readline()
        yield process, line.decode().strip()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def system_by(**where: object) -> System:
    """A system whose `api` is found in one way."""
    return system_of(Component(name="api", processes=Processes(**where)))  # type: ignore[arg-type]


async def until_state(pid: int, letters: str) -> None:
    """Wait until the kernel calls the process one of these."""
    async with asyncio.timeout(10):
        while (found := processes.status(pid)) is None or found.state not in letters:  # noqa: ASYNC110 - /proc tells nobody
            await asyncio.sleep(0.01)


async def test_every_way_of_naming_finds_the_same_process(tmp_path: Path) -> None:
    """Port, pid and pidfile all lead to the process that serves."""
    async with servers(1) as [server]:
        pidfile = tmp_path / "pid"
        pidfile.write_text(f"{server.pid}\n")
        ways = [{"ports": (server.port,)}, {"pids": (server.pid,)}, {"pidfiles": (str(pidfile),)}]
        for where in ways:
            [found] = processes.instances(system_by(**where).components["api"])
            assert found.pid == server.pid
            assert str(server.pid) in found.says


async def test_a_command_finds_what_matches_but_never_our_own_family() -> None:
    """A pattern matches command lines, except those of this process and its ancestors."""
    marker = f"marker-{os.getpid()}"
    async with python("print('up', flush=True); import time; time.sleep(60)", marker) as (process, _):
        [found] = processes.instances(system_by(command=marker, at_most=1).components["api"])
        assert found.pid == process.pid
    everything = processes.instances(system_by(command=".", at_most=10_000).components["api"])
    assert not {os.getpid(), os.getppid(), 1} & {found.pid for found in everything}


async def test_a_loose_command_is_refused() -> None:
    """More matches than the limit are an error, so that a pattern cannot hit half the host."""
    async with servers(2):
        with pytest.raises(InjectorError, match="allowed are 1"):
            processes.instances(system_by(command="create_server", at_most=1).components["api"])


async def test_what_a_command_must_spare_is_not_counted() -> None:
    """Load workers that match a pattern are no instances."""
    marker = f"marker-{os.getpid()}"
    async with python("print('up', flush=True); import time; time.sleep(60)", marker) as (process, _):
        component = system_by(command=marker, at_most=5).components["api"]
        assert processes.instances(component, frozenset({process.pid})) == []


async def test_a_port_belongs_to_the_head_of_a_family() -> None:
    """Of a parent and a child that share a listening socket, the parent is the target."""
    async with python(FAMILY) as (process, port):
        [found] = processes.instances(system_by(ports=(int(port),)).components["api"])
        assert found.pid == process.pid


def test_a_port_that_is_between_owners_is_looked_at_again() -> None:
    """A socket that listens while no process has it open belongs to who has it a moment later."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        api = system_by(ports=(listener.getsockname()[1],)).components["api"]
        socket.send_fds(ours, [b"x"], [listener.fileno()])
        listener.close()
        with pytest.raises(InjectorError, match="cannot be seen"):
            processes.instances(api)
        received: list[int] = []
        comes = threading.Timer(0.1, lambda: received.extend(socket.recv_fds(theirs, 1, 1)[1]))
        comes.start()
        assert [found.pid for found in processes.instances(api)] == [os.getpid()]
        comes.join()
        os.close(received[0])


async def test_a_port_of_strangers_is_refused() -> None:
    """Two unrelated processes on one port are an error, not a guess."""
    async with python(TWINS, "0") as (_, port), python(TWINS, port):
        with pytest.raises(InjectorError, match="2 unrelated processes"):
            processes.instances(system_by(ports=(int(port),)).components["api"])


@pytest.mark.parametrize("where", [{"pidfiles": ("/nonexistent",)}, {"pids": (2**22 + 1,)}], ids=["pidfile", "pid"])
async def test_what_is_not_there_is_not_live(where: dict[str, object]) -> None:
    """A missing pidfile or pid is an instance less, and the target then refuses."""
    assert processes.instances(system_by(**where).components["api"]) == []
    with pytest.raises(InjectorError, match="no live instance of api"):
        await Pause().prepare(fault_of(Pause(), ONE), context_of(system_by(**where)))


async def test_one_of_three_is_refused_when_two_are_live() -> None:
    """A target that counts on three does not hit one of two."""
    async with servers(3) as started:
        system = api_of(*started)
        await started[1].stop()
        with pytest.raises(InjectorError, match="expected 3 live, found 2"):
            await Kill().prepare(fault_of(Kill(), Target(component="api", count=1, of=3), comes_back="by itself"),
                                 context_of(system))  # fmt: skip


async def test_the_seed_decides_who_is_hit() -> None:
    """The same seed chooses the same instance, and different seeds choose all of them in time."""
    async with servers(3) as started:
        fault = fault_of(Pause(), Target(component="api", count=1, of=3))
        chosen = [(await Pause().prepare(fault, context_of(api_of(*started), seed=s))).claims for s in range(20)]
        again = [(await Pause().prepare(fault, context_of(api_of(*started), seed=s))).claims for s in range(20)]
    assert chosen == again
    assert len(set(chosen)) == 3


@pytest.mark.parametrize("who", ["self", "spared", "init"])
async def test_our_own_and_pid_1_are_refused(who: str) -> None:
    """Neither this process, nor what the runner spares, nor pid 1 is ever chosen."""
    async with servers(1) as [server]:
        pid = {"self": os.getpid(), "spared": server.pid, "init": 1}[who]
        context = context_of(system_by(pids=(pid,)), spare=frozenset({server.pid}))
        with pytest.raises(InjectorError, match="never touched"):
            await Pause().prepare(fault_of(Pause(), ONE), context)


async def test_a_stopped_process_is_not_paused() -> None:
    """What is stopped already, by somebody else, is refused: continuing it would not be putting it back."""
    async with servers(1) as [server]:
        os.kill(server.pid, signal.SIGSTOP)
        await until_state(server.pid, "T")
        with pytest.raises(InjectorError, match="stopped already") as refused:
            await Pause().prepare(fault_of(Pause(), ONE), context_of(api_of(server)))
        assert [claim.split(":")[:2] for claim in refused.value.claims] == [["process", str(server.pid)]]


@pytest.mark.parametrize("with_children", [False, True])
async def test_children_are_paused_only_when_asked(with_children: bool) -> None:
    """A worker of the paused process goes on, unless `with_children` is said."""
    async with python(FAMILY) as (process, port):
        system = system_by(ports=(int(port),))
        fault = fault_of(Pause(), ONE, with_children=with_children)
        recipe = await Pause().prepare(fault, context_of(system))
        [child] = [one.pid for one in processes.descendants(processes.instances(system.components["api"])[0])]
        await Pause().inject(recipe, TOOLS)
        await until_state(process.pid, "T")
        if with_children:
            await until_state(child, "T")
        assert (processes.status(child).state == "T") is with_children
        assert (await Pause().verify(recipe, TOOLS)).ok
        await Pause().undo(recipe, TOOLS)
        assert (await Pause().absent(recipe, TOOLS)).ok


async def test_a_signal_never_hits_who_has_the_pid_now() -> None:
    """With another start time, or of another boot, the process is another one: nothing is sent."""
    async with servers(1) as [server]:
        [found] = processes.instances(api_of(server).components["api"])
        for stranger in (replace(found, start=found.start + 1), replace(found, boot="another")):
            assert processes.send(stranger, signal.SIGKILL) is False
        assert server.state() == "S"
        assert processes.send(found, 0) is True


async def test_a_signal_that_is_not_permitted_is_an_error() -> None:
    """As another user, signalling a process of root says who may."""
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 0)
    try:
        init = processes.Process(pid=1, start=processes.status(1).start, boot=processes.boot_id(), says="init")
        with pytest.raises(InjectorError, match="not permitted"):
            processes.send(init, 0)
    finally:
        if os.getresuid()[2] == 0:
            os.setresuid(0, 0, 0)


async def test_a_target_that_died_before_the_kill_is_an_error() -> None:
    """A kill that hits nobody says so: it was not this fault that ended the process."""
    async with servers(1) as [server]:
        recipe = await Kill().prepare(fault_of(Kill(), ONE, comes_back="by itself"), context_of(api_of(server)))
        await server.stop()
        with pytest.raises(InjectorError, match="was gone before"):
            await Kill().inject(recipe, TOOLS)


async def test_a_target_that_ignores_term_is_no_evidence() -> None:
    """As long as the process is there, a kill is not proven."""
    async with python(DEAF) as (process, _):
        fault = fault_of(Kill(), ONE, comes_back="by itself", signal="TERM")
        recipe = await Kill().prepare(fault, context_of(system_by(pids=(process.pid,))))
        await Kill().inject(recipe, TOOLS)
        evidence = await Kill().verify(recipe, TOOLS)
        assert evidence.ok is None
        assert f"pid {process.pid}" in evidence.says


async def test_a_paused_target_that_ends_is_evidence_of_the_contrary() -> None:
    """A process that was killed while it was paused did not hang."""
    async with servers(1) as [server]:
        recipe = await Pause().prepare(fault_of(Pause(), ONE), context_of(api_of(server)))
        await Pause().inject(recipe, TOOLS)
        await until_state(server.pid, "T")
        await server.stop()
        assert (await Pause().verify(recipe, TOOLS)).ok is False
        await Pause().undo(recipe, TOOLS)
        assert (await Pause().absent(recipe, TOOLS)).ok


async def test_a_recipe_names_the_instance() -> None:
    """People read which of the instances is hit, with its pid and port."""
    async with servers(3) as started:
        fault = fault_of(Kill(), Target(component="api", count=1, of=3), comes_back="by itself")
        recipe = await Kill().prepare(fault, context_of(api_of(*started)))
        number, server = next((i, s) for i, s in enumerate(started, 1) if f"pid {s.pid}," in recipe.says)
        assert f"api-{number} (pid {server.pid}, port {server.port})" in recipe.says
        assert recipe.reversible is False


@pytest.mark.parametrize("head", [True, False], ids=["itself", "its child"])
async def test_a_program_is_protected_by_its_whole_name(tmp_path: Path, head: bool) -> None:
    """Also past the 15 letters that the kernel keeps, and also as a child of a harmless process."""
    program = tmp_path / "billing-service-primary"
    shutil.copy("/bin/sleep", program)
    protect = Protections(names=(Pattern(text="*-primary", file="shop.yaml", line=7),))
    code = "import subprocess, sys, time; print(subprocess.Popen([sys.argv[1], '60']).pid, flush=True); time.sleep(60)"
    async with python(code, str(program)) as (parent, child):
        pid = int(child) if head else parent.pid
        context = replace(context_of(system_by(pids=(pid,))), rules=(Rules(protect=protect),))
        with pytest.raises(InjectorError, match=r"is protected by its name 'billing-service-primary': shop.yaml:7"):
            await Pause().prepare(fault_of(Pause(), ONE, with_children=True), context)


async def test_an_unknown_or_protected_component_is_refused() -> None:
    """The system decides what may be hit."""
    system = replace(system_by(pids=(1,)), protect=("api",))
    with pytest.raises(InjectorError, match="protected"):
        await Pause().prepare(fault_of(Pause(), ONE), context_of(system))
    with pytest.raises(InjectorError, match="no component web"):
        await Pause().prepare(fault_of(Pause(), Target(component="web")), context_of(system))
    with pytest.raises(InjectorError, match="needs a target"):
        await Pause().prepare(fault_of(Pause(), None), context_of(system))
    with pytest.raises(InjectorError, match="no 'processes'"):
        await Pause().prepare(fault_of(Pause(), ONE), context_of(system_of(Component(name="api"))))
