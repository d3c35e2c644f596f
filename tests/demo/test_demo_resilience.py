"""The point of the demo: one fault after the other, the careful system holds and the fragile one breaks.

No figure here is a speed of this machine: shares of failures, and how many times slower one system is than the other.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import demo_harm as harm
import pytest
from demo_traffic import Load, Traffic, errors, p95_s, traffic

from chaosrunner.demo.options import DemoOptions, free_base_port
from chaosrunner.demo.running import Demo, running_demo

pytestmark = [pytest.mark.e2e, pytest.mark.postgres]

STEADY_S = 4.0
IN_FLIGHT_S = 0.5
SETTLE_S = 2.0
AFTER_S = 3.0
LOAD = Load(journeys_per_s=22, prompt_every=1, timeout_s=4.0)


@dataclass(frozen=True, slots=True)
class Watched:
    """What users saw of one fault."""

    seen: Traffic
    begin_s: float
    end_s: float

    def before(self, name: str | None = None):
        # What is due in the last moment before the harm may still be open when it comes.
        return self.seen.between(self.begin_s - STEADY_S / 2, self.begin_s - IN_FLIGHT_S, name)

    def during(self, name: str | None = None):
        return self.seen.between(self.begin_s, self.end_s, name)

    def after(self, name: str | None = None):
        return self.seen.between(self.end_s + SETTLE_S, self.end_s + SETTLE_S + AFTER_S, name)


Fault = Callable[[Demo], AbstractAsyncContextManager[None]]


async def watch(fault: Fault, *, lasts_s: float, fragile: bool) -> Watched:
    """Start a demo, put it under load, do the harm, and look on until every request of interest has ended."""
    options = DemoOptions(base_port=free_base_port(), fragile=fragile)
    async with running_demo(options) as demo, traffic(demo.entry, LOAD) as seen:
        await asyncio.sleep(STEADY_S)
        begin_s = time.monotonic()
        async with fault(demo):
            await asyncio.sleep(lasts_s)
        end_s = time.monotonic()
        await asyncio.sleep(SETTLE_S + AFTER_S + (LOAD.timeout_s if fragile else 1.0))
    return Watched(seen, begin_s, end_s)


async def both(fault: Fault, *, lasts_s: float) -> tuple[Watched, Watched]:
    """The same harm to the careful and then to the fragile system; both were well before."""
    careful = await watch(fault, lasts_s=lasts_s, fragile=False)
    fragile = await watch(fault, lasts_s=lasts_s, fragile=True)
    assert errors(careful.before()) == errors(fragile.before()) == 0
    assert errors(careful.after()) < 0.01, "the careful system did not recover"
    return careful, fragile


def slower(fragile, careful) -> float:
    """How many times the p95 of one is that of the other; infinite when requests failed."""
    return p95_s(fragile) / p95_s(careful)


async def test_a_lost_replica_costs_the_careful_nothing_and_the_fragile_for_ever():
    """One of three replicas is killed: the careful restart it unnoticed, the fragile fail a third of all requests."""
    careful, fragile = await both(harm.replica_lost, lasts_s=5)
    assert errors(careful.during()) < 0.02
    assert errors(fragile.during()) > 0.1
    assert errors(fragile.after()) > 0.1


async def test_a_slow_database_is_passed_on_by_the_careful_and_multiplied_by_the_fragile():
    """Each answer of Postgres takes 250 ms more: the careful are that much slower, the fragile queue."""
    careful, fragile = await both(harm.database_slow, lasts_s=8)
    assert errors(careful.during()) < 0.02
    assert slower(fragile.during(), careful.during()) > 3


async def test_a_database_that_was_away_is_back_for_the_careful_and_never_for_the_fragile():
    """Postgres cannot be reached for five seconds: the careful serve reads meanwhile, the fragile never work again."""
    careful, fragile = await both(harm.database_away, lasts_s=5)
    for name in ("log in", "list", "prompt"):
        assert errors(careful.during(name)) < 0.01
    assert errors(careful.during()) < 0.6
    assert errors(fragile.during()) > 0.8
    assert errors(fragile.after()) > 0.8


async def test_an_exhausted_pool_is_survived_by_the_careful_only():
    """The sessions are ended and their slots taken: the careful serve reads meanwhile, the fragile never work again."""
    careful, fragile = await both(harm.pool_exhausted, lasts_s=5)
    for name in ("log in", "list", "prompt"):
        assert errors(careful.during(name)) < 0.01
    assert errors(careful.during()) < 0.6
    assert errors(fragile.during()) > 0.8
    assert errors(fragile.after()) > 0.8


async def test_a_slow_dependency_slows_the_careful_prompt_and_everything_fragile():
    """The model takes 400±300 ms more: careful prompts fall back in time, the fragile run out of database sessions."""
    careful, fragile = await both(harm.model_slow, lasts_s=10)
    assert errors(careful.during()) < 0.02
    assert slower(fragile.during("prompt"), careful.during("prompt")) > 2
    assert slower(fragile.during("list"), careful.during("list")) > 5


async def test_a_paused_replica_is_avoided_by_the_careful_and_waited_for_by_the_fragile():
    """One of three replicas stands still: the careful go elsewhere, the fragile wait until it moves or they give up."""
    careful, fragile = await both(harm.replica_paused, lasts_s=8)
    assert errors(careful.during()) < 0.02
    assert slower(fragile.during(), careful.during()) > 5
