"""Which component a fault is aimed at, and which of its live instances are hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Fault
from chaosrunner.model.system import Component

T = TypeVar("T")


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
        raise InjectorError(f"{name} is protected in system {context.system.name}")
    return component


def choose(fault: Fault, context: Context, live: Sequence[T]) -> list[T]:
    """Draw from the live instances as many as the target promises, in their own order.

    The draw depends on the context's seed and on the order and number of `live` alone.

    Raises:
        InjectorError: the live count is not what the target promises.
    """
    assert fault.target is not None
    try:
        count = fault.target.how_many(len(live))
    except ValueError as error:
        raise InjectorError(str(error)) from None
    if count > len(live):
        raise InjectorError(f"{fault.target}: only {len(live)} live")
    drawn = sorted(context.rng.sample(range(len(live)), count))
    return [live[index] for index in drawn]
