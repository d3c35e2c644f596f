"""The laws that every injector keeps, ours or a stranger's, as tests that run on the real thing.

Subclass `InjectorContract` in a test module and give it a fixture `bench` that starts a real target::

    class TestMyFault(InjectorContract):
        @pytest.fixture
        async def bench(self):
            async with my_target() as target:
                yield Bench(injector=MyFault(), fault=..., system=..., observe=target.settings, ...)

pytest collects one test a law (the tests are coroutines: set `asyncio_mode = "auto"`). None is skipped: what has no
undo keeps the laws in its own way, by owing nothing. Laws 6, 7 and 11 start fresh interpreters, so the injector's
module must be importable by name.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from chaosrunner import doomed
from chaosrunner.model.fault import Context, Evidence, Fault, Injector, Recipe, Tools, recipe_from_json, recipe_to_json
from chaosrunner.model.system import System
from chaosrunner.world.injectors import RealTools, problems

START_S = 60.0
"""How long a new interpreter may take for all it has to do."""
WATCH_S = 0.6
"""How long, at least, law 7 watches for what should not come any more."""
KILLED_AFTER_S = (0.0, 0.005, 0.05)
"""When, after the inject was called, law 7 kills the caller."""
_AGAIN_S = 0.05


async def nothing() -> None:
    """For a hook that has nothing to do or to see, said on purpose."""


async def none_created() -> tuple[str, ...]:
    """For a fault that creates nothing at its target."""
    return ()


def _own_family() -> frozenset[int]:
    return frozenset({1, os.getpid(), os.getppid()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A real target under one fault.

    Attributes:
        injector: The injector under test.
        fault: What it is asked to do; its target is a component of `system`.
        system: Says where the target is.
        observe: All that the fault may change at the target, and nothing else, as a value that can be compared.
        bystanders: Everything near the target that the fault must leave alone, likewise.
        created: Names of what the fault has created at the target and is there now.
        replace: Puts another target of the same name in the place of the first (a new process, a new proxy).
        use: Uses the target the way its users do, once, whatever comes of it: evidence comes from their traffic.
        inert: It changes nothing, as `noop`: its evidence and its absence are the same with and without it.
        tools: What it reveals secrets with; a fresh process uses its own, with the same environment.
        secrets: Values that no recipe may hold.
        seed: The run's.
        run: The run's id; another one for each bench, because tags are made of it.
        patience_s: How long anything is waited for.
    """

    injector: Injector
    fault: Fault
    system: System
    observe: Callable[[], Awaitable[object]]
    bystanders: Callable[[], Awaitable[object]]
    created: Callable[[], Awaitable[Iterable[str]]]
    replace: Callable[[], Awaitable[None]]
    use: Callable[[], Awaitable[None]] = nothing
    inert: bool = False
    tools: Tools = field(default_factory=RealTools)
    secrets: tuple[str, ...] = ()
    seed: int = 7
    patience_s: float = 15.0
    run: str = field(default_factory=lambda: f"contract-{secrets.token_hex(4)}")

    def context(self) -> Context:
        """A new context of the same run: its random numbers begin anew."""
        rng = random.Random(self.seed)
        return Context(run=self.run, system=self.system, tools=self.tools, rng=rng, spare=_own_family)

    def order(self) -> doomed.Order:
        """The same run, for a runner of its own."""
        return doomed.Order(
            injector=_place_of(self.injector),
            fault=self.fault,
            system=self.system,
            run=self.run,
            seed=self.seed,
            spare=_own_family(),
            budget_s=self.patience_s,
        )

    async def prepared(self) -> Recipe:
        """A recipe that has been through JSON, as every recipe the engine uses has."""
        recipe = await self.injector.prepare(self.fault, self.context())
        return recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))

    async def proven(self, recipe: Recipe) -> Evidence:
        """Use the target until there is evidence of the fault; an AssertionError if there never is."""
        says = "never asked"
        for _ in range(int(self.patience_s / _AGAIN_S)):
            await self.use()
            evidence = await self.injector.verify(recipe, self.tools)
            assert evidence.ok is not False, f"in effect, but its evidence says: {evidence.says}"
            if evidence.ok:
                return evidence
            says = evidence.says
            await asyncio.sleep(_AGAIN_S)
        raise AssertionError(f"no evidence of the fault: {says}")

    async def still_proven(self, recipe: Recipe) -> bool:
        """Whether there is evidence of the fault; whoever cannot look has none."""
        try:
            return (await self.injector.verify(recipe, self.tools)).ok is True
        except Exception:  # a stranger's injector may raise anything
            return False

    async def undone(self, recipe: Recipe) -> None:
        """Undo until the target shows no fault, as the engine does; an AssertionError if it always does."""
        for _ in range(int(self.patience_s / _AGAIN_S)):
            await self.injector.undo(recipe, self.tools)
            if (await self.injector.absent(recipe, self.tools)).ok:
                return
            await asyncio.sleep(_AGAIN_S)
        raise AssertionError("it was undone again and again, and never absent")

    async def seen(self, expected: object) -> None:
        """What is observed becomes `expected`: a target may need a moment to show what it is."""
        for _ in range(int(self.patience_s / _AGAIN_S)):
            if await self.observe() == expected:
                return
            await asyncio.sleep(_AGAIN_S)
        assert await self.observe() == expected

    @asynccontextmanager
    async def in_effect(self) -> AsyncIterator[Recipe]:
        """The fault, injected and proven; undone at the end whatever happens."""
        recipe = await self.prepared()
        try:
            await self.injector.inject(recipe, self.tools)
            await self.proven(recipe)
            yield recipe
        finally:
            await self.undone(recipe)


class InjectorContract:
    """One test a law. `bench` is the fixture a subclass gives."""

    async def test_0_it_is_an_injector(self, bench: Bench) -> None:
        """It has every attribute and method of the protocol, and can run here."""
        assert problems(bench.injector) == []
        available = bench.injector.available()
        assert available.ok, available.why

    async def test_1_prepare_changes_nothing(self, bench: Bench) -> None:
        """Preparing, once or twice, leaves the target and all around it as they were, and chooses the same."""
        before, around = await bench.observe(), await bench.bystanders()
        first, second = await bench.prepared(), await bench.prepared()
        assert first.claims == second.claims
        assert (await bench.observe(), await bench.bystanders()) == (before, around)

    async def test_2_a_recipe_survives_json_and_holds_no_secret(self, bench: Bench) -> None:
        """A recipe is the same after JSON, says what it does, and no secret value is in it."""
        recipe = await bench.injector.prepare(bench.fault, bench.context())
        text = json.dumps(recipe_to_json(recipe))
        assert recipe_to_json(recipe_from_json(json.loads(text))) == json.loads(text)
        assert recipe.injector == bench.injector.name
        assert recipe.says
        assert not [secret for secret in bench.secrets if secret in text]

    async def test_3_undo_restores_what_was_observed(self, bench: Bench) -> None:
        """After inject, proof and undo the target looks as it did before; what cannot be undone owes nothing."""
        before = await bench.observe()
        async with bench.in_effect() as recipe:
            pass
        assert (await bench.injector.absent(recipe, bench.tools)).ok
        if recipe.reversible:
            await bench.seen(before)

    async def test_4_undo_twice_is_undo_once(self, bench: Bench) -> None:
        """What was undone is not proven any more, and another undo changes nothing."""
        async with bench.in_effect() as recipe:
            pass
        if recipe.reversible and not bench.inert:
            assert not await bench.still_proven(recipe)
        once = await bench.observe()
        await bench.injector.undo(recipe, bench.tools)
        assert await bench.observe() == once
        assert (await bench.injector.absent(recipe, bench.tools)).ok

    async def test_5_undo_without_inject_is_harmless(self, bench: Bench) -> None:
        """Undoing what never was injected changes nothing and finds it absent."""
        before, around = await bench.observe(), await bench.bystanders()
        recipe = await bench.prepared()
        await bench.injector.undo(recipe, bench.tools)
        assert (await bench.injector.absent(recipe, bench.tools)).ok
        assert (await bench.observe(), await bench.bystanders()) == (before, around)

    async def test_6_undo_works_from_a_fresh_process(self, bench: Bench) -> None:
        """A process that knows nothing but the recipe restores the target."""
        before = await bench.observe()
        recipe = await bench.prepared()
        try:
            await bench.injector.inject(recipe, bench.tools)
            await bench.proven(recipe)
            async with asyncio.timeout(START_S):
                answer = await _fresh(bench.injector, recipe)
            assert answer["absent"] is True, answer
            if recipe.reversible:
                await bench.seen(before)
        finally:
            await bench.undone(recipe)

    async def test_7_a_late_inject_does_not_outlive_the_settle_time(self, bench: Bench) -> None:
        """Its caller is killed at some moment; once it was undone until `settle_s` had passed, the fault stays away."""
        before = await bench.observe()
        for delay_s in KILLED_AFTER_S:
            recipe = await bench.prepared()
            async with asyncio.timeout(START_S):
                await _inject_and_die(bench.injector, recipe, delay_s)
            await self._settled(bench, recipe)
            if recipe.reversible:
                await bench.seen(before)
            else:
                await bench.replace()
        await asyncio.sleep(max(WATCH_S, recipe.settle_s))
        if recipe.reversible:
            assert await bench.observe() == before, "it came back after the settle time"

    async def test_8_it_touches_nothing_else(self, bench: Bench) -> None:
        """While the fault is in effect bystanders are untouched; what it created was named and tagged beforehand."""
        around, stranger = await bench.bystanders(), set(await bench.created())
        async with bench.in_effect() as recipe:
            text = json.dumps(recipe_to_json(recipe))
            for name in set(await bench.created()) - stranger:
                assert "chaosrunner" in name
                assert bench.run in name
                assert name in text
            assert await bench.bystanders() == around
        assert set(await bench.created()) == stranger
        assert await bench.bystanders() == around

    async def test_9_a_replaced_target_is_nothing_to_undo(self, bench: Bench) -> None:
        """Undo leaves a new target of the same name alone, without an error, and finds the fault absent."""
        async with bench.in_effect() as recipe:
            await bench.replace()
            new = await bench.observe()
            await bench.undone(recipe)
            assert await bench.observe() == new

    async def test_10_what_has_no_undo_leaves_no_debt(self, bench: Bench) -> None:
        """A recipe can be undone exactly if its injector says so; only what cannot be is absent while in effect."""
        async with bench.in_effect() as recipe:
            assert recipe.reversible is bench.injector.reversible
            owed = not (await bench.injector.absent(recipe, bench.tools)).ok
            assert owed is (recipe.reversible and not bench.inert)

    async def test_11_a_runner_that_dies_leaves_nothing(self, bench: Bench) -> None:
        """A real runner dies amid the fault, by default when nobody has written down yet that it was injected; others
        pay. `CHAOSRUNNER_TORTURE=n`: it dies at every moment, killed, stopped, or with its watchdog, and n random ones.
        """
        before = await bench.observe()
        for way in doomed.ways(reversible=bench.injector.reversible):
            recipe = await doomed.dies(bench.order(), way)
            if recipe is None:
                continue
            assert (await bench.injector.absent(recipe, bench.tools)).ok, way
            if recipe.reversible:
                await bench.seen(before)
            else:
                await bench.replace()

    async def _settled(self, bench: Bench, recipe: Recipe) -> None:
        """What a successor does: undo, look, and repeat until the settle time has passed since it took over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + recipe.settle_s
        await bench.undone(recipe)
        while loop.time() < until:
            await asyncio.sleep(_AGAIN_S)
            await bench.undone(recipe)


def _place_of(injector: Injector) -> str:
    kind = type(injector)
    return f"{kind.__module__}:{kind.__qualname__}"


async def _fresh(injector: Injector, recipe: Recipe) -> Mapping[str, object]:
    """Undo and look for what is left, in a new interpreter."""
    with _interpreter(injector, recipe, "undo") as process:
        said, complained = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, complained.decode()[-2000:]
    answer: Mapping[str, object] = json.loads(said)
    return answer


async def _inject_and_die(injector: Injector, recipe: Recipe, delay_s: float) -> None:
    """Inject from a new interpreter that is killed `delay_s` after the call began."""
    # Not an asyncio child: that would wait for its output to end, which whoever it started may hold open.
    with _interpreter(injector, recipe, "inject") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        calling = await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(delay_s)
        process.kill()
        assert calling == b"calling\n", process.stderr.read().decode()[-2000:]


def _interpreter(injector: Injector, recipe: Recipe, do: str) -> subprocess.Popen[bytes]:
    order = {"injector": _place_of(injector), "recipe": recipe_to_json(recipe), "do": do}
    process = subprocess.Popen(
        [sys.executable, "-m", "chaosrunner.contract"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode())
    process.stdin.close()
    process.stdin = None  # so that nobody writes to it again
    return process


async def _obey(order: Mapping[str, object]) -> None:
    from importlib.metadata import EntryPoint

    injector: Injector = EntryPoint("it", str(order["injector"]), "").load()()
    raw = order["recipe"]
    assert isinstance(raw, Mapping)
    recipe, tools = recipe_from_json(raw), RealTools()
    if order["do"] == "inject":
        await injector.absent(recipe, tools)  # imports what it needs, so that the kill falls into the call itself
        print("calling", flush=True)
        await injector.inject(recipe, tools)
        return
    await injector.undo(recipe, tools)
    evidence = await injector.absent(recipe, tools)
    print(json.dumps({"absent": evidence.ok, "says": evidence.says}))


if __name__ == "__main__":
    asyncio.run(_obey(json.loads(sys.stdin.read())))
