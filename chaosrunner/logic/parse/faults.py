"""A single fault of an experiment: `- proxy.latency: {target: database, add: 300ms}` and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaosrunner.errors import InjectorError
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, table
from chaosrunner.logic.parse.ramp import MOST_STEPS, Ramp
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import did_you_mean, quoted
from chaosrunner.logic.parse.target import check_target, hits_all, parse_target
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.fault import Fault, Injector, Target
from chaosrunner.model.system import System

BESIDE = ("for", "at", "then", "accept", "steps", "every", "times", "within", "pause")
"""Keys of an entry that are not what it is about."""
COMPOSITES = ("in turn", "together", "random")
"""What an entry may be about that is no injector."""
ACCEPT = ("all", "unguarded")
DEFAULT_FOR_S = 30.0
SHORTEST_STEP_S = 0.5
"""A step of a ramp that is shorter could not be proven to be in effect."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What faults are checked against."""

    desk: Desk
    around: Around
    system: System | None
    """None when its file could not be read: targets are then left unchecked."""


def entry_key(grounds: Grounds, node: Node) -> Scalar | None:
    """What an entry of `faults` is about: the one key that does not stand beside; None after noting a mistake."""
    desk = grounds.desk
    if isinstance(node, Scalar) and node.text in grounds.around.injector_names:
        desk.wrong(node, f"write '{node.text}: {{}}', so that it can have parameters")
        return None
    if not isinstance(node, Table):
        desk.wrong(node, "expected a fault, such as '- proxy.latency: {target: database, add: 300ms}'")
        return None
    keys = [key for key, _ in node.entries if key.text not in BESIDE]
    if len(keys) == 1:
        return keys[0]
    strange = [key for key in keys if key.text not in {*COMPOSITES, *grounds.around.injector_names}]
    names = " and ".join(quoted(key.text) for key in keys[:3])
    if len(strange) == 1 and len(keys) == 2 and "did you mean" in did_you_mean(strange[0].text, BESIDE):
        said = f"{quoted(strange[0].text)} is no key of a fault{did_you_mean(strange[0].text, BESIDE)}"
        desk.wrong(strange[0], said)
        return None
    said = f"{names} in one entry; begin each fault with its own '- '" if keys else "no fault is named here"
    beside = "beside a fault may stand 'for', 'at', 'accept', 'steps' and 'every'"
    desk.wrong(keys[1] if keys else node, f"{said}; {beside}")
    return None


def read_fault(grounds: Grounds, fields: Fields, key: Scalar, accept: frozenset[str]) -> tuple[Fault, ...]:
    """The fault of an entry: one, or as many as `steps` says when its dose goes from one value to another.

    Args:
        grounds: what it is checked against.
        fields: the entry.
        key: its injector.
        accept: what has been accepted for it.
    """
    target, doses = _injector(grounds, key, fields, accept)
    steps = max(1, len(doses))
    lasts_s = fields.seconds("for", DEFAULT_FOR_S)
    if lasts_s / steps < SHORTEST_STEP_S and steps > 1:
        told = f"{steps} steps in {duration_text(lasts_s)} are too quick to be seen; allow each {SHORTEST_STEP_S:g}s"
        grounds.desk.wrong(fields.place("steps"), told)
    return tuple(
        Fault(
            index=0,
            injector=key.text,
            target=target,
            params=dose,
            at_s=fields.seconds("at", 0.0, zero=True) if number == 0 else 0.0,
            for_s=lasts_s / steps,
            accept=accept,
            line=key.line,
        )
        for number, dose in enumerate(doses)
    )


def _injector(
    grounds: Grounds, key: Scalar, fields: Fields, accept: frozenset[str]
) -> tuple[Target | None, Sequence[object]]:
    """The target, and the parameters of each step, read by the injector that the key names."""
    injector = _find(grounds, key)
    steps = fields.count("steps", 0, most=MOST_STEPS)  # 0: not said, or said in a way that has been noted
    known = injector is not None or grounds.around.lenient
    mapping = table(grounds.desk, fields.table.get(key.text) or fields.table, key.text) if known else None
    if mapping is None or injector is None:
        return (None if mapping is None else _stranger(grounds.desk, mapping)), [None] * (steps or 1)
    target = _target(grounds, mapping, injector, key)
    if target is not None and hits_all(target) and "all" not in accept:
        where = mapping.get("target") or key
        grounds.desk.wrong(where, f"'{target}' leaves none of them; say 'accept: all' beside the fault if you mean it")
    if fields.node("steps") and not steps:
        return target, [None]
    return target, Ramp(grounds.desk, mapping, injector, steps or None).read(fields.place("steps"), key)


def _find(grounds: Grounds, key: Scalar) -> Injector | None:
    around = grounds.around
    if around.lenient:
        return None
    try:
        injector = around.injectors(key.text) if key.text in around.injector_names else None
    except InjectorError as error:
        grounds.desk.wrong(key, str(error))
        return None
    if injector is None:
        grounds.desk.wrong(
            key, f"{quoted(key.text)} is no fault{did_you_mean(key.text, [*around.injector_names, *COMPOSITES])}"
        )
    return injector


def _stranger(desk: Desk, mapping: Table) -> Target | None:
    """The target of a fault whose injector may not be installed any more: enough to judge an old journal."""
    node = mapping.get("target")
    return desk.read(node, "target", parse_target) if node else None


def _names_a_host(node: Node, system: System | None) -> bool:
    """Whether a target is a component on another host: what acts on whole hosts acts there."""
    component = system.components.get(node.text) if system and isinstance(node, Scalar) else None
    return component is not None and bool(component.host)


def _target(grounds: Grounds, mapping: Table, injector: Injector, key: Scalar) -> Target | None:
    desk, system = grounds.desk, grounds.system
    node = mapping.get("target")
    if not injector.needs:
        if node is not None and _names_a_host(node, system):
            return desk.read(node, "target", parse_target)
        if node is not None:
            desk.wrong(mapping.key("target") or node, f"{quoted(injector.name)} takes no target")
        return None
    if node is None:
        desk.wrong(key, f"{quoted(injector.name)} needs a 'target': a component of the system")
        return None

    def read(text: str) -> Target:
        target = parse_target(text)
        if system is not None:
            check_target(target, system, injector)
        return target

    return desk.read(node, "target", read)


def read_accept(fields: Fields) -> frozenset[str]:
    """What stands under `accept`."""
    node = fields.node("accept")
    words = fields.texts("accept")
    if isinstance(node, Items) and not node.items:
        fields.desk.wrong(node, "accept accepts nothing; leave it out")
    for word in words:
        if word.text not in ACCEPT:
            fields.desk.wrong(word, f"accept {quoted(word.source)}{did_you_mean(word.text, ACCEPT)}")
    return frozenset(word.text for word in words)
