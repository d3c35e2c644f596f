"""A profile made ready to send: every step of every scenario becomes an act of its protocol's driver."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from chaosrunner.errors import LoadBroken
from chaosrunner.load.act import Setting
from chaosrunner.load.journey import Leg, Route
from chaosrunner.load.sender import Coming, Task
from chaosrunner.load.template import names_in
from chaosrunner.logic.crowd import Crowd
from chaosrunner.logic.feed import NO_DATA, Feed
from chaosrunner.logic.pacing import Pace
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.act import Driver
    from chaosrunner.load.bench import Bench
    from chaosrunner.model.load import Scenario, Step, Stream

DRIVERS = {
    "http": "chaosrunner.load.http.driver",
    "postgres": "chaosrunner.load.postgres.driver",
    "websocket": "chaosrunner.load.websocket.driver",
}
"""What the kind of a step begins with (up to its dot) → the module whose `driver(bench)` speaks it; imported when the
first such step is met."""


class Script:
    """All acts of a worker and the drivers behind them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._drivers: dict[str, Driver] = {}

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """The drivers in use."""
        return tuple(self._drivers.values())

    def task(self) -> Task:
        """What the sender is to send.

        Raises:
            LoadBroken: something in a step that cannot work, named with its step.
        """
        orders, first, auths = self._bench.orders, 0, iter(self._bench.orders.auths)
        streams = []
        for stream in orders.profile.streams:
            routes = []
            for scenario in stream.scenarios:
                routes.append(self._route(scenario, first, next(auths, None)))
                first += len(scenario.steps)
            streams.append(_coming(stream, routes, orders.seed))
        return Task(streams=streams, shard=orders.shard, of=orders.of, longest_s=orders.longest_s, seed=orders.seed)

    def _route(self, scenario: Scenario, first: int, auth: str | None) -> Route:
        known = frozenset(scenario.data[0]) if scenario.data else frozenset()
        for row in scenario.data:
            known &= frozenset(row)
        legs = []
        for name, step in enumerate(scenario.steps, first):
            legs.append(self._leg(name, step, Setting(known, auth)))
            known |= frozenset(step.keeps)
        if auth is not None and not names_in(auth) <= known:
            # Unnamed: it may be part of a secret.
            raise LoadBroken("auth: it has a placeholder that no step keeps and no data column fills")
        orders, feed = self._bench.orders, NO_DATA
        if scenario.data:
            feed = Feed(scenario.data, scenario.order, orders.seed, shard=orders.shard, of=orders.of)
        return Route(legs, feed, scenario.weight)

    def _leg(self, name: int, step: Step, setting: Setting) -> Leg:
        try:
            act = self._driver(step.kind).act(step, setting)
        except ValueError as error:
            raise LoadBroken(f"step {step.name!r}: {error}") from error
        timeout_s = self._bench.orders.profile.timeout_s if step.timeout_s is None else step.timeout_s
        return Leg(name, act, step.think, step.again, round(timeout_s * NANOS))

    def _driver(self, kind: str) -> Driver:
        protocol = kind.partition(".")[0]
        if protocol not in self._drivers:
            self._drivers[protocol] = cast("Driver", import_module(DRIVERS[protocol]).driver(self._bench))
        return self._drivers[protocol]


def _coming(stream: Stream, routes: list[Route], seed: int) -> Coming:
    return Coming(
        routes=routes,
        plan=_plan(stream, seed),
        starts_ns=round(stream.starts_s * NANOS),
        max_in_flight=stream.max_in_flight,
        closed=stream.closed,
        chance=seed if stream.at_random else None,
    )


def _plan(stream: Stream, seed: int) -> Pace | Crowd:
    """When journeys arrive, or how many users there are. Raises LoadBroken for stages that say neither."""
    try:
        if stream.closed is not None:
            return Crowd.of(stream.stages, stream.closed)
        return Pace.of(stream.stages, seed if stream.at_random else None)
    except ValueError as error:
        raise LoadBroken(str(error)) from error
