"""The laws, run over Redis faults on a real server with an application that uses it.

Every way of doing harm keeps every law: a server that is made to wait, connections that are held, settings that are
written. Faults that do the same otherwise walk one path through the laws, because each law costs seconds;
`make torture` has runners die amid them as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from redis_bench import PASSWORD, RedisServer, bench_at, launch_redis

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.doomed import TORTURE_VARIABLE
from chaosrunner.model.units import Seconds
from fault_injectors.redis import Block, Connections, KillConnections, Pause
from fault_injectors.redis_settings import Eviction, OutOfMemory, ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MECHANISMS = {
    "pause": (Pause, {}),
    "connections": (Connections, {"end": True, "name": "shop"}),
    "setting": (OutOfMemory, {}),
}
OTHERS = {
    "pause writes": (Pause, {"commands": "writes"}),
    "block": (Block, {"lasts": Seconds(0.1), "every": Seconds(0.4)}),
    "kill": (KillConnections, {"name": "shop", "every": Seconds(0.2)}),
    "near": (Connections, {"leave": 4}),
    "eviction": (Eviction, {"lose_keys": True, "keep": 0.2, "policy": "allkeys-random"}),
    "read only": (ReadOnly, {}),
}
TRIED = MECHANISMS | OTHERS if TORTURE_VARIABLE in os.environ else MECHANISMS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One Redis for all."""
    async with launch_redis(tmp_path_factory.mktemp("redis"), "--maxclients", "40") as server:
        yield server


class TestRedisMechanisms(InjectorContract):
    """Every way of doing harm keeps every law."""

    @pytest.fixture(params=TRIED)
    async def bench(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: RedisServer
    ) -> AsyncIterator[Bench]:
        """A Redis with an application."""
        monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
        kind, params = TRIED[request.param]
        async with bench_at(server, kind(), **params) as bench:
            yield bench


@pytest.mark.parametrize("name", OTHERS)
async def test_a_redis_fault_comes_and_goes(name: str, monkeypatch: pytest.MonkeyPatch, server: RedisServer) -> None:
    """It has an undo that is harmless before, proof while it lasts, touches nobody else, and leaves all as it was."""
    monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
    kind, params = OTHERS[name]
    async with bench_at(server, kind(), **params) as bench:
        laws = InjectorContract()
        await laws.test_5_undo_without_inject_is_harmless(bench)
        await laws.test_2_a_recipe_survives_json_and_holds_no_secret(bench)
        before = await bench.observe()
        await laws.test_8_it_touches_nothing_else(bench)
        await bench.seen(before)
