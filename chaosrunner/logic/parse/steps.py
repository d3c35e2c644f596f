"""The steps of a journey: `- log in: {POST: /login, body: {…}, expect: 200, keep: {token: $.token}}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

from chaosrunner.logic.parse import http_steps, postgres_steps, websocket_steps
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, items, some_time, table
from chaosrunner.logic.parse.journeys import Common, Journey, check_secret
from chaosrunner.logic.parse.replies import HEADER
from chaosrunner.logic.parse.scalars import duration
from chaosrunner.logic.parse.spelling import ReadingError, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model.http_client import PLAIN, Client
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Again, Think
from chaosrunner.model.load import Step
from chaosrunner.model.websocket_step import Open

KINDS: tuple[ModuleType, ...] = (http_steps, postgres_steps, websocket_steps)
"""Who reads which steps, by the verb in them: each has `VERBS`, `KEYS` and `read(journey, fields, common)`."""
VERBS = tuple(verb for kind in KINDS for verb in kind.VERBS)
KEYS = ("think", "timeout", "times", "every", "for")
ABOUT_SIGMA = 0.5
"""Of the logarithm of a pause `about` so long: two thirds lie between 0.6 and 1.65 times that, one in twenty above 2.3
times; the mean is 1.13 times."""
STEP_NAME = r"[^<>=\s]+(?: [^<>=\s]+)*"
"""Words with single spaces, so that a tolerance can name the step."""


def read_steps(desk: Desk, node: Node, columns: frozenset[str] | None, client: Client = PLAIN) -> tuple[Step, ...]:
    """The steps of `each_user`; mistakes are noted at the desk."""
    entries = [entry for item in items(desk, node, "each_user") if (entry := _entry(desk, item))]
    if not entries:
        if not desk.mistakes:
            desk.wrong(node, "each_user needs at least one step, such as '- home: {GET: /}'")
        return ()
    journey = Journey(desk, columns, later=_keepers(entries), client=client)
    steps: dict[str, Step] = {}
    for name, body in entries:
        if name.text in steps:
            desk.wrong(name, f"two steps are called {quoted(name.text)}; figures are by name, so give each its own")
        steps.setdefault(name.text, _step(journey, name, body))
    return tuple(steps.values())


def check_word(desk: Desk, at: Scalar, what: str) -> None:
    """Note a name that no tolerance could use."""
    if not re.fullmatch(STEP_NAME, at.text):
        desk.wrong(at, f"{quoted(at.text)} is no name for a {what}; expected words without '<', '>' and '='")


def check_auth(desk: Desk, node: Node, steps: tuple[Step, ...], columns: frozenset[str] | None) -> str | None:
    """The template of the Authorization header, or `Name: value` of another; its variables may be kept by any step."""
    name = ""
    if isinstance(node, Table) and len(node.entries) == 1:
        key, node = node.entries[0]
        name = f"{key.text}: "
        if not re.fullmatch(HEADER, key.text):
            desk.wrong(key, f"{quoted(key.text)} is no name of an HTTP header")
    template = desk.template(node, "auth")
    if template is not None and isinstance(node, Scalar):
        kept = {name: step.name for step in reversed(steps) for name in step.keeps}
        Journey(desk, columns, later=kept).check(node, "auth", anywhere=True)
        check_secret(desk, node, template, "auth")
    return template and name + template


def parse_think(text: str) -> Think:
    """A pause: `2s`, `1s to 3s` (evenly spread), `about 2s` (lognormal, that median). Raises ReadingError."""
    about, between = re.fullmatch(r"about\s+(.*)", text), re.fullmatch(r"(.*?)\s+to\s+(.*)", text)
    if about:
        return Think(some_time(about[1]), sigma=ABOUT_SIGMA)
    if not between:
        return Think(duration(text))
    low, high = map(duration, between.groups())
    if low >= high:
        raise ReadingError("a range goes from the shortest to the longest, such as '1s to 3s'")
    return Think(low, to_s=high)


def _entry(desk: Desk, node: Node) -> tuple[Scalar, Table] | None:
    """The name and the mapping of one step."""
    if not isinstance(node, Table) or len(node.entries) != 1:
        desk.wrong(node, "a step is one name and what it asks, such as '- home: {GET: /}'")
        return None
    name, body = node.entries[0]
    check_word(desk, name, "step")
    found = table(desk, body, f"step {quoted(name.text)}")
    return (name, found) if found else None


def _keepers(entries: list[tuple[Scalar, Table]]) -> dict[str, str]:
    """Variable → the first step that keeps it."""
    keepers: dict[str, str] = {}
    for name, body in entries:
        keep = body.get("keep")
        for variable, _ in keep.entries if isinstance(keep, Table) else ():
            keepers.setdefault(variable.text, name.text)
    return keepers


def _step(journey: Journey, name: Scalar, body: Table) -> Step:
    """One step, read by whoever knows its verb."""
    fields = Fields(journey.desk, body, f"step {quoted(name.text)}")
    kind = next((kind for kind in KINDS if any(key.text in kind.VERBS for key, _ in body.entries)), None)
    if kind is None:
        return _verbless(journey, name, fields)
    step: Step = kind.read(journey, fields.only((*kind.VERBS, *kind.KEYS, *KEYS)), _common(name.text, fields))
    journey.kept.update(dict.fromkeys(step.keeps, step.name))
    return step


def _verbless(journey: Journey, name: Scalar, fields: Fields) -> Step:
    """A step that does not say what it does: its mistakes are noted, and what it keeps counts as kept."""
    journey.desk.wrong(fields.table, f"{fields.what} needs exactly one of {one_of(VERBS)}, such as 'GET: /'")
    fields.only((*VERBS, *(key for kind in KINDS for key in kind.KEYS), *KEYS))
    journey.kept.update(_keepers([(name, fields.table)]))
    return Request(name=name.text, method="", path="")


def _common(name: str, fields: Fields) -> Common:
    return Common(
        name=name,
        think=fields.read("think", parse_think, Think()),
        again=_again(fields),
        timeout_s=fields.seconds("timeout", 10.0) if fields.node("timeout") else None,
    )


def _again(fields: Fields) -> Again | None:
    """How often a step is done; once when nothing is said."""
    times, lasts, every = map(fields.node, ("times", "for", "every"))
    if times is None and lasts is None:
        if every is not None:
            fields.desk.wrong(every, f"'every' in {fields.what} needs an end: add 'times: 10' or 'for: 30s'")
        return None
    return Again(
        times=fields.count("times", 1, most=1_000_000_000) if times else None,
        for_s=fields.seconds("for", 1.0) if lasts else None,
        every_s=fields.seconds("every", 1.0) if every else None,
    )


def relative_steps(steps: tuple[Step, ...]) -> Iterator[Request | Open]:
    """The requests, upgrades included, whose path needs the system's entry."""
    return (step for step in steps if isinstance(step, Request | Open) and step.path.startswith("/"))
