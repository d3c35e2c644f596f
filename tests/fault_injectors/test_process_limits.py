"""What a process without descriptors, without priority, or restarted, is really like."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from contract_rig import SERVER, api_of, fault_of, servers, system_of

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Target
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.injectors import RealTools
from fault_injectors import processes
from fault_injectors.process_limits import Fds, Priority
from fault_injectors.process_restart import Restart

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = RealTools({})
ONE = Target(component="api")
OPENER = """
import sys
for line in sys.stdin:
    try:
        open("/dev/null").close()
        print("opened", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


def context_of(system: System) -> Context:
    """What a run would give."""
    return Context(run="r1", system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)


async def test_without_descriptors_nothing_can_be_opened() -> None:
    """The process itself gets EMFILE, with one left it does not, and after the undo it opens again."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-u", "-c", OPENER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def answer() -> str:
        process.stdin.write(b"open\n")
        async with asyncio.timeout(10):
            return (await process.stdout.readline()).decode().strip()

    try:
        context = context_of(system_of(Component(name="api", processes=Processes(pids=(process.pid,)))))
        assert await answer() == "opened"
        for leave, expected in ((0, "24"), (1, "opened")):
            recipe = await Fds().prepare(fault_of(Fds(), ONE, leave=leave), context)
            await Fds().inject(recipe, TOOLS)
            assert await answer() == expected
            evidence = await Fds().verify(recipe, TOOLS)
            assert evidence.ok, evidence.says
            await Fds().undo(recipe, TOOLS)
            assert await answer() == "opened"
    finally:
        process.kill()
        await process.wait()


async def test_a_limit_that_somebody_else_has_set_since_is_theirs() -> None:
    """Undo leaves a limit alone that is not ours any more."""
    import resource

    async with servers(1) as [server]:
        recipe = await Fds().prepare(fault_of(Fds(), ONE), context_of(api_of(server)))
        await Fds().inject(recipe, TOOLS)
        hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (77, hard))
        assert (await Fds().verify(recipe, TOOLS)).ok is False
        await Fds().undo(recipe, TOOLS)
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (77, hard)


@pytest.mark.skipif(not Priority().available().ok, reason="needs CAP_SYS_NICE")
async def test_a_process_of_low_priority_is_not_lowered() -> None:
    """What has that priority already is refused: afterwards nobody could tell whose it is."""
    async with servers(1) as [server]:
        os.setpriority(os.PRIO_PROCESS, server.pid, 19)
        with pytest.raises(InjectorError, match="nice 19 already"):
            await Priority().prepare(fault_of(Priority(), ONE), context_of(api_of(server)))


async def test_a_restart_needs_a_place_to_come_back_to() -> None:
    """A bare pid never comes back, so that it is refused."""
    system = system_of(Component(name="api", processes=Processes(pids=(os.getppid(),))))
    with pytest.raises(InjectorError, match="'ports' or 'pidfiles'"):
        await Restart().prepare(fault_of(Restart(), ONE, start="true"), context_of(system))


async def test_a_restarted_server_serves_the_same_port_as_another_process(tmp_path: Path) -> None:
    """After the undo another pid listens on the port, in the same directory, and only one was started."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    async with servers(1) as [server]:
        system = api_of(server)
        fault = fault_of(Restart(), ONE, start=f"{sys.executable} -I {script} {{place}}", signal="TERM")
        recipe = await Restart().prepare(fault, context_of(system))
        await Restart().inject(recipe, TOOLS)
        await server.process.wait()
        assert (await Restart().verify(recipe, TOOLS)).ok
        assert not (await Restart().absent(recipe, TOOLS)).ok
        try:
            await asyncio.gather(Restart().undo(recipe, TOOLS))
            await Restart().undo(recipe, TOOLS)
            assert (await Restart().absent(recipe, TOOLS)).ok
            [back] = processes.instances(system.components["api"])
            assert back.pid != server.pid
            assert (processes.PROC / str(back.pid) / "cwd").resolve() == (processes.PROC / "self/cwd").resolve()
            assert len(processes.running([str(script), str(server.port)])) == 1
        finally:
            for one in processes.running([str(script), str(server.port)]):
                processes.send(one, signal.SIGKILL)


async def test_a_command_that_cannot_be_started_is_said() -> None:
    """An undo that fails says what could not be started."""
    async with servers(1) as [server]:
        fault = fault_of(Restart(), ONE, start="/nonexistent/server", signal="KILL")
        recipe = await Restart().prepare(fault, context_of(api_of(server)))
        await Restart().inject(recipe, TOOLS)
        await server.process.wait()
        with pytest.raises(InjectorError, match="/nonexistent/server: No such file"):
            await Restart().undo(recipe, TOOLS)
