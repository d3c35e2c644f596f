"""The one-line language of targets, such as `1 of 3 api` or `all api`, and what a system must say of them."""

from __future__ import annotations

import re
from collections.abc import Callable

from chaosrunner.logic.parse.fields import whole
from chaosrunner.logic.parse.scalars import PERCENT, share
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.model.fault import Injector, Target
from chaosrunner.model.system import Component, System

COMPONENT = r"[A-Za-z_][A-Za-z0-9_.-]*"

HOW_TO_SAY: dict[str, str] = {
    "processes": "processes: {ports: [8080]}",
    "containers": "containers: {compose: project/service}",
    "proxies": "proxies: [name]' or 'proxy: for me",
    "namespaces": "namespaces: [name]",
    "dsn": "dsn: postgresql://…",
    "admin": "admin: postgresql://…",
    "redis": "redis: redis://…",
}
"""What a component must say → how a system file says it."""


def parse_target(text: str) -> Target:
    """The target that `text` spells. Raises ReadingError."""
    count = re.fullmatch(rf"([0-9]+) of ([0-9]+) ({COMPONENT})", text)
    if count:
        return _counted(*count.groups())
    part = re.fullmatch(rf"({PERCENT}) of ({COMPONENT})", text)
    if part:
        amount = share(part[1])
        if not amount:
            raise ReadingError("0% of something is nothing to break")
        return Target(component=part[2], share=amount)
    every = re.fullmatch(rf"all (?:of )?({COMPONENT})", text)
    if every:
        return Target(component=every[1], share=1.0)
    if re.fullmatch(COMPONENT, text):
        return Target(component=text)
    raise ReadingError("expected a component of the system, '1 of 3 api', '30% of api' or 'all api'")


def hits_all(target: Target) -> bool:
    """Whether nothing of the component would be left."""
    return target.share == 1.0 or (target.count is not None and 1 < target.count == target.of)


def check_target(target: Target, system: System, injector: Injector) -> None:
    """Raise ReadingError when the system does not have, does not describe or protects the target."""
    where = system.file
    component = system.components.get(target.component)
    if component is None:
        near = did_you_mean(target.component, system.components)
        raise ReadingError(f"{where} has no component {quoted(target.component)}{near}")
    if component.name in system.protect:
        raise ReadingError(f"{where}:{system.protect_line} protects {quoted(component.name)}: no fault may target it")
    needs = [need for need in injector.needs if need in SAID]
    missing = [need for need in needs if not SAID[need](component)]
    if missing:
        advice = " and ".join(quoted(HOW_TO_SAY[need]) for need in missing)
        raise ReadingError(
            f"{injector.name} needs to know more of {quoted(component.name)}; add {advice} to it in {where}"
        )
    if needs == ["proxies"] and component.proxies and not system.fault_proxy:
        raise ReadingError(f"{where} names no fault proxy; add 'fault_proxy: http://127.0.0.1:8474' to it")
    if len(needs) == 1:
        _check_count(target, how_many(component, needs[0]), where)


def how_many(component: Component, need: str) -> int | None:
    """How many instances the system file itself names; None = it does not say."""
    if need == "proxies":
        return len(component.proxies or component.at)
    if need == "namespaces":
        return len(component.namespaces)
    processes = component.processes
    if need == "processes" and processes is not None and not processes.command:
        return len(processes.ports) or len(processes.pids) or len(processes.pidfiles)
    if need == "containers" and component.containers is not None:
        return len(component.containers.names) or None
    return None


def _counted(count: str, of: str, component: str) -> Target:
    chosen, there = whole(count, 1, 100_000), whole(of, 1, 100_000)
    if chosen > there:
        raise ReadingError(f"{chosen} of {there} is more than there are")
    return Target(component=component, count=chosen, of=there)


def _check_count(target: Target, named: int | None, where: str) -> None:
    if named is None:
        return
    if target.of is not None and target.of != named:
        raise ReadingError(f"{where} names {named} of {quoted(target.component)}, not {target.of}")
    if target.count is None and target.share is None and named > 1:
        raise ReadingError(f"{where} names {named} of them; write '1 of {named} {target.component}'")


SAID: dict[str, Callable[[Component], bool]] = {
    "processes": lambda component: component.processes is not None,
    "containers": lambda component: component.containers is not None,
    "proxies": lambda component: bool(component.proxies or component.proxy),
    "namespaces": lambda component: bool(component.namespaces),
    "dsn": lambda component: component.dsn is not None,
    "admin": lambda component: component.admin is not None,
    "redis": lambda component: component.redis is not None,
}
"""What an injector may need → whether a component says it."""
