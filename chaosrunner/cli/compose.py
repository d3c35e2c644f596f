"""Where files become values and values meet the real world: what several verbs build in the same way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import InjectorError, Mistake, Mistakes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Context, Fault, Injector, Recipe, Tools

OUTSIDE = "outside.lock"
"""In the state directory; held by `chaosrunner watchdog` while it stands guard."""


def read_experiment(path: Path, system: str | None) -> Experiment:
    """The experiment in a file, on its own system or another. Raises Mistakes with all that is wrong."""
    from chaosrunner.logic.parse import load_experiment
    from chaosrunner.world.files import around_here

    return load_experiment(path, around_here(), system=system)


def injectors_of(experiment: Experiment) -> dict[str, Injector]:
    """The injectors an experiment names, loaded and checked. Raises Mistakes when one cannot run on this host."""
    from chaosrunner.world.far import host_of
    from chaosrunner.world.injectors import load

    found: dict[str, Injector] = {}
    mistakes = []
    for fault in experiment.faults:
        injector = found.setdefault(fault.injector, load(fault.injector))
        if not host_of(fault, experiment.system.components) and (why := why_not(injector)):
            mistakes.append(Mistake(experiment.file, fault.line, 1, f"'{fault.injector}' cannot run here: {why}"))
    if mistakes:
        raise Mistakes(mistakes)
    return found


def why_not(injector: Injector) -> str:
    """Why an injector cannot run here; empty when it can."""
    try:
        here = injector.available()
        return "" if here.ok else here.why or "it does not say why"
    except Exception as error:  # a stranger's injector may raise or answer anything
        return f"{type(error).__name__}: {error}"


def new_run_id() -> str:
    """Six hexadecimal digits: short enough to say aloud, long enough for one runs directory."""
    return secrets.token_hex(3)


def new_seed() -> int:
    """A seed that fits in eight hexadecimal digits."""
    return secrets.randbits(32)


@dataclass(frozen=True, slots=True)
class Plan:
    """What each fault would hit, as of now."""

    recipes: tuple[Recipe, ...]
    seed: int
    digest: str

    @property
    def hash(self) -> str:
        """`<seed>-<digest>`: the same targets chosen by the same seed, under the same files."""
        return f"{self.seed:08x}-{self.digest}"


async def resolve(experiment: Experiment, injectors: Mapping[str, Injector], seed: int) -> Plan:
    """Ask every injector what it would hit; touches nothing.

    Raises:
        Mistakes: a target is not as the experiment says, or two faults would be on one resource at the same time.
        Busy: a target is as it is because of another active run.
        Orphaned: it is so because of a run that died.
    """
    from chaosrunner.logic.composite import overlapping
    from chaosrunner.logic.rules import refused_together
    from chaosrunner.model.fault import recipe_to_json
    from chaosrunner.world.aiming import prepared
    from chaosrunner.world.claims import refuse_ours
    from chaosrunner.world.injectors import RealTools
    from chaosrunner.world.spare import spare
    from chaosrunner.world.state_home import StateHome

    recipes, mistakes, tools = [], [], RealTools()
    for fault in experiment.faults:
        context = context_for(experiment, fault, run="plan", seed=seed, tools=tools, spare=spare(experiment.system))
        try:
            recipe = await prepared(injectors[fault.injector], fault, context)
            json.dumps(recipe_to_json(recipe))  # what cannot be written down cannot be undone by anybody else
            recipes.append(recipe)
        except InjectorError as error:
            refuse_ours(StateHome.find(), f"{fault.title}: {error}", error.claims)
            whose = "; no run of this state directory has done that" if error.claims else ""
            mistakes.append(Mistake(experiment.file, fault.line, 1, f"{fault.title}: {error}{whose}"))
        except Exception as error:  # a stranger's injector may raise anything
            why = f"{fault.title}: its prepare failed: {type(error).__name__}: {error}"
            mistakes.append(Mistake(experiment.file, fault.line, 1, why))
    if not mistakes:
        for earlier, later, claim in overlapping(experiment.faults, recipes):
            why = f"{later.title} would begin while {earlier.title} (line {earlier.line}) still has {claim}"
            advice = "give it a later 'at', or put both 'in turn'"
            mistakes.append(Mistake(experiment.file, later.line, 1, f"{why}; {advice}"))
    if not mistakes:
        refused = refused_together(experiment, recipes)
        mistakes = [Mistake(experiment.file, fault.line, 1, f"{fault.title}: {why}") for fault, why in refused]
    if mistakes:
        raise Mistakes(mistakes)
    claims = [[recipe.injector, sorted(recipe.claims)] for recipe in recipes]
    text = json.dumps([experiment.source, experiment.system_source, claims], sort_keys=True)
    return Plan(tuple(recipes), seed, hashlib.sha256(text.encode()).hexdigest()[:12])


def context_for(  # noqa: PLR0913 - the one place where a Context is made
    experiment: Experiment, fault: Fault, *, run: str, seed: int, tools: Tools, spare: Callable[[], frozenset[int]]
) -> Context:
    """What an injector may look at; the same seed gives each fault the same chances, however often it is asked."""
    from chaosrunner.model.fault import Context
    from chaosrunner.world.state_home import StateHome

    rng = random.Random(f"{seed}/{fault.index}")
    keep = (str(StateHome.find().path), str(Path.cwd()))
    rules = experiment.all_rules
    return Context(run=run, system=experiment.system, tools=tools, rng=rng, spare=spare, keep=keep, rules=rules)


def seed_of(plan_hash: str) -> int:
    """The seed inside a plan hash. Raises Mistakes when it is not one."""
    seed, _, digest = plan_hash.partition("-")
    try:
        if len(seed) == 8 and len(digest) == 12:
            return int(seed, 16)
    except ValueError:
        pass
    raise Mistakes([Mistake("--plan", 0, 0, f"'{plan_hash}' is no plan hash; 'chaosrunner plan' prints one")])


def unguarded(experiment: Experiment, recipes: tuple[Recipe, ...]) -> list[Fault]:
    """Faults that only this host's watchdog can end, and that nobody has accepted as such."""
    return [
        fault
        for fault, recipe in zip(experiment.faults, recipes, strict=True)
        if recipe.reversible and recipe.guard == "runner" and "unguarded" not in fault.accept
    ]


def inside_container() -> bool:
    """Whether this process probably lives in a container, which may die whole."""
    return Path("/.dockerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ
