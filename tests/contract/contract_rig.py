"""Real targets for the laws: processes that serve, a fault proxy in front of an echo server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from chaosrunner.model.fault import Fault, Injector, Target
from chaosrunner.model.system import Component, Processes, System

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 10.0
SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=False)
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    with client:
        client.sendall(client.recv(1000))
"""


class ServerProcess:
    """A process that listens on a port and can be started again on it."""

    def __init__(self) -> None:
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its pid now."""
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start it, on the port it had before."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", SERVER, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            self.port = int(await self.process.stdout.readline())

    async def stop(self) -> None:
        """End it, stopped or not."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    def state(self) -> str:
        """The kernel's letter for it; X when it is gone."""
        try:
            with open(f"/proc/{self.pid}/stat") as file:  # noqa: PTH123
                letter = file.read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "X"
        return "S" if letter in "RSD" else letter

    def resume(self) -> None:
        """Let it run, whatever a test left."""
        os.kill(self.pid, signal.SIGCONT)


@asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[ServerProcess]]:
    """So many servers, each a process of its own."""
    started = [ServerProcess() for _ in range(count)]
    try:
        for server in started:
            await server.start()
        yield started
    finally:
        for server in started:
            await server.stop()


def system_of(component: Component, **more: str) -> System:
    """A system of one component."""
    return System(name="bench", file="bench.yaml", components={component.name: component}, **more)


def api_of(*started: ServerProcess) -> System:
    """A system whose `api` is these servers, found by their ports."""
    return system_of(Component(name="api", processes=Processes(ports=tuple(server.port for server in started))))


def fault_of(injector: Injector, target: Target | None, **params: object) -> Fault:
    """The first fault of a run."""
    return Fault(index=0, injector=injector.name, target=target, params=injector.Params(**params), for_s=20.0)
