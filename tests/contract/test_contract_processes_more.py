"""The laws, run over process.fds, process.priority and process.restart on real processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from contract_rig import SERVER, ServerProcess, api_of, fault_of, servers

from chaosrunner.contract import Bench, InjectorContract, none_created
from chaosrunner.model.fault import Target
from fault_injectors import processes
from fault_injectors.process_limits import Fds, Priority
from fault_injectors.process_restart import Restart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ONE_OF_THREE = Target(component="api", count=1, of=3)


def settings(server: ServerProcess) -> object:
    """What the kernel says of its limits and priority."""
    with suppress(ProcessLookupError):
        nice = os.getpriority(os.PRIO_PROCESS, server.pid)
        return resource.prlimit(server.pid, resource.RLIMIT_NOFILE), nice, server.state()
    return "gone"


@pytest.fixture
async def bench_of(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Three servers, one of which is worse off."""
    injector = request.param()
    async with servers(4) as started:
        api, stranger = started[:3], started[3]

        async def observe() -> object:
            return [settings(server) for server in api]

        async def bystanders() -> object:
            return settings(stranger)

        async def replace() -> None:
            for server in api:
                await server.stop()
                await server.start()

        yield Bench(
            injector=injector,
            fault=fault_of(injector, ONE_OF_THREE),
            system=api_of(*api),
            observe=observe,
            bystanders=bystanders,
            created=none_created,
            replace=replace,
        )


@pytest.mark.parametrize("bench_of", [Fds], indirect=True)
class TestFds(InjectorContract):
    """Taking a process's descriptors keeps every law."""

    @pytest.fixture
    def bench(self, bench_of: Bench) -> Bench:
        """Three servers, one of which can open nothing."""
        return bench_of


@pytest.mark.parametrize("bench_of", [Priority], indirect=True)
@pytest.mark.skipif(not Priority().available().ok, reason="needs CAP_SYS_NICE")
class TestPriority(InjectorContract):
    """Lowering a process's priority keeps every law."""

    @pytest.fixture
    def bench(self, bench_of: Bench) -> Bench:
        """Three servers, one of which comes last."""
        return bench_of


class TestRestart(InjectorContract):
    """Ending a process and starting it again keeps every law."""

    @pytest.fixture
    async def bench(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
        """Three servers, one of which is away for a while."""
        injector = Restart()
        script = tmp_path_factory.mktemp("restart") / "server.py"
        script.write_text(SERVER)
        async with servers(4) as started:
            api, stranger = started[:3], started[3]
            system = api_of(*api)

            async def observe() -> object:
                """Which ports are served: a restarted server is another process on the same port."""
                return [one.says.rpartition("port ")[2] for one in processes.instances(system.components["api"])]

            async def bystanders() -> str:
                return stranger.state()

            async def replace() -> None:
                for server in api:
                    if server.state() in "ZX":
                        await server.stop()
                        await server.start()

            fault = fault_of(
                injector, ONE_OF_THREE, start=f"{sys.executable} -I {script} {{place}}", signal="KILL", grace=0.2
            )
            try:
                yield Bench(
                    injector=injector,
                    fault=fault,
                    system=system,
                    observe=observe,
                    bystanders=bystanders,
                    created=none_created,
                    replace=replace,
                )
            finally:
                for one in processes.instances(system.components["api"]):
                    processes.send(one, signal.SIGKILL)
