"""Paying orphaned debts by hand: of one run, of all runs, or of a system, also when a journal is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, InjectorError, JournalBroken, Orphaned
from chaosrunner.logic.fold import State
from chaosrunner.model.events import Prepared
from chaosrunner.model.fault import recipe_to_json
from chaosrunner.world import claims
from chaosrunner.world.far_scan import hosts_of, recorded_on, scan_on, seen_from_here
from chaosrunner.world.journal import Journal
from chaosrunner.world.lock import OWNER, held
from chaosrunner.world.orphans import being_paid, debts, debts_of, is_lost, is_over, known, orphaned
from chaosrunner.world.paper import NoPaper
from chaosrunner.world.payment import Payer
from chaosrunner.world.succession import Payment, succeed
from chaosrunner.world.tags import bears

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chaosrunner.model.fault import Injector, Recipe
    from chaosrunner.model.system import System
    from chaosrunner.world.succession import Heir


async def recover(run_dir: Path, heir: Heir) -> list[Payment]:
    """Pay what a dead run owes. What its watchdog is paying just now is not touched, and is told as not yet paid.

    Raises:
        Busy: the run is active; it was not touched.
        JournalBroken: there is no journal.
    """
    try:
        return await succeed(run_dir, heir)
    except Busy:
        if at_it := _under_way(run_dir):
            return at_it
        raise


async def recover_all(heir: Heir) -> list[Payment]:
    """Pay what all dead runs of the state directory owe; of one whose journal is gone, what its claims still say.

    What somebody else is paying just now is not touched, and is told as not yet paid. A lost journal is told, too: what
    else it owed only `scan` can find.
    """
    payments = await _of_dead_runs(None, heir)
    paid = {payment.run_dir for payment in payments}
    under_way = [run.run_dir for run in being_paid(heir.home) if run.run_dir not in paid]
    return [*payments, *(payment for run_dir in under_way for payment in _under_way(run_dir))]


def _under_way(run_dir: Path) -> list[Payment]:
    """What somebody else is paying just now of a run that is over; nothing when it goes on."""
    if not is_over(known(run_dir)):
        return []
    why = f"another process is undoing it just now; wait for it with: chaosrunner abort {run_dir.absolute().name}"
    return [Payment(run_dir, debt.fault, debt.recipe.says, False, why) for debt in debts_of(run_dir)]


async def scan(system: System, injectors: Iterable[Injector], heir: Heir) -> list[Payment]:
    """Pay what dead runs owe on a system, then find what carries our tag at its targets, and undo it.

    What dead runs owe is in their journals; of a run whose journal is gone, in the claims that it has left. Other hosts
    are looked at by the hands there, which have written down what they injected. Nothing of a run that is active here
    is touched, nor what a hand has injected for a run unknown here, until its time is past. What carries no tag (a
    stopped process) is ours if a dead run's claim on it is left. Runs whose journal is gone are signed off if all that
    was found could be undone. What is found here by its tag may be of a live run of another state directory, which
    cannot be told from a dead one: that is why this is a command and never done by itself.
    """
    by_name, elsewhere = {injector.name: injector for injector in injectors}, heir.injector
    heir = replace(heir, injector=lambda name: by_name.get(name) or elsewhere(name))
    runs = {run.run for run in heir.home.runs()}  # before those that are paid now are signed off
    payments = await _of_dead_runs(system.name, heir)
    found: list[Recipe] = []
    problems: list[Payment] = []
    strangers: set[str] = set()
    for host in hosts_of(system):
        try:
            others, written = await _of_hands(host, system, runs, heir)
            strangers, payments = strangers | others, payments + written
            seen, unseen = await scan_on(host, system, by_name)
        except InjectorError as error:
            seen, unseen = [], [str(error)]
        found += seen
        problems += [Payment(None, -1, f"{system.name} on {host}", False, why) for why in unseen]
    here, blind = await _found_here(system, by_name.values(), heir)
    found, problems = [*found, *here], [*problems, *blind]
    found = [recipe for recipe in found if not any(bears(recipe, run) for run in strangers)]
    ours = [recipe for recipe in found if _is_ours(by_name[recipe.injector], recipe, heir)]
    payments += [await _undo_found(recipe, heir) for recipe in _not_active(ours, heir)]
    if not problems and all(payment.paid for payment in payments):
        for run in orphaned(heir.home, system.name):
            if is_lost(run.run_dir):
                heir.home.sign_off(run)
    return payments + problems


async def _of_hands(host: str, system: System, runs: set[str], heir: Heir) -> tuple[set[str], list[Payment]]:
    """Undo what hands on a host have written down, of our dead runs and what is past its time: no look may find it.

    Returns:
        The runs that are unknown here and whose faults there go on; and what became of all that was written down.
    """
    recorded, unread = await recorded_on(host)
    strangers: set[str] = set()
    payments = [Payment(None, -1, f"{system.name} on {host}", False, why) for why in unread]
    active = _active(heir)
    for one in recorded:
        if _is_active(one.recipe, active, heir):
            continue
        if one.run in runs or not one.left_s:
            payments.append(await _undo_found(one.recipe, heir))
            continue
        strangers.add(one.run)
        why = f"of run {one.run}, unknown here; it ends by itself within {one.left_s:.0f} s"
        payments.append(Payment(None, -1, one.recipe.says, True, why, theirs=True))
    return strangers, payments


async def _found_here(system: System, injectors: Iterable[Injector], heir: Heir) -> tuple[list[Recipe], list[Payment]]:
    """What injectors find at a system, and what they could not look at."""
    found: list[Recipe] = []
    problems: list[Payment] = []
    for injector in injectors:
        finder = getattr(injector, "scan", None)
        if finder is None:
            continue
        try:
            found += await finder(seen_from_here(system, injector.name), heir.tools)
        except Exception as error:  # one injector that cannot look must not stop the others
            problems.append(Payment(None, -1, f"{injector.name} at {system.name}", False, str(error)))
    return found, problems


async def _of_dead_runs(system: str | None, heir: Heir) -> list[Payment]:
    """Pay what dead runs owe on a system, or on all."""
    payments: list[Payment] = []
    for run in orphaned(heir.home, system):
        if is_lost(run.run_dir):
            try:
                recipes = [recipe for recipe in claims.recipes_of(heir.home, run.run_dir) if recipe.reversible]
            except TypeError as error:
                says, why = f"run {run.run} on {run.system}", f"what it claimed cannot be read: {error}"
                payments.append(Payment(run.run_dir, -1, says, False, why))
                continue
            payments += [await _undo_found(recipe, heir) for recipe in recipes]
            if system is not None:
                continue  # whoever looks at the system itself finds the rest
        try:
            payments += await succeed(run.run_dir, heir)
        except Busy:
            payments += _under_way(run.run_dir)
        except JournalBroken as error:
            payments.append(Payment(run.run_dir, -1, f"run {run.run} on {run.system}", False, str(error)))
    return payments


def _not_active(recipes: Iterable[Recipe], heir: Heir) -> list[Recipe]:
    """Those that are not of a run that is active here."""
    active = _active(heir)
    return [recipe for recipe in recipes if not _is_active(recipe, active, heir)]


def _active(heir: Heir) -> list[str]:
    return [run.run for run in heir.home.runs() if held(run.run_dir / OWNER)]


def _is_ours(injector: Injector, recipe: Recipe, heir: Heir) -> bool:
    """Whether it carries our tag, or else whether a run of ours has claimed it and died."""
    return getattr(injector, "tagged", True) or all(claims.left(heir.home, claim) for claim in recipe.claims)


def _is_active(recipe: Recipe, active: list[str], heir: Heir) -> bool:
    if any(bears(recipe, run) for run in active):
        return True
    try:
        claims.refuse_held(heir.home, recipe.claims)
    except Busy:
        return True
    except Orphaned:
        return False
    return False


async def _undo_found(recipe: Recipe, heir: Heir) -> Payment:
    """Pay a debt that no journal knows of, by the same rules, with a journal that nobody keeps."""
    journal = Journal(lambda _: NoPaper(), heir.clock, State())
    journal.write(Prepared(fault=0, recipe=recipe_to_json(recipe), deadline_ns=0))
    payer = Payer(journal=journal, clock=heir.clock, tools=heir.tools, injector=heir.injector)
    paid = await payer.pay(debts(journal.state), budget_s=heir.budget_s)
    for claim in recipe.claims if paid else ():
        if (dead := claims.left(heir.home, claim)) is not None:
            claims.forget(heir.home, [claim], dead)
    return Payment(None, 0, recipe.says, paid, journal.state.fault(0).why)
