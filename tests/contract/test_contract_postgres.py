"""The laws, run over Postgres faults on a real server with an application that uses it.

Every way of doing harm keeps every law: sessions that are held, a schema that is made, settings that are written.
Faults that do the same with other statements walk one path through the laws, because each law costs seconds;
`make torture` has runners die amid them as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from postgres_bench import PASSWORD, bench_at

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.doomed import TORTURE_VARIABLE
from chaosrunner.model.units import Seconds
from fault_injectors.postgres import ConnectionStorm, KillBackends, NearExhaustion, Pool
from fault_injectors.postgres_locks import IdleInTransaction, LockRows, LockTable
from fault_injectors.postgres_pressure import CheckpointPressure, HeavyQueries, VacuumPressure
from fault_injectors.postgres_settings import ConnectionLimit, ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.postgres

MECHANISMS = {
    "slots": (Pool, {"by": "slots"}),
    "schema": (VacuumPressure, {}),
    "setting": (ReadOnly, {}),
}
OTHERS = {
    "pool by locks": (Pool, {"by": "locks"}),
    "locks": (LockTable, {"tables": "things", "mode": "exclusive"}),
    "rows": (LockRows, {"table": "things", "where": "n > 0"}),
    "idle": (IdleInTransaction, {"sessions": 2}),
    "kill": (KillBackends, {"share": 0.5, "every": Seconds(0.2)}),
    "near": (NearExhaustion, {"leave": 2}),
    "storm": (ConnectionStorm, {"per_second": 20}),
    "limit": (ConnectionLimit, {"of": "database"}),
    "heavy": (HeavyQueries, {"work": "disk", "sessions": 2}),
    "checkpoint": (CheckpointPressure, {}),
}
TRIED = MECHANISMS | OTHERS if TORTURE_VARIABLE in os.environ else MECHANISMS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres for all."""
    async with launch_postgres(PostgresOptions(max_connections=25)) as server:
        yield server


class TestPostgresMechanisms(InjectorContract):
    """Every way of doing harm keeps every law."""

    @pytest.fixture(params=TRIED)
    async def bench(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Postgres
    ) -> AsyncIterator[Bench]:
        """A Postgres with an application."""
        monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
        kind, params = TRIED[request.param]
        async with bench_at(server, kind(), **params) as bench:
            yield bench


@pytest.mark.parametrize("name", OTHERS)
async def test_a_fault_comes_and_goes(name: str, monkeypatch: pytest.MonkeyPatch, server: Postgres) -> None:
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
