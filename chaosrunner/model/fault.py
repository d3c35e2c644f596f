"""A Fault is finite and carries its way back; an Injector keeps the laws of `chaosrunner.testing.InjectorContract`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from chaosrunner.model.rules import Rules
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import System

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`1 of 3 api`, `30% of api`, `all api` or `database`."""

    component: str
    count: int | None = None
    """How many; None with `share` None = the component's only instance."""
    of: int | None = None
    """Refuse unless exactly this many are live."""
    share: float | None = None
    """0..1, rounded down but at least one; 1.0 = all (needs `accept: all`)."""

    def __str__(self) -> str:
        if self.share == 1.0:
            return f"all {self.component}"
        if self.share is not None:
            return f"{self.share * 100:g}% of {self.component}"
        if self.count is not None:
            return f"{self.count} of {self.of} {self.component}"
        return self.component

    def how_many(self, live: int) -> int:
        """How many of `live` instances to hit.

        Raises:
            ValueError: the live count is not what the target promises; the message says both.
        """
        if live == 0:
            raise ValueError(f"no live instance of {self.component}")
        if self.of is not None and live != self.of:
            raise ValueError(f"{self}: expected {self.of} live, found {live}")
        if self.share is not None:
            return max(1, int(live * self.share))
        if self.count is None and live != 1:
            raise ValueError(f"{self.component} has {live} live instances; write '1 of {live} {self.component}'")
        return self.count or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The composite of the file that a fault is part of; all of its faults are told as one."""

    line: int
    """Of the entry, which no two share."""
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to break, when, and for how long. Always finite."""

    index: int
    """Position in the experiment, from 0; the fault's name in the journal."""
    injector: str
    target: Target | None
    params: object
    """An instance of the injector's `Params` dataclass."""
    at_s: float = 0.0
    """Seconds after the FAULT phase begins."""
    for_s: float = 30.0
    accept: frozenset[str] = frozenset()
    """`all`, `unguarded`."""
    line: int = 0
    after: tuple[int, ...] = ()
    """Faults that must be over before it begins, however long undoing them takes."""
    pause_s: float = 0.0
    """It begins at least this long after the last of `after` is over."""
    group: Group | None = None
    """None: it stands in the file by itself."""

    @property
    def title(self) -> str:
        """`proxy.latency on database`."""
        return f"{self.injector} on {self.target}" if self.target else self.injector


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that inject and undo may use: JSON, no secret, written and fsynced before any harm."""

    injector: str
    says: str
    """One line for people: what will be hit and how it is put back."""
    data: Mapping[str, object]
    """JSON values only; secrets as `{"secret": template}`."""
    claims: tuple[str, ...]
    """Resources that will change (`process:1234:567`, `proxy:http://…/database`). Two faults never overlap on one."""
    reversible: bool = True
    """False: a kill. No debt is left; that the replacement comes is measured."""
    settle_s: float = 0.5
    """An inject without an answer may still land this much later; undo is repeated until it has passed."""
    guard: str = "runner"
    """`target`: the target itself ends the fault (a lease); `runner`: only runner or watchdog on this host do."""
    lasts_s: float = 0.0
    """How long the harm should last; target-held deadlines are this plus a grace."""
    names: tuple[str, ...] = ()
    """The instances of the target's component that were drawn; filled in by the engine, as `live` is."""
    live: int = 0
    """Out of how many."""


def recipe_to_json(recipe: Recipe) -> dict[str, object]:
    """A recipe as JSON values only."""
    raw: dict[str, object] = {item.name: getattr(recipe, item.name) for item in fields(recipe)}
    return {**raw, "data": dict(recipe.data), "claims": list(recipe.claims), "names": list(recipe.names)}


def recipe_from_json(raw: Mapping[str, object]) -> Recipe:
    """A recipe from its JSON; what a later version added is ignored.

    Raises:
        TypeError: a field without a default is missing.
    """
    given: dict[str, Any] = {item.name: raw[item.name] for item in fields(Recipe) if item.name in raw}
    return Recipe(**{**given, "claims": tuple(given.get("claims", ())), "names": tuple(given.get("names", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the target's own traffic or state says. `ok` None = nothing to see yet: ask again."""

    ok: bool | None
    says: str
    data: Mapping[str, object] = field(default_factory=dict)
    ended: bool = False
    """With `ok` False: what was hit has ended, come back or been replaced by itself, and the fault went with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether an injector can run here, and if not, why."""

    ok: bool
    why: str = ""


class Tools(Protocol):
    """What inject, verify, undo and absent may use; works the same in a fresh process (watchdog, recover)."""

    def reveal(self, secret: Secret) -> str:
        """The secret's value, references resolved now. Raises InjectorError naming the missing reference."""
        ...


def _nobody_asks(names: tuple[str, ...], live: int) -> None:
    """Nobody counts what is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What `prepare` may look at."""

    run: str
    """The run's id."""
    system: System
    tools: Tools
    rng: random.Random
    """Seeded and journalled: the same seed and the same live targets give the same choice."""
    spare: Callable[[], frozenset[int]]
    """Pids never to touch: this runner, its children and ancestors, the watchdog, the load workers."""
    keep: tuple[str, ...] = ()
    """Directories whose file systems no fault may fill or slow: the state directory, and where runs are written."""
    rules: tuple[Rules, ...] = ()
    """The system's and the experiment's: what they protect is never drawn."""
    drawn: Callable[[tuple[str, ...], int], object] = _nobody_asks
    """Told by whoever draws instances: their names, out of how many that are live. Limits are counted by it."""

    def tag(self, fault: Fault) -> str:
        """The name of whatever this fault creates: `chaosrunner/<run>/<index>`."""
        return f"chaosrunner/{self.run}/{fault.index}"


@runtime_checkable
class Injector(Protocol):
    """One kind of fault. Stateless: everything lives in the recipe."""

    name: ClassVar[str]
    """`family.fault`, as files spell it."""
    about: ClassVar[str]
    """One sentence: what it does to the target and how it is put back."""
    needs: ClassVar[tuple[str, ...]]
    """What the target component must say in the system file, all of it: `processes`, `proxies`, `dsn`, `admin`,
    `namespaces`, `redis`. Empty = the fault has no target."""
    reversible: ClassVar[bool]
    guard: ClassVar[str]
    Params: ClassVar[type]
    """A frozen keyword-only dataclass; types from `model.units`, str, int, bool or Literal; `metadata={"help": …}`."""

    def available(self) -> Availability:
        """Whether it can run on this host (kernel, privileges, programs). Fast, no network, touches nothing."""
        ...

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look, choose, claim; change nothing. Raises InjectorError when the target is not as promised."""
        ...

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Do the harm the recipe describes. Raises InjectorError."""
        ...

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is the fault in effect, by the target's own traffic or state? Polled until ok or the fault is healed."""
        ...

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Put it back. Idempotent; harmless without inject, or when the target was replaced. Raises InjectorError."""
        ...

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is the fault gone, by the target's own state? ok=True ends the undo; False or None: undo again."""
        ...
