"""Which component a fault is aimed at, and which of its live instances are hit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Fault
from chaosrunner.model.system import Component

T = TypeVar("T")


class Miscounted(InjectorError):
    """There are not as many live instances as the target promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What an instance is known by: to people, to limits and to what is protected."""

    name: str
    """The one that limits count it by."""
    others: tuple[str, ...] = ()
    """Further names that may be protected."""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ()


def by_name(instance: object) -> Traits:
    """Of an instance that is nothing but a name."""
    return Traits(name=str(instance))


def component_of(fault: Fault, context: Context) -> Component:
    """The component that the fault's target names.

    Raises:
        InjectorError: there is no target, the system has no such component, or it is protected.
    """
    if fault.target is None:
        raise InjectorError(f"{fault.injector} needs a target")
    name = fault.target.component
    component = context.system.components.get(name)
    if component is None:
        raise InjectorError(f"system {context.system.name} has no component {name}")
    if name in context.system.protect:
        where = f"{context.system.file}:{context.system.protect_line}"
        raise InjectorError(f"{name} is protected in system {context.system.name} ({where})")
    return component


def choose(fault: Fault, context: Context, live: Sequence[T], traits: Callable[[T], Traits] = by_name) -> list[T]:
    """Draw from the live instances as many as the target promises, in their own order.

    The draw depends on the context's seed and on the order and number of `live` alone.

    Raises:
        Miscounted: the live count is not what the target promises.
        InjectorError: one of them is protected by a rule.
    """
    assert fault.target is not None
    known = [traits(instance) for instance in live]
    refuse_protected(context, known)
    try:
        count = fault.target.how_many(len(live))
    except ValueError as error:
        raise Miscounted(str(error)) from None
    if count > len(live):
        raise Miscounted(f"{fault.target}: only {len(live)} live")
    drawn = sorted(context.rng.sample(range(len(live)), count))
    context.drawn(tuple(known[index].name for index in drawn), len(live))
    return [live[index] for index in drawn]


def refuse_protected(context: Context, known: Iterable[Traits]) -> None:
    """Raises InjectorError when a rule protects one of these instances."""
    for one in known:
        for rules in context.rules:
            found = rules.protect.against((one.name, *one.others), one.labels, one.namespaces)
            if found is not None:
                what, rule = found
                raise InjectorError(f"{one.name} is protected by its {what}: {rule}; select without it")
