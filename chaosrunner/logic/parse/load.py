"""The `load` of an experiment: who arrives, what each does, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chaosrunner.logic.parse.arrivals import length_s, level_s, parse_arrivals, warmup_s
from chaosrunner.logic.parse.data_file import Rows, read_rows
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, table
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import did_you_mean, quoted
from chaosrunner.logic.parse.steps import check_auth, read_steps
from chaosrunner.logic.parse.yaml_nodes import Node, Table
from chaosrunner.model.load import LoadProfile, Stage
from chaosrunner.model.secret import Secret

KEYS = (
    "each_user", "auth", "data", "arrivals", "timeout", "max_in_flight", "connections", "workers", "warmup",
    "unanswered",
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
    fields.need("arrivals", "expected who comes, such as '10 users/s'")
    stages = fields.read("arrivals", parse_arrivals, NOBODY.stages)
    profile = LoadProfile(
        steps=steps,
        stages=stages,
        auth=Secret(template) if template else None,
        data=rows,
        timeout_s=fields.seconds("timeout", 10.0),
        max_in_flight=fields.count("max_in_flight", 1000),
        connections=fields.count("connections", 200, most=60_000),
        workers=fields.count("workers", 1, most=256),
        warmup_s=fields.seconds("warmup", warmup_s(stages), zero=True),
    )
    return Load(profile, fields.seconds("unanswered", 2.0))


def check_length(desk: Desk, node: Node | None, profile: LoadProfile, *, baseline_s: float, longest_s: float) -> None:
    """Note a load that ends too early, or whose first plateau is too short for the baseline; `node` was read before."""
    assert isinstance(node, Table)
    at = node.get("arrivals")
    assert at is not None
    lasts = length_s(profile.stages)
    if lasts is not None and lasts < longest_s:
        ends, needs = duration_text(lasts), duration_text(longest_s)
        desk.wrong(at, f"arrivals end after {ends}, but the run may last {needs}; end them with ', then hold'")
        return
    level = level_s(profile.stages)
    spare = profile.warmup_s if profile.stages[0].start == profile.stages[0].end else 0.0
    if level is not None and node.get("warmup") is None and level < baseline_s + spare:
        wanted = duration_text(baseline_s + spare)
        desk.wrong(at, f"the first plateau lasts {duration_text(level)}, but warm-up and baseline on it need {wanted}")


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
