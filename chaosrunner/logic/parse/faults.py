"""The `faults` of an experiment: `- proxy.latency: {target: database, add: 300ms}` with `for`, `at` and `accept`."""

from __future__ import annotations

from dataclasses import dataclass

from chaosrunner.errors import InjectorError
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, items, table
from chaosrunner.logic.parse.params import read_params
from chaosrunner.logic.parse.spelling import did_you_mean, quoted
from chaosrunner.logic.parse.target import check_target, hits_all, parse_target
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.fault import Fault, Injector, Target
from chaosrunner.model.system import System

BESIDE = ("for", "at", "then", "accept")
"""Keys of an entry that are not the injector."""
ACCEPT = ("all", "unguarded")
DEFAULT_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class Grounds:
    """What faults are checked against."""

    desk: Desk
    around: Around
    system: System | None
    """None when its file could not be read: targets are then left unchecked."""


def read_faults(grounds: Grounds, node: Node | None) -> tuple[Fault, ...]:
    """The faults in order; mistakes are noted at the desk."""
    if node is None:
        return ()
    entries = items(grounds.desk, node, "faults")
    found = [_fault(grounds, index, entry) for index, entry in enumerate(entries)]
    return tuple(fault for fault in found if fault is not None)


def _fault(grounds: Grounds, index: int, node: Node) -> Fault | None:
    desk = grounds.desk
    if isinstance(node, Scalar) and node.text in grounds.around.injector_names:
        desk.wrong(node, f"write '{node.text}: {{}}', so that it can have parameters")
        return None
    if not isinstance(node, Table):
        desk.wrong(node, "expected a fault, such as '- proxy.latency: {target: database, add: 300ms}'")
        return None
    keys = [key for key, _ in node.entries if key.text not in BESIDE]
    if len(keys) != 1:
        names = " and ".join(quoted(key.text) for key in keys[:3])
        said = f"{names} in one entry; begin each fault with its own '- '" if keys else "no fault is named here"
        desk.wrong(keys[1] if keys else node, f"{said}; beside the fault only 'for', 'at' and 'accept' may stand")
        return None
    key = keys[0]
    fields = Fields(desk, node, f"fault {quoted(key.text)}")
    accept = _accept(fields)
    if fields.node("then"):
        desk.wrong(fields.place("then"), "'then' stands inside the fault: docker.kill: {target: api, then: start it}")
    target, params = _injector(grounds, key, node.get(key.text) or node, accept)
    return Fault(
        index=index,
        injector=key.text,
        target=target,
        params=params,
        at_s=fields.seconds("at", 0.0, zero=True),
        for_s=fields.seconds("for", DEFAULT_FOR_S),
        accept=accept,
        line=key.line,
    )


def _injector(grounds: Grounds, key: Scalar, node: Node, accept: frozenset[str]) -> tuple[Target | None, object]:
    """The target and the parameters, read by the injector that the key names."""
    injector = _find(grounds, key)
    mapping = table(grounds.desk, node, key.text)
    if mapping is None:
        return None, None
    if injector is None:
        return (_stranger(grounds.desk, mapping) if grounds.around.lenient else None), None
    target = _target(grounds, mapping, injector, key)
    if target is not None and hits_all(target) and "all" not in accept:
        where = mapping.get("target") or key
        grounds.desk.wrong(where, f"'{target}' leaves none of them; say 'accept: all' beside the fault if you mean it")
    return target, read_params(grounds.desk, mapping, injector, key)


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
        grounds.desk.wrong(key, f"{quoted(key.text)} is no fault{did_you_mean(key.text, around.injector_names)}")
    return injector


def _stranger(desk: Desk, mapping: Table) -> Target | None:
    """The target of a fault whose injector may not be installed any more: enough to judge an old journal."""
    node = mapping.get("target")
    return desk.read(node, "target", parse_target) if node else None


def _target(grounds: Grounds, mapping: Table, injector: Injector, key: Scalar) -> Target | None:
    desk, system = grounds.desk, grounds.system
    node = mapping.get("target")
    if not injector.needs:
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


def _accept(fields: Fields) -> frozenset[str]:
    node = fields.node("accept")
    words = fields.texts("accept")
    if isinstance(node, Items) and not node.items:
        fields.desk.wrong(node, "accept accepts nothing; leave it out")
    for word in words:
        if word.text not in ACCEPT:
            fields.desk.wrong(word, f"accept {quoted(word.source)}{did_you_mean(word.text, ACCEPT)}")
    return frozenset(word.text for word in words)
