"""What is left when all should have been put back: every undone fault is looked at again, and whatever bears our tag.

An external hand may have put a fault back, or it has landed later than anybody could expect. What cannot be looked at
is not taken for gone. It is only told here: who undoes it is the watchdog, or `chaosrunner recover`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.model.events import Residue
from chaosrunner.model.fault import recipe_from_json
from chaosrunner.model.units import NANOS
from chaosrunner.world.far_scan import acts_there, scan_on, seen_from_here
from chaosrunner.world.tags import bears

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from chaosrunner.model.fault import Injector, Recipe
    from chaosrunner.world.injection import UndoKit
    from chaosrunner.world.journal import Journal

LOOK_S = 5.0
"""One look may take this long."""
UNTIL_S = 5.0
"""What cannot be looked at, or is not seen to be gone, is looked at again for this long."""
PAUSE_S = 0.25


async def sweep(kit: UndoKit, journal: Journal, scanners: Callable[[Iterable[Injector]], Iterable[Injector]]) -> None:
    """Look at everything once more and write down what is left. Nothing is written when nothing is.

    Args:
        kit: what the run was played with.
        journal: of the run, which has ended.
        scanners: from injectors that were used, those with a `scan` that finds what they create, by its tag.
    """
    state = journal.state
    recipes = {index: recipe_from_json(seen.recipe) for index, seen in state.faults.items() if seen.recipe}
    if not recipes:
        return
    paid = [index for index in recipes if state.fault(index).status is FaultStatus.PAID]
    await asyncio.gather(*(_look_again(kit, journal, index, recipes[index]) for index in paid))
    owed = {claim for index in state.debts() for claim in recipes[index].claims}
    run = state.started.run if state.started else kit.run_dir.name
    used: dict[str, set[str]] = {}  # only there: nobody may be allowed, or able, to look for it anywhere else
    for recipe in recipes.values():
        used.setdefault(_host_of(recipe), set()).add(recipe.injector)
    looks: list[Awaitable[None]] = []
    for host, names in used.items():
        scanning = scanners(kit.injectors[name] for name in sorted(names))
        tagged = [one for one in scanning if getattr(one, "tagged", True)]  # others are told by `absent` alone
        if host:
            looks.append(_scan_there(kit, journal, (host, [one.name for one in tagged]), (run, owed)))
        else:
            looks += [_scan(kit, journal, one, (run, owed)) for one in tagged]
    await asyncio.gather(*looks)


def _host_of(recipe: Recipe) -> str:
    """The other host that a recipe is carried out on; empty when it is carried out from here."""
    return str(recipe.data.get("host", "")) if acts_there([recipe.injector]) else ""


async def _look_again(kit: UndoKit, journal: Journal, index: int, recipe: Recipe) -> None:
    injector = kit.injectors[recipe.injector]

    async def gone() -> str:
        evidence = await injector.absent(recipe, kit.tools)
        return "" if evidence.ok is True else f"it was undone, but is there again: {evidence.says}"

    if why := await _insist(kit, gone):
        journal.write(Residue(fault=index, says=why))


async def _scan(kit: UndoKit, journal: Journal, injector: Injector, ours: tuple[str, set[str]]) -> None:
    finder = getattr(injector, "scan")  # noqa: B009 - not every injector has one

    async def none_left() -> str:
        return _said(await finder(seen_from_here(kit.experiment.system, injector.name), kit.tools), ours)

    if why := await _insist(kit, none_left):
        journal.write(Residue(fault=None, says=f"{injector.name}: {why}"))


async def _scan_there(kit: UndoKit, journal: Journal, where: tuple[str, list[str]], ours: tuple[str, set[str]]) -> None:
    """Have a host that the run has broken something on looked at, by the injectors that are named."""
    host, names = where

    async def none_left() -> str:
        found, problems = await scan_on(host, kit.experiment.system, names)
        return "; ".join(filter(None, [_said(found, ours), *(f"it cannot be looked at: {why}" for why in problems)]))

    if why := await _insist(kit, none_left):
        journal.write(Residue(fault=None, says=f"{host}: {why}"))


def _said(found: Iterable[Recipe], ours: tuple[str, set[str]]) -> str:
    """What of that which was found is of the run, and not known to be owed; empty when nothing is."""
    run, owed = ours
    return "; ".join(recipe.says for recipe in found if bears(recipe, run) and not owed & {*recipe.claims})


async def _insist(kit: UndoKit, look: Callable[[], Awaitable[str]]) -> str:
    """Why a look is not content, however often it is tried; empty as soon as it is."""
    until = kit.clock.now() + int(UNTIL_S * NANOS)
    while True:
        try:
            async with asyncio.timeout(LOOK_S):
                why = await look()
        except TimeoutError as error:
            why = str(error) or f"a look has not answered within {LOOK_S:g} s"
        except Exception as error:  # a stranger's injector may raise anything; what it cannot see is not gone
            why = f"it cannot be looked at: {str(error) or type(error).__name__}"
        if not why or kit.clock.now() >= until:
            return why
        await kit.clock.sleep_until(kit.clock.now() + int(PAUSE_S * NANOS))
