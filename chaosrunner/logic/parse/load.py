"""The `load` of an experiment: who arrives, what each does, and how patiently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from chaosrunner.logic.parse import clients
from chaosrunner.logic.parse.arrivals import (
    Coming,
    length_s,
    parse_arrivals,
    parse_users,
    plateau,
    ramp_s,
    warmup_s,
)
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, table, whole
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.scenarios import Read, read_scenarios
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.stages import part_of_a_wave, whole_waves
from chaosrunner.logic.parse.tls import read_tls
from chaosrunner.logic.parse.yaml_nodes import Node
from chaosrunner.model.load import LoadProfile, Stage, Stream, Wave, single

KEYS = (
    "each_user", "scenarios", "auth", "data", "arrivals", "users", "iterations", "timeout", "max_in_flight",
    "connections", "workers", "warmup", "unanswered", "tls", *clients.KEYS,
)  # fmt: skip
COMING = ("arrivals", "users", "iterations", "max_in_flight")
"""The keys that say who comes."""
NOBODY = single(steps=(), stages=(Stage(start=1.0, end=1.0, lasts_s=None),))
"""Stands in for a load that could not be read."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the `load` mapping says."""

    profile: LoadProfile
    unanswered_s: float
    lines: tuple[Node, ...] = ()
    """Where each stream says who comes."""
    own_warmup: bool = False
    """Whether the file says how long the warm-up is."""


def read_load(desk: Desk, node: Node | None, around: Around) -> Load:
    """The load; mistakes are noted at the desk."""
    mapping = table(desk, node, "load") if node else None
    if mapping is None:
        return Load(NOBODY, 2.0)
    fields = Fields(desk, mapping, "load").only(KEYS)
    found = read_scenarios(fields, around)
    streams, lines = _streams(fields, found)
    peak = sum(ceil(stream.peak) for stream in streams if stream.closed)
    profile = LoadProfile(
        streams=streams or NOBODY.streams,
        timeout_s=fields.seconds("timeout", 10.0),
        connections=fields.count("connections", max(200, min(60_000, peak)), most=60_000),
        workers=fields.read("workers", _workers, 1) or None,
        tls=read_tls(desk, fields.node("tls")),
        warmup_s=fields.seconds("warmup", max((_warmup_s(stream) for stream in streams), default=3.0), zero=True),
    )
    return Load(profile, fields.seconds("unanswered", 2.0), lines, fields.node("warmup") is not None)


def _workers(text: str) -> int:
    """How many processes send; 0 is `auto`. Raises ReadingError."""
    if text == "auto":
        return 0
    if text[:1].isalpha():
        raise ReadingError("expected 1 to 256, or auto")
    return whole(text, 1, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What the load must last for."""

    baseline_s: float
    longest_s: float
    """Of the run."""
    faults: bool
    """Whether the baseline is something to compare with; else it is the test itself."""


def check_length(desk: Desk, load: Load, needs: Lengths) -> None:
    """Note a load that ends too early, or whose first plateau is no good baseline."""
    for stream, line in zip(load.profile.streams, load.lines, strict=True):
        _check_length(desk, line, stream, load, needs)


def _check_length(desk: Desk, at: Node, stream: Stream, load: Load, needs: Lengths) -> None:
    key = "arrivals" if stream.closed is None else "users"
    lasts = length_s(stream.stages)
    if lasts is not None and stream.starts_s + lasts < needs.longest_s:
        ends, longest = duration_text(stream.starts_s + lasts), duration_text(needs.longest_s)
        desk.wrong(at, f"{key} end after {ends}, but the run may last {longest}; end them with ', then hold'")
        return
    first = plateau(stream.stages)
    begins_s = stream.starts_s + ramp_s(stream.stages)
    wanted = max(0.0, load.profile.warmup_s - begins_s) + needs.baseline_s
    if needs.faults and first.lasts_s is not None and not load.own_warmup and first.lasts_s < wanted:
        seen, asked = duration_text(first.lasts_s), duration_text(wanted)
        desk.wrong(at, f"the first plateau lasts {seen}, but warm-up and baseline on it need {asked}")
    if isinstance(first, Wave) and part_of_a_wave(first, needs.baseline_s):
        whole = whole_waves(first, needs.baseline_s)
        seen, period = duration_text(needs.baseline_s), duration_text(first.period_s)
        desk.wrong(at, f"a baseline of {seen} is no whole number of waves of {period}; write 'baseline: {whole}'")


def _warmup_s(stream: Stream) -> float:
    return stream.starts_s + warmup_s(Coming(stream.stages, closed=stream.closed))


def _streams(fields: Fields, found: Sequence[Read]) -> tuple[tuple[Stream, ...], tuple[Node, ...]]:
    """Who comes: one stream for all scenarios that share the load's line, one for each that has its own."""
    own = [
        one for one in found if one.fields is not None and any(one.fields.node(key) for key in ("arrivals", "users"))
    ]
    shared = [one for one in found if one not in own]
    streams, lines = [], []
    if shared or not found:
        stream, line = _stream(fields, shared)
        streams.append(stream)
        lines.append(line)
    else:
        for key in COMING:
            if fields.node(key) is not None:
                fields.desk.wrong(fields.place(key), f"{key!r} is for nobody: every scenario says itself who comes")
    for one in own:
        assert one.fields is not None
        if one.fields.node("weight") is not None:
            wrong = "'weight' is a share of the load's 'arrivals' or 'users', and this scenario has its own"
            one.fields.desk.wrong(one.fields.place("weight"), wrong)
        stream, line = _stream(one.fields, [one])
        streams.append(replace(stream, starts_s=one.fields.seconds("starts", 0.0, zero=True)))
        lines.append(line)
    for one in shared:
        if one.fields is not None:
            for key in ("starts", "iterations", "max_in_flight"):
                if one.fields.node(key) is not None:
                    wrong = f"{key!r} is for a scenario with its own 'arrivals' or 'users'"
                    one.fields.desk.wrong(one.fields.place(key), wrong)
    return tuple(streams), tuple(lines)


def _stream(fields: Fields, found: Sequence[Read]) -> tuple[Stream, Node]:
    coming = _coming(fields)
    stream = Stream(
        scenarios=tuple(one.scenario for one in found) or NOBODY.scenarios,
        stages=coming.stages,
        at_random=coming.at_random,
        closed=coming.closed,
        max_in_flight=fields.count("max_in_flight", 1000),
    )
    return stream, fields.node("arrivals" if coming.closed is None else "users") or fields.table


def _coming(fields: Fields) -> Coming:
    """Who comes: exactly one of `arrivals` and `users`."""
    desk, stranger = fields.desk, Coming(NOBODY.streams[0].stages)
    users, iterations, limit = map(fields.node, ("users", "iterations", "max_in_flight"))
    if users is None:
        fields.need("arrivals", "expected who comes, such as '10 users/s', or 'users: 50' for a closed model")
        if iterations is not None:
            desk.wrong(fields.place("iterations"), "'iterations' is for 'users': who arrives makes one journey")
        return fields.read("arrivals", parse_arrivals, stranger)
    if fields.node("arrivals") is not None:
        desk.wrong(fields.place("users"), "'users' (a closed model) and 'arrivals' (an open one) exclude each other")
    if limit is not None:
        desk.wrong(
            fields.place("max_in_flight"), "'max_in_flight' is for 'arrivals': each user makes one journey at a time"
        )
    coming = fields.read("users", parse_users, stranger)
    if coming.closed is None or iterations is None:
        return coming
    return replace(coming, closed=replace(coming.closed, iterations=fields.count("iterations", 1)))
