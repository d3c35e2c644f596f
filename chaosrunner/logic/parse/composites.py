"""The `faults` of an experiment: single ones, and those that belong together.

`in turn`, `together` and `random` hold faults; `every` beside any of them, or beside a fault, repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chaosrunner.logic.composite import lay_out
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.faults import Grounds, entry_key, read_accept, read_fault
from chaosrunner.logic.parse.fields import Fields, items, some_time, table, whole
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import quoted
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model.composite import Again, AtRandom, InTurn, Part, Together, most, span_s
from chaosrunner.model.fault import Fault

MOST = 100
"""Faults of one experiment, however they are written."""
MOST_TIMES = MOST
TIGHT_S = 1e-9
"""Durations are decimal in the file and binary here."""

AGAIN = ("every", "times", "within")
BESIDE: Mapping[str, tuple[str, ...]] = {
    "in turn": ("at", "accept", "pause", *AGAIN),
    "together": ("at", "accept", *AGAIN),
    "random": ("at", "accept", *AGAIN),
}
"""What may stand beside a composite."""
BESIDE_FAULT = ("for", "at", "accept", "then", "steps", *AGAIN)
ELSEWHERE = {
    "for": "'for' stands beside each fault inside",
    "steps": "'steps' stands beside a fault whose dose goes from one value to another",
    "pause": "'pause' stands beside 'in turn'",
    "then": "'then' stands inside the fault: docker.kill: {target: api, then: start it}",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The faults of a file."""

    laid_out: tuple[Fault, ...] = ()
    """Plain, as the seed 0 would have it."""
    asked: tuple[Part, ...] = ()
    """What another seed draws from; empty when there is no composite."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry stands."""

    inside: str = ""
    """The composite; empty at the top."""
    accept: frozenset[str] = frozenset()
    """Accepted there for all that is inside."""


def read_faults(grounds: Grounds, node: Node | None) -> Asked:
    """The faults in order; mistakes are noted at the desk."""
    if node is None:
        return Asked()
    before = len(grounds.desk.mistakes)
    parts = _parts(grounds, items(grounds.desk, node, "faults"), _Place())
    count = sum(map(most, parts))
    if count > MOST:
        grounds.desk.wrong(node, f"these are up to {count:,} faults; one experiment has at most {MOST}")
    if len(grounds.desk.mistakes) > before:
        return Asked()  # laid out, they would only mislead
    plain = all(isinstance(part, Fault) for part in parts)
    return Asked(lay_out(parts, 0), () if plain else parts)


def _parts(grounds: Grounds, nodes: tuple[Node, ...], place: _Place) -> tuple[Part, ...]:
    found = [_part(grounds, node, place) for node in nodes]
    return tuple(part for part in found if part is not None)


def _part(grounds: Grounds, node: Node, place: _Place) -> Part | None:
    key = entry_key(grounds, node)
    if key is None or not isinstance(node, Table):
        return None
    fields = Fields(grounds.desk, node, f"fault {quoted(key.text)}")
    _check_beside(fields, key, place)
    accept = read_accept(fields) | place.accept
    read = COMPOSITES.get(key.text)
    part = read(grounds, fields, key, accept) if read else _fault(grounds, fields, key, accept)
    return _again(fields, part) if part is not None else None


def _check_beside(fields: Fields, key: Scalar, place: _Place) -> None:
    """Note what may not stand beside this entry, or not here."""
    allowed = BESIDE.get(key.text, BESIDE_FAULT)
    for word in (*BESIDE_FAULT, "pause"):
        if fields.node(word) and (word not in allowed or word == "then"):
            fields.desk.wrong(fields.place(word), ELSEWHERE[word])
    if fields.node("at") and place.inside in ("in turn", "random"):
        how = "say 'pause' beside 'in turn'" if place.inside == "in turn" else "the seed chooses it"
        fields.desk.wrong(fields.place("at"), f"'at' has no meaning inside {quoted(place.inside)}: {how}")


def _fault(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> Part:
    """One fault, or one for each step of its dose."""
    steps = read_fault(grounds, fields, key, accept)
    first = steps[0]
    if len(steps) == 1:
        return first
    title = f"{first.title} in {len(steps)} steps"
    return InTurn(parts=(replace(first, at_s=0.0), *steps[1:]), title=title, at_s=first.at_s, line=key.line)


def _in_turn(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> Part | None:
    parts = _inside(grounds, fields, key, accept)
    pause_s = fields.seconds("pause", 0.0, zero=True)
    title = f"in turn: {_titles(parts)}"
    return InTurn(parts=parts, title=title, at_s=_at(fields), pause_s=pause_s, line=key.line) if parts else None


def _together(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> Part | None:
    parts = _inside(grounds, fields, key, accept)
    title = f"together: {_titles(parts)}"
    return Together(parts=parts, title=title, at_s=_at(fields), line=key.line) if parts else None


def _inside(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> tuple[Part, ...]:
    node = fields.node(key.text) or key
    return _parts(grounds, _members(grounds.desk, node, key, key.text), _Place(key.text, accept))


def _members(desk: Desk, node: Node, place: Node, what: str) -> tuple[Node, ...]:
    """The faults under a key, of which there must be some; otherwise one mistake is noted, at the node or the place."""
    before = len(desk.mistakes)
    members = items(desk, node, what)
    if not members and len(desk.mistakes) == before:
        desk.wrong(place, f"{quoted(what)} holds no fault; begin each with its own '- '")
    return members


def _at_random(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> Part | None:
    desk = grounds.desk
    mapping = table(desk, fields.node(key.text) or key, key.text)
    if mapping is None:
        return None
    asked = Fields(desk, mapping, "random").only(("choose", "of", "within"))
    of = asked.need("of", "list the faults to choose from")
    asked.need("choose", "say how many of them, such as 'choose: 1'")
    asked.need("within", "say in how much time, such as 'within: 60s'")
    members = _members(desk, of, asked.place("of"), "of") if of else ()
    choose = asked.read("choose", lambda text: whole(text, 1, len(members) or MOST), 1)
    within_s = asked.seconds("within", 0.0)
    before = len(desk.mistakes)
    parts = _parts(grounds, members, _Place("random", accept))
    longest_s = sum(sorted(map(span_s, parts), reverse=True)[:choose])
    if within_s and len(desk.mistakes) == before and longest_s > within_s + TIGHT_S:
        lasts = f"{choose} of these may last {duration_text(longest_s)} one after the other"
        desk.wrong(asked.place("within"), f"{lasts}, which is more than {duration_text(within_s)}")
    title = f"{choose} of {len(members)} at random within {duration_text(within_s)}"
    return AtRandom(parts=parts, title=title, choose=choose, within_s=within_s, at_s=_at(fields), line=key.line)


def _again(fields: Fields, part: Part) -> Part:
    """What `every` beside an entry makes of it."""
    desk = fields.desk
    if fields.node("every") is None:
        for word in ("times", "within"):
            if fields.node(word):
                desk.wrong(fields.place(word), f"'{word}' needs 'every: 20s' beside it")
        return part
    lasts_s, every_s = span_s(part), fields.read("every", some_time, 0.0)
    if every_s and lasts_s > every_s + TIGHT_S:
        told = f"it lasts {duration_text(lasts_s)}, so it cannot begin again every {duration_text(every_s)}"
        desk.wrong(fields.place("every"), f"{told}; write 'every: {duration_text(lasts_s)}', or a shorter 'for'")
    if (fields.node("times") is None) is (fields.node("within") is None):
        desk.wrong(fields.place("every"), "'every' needs one of 'times: 3' and 'within: 2min' beside it")
    times = _times(fields, lasts_s, every_s)
    title = f"{part.title}, {times} times, every {duration_text(every_s)}"
    return Again(
        part=replace(part, at_s=0.0), title=title, times=times, every_s=every_s, at_s=part.at_s, line=part.line
    )


def _times(fields: Fields, lasts_s: float, every_s: float) -> int:
    """How often: as `times` says, or as often as it fits `within`."""
    within_s = fields.seconds("within", 0.0)
    if not within_s or not every_s:
        return fields.read("times", lambda text: whole(text, 2, MOST_TIMES), 2)
    times = int((within_s - lasts_s) / every_s + TIGHT_S) + 1 if within_s >= lasts_s else 0
    if not 2 <= times <= MOST_TIMES:
        often = "not even twice" if times < 2 else f"{times:,} times, and at most {MOST_TIMES} are allowed"
        desk_word = f"every {duration_text(every_s)} for {duration_text(lasts_s)} it fits {often}"
        fields.desk.wrong(fields.place("within"), f"within {duration_text(within_s)}: {desk_word}")
    return times


def _titles(parts: tuple[Part, ...]) -> str:
    return ", ".join(dict.fromkeys(part.title for part in parts))


def _at(fields: Fields) -> float:
    return fields.seconds("at", 0.0, zero=True)


COMPOSITES: Mapping[str, Callable[[Grounds, Fields, Scalar, frozenset[str]], Part | None]] = {
    "in turn": _in_turn,
    "together": _together,
    "random": _at_random,
}
