"""Asking an injector what it would hit, and remembering in the recipe which instances it drew, out of how many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.model.fault import Context, Fault, Injector, Recipe


async def prepared(injector: Injector, fault: Fault, context: Context) -> Recipe:
    """The recipe of a fault, with the names of what was drawn. Raises whatever the injector's `prepare` raises."""
    names: list[str] = []
    counted = [0]

    def drawn(chosen: tuple[str, ...], live: int) -> None:
        names.extend(chosen)
        counted.append(live)

    recipe = await injector.prepare(fault, replace(context, drawn=drawn))
    return replace(recipe, names=tuple(names), live=max(counted))
