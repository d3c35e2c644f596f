"""Keep a Redis server, or its connections, from the application: what is held by a process of ours."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Evidence, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Seconds, Share, human_duration
from fault_injectors import leased
from fault_injectors import redis_server as server
from fault_injectors.redis_held import Held, Plan, number, revealed, whereabouts
from fault_injectors.redis_server import Choice, Client, Server

if TYPE_CHECKING:
    from redis.asyncio import Redis

KILLED = "client|kill"
ALMOST = 0.8
"""Of what was asked for: a PING comes a little after a block has begun, and clocks of CPU and wall differ."""
PING_EVERY_S = 0.005
MOST_BLOCKED_S = 2.0
"""Longer, and a fault could not be undone quickly."""
SPARE_FILES = 100
"""Files a holder needs apart from its connections."""
SILENCE_S = 0.4
"""A server that has not answered a PING for so long is silent; longer than a slice of a pause."""
TICK = 0.9
"""Of the time between two looks of a server that nobody calls (`hz`) at whether a pause is over."""
SLICE_MS = 90
"""Of a pause of everything, which is so long at a time; longer only where the server's clock is slower than usual."""


class Pause(Held):
    """The server is there and says nothing."""

    name: ClassVar[str] = "redis.pause"
    about: ClassVar[str] = (
        "Makes every command wait, or every write (CLIENT PAUSE): connections are accepted and nothing is answered, as "
        "by a server that hangs; what waited is done afterwards. Undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What waits."""

        commands: Literal["all", "writes"] = field(
            default="all", metadata={"help": "all: nobody is answered; writes: who only reads is served."}
        )

    def plan(self, params: object, seen: Server, there: list[Client]) -> Plan:
        """Pause, slice after slice."""
        assert isinstance(params, Pause.Params)
        if params.commands == "writes":
            return Plan(says="every command that writes waits", job={"do": "pause writes"})
        slice_ms = max(SLICE_MS, int(TICK * 1000 / int(seen.settings["hz"])))
        return Plan(says="every command waits", job={"do": "pause", "slice_ms": slice_ms})

    async def evidence(self, recipe: Recipe, url: str) -> Evidence:
        """A PING is not answered; or clients wait with a write."""
        job = recipe.data["job"]
        assert isinstance(job, Mapping)
        if job["do"] == "pause writes":
            return await _writes_wait(url)
        return await _silent(url)

    async def at_rest(self, control: Redis) -> None:
        """It also answers what would wait with writes."""
        await _as_a_write(control)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any fault of this module still holds in connections at the system's servers."""
        found = []
        for component in system.components.values():
            if component.redis is None:
                continue
            async with server.session(revealed(component, tools)) as control:
                tags = {one.name for one in await server.clients(control) if one.name.startswith("chaosrunner/")}
            for tag in sorted(tags):
                says = f"connections of {tag} at {component.name}, put back by ending them"
                data = whereabouts(component, tag)
                found.append(Recipe(injector=self.name, says=says, data=data, claims=(), settle_s=leased.SETTLE_S))
        return found


class Block(Held):
    """The server is slow: now and then it does nothing else."""

    name: ClassVar[str] = "redis.block"
    about: ClassVar[str] = (
        "Keeps the server's only thread busy for a while, again and again, as a slow command does (a script that only "
        "counts and touches no key): whoever comes meanwhile waits. Undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How long, how often."""

        lasts: Seconds = field(
            default=Seconds(0.2), metadata={"help": f"How long at a time, at most {MOST_BLOCKED_S:g}s."}
        )
        every: Seconds = field(default=Seconds(1.0), metadata={"help": "From begin to begin."})

        def __post_init__(self) -> None:
            """Short enough to be undone soon, and with time in between."""
            if not 0.001 <= self.lasts <= MOST_BLOCKED_S:
                raise ValueError(f"'lasts' is at least 1ms and at most {MOST_BLOCKED_S:g}s")
            if self.every < 1.2 * self.lasts:
                raise ValueError(
                    "'every' is longer than 'lasts' by a fifth at least; to stop everybody use redis.pause"
                )

    def plan(self, params: object, seen: Server, there: list[Client]) -> Plan:
        """Block after block, none so long that the server would say so."""
        assert isinstance(params, Block.Params)
        threshold_s = int(seen.settings["busy-reply-threshold"]) / 1000
        if 0 < threshold_s <= 2 * params.lasts:  # on a busy host it takes longer
            raise InjectorError(
                f"'lasts' {human_duration(params.lasts)}: after {human_duration(threshold_s)} (busy-reply-threshold) "
                "this server answers BUSY instead of letting people wait"
            )
        calls, spent_us = server.spent(seen.info, "eval")
        return Plan(
            says=f"the server busy for {human_duration(params.lasts)} every {human_duration(params.every)}",
            job={"do": "block", "block_s": params.lasts, "every_s": params.every},
            memory={"calls": calls, "spent_us": spent_us},
        )

    async def evidence(self, recipe: Recipe, url: str) -> Evidence:
        """The server has spent the time, and a PING has waited for it."""
        job = recipe.data["job"]
        assert isinstance(job, Mapping)
        lasts_s = number(job["block_s"])
        async with server.session(url) as control:
            waited_s = await _longest_wait(control, lasts_s + number(job["every_s"]), enough_s=lasts_s * ALMOST)
            calls, spent_us = server.spent(await server.info(control, "commandstats"), "eval")
        blocks, busy_s = calls - number(recipe.data["calls"]), (spent_us - number(recipe.data["spent_us"])) / 1e6
        says = f"a PING waited {human_duration(waited_s)}; busy {blocks:g} times, for {human_duration(max(0, busy_s))}"
        enough = blocks > 0 and busy_s >= lasts_s * ALMOST and waited_s >= lasts_s * ALMOST
        return Evidence(ok=True if enough else None, says=says, data={"waited_s": waited_s, "busy_s": busy_s})


class KillConnections(Held):
    """The application loses its connections."""

    name: ClassVar[str] = "redis.kill_connections"
    about: ClassVar[str] = (
        "Ends some of the application's connections at the server, again and again, as a failing network or an "
        "impatient administrator does; it may connect anew at once. Undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Whose, how many, how often."""

        name: str = field(default="", metadata={"help": "Clients called so, such as cart-*; everybody but us."})
        user: str = field(default="", metadata={"help": "Clients logged in as this ACL user; any."})
        share: Share = field(
            default=Share(1.0), metadata={"help": "Of the connections there are then; rounded down, but at least one."}
        )
        every: Seconds = field(
            default=Seconds(1.0), metadata={"help": "Time between two blows; longer than the fault: one blow."}
        )

        def __post_init__(self) -> None:
            """A share, and a pause."""
            if not 0 < self.share <= 1:
                raise ValueError("'share' is above 0 % and at most 100 %")
            if self.every < 0.05:
                raise ValueError("'every' is at least 50ms")

    def plan(self, params: object, seen: Server, there: list[Client]) -> Plan:
        """Blow after blow."""
        assert isinstance(params, KillConnections.Params)
        whose = Choice(name=params.name, user=params.user)
        meant = whose.of(there)
        if not meant:
            raise InjectorError(f"nobody is connected {whose.says}, so nothing could be ended")
        calls, _ = server.spent(seen.info, KILLED)
        return Plan(
            says=f"{params.share * 100:g}% of the connections {whose.says}, {len(meant)} now, ended every "
            f"{human_duration(params.every)}",
            job={"do": "kill", "whose": asdict(whose), "share": params.share, "every_s": params.every},
            memory={"before": len(meant), "youngest": max(one.id for one in meant), "calls": calls},
        )

    async def evidence(self, recipe: Recipe, url: str) -> Evidence:
        """Connections that were there before are gone, and the server was told to end some."""
        job = recipe.data["job"]
        assert isinstance(job, Mapping)
        async with server.session(url) as control:
            there = Choice(**job["whose"]).of(await server.clients(control))
            calls, _ = server.spent(await server.info(control, "commandstats"), KILLED)
        before, youngest = int(number(recipe.data["before"])), number(recipe.data["youngest"])
        left = sum(one.id <= youngest for one in there)
        told = int(calls - number(recipe.data["calls"]))
        says = f"{before - left} of {before} connections ended, {len(there) - left} new ones are there"
        data = {"ended": before - left, "new": len(there) - left, "told": told}
        return Evidence(ok=True if told > 0 and left < before else None, says=says, data=data)


class Connections(Held):
    """Nobody gets in any more."""

    name: ClassVar[str] = "redis.connections"
    about: ClassVar[str] = (
        "Takes connections until only a few are free below maxclients: who must connect anew is refused; with `end`, "
        "the application's are ended and taken first. Undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How near, and whose are taken."""

        leave: int = field(default=0, metadata={"help": "Connections left free."})
        end: bool = field(
            default=False, metadata={"help": "End the application's connections first, and whenever it gets one."}
        )
        name: str = field(default="", metadata={"help": "With end: clients called so, such as cart-*; all but us."})
        user: str = field(default="", metadata={"help": "With end: clients logged in as this ACL user; any."})

        def __post_init__(self) -> None:
            """At least none; whose, only if they are ended."""
            if self.leave < 0:
                raise ValueError("'leave' is at least 0")
            if (self.name or self.user) and not self.end:
                raise ValueError("'name' and 'user' say whose connections are ended: they go with 'end: true'")

    def plan(self, params: object, seen: Server, there: list[Client]) -> Plan:
        """Take all but `leave`."""
        assert isinstance(params, Connections.Params)
        connected, most = server.places(seen.info)
        whose = Choice(name=params.name, user=params.user)
        meant = whose.of(there) if params.end else []
        taken = most - connected + len(meant) - params.leave
        if taken < 1:
            raise InjectorError(f"leave {params.leave}: {most - connected} of {most} connections are free already")
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        if taken + SPARE_FILES > files:
            raise InjectorError(f"{taken} connections would have to be taken, and this process may open {files} files")
        ended = f"{len(meant)} connections {whose.says} ended and " if params.end else ""
        return Plan(
            says=f"{ended}connections taken until {params.leave} of {most} are free",
            job={"do": "slots", "leave": params.leave, "end": params.end, "whose": asdict(whose)},
            memory={"leave": params.leave},
        )

    async def evidence(self, recipe: Recipe, url: str) -> Evidence:
        """The server lets nobody in, or has no more free connections than it should."""
        leave = int(number(recipe.data["leave"]))
        try:
            async with server.session(url, knock_s=0) as control:
                info = await server.info(control, *server.PLACES, "stats")
        except server.Full as full:
            return Evidence(ok=True, says=f"a new connection is refused: {full}", data={"free": 0})
        connected, most = server.places(info)
        free = most - connected + 1  # we are one of them, and about to go
        says = f"{free} of {most} connections are free; the server has refused {info['rejected_connections']} so far"
        return Evidence(ok=True if free <= leave else None, says=says, data={"free": free})


async def _longest_wait(control: Redis, for_s: float, *, enough_s: float) -> float:
    """The longest answer to a PING within `for_s`, in seconds; no longer asked once one took `enough_s`."""
    loop = asyncio.get_running_loop()
    until, longest = loop.time() + for_s, 0.0
    while longest < enough_s and loop.time() < until:
        asked = loop.time()
        await control.execute_command("PING")
        longest = max(longest, loop.time() - asked)
        await asyncio.sleep(PING_EVERY_S)
    return longest


async def _silent(url: str) -> Evidence:
    """Whether the server accepts a connection and then says nothing."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with server.session(url, answer_s=SILENCE_S):
            pass
    except server.Unanswered:
        return Evidence(ok=True, says=f"a PING has no answer after {SILENCE_S:g} s", data={"silent_s": SILENCE_S})
    return Evidence(ok=None, says=f"a PING was answered after {loop.time() - began:.3f} s")


async def _writes_wait(url: str) -> Evidence:
    """Whether the server answers who only reads, and not what waits as writes do."""
    async with server.session(url):
        pass
    try:
        async with server.session(url, answer_s=SILENCE_S) as control:
            await _as_a_write(control)
    except server.Unanswered:
        says = f"who reads is answered, what writes is not after {SILENCE_S:g} s"
        return Evidence(ok=True, says=says, data={"silent_s": SILENCE_S})
    return Evidence(ok=None, says="what writes was answered")


async def _as_a_write(control: Redis) -> None:
    """Ask what changes nothing and yet waits while writes do: how many there are of nothing."""
    await control.execute_command("PFCOUNT", server.CONTROL)
