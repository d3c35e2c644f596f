"""What a runner tells its watchdog on the first line of its stdin: whom to watch, and what it may have to undo with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from chaosrunner.model.fault import recipe_from_json, recipe_to_json
from chaosrunner.world.far import reached, reaching

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chaosrunner.model.fault import Injector, Recipe
    from chaosrunner.world.state_home import StateHome

BEAT = b"."
GO = b"q"
BEAT_EVERY_S = 0.5
READY = "READY"
REFUSED = "NO"
"""Followed by why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOrders:
    """Everything by value, so that nothing the runner has can be missing later."""

    run_dir: str
    home: str
    runner_pid: int
    runner_started: int
    injectors: Mapping[str, str]
    """Name → `module:Class`, so that the watchdog imports what the runner uses, whatever metadata says by then."""
    recipes: tuple[Mapping[str, object], ...]
    """Recipes like those that will be injected: with them it tries its secrets and looks at the targets."""
    beat_lost_s: float = 3.0
    """Without a beat for this long, and past a deadline, the runner is taken for hung."""
    budget_s: float = 600.0

    def line(self) -> bytes:
        """As one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> WatchOrders:
        """From the line. Raises ValueError, TypeError or KeyError when it is none."""
        raw = json.loads(line)
        return cls(**{**raw, "recipes": tuple(raw["recipes"])})

    def injector(self, name: str) -> Injector:
        """The injector of that name, imported. Raises KeyError, ImportError, or whatever it raises."""
        module, _, path = self.injectors[name].partition(":")
        found: object = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        made: Injector = found()  # type: ignore[operator]
        return reaching(made)

    def all_recipes(self) -> list[Recipe]:
        """The recipes as values."""
        return [recipe_from_json(raw) for raw in self.recipes]


def orders_for(run_dir: Path, home: StateHome, injectors: Iterable[Injector], recipes: Iterable[Recipe]) -> WatchOrders:
    """The orders to watch this very process.

    Args:
        run_dir: the run directory, with its journal.
        home: the state directory.
        injectors: all in use.
        recipes: prepared for this experiment, as for a plan.
    """
    from chaosrunner.world.runner_process import started_at

    return WatchOrders(
        run_dir=str(run_dir.absolute()),
        home=str(home.path),
        runner_pid=os.getpid(),
        runner_started=started_at(os.getpid()),
        injectors={it.name: f"{type(it).__module__}:{type(it).__qualname__}" for it in map(reached, injectors)},
        recipes=tuple(recipe_to_json(recipe) for recipe in recipes),
    )
