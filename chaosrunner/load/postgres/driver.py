"""Postgres for the sender: one place a component, one act a query."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chaosrunner.errors import LoadBroken
from chaosrunner.load.orders import share
from chaosrunner.load.postgres.asking import Ask, unknown_in
from chaosrunner.load.postgres.failures import FAILURES, of_connect
from chaosrunner.load.postgres.mixing import Mixed
from chaosrunner.load.postgres.place import Place
from chaosrunner.load.postgres.pool import Limits
from chaosrunner.load.postgres.reading import read_again, read_all
from chaosrunner.load.postgres.schema import Schema
from chaosrunner.load.postgres.settling import (
    EXPLAIN_S,
    LEAVE_S,
    answers,
    drop_schema,
    explain,
    leave,
)
from chaosrunner.load.postgres.sweeping import sweep
from chaosrunner.model import postgres_step
from chaosrunner.model.postgres_step import Mix, Query
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.act import Setting
    from chaosrunner.load.bench import Bench
    from chaosrunner.load.postgres.outages import Outage

READ_BACK_S = 2.0
"""Together with the rest of settling less than a driver may take for it."""

WARM_S = 10.0
"""How long connections may take to open before the load begins; those that have not are opened when needed."""

DROP_S = 0.8

SWEEP_S = 2.0
"""For what dead runs left; what there is no time for stays."""

BATCH_S = 0.05
"""How often what was only counted is written down: half a slot."""

LOOK_BACK_NS = 60 * NANOS
"""After an outage, writes acknowledged so long before it are looked for."""


def driver(bench: Bench) -> Postgres:
    """The Postgres driver of a worker."""
    return Postgres(bench)


class Postgres:
    """All places of a worker."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._places: dict[str, Place] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._pen: asyncio.TimerHandle | None = None

    @property
    def opened(self) -> int:
        """Connections opened so far, ever."""
        return sum(place.pool.opened for place in self._places.values())

    def act(self, step: Query | Mix, setting: Setting) -> Ask | Mixed:
        """The act of a step. Raises ValueError for one that cannot work, LoadBroken for a place that cannot."""
        if isinstance(step, Mix):
            asks = [self._ask(query, setting, also=self._bench.series(query.name)) for query in step.queries]
            return Mixed(step, asks, f"{self._bench.orders.seed}/{self._bench.orders.shard}")
        return self._ask(step, setting)

    async def ready(self) -> None:
        """Make our schema where one is needed, and open the pools' connections. A server that cannot be reached yet is
        no reason not to begin: it is what the load will find.

        Raises:
            LoadBroken: our schema cannot be made, or a DSN means nothing.
        """
        await asyncio.gather(*(self._get_ready(place) for place in self._places.values()))
        self._write_down()

    def _write_down(self) -> None:
        """Have what was only counted written down, again and again."""
        for place in self._places.values():
            place.write_down()
        self._pen = asyncio.get_running_loop().call_later(BATCH_S, self._write_down)

    async def settle(self) -> None:
        """Read back what was acknowledged, explain the slowest, and leave nothing behind."""
        await asyncio.gather(*(self._settle(place) for place in self._places.values()))

    async def close(self) -> None:
        """Close everything at once."""
        if self._pen is not None:
            self._pen.cancel()
        for place in self._places.values():
            await place.watch.stop()
            await place.pool.close()
            await drop_schema(place, DROP_S)
            place.watch.close()

    # --- inside

    def _ask(self, query: Query, setting: Setting, *, also: int | None = None) -> Ask:
        unknown = unknown_in(query, setting.known)
        if unknown:
            raise ValueError(f"nothing known as <{unknown}> when it is sent")
        place = self._place(query.on)
        ask = Ask(query, place, also=also)
        place.asks.append(ask)
        return ask

    def _place(self, name: str) -> Place:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = self._new_place(name)
        return place

    def _new_place(self, name: str) -> Place:
        orders = self._bench.orders
        if name not in orders.places:
            raise LoadBroken(f"no dsn is known of the component {name!r}")
        queries = [query for query in _queries(orders.profile.steps) if query.on == name]
        options = next((query.pool for query in queries if query.pool is not None), postgres_step.Pool())
        size = share(options.size, orders.shard, orders.of)
        if not size:
            raise LoadBroken(
                f"a pool of {options.size} connections to {name!r} cannot be shared by {orders.of} workers",
                advice=f"say 'pool: {{size: {orders.of}}}' or more, or fewer workers",
            )
        wait_ns = None if options.wait_s is None else round(options.wait_s * NANOS)
        place = Place(name, self._bench, options, Limits(size=size, wait_ns=wait_ns))
        place.setup = tuple(statement for query in queries for statement in query.setup)
        if place.setup or any(query.numbered for query in queries):
            place.schema = Schema(orders.run or f"seed_{orders.seed}", orders.longest_s)
        return place

    async def _get_ready(self, place: Place) -> None:
        if any(ask.writes for ask in place.asks):
            for ask in place.asks:
                ask.tracked = ask.writes
        if place.schema is not None:
            await self._make_schema(place, place.schema)
        if not all(ask.each_time for ask in place.asks):
            await place.pool.warm(WARM_S)
        if place.bad_dsn:
            raise LoadBroken(f"the dsn of {place.name!r} cannot be understood")  # unquoted: it may hold a password
        place.on_outage_over = lambda outage: self._look_into(place, outage)
        place.watch.start()

    async def _make_schema(self, place: Place, schema: Schema) -> None:
        """By the first worker; every worker's control session says that it uses it."""
        if self._bench.orders.shard == 0:
            await sweep(place, schema.name, SWEEP_S)
        try:
            connection = await place.watch.session()
            if self._bench.orders.shard == 0:
                await schema.make(connection, place.setup)
            await schema.enter(connection)
        except (LoadBroken, *FAILURES) as error:
            place.schema = None  # it is not ours
            if isinstance(error, LoadBroken):
                raise
            failure = of_connect(error)
            code = f" ({failure.sqlstate})" if failure.sqlstate else ""
            raise LoadBroken(f"no schema can be made at {place.name!r}: {failure.outcome.value}{code}") from error
        place.watch.on_connect = schema.enter

    async def _settle(self, place: Place) -> None:
        place.write_down()
        await place.watch.stop()
        place.waits([])  # no wait outlasts the load
        for task in self._looking:  # all of it is looked at again in a moment
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        there = await answers(place)
        if place.numbers:
            await read_all(place, READ_BACK_S if there else 0.0)
        if there:
            await explain(place, EXPLAIN_S)
        await leave(place, LEAVE_S)
        await drop_schema(place, DROP_S)

    def _look_into(self, place: Place, outage: Outage) -> None:
        """After an outage: see at once whether writes that were acknowledged before it are still there."""
        if place.numbers:
            since_ns = max(1, outage.first_failure_ns - LOOK_BACK_NS)
            task = asyncio.get_running_loop().create_task(read_again(place, READ_BACK_S, since_ns))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)


def _queries(steps: tuple[object, ...]) -> list[Query]:
    """All queries, those of mixes too."""
    found: list[Query] = []
    for step in steps:
        if isinstance(step, Mix):
            found += step.queries
        elif isinstance(step, Query):
            found.append(step)
    return found
