"""The laws, run over noop, process.kill and process.pause on real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from contract_rig import api_of, fault_of, servers, system_of

from chaosrunner.contract import Bench, InjectorContract, none_created, nothing
from chaosrunner.model.fault import Target
from chaosrunner.model.system import Component
from fault_injectors.noop import Noop
from fault_injectors.process import Kill, Pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ONE_OF_THREE = Target(component="api", count=1, of=3)


class TestNoop(InjectorContract):
    """The fault that does nothing keeps every law."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Nothing at all."""
        injector = Noop()
        return Bench(
            injector=injector,
            fault=fault_of(injector, None),
            system=system_of(Component(name="api")),
            observe=nothing,
            bystanders=nothing,
            created=none_created,
            replace=nothing,
            inert=True,
        )


@pytest.fixture(params=[{}, {"with_children": True}], ids=["alone", "with children"])
async def pause_bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Three servers, one of which is paused."""
    injector = Pause()
    async with servers(4) as started:
        api, stranger = started[:3], started[3]

        async def observe() -> list[str]:
            return [server.state() for server in api]

        async def bystanders() -> str:
            return stranger.state()

        async def replace() -> None:
            for server in api:
                await server.stop()
                await server.start()

        yield Bench(
            injector=injector,
            fault=fault_of(injector, ONE_OF_THREE, **request.param),
            system=api_of(*api),
            observe=observe,
            bystanders=bystanders,
            created=none_created,
            replace=replace,
        )


class TestPause(InjectorContract):
    """Pausing a process keeps every law."""

    @pytest.fixture
    def bench(self, pause_bench: Bench) -> Bench:
        """Three servers, one of which is paused."""
        return pause_bench


class TestKill(InjectorContract):
    """Killing a process keeps every law of what has no undo."""

    @pytest.fixture(params=["KILL", "TERM"])
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        """Three servers, one of which is killed."""
        injector = Kill()
        async with servers(4) as started:
            api, stranger = started[:3], started[3]

            async def observe() -> list[str]:
                return ["gone" if server.state() in "ZX" else "there" for server in api]

            async def bystanders() -> str:
                return stranger.state()

            async def replace() -> None:
                for server in api:
                    await server.stop()
                    await server.start()

            yield Bench(
                injector=injector,
                fault=fault_of(injector, ONE_OF_THREE, comes_back="by itself", signal=request.param),
                system=api_of(*api),
                observe=observe,
                bystanders=bystanders,
                created=none_created,
                replace=replace,
            )
