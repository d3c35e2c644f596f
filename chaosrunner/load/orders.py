"""What a worker is told, as one JSON line on its stdin: never in argv or the environment, which anyone may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from pydantic import TypeAdapter

from chaosrunner.model.load import LoadProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The share of one worker."""

    profile: LoadProfile
    """With `connections` and `max_in_flight` cut to this worker's share; the scenarios' `auth` is in the field beside
    it."""
    entry: str
    auths: tuple[str | None, ...] = ()
    """Of each scenario, revealed; placeholders are still in it."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Component → its DSN, revealed."""
    run: str = ""
    """What the load's own things are called after; empty outside a run."""
    shard: int
    of: int
    seed: int
    """Of arrivals at random, of think times and of every other choice."""
    longest_s: float
    """The load ends this long after the epoch, whatever happens to the parent."""


def share(total: int, shard: int, of: int) -> int:
    """A worker's share of `total`: shares differ by at most one and add up to it."""
    return total // of + (shard < total % of)


def cut(orders: Orders) -> Orders:
    """The same orders with the limits of the whole load cut to this worker's share."""
    streams = tuple(
        replace(stream, max_in_flight=share(stream.max_in_flight, orders.shard, orders.of))
        for stream in orders.profile.streams
    )
    connections = share(orders.profile.connections, orders.shard, orders.of)
    return replace(orders, profile=replace(orders.profile, streams=streams, connections=connections))


def to_line(orders: Orders) -> bytes:
    """The wire form, without any secret that is not revealed."""
    streams = tuple(
        replace(stream, scenarios=tuple(replace(scenario, auth=None) for scenario in stream.scenarios))
        for stream in orders.profile.streams
    )
    return _adapter().dump_json(replace(orders, profile=replace(orders.profile, streams=streams))) + b"\n"


def from_line(line: bytes) -> Orders:
    """From the wire form. Raises ValueError when it is not one."""
    return _adapter().validate_json(line)


@cache
def _adapter() -> TypeAdapter[Orders]:
    return TypeAdapter(Orders)
