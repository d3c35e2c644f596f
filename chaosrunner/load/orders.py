"""What a worker is told, as one JSON line on its stdin: never in argv or the environment, which anyone may read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast

from chaosrunner.model.load import Closed, LoadProfile, Shape, Stage, Step, Think, Wave


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The share of one worker."""

    profile: LoadProfile
    """With `connections` and `max_in_flight` cut to this worker's share; `auth` is in the field beside it."""
    entry: str
    auth: str | None
    """Revealed; its placeholders are still in it."""
    shard: int
    of: int
    seed: int
    """Of arrivals at random and of think times."""
    longest_s: float
    """The load ends this long after the epoch, whatever happens to the parent."""


def share(total: int, shard: int, of: int) -> int:
    """A worker's share of `total`: shares differ by at most one and add up to it."""
    return total // of + (shard < total % of)


def cut(orders: Orders) -> Orders:
    """The same orders with the limits of the whole load cut to this worker's share."""
    profile = replace(
        orders.profile,
        connections=share(orders.profile.connections, orders.shard, orders.of),
        max_in_flight=share(orders.profile.max_in_flight, orders.shard, orders.of),
    )
    return replace(orders, profile=profile)


def to_line(orders: Orders) -> bytes:
    """The wire form."""
    raw = asdict(replace(orders, profile=replace(orders.profile, auth=None)))
    return json.dumps(raw).encode() + b"\n"


def from_line(line: bytes) -> Orders:
    """From the wire form. Raises KeyError, TypeError or ValueError when it is not one."""
    raw = cast("dict[str, object]", json.loads(line))
    profile = cast("dict[str, object]", raw.pop("profile"))
    steps = tuple(_step(step) for step in cast("list[dict[str, object]]", profile.pop("steps")))
    stages = tuple(_shape(stage) for stage in cast("list[Mapping[str, float]]", profile.pop("stages")))
    closed = cast("Mapping[str, object] | None", profile.pop("closed"))
    if closed is not None:
        profile["closed"] = Closed(**closed)  # type: ignore[arg-type]
    data = tuple(cast("list[Mapping[str, str]]", profile.pop("data")))
    whole = LoadProfile(steps=steps, stages=stages, data=data, **profile)  # type: ignore[arg-type]
    return Orders(profile=whole, **raw)  # type: ignore[arg-type]


def _step(raw: dict[str, object]) -> Step:
    expect = tuple(cast("list[int]", raw.pop("expect")))
    think = Think(**cast("Mapping[str, float]", raw.pop("think")))
    return Step(expect=expect, think=think, **raw)  # type: ignore[arg-type]


def _shape(raw: Mapping[str, float]) -> Shape:
    return Wave(**raw) if "period_s" in raw else Stage(**raw)
