"""Latencies of the process family, on processes that serve, beside kill, renice, prlimit and start-stop-daemon."""

from __future__ import annotations

import asyncio
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contract_rig import SERVER, ServerProcess, servers, system_of
from latency_ways import GONE_WITHIN_S, OURS, Faults, Way, after, nothing, ours, program

from chaosrunner.model.system import Component, Processes
from fault_injectors import processes
from fault_injectors.process import Kill, Pause
from fault_injectors.process_limits import Fds, Priority
from fault_injectors.process_restart import Restart


class Falling:
    """A server that is killed, and started by whomever."""

    def __init__(self, server: ServerProcess, folder: str) -> None:
        """Is `server`, or whoever has its port; or whose pid is in `begun`, whether it serves yet or not."""
        self.server, self.begun = server, Path(folder) / "pid"
        self.place = Component(name="target", processes=Processes(ports=(server.port,)))
        self._on_its_way = Component(name="target", processes=Processes(pidfiles=(str(self.begun),)))
        self._known = processes.instances(self.place)

    async def anew(self) -> None:
        """Nobody but a server that we have started ourselves."""
        await self.end()
        await self.server.start()
        self._known = processes.instances(self.place)

    async def end(self) -> None:
        """Nobody at all."""
        assert self.server.process is not None
        async with asyncio.timeout(GONE_WITHIN_S):
            for one in self._known:  # not by its own kill(), which may reap it, and asyncio would complain
                processes.send(one, signal.SIGKILL)
            await self.server.process.wait()
            for one in processes.instances(self.place) + processes.instances(self._on_its_way):
                processes.send(one, signal.SIGKILL)
                while processes.alive(one):  # noqa: ASYNC110 - it is nobody's child
                    await asyncio.sleep(0.01)
        self.begun.unlink(missing_ok=True)


@asynccontextmanager
async def process_faults() -> AsyncIterator[Faults]:
    """Faults of a server that lives through them, and of one that is there anew before each."""
    with tempfile.TemporaryDirectory(prefix="chaosrunner-latency-") as folder:
        async with servers(2) as (stays, falls):
            falling = Falling(falls, folder)
            ending = {fault: after(falling.anew, ways) for fault, ways in _ending(falling).items()}
            try:
                yield {**_changing(stays), **ending}
            finally:
                await falling.end()


def _changing(server: ServerProcess) -> Faults:
    """What a process lives through."""
    system = system_of(Component(name="target", processes=Processes(ports=(server.port,))))
    pid, (soft, _) = str(server.pid), resource.prlimit(server.pid, resource.RLIMIT_NOFILE)

    def plain(tool: str, inject: str, undo: str) -> Way:
        return Way(tool, program(*inject.split(), pid), program(*undo.split(), pid), nothing)

    return {
        "process.pause": [ours(OURS, Pause(), system), plain("kill", "/bin/kill -STOP", "/bin/kill -CONT")],
        "process.priority": [ours(OURS, Priority(), system), plain("renice", "renice -n 19", "renice -n 0")],
        "process.fds": [
            ours(OURS, Fds(), system),
            plain("prlimit", "prlimit --nofile=4: --pid", f"prlimit --nofile={soft}: --pid"),
        ],
    }


def _ending(falling: Falling) -> dict[str, list[Way]]:
    """What it does not."""
    system, server, begun = system_of(falling.place), falling.server, str(falling.begun)
    start = ("-I", "-c", SERVER, str(server.port))

    async def kill() -> None:
        await program("/bin/kill", "-KILL", str(server.pid))()

    async def stop() -> None:
        await program("start-stop-daemon", "--stop", "--quiet", "--pid", str(server.pid), "--retry", "TERM/5")()

    keep = ("--background", "--pidfile", begun, "--make-pidfile", "--startas", sys.executable)
    again = program("start-stop-daemon", "--start", "--quiet", *keep, "--", *start)
    return {
        "process.kill": [ours(OURS, Kill(), system, comes_back="by itself"), Way("kill", kill, nothing, nothing)],
        "process.restart": [
            ours(OURS, Restart(), system, start=shlex.join([sys.executable, *start])),
            Way("start-stop-daemon", stop, again, nothing),
        ],
    }
