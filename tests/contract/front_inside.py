"""A program for inside a network namespace: puts a proxy in front of an address, and takes it away when told to.

`python front_inside.py 10.9.0.1:5432 '[fd09::1]:5432'`: says `in front`, waits for a line, says `gone`, waits for
another and ends.
"""

from __future__ import annotations

import asyncio
import random
import sys

from chaosrunner.model.fault import Context, Fault, Target
from chaosrunner.model.system import Component, OwnProxy, System
from chaosrunner.world.injectors import RealTools
from fault_injectors import proxy as family


async def main(behind: list[str]) -> None:
    """Inject, wait, undo, wait."""
    injector, tools = family.ProxyLatency(), RealTools()
    component = Component(name="target", proxy=OwnProxy(behind=tuple(behind)))
    system = System(name="inside", file="inside.yaml", components={"target": component})
    context = Context(run=f"in{random.randrange(10**6)}", system=system, tools=tools, rng=random.Random(1), spare=set)
    params = injector.Params(add=0.01)
    fault = Fault(index=0, injector=injector.name, target=Target(component="target", share=1.0), params=params)
    recipe = await injector.prepare(fault, context)
    try:
        await injector.inject(recipe, tools)
        print("in front", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("proven" if (await injector.verify(recipe, tools)).ok else "not proven", flush=True)
    finally:
        await injector.undo(recipe, tools)
    assert (await injector.absent(recipe, tools)).ok
    print("gone", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
