"""The `load` of an experiment: who arrives, what each does, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from chaosrunner.logic.parse.arrivals import Coming, length_s, level, parse_arrivals, parse_users, plateau, warmup_s
from chaosrunner.logic.parse.data_file import Rows, read_rows
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, table
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import did_you_mean, quoted
from chaosrunner.logic.parse.stages import part_of_a_wave, whole_waves
from chaosrunner.logic.parse.steps import check_auth, read_steps
from chaosrunner.logic.parse.yaml_nodes import Node, Table
from chaosrunner.model.load import LoadProfile, Stage, Wave
from chaosrunner.model.secret import Secret

KEYS = (
    "each_user", "auth", "data", "arrivals", "users", "iterations", "timeout", "max_in_flight", "connections",
    "workers", "warmup", "unanswered",
)  # fmt: skip
NOBODY = LoadProfile(steps=(), stages=(Stage(start=1.0, end=1.0, lasts_s=None),))
"""Stands in for a load that could not be read."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the `load` mapping says."""

    profile: LoadProfile
    unanswered_s: float


def read_load(desk: Desk, node: Node | None, around: Around) -> Load:
    """The load; mistakes are noted at the desk."""
    mapping = table(desk, node, "load") if node else None
    if mapping is None:
        return Load(NOBODY, 2.0)
    fields = Fields(desk, mapping, "load").only(KEYS)
    rows, columns = _data(desk, fields, around)
    journeys = fields.need("each_user", "expected a list of steps, such as '- home: {GET: /}'")
    steps = read_steps(desk, journeys, columns) if journeys else ()
    auth = fields.node("auth")
    template = check_auth(desk, auth, steps, columns) if auth else None
    coming = _coming(fields)
    connections = 200 if coming.closed is None else max(200, min(60_000, ceil(max(s.peak for s in coming.stages))))
    profile = LoadProfile(
        steps=steps,
        stages=coming.stages,
        at_random=coming.at_random,
        closed=coming.closed,
        auth=Secret(template) if template else None,
        data=rows,
        timeout_s=fields.seconds("timeout", 10.0),
        max_in_flight=fields.count("max_in_flight", 1000),
        connections=fields.count("connections", connections, most=60_000),
        workers=fields.count("workers", 1, most=256),
        warmup_s=fields.seconds("warmup", warmup_s(coming), zero=True),
    )
    return Load(profile, fields.seconds("unanswered", 2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What the load must last for."""

    baseline_s: float
    longest_s: float
    """Of the run."""
    faults: bool
    """Whether the baseline is something to compare with; else it is the test itself."""


def check_length(desk: Desk, node: Node | None, profile: LoadProfile, needs: Lengths) -> None:
    """Note a load that ends too early, or whose first plateau is no good baseline; `node` was read before."""
    assert isinstance(node, Table)
    key = "arrivals" if profile.closed is None else "users"
    at = node.get(key)
    assert at is not None
    lasts = length_s(profile.stages)
    if lasts is not None and lasts < needs.longest_s:
        ends, longest = duration_text(lasts), duration_text(needs.longest_s)
        desk.wrong(at, f"{key} end after {ends}, but the run may last {longest}; end them with ', then hold'")
        return
    first = plateau(profile.stages)
    spare = profile.warmup_s if level(profile.stages[0]) else 0.0
    wanted = needs.baseline_s + spare
    if needs.faults and first.lasts_s is not None and node.get("warmup") is None and first.lasts_s < wanted:
        seen, asked = duration_text(first.lasts_s), duration_text(wanted)
        desk.wrong(at, f"the first plateau lasts {seen}, but warm-up and baseline on it need {asked}")
    if isinstance(first, Wave) and part_of_a_wave(first, needs.baseline_s):
        whole = whole_waves(first, needs.baseline_s)
        seen, period = duration_text(needs.baseline_s), duration_text(first.period_s)
        desk.wrong(at, f"a baseline of {seen} is no whole number of waves of {period}; write 'baseline: {whole}'")


def _coming(fields: Fields) -> Coming:
    """Who comes: exactly one of `arrivals` and `users`."""
    desk, stranger = fields.desk, Coming(NOBODY.stages)
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


def _data(desk: Desk, fields: Fields, around: Around) -> tuple[Rows, frozenset[str] | None]:
    """The rows of the data file and its columns; the columns are None when they cannot be known."""
    node = fields.node("data")
    if node is None:
        return (), frozenset()
    name = fields.text("data")
    if not name or around.lenient:
        return (), None
    path = Path(desk.file).parent / name
    try:
        text = around.reader.text(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        near = did_you_mean(path.name, around.reader.names(path.parent))
        desk.wrong(node, f"data {quoted(name)} cannot be read ({path}): {why}{near}")
        return (), None
    rows = read_rows(desk, str(path), text)
    return rows, frozenset(rows[0]) if rows else None
