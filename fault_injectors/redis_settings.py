"""Settings of a Redis server that are changed, and written back to the letter.

Nothing holds them but the server's memory, so nothing but an undo ends them, or a restart. With each change goes a note
that lives exactly as long: an ACL user who may do nothing, called after the fault, whose one key pattern says what was
before. No data can push it out, and no replica gets it. Whoever undoes believes the note: no note, nothing to undo;
somebody else's value, nothing to write back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Share
from fault_injectors import redis_server as server
from fault_injectors.redis_held import asking, missing, place, revealed, tag_of, whereabouts
from fault_injectors.redis_server import Server

if TYPE_CHECKING:
    from redis.asyncio import Redis

NOTES = "chaosrunner/"
SETTLE_S = 0.5
"""What was sent to the server before we died is done within this."""
LEAST_MEMORY = "1"
"""Bytes: every write that needs memory is refused, none that frees some, and no read."""
MANY_REPLICAS = "1000000"
"""More than any server has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a fault has made of its parameters and of what the server looks like."""

    says: str
    new: Mapping[str, str]
    """Settings and their values, as the server spells them."""


class Changed:
    """Settings that a fault changes. Subclasses say which, and what proves it."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("redis",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    Params: ClassVar[type]
    settings: ClassVar[tuple[str, ...]]
    """Those it writes, all of them."""
    counts: ClassVar[str]
    """What the server counts of the fault, for people."""

    def change(self, params: object, seen: Server) -> Change:
        """What to write. Pure. Raises InjectorError: this server will not do."""
        raise NotImplementedError

    def counted(self, info: Mapping[str, Any]) -> int:
        """How often the server has felt it, ever."""
        raise NotImplementedError

    def available(self) -> Availability:
        """Where the client library is."""
        return server.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the settings, and that nobody has such a fault at work there."""
        component, tag = place(fault, context)
        url = revealed(component, context.tools)
        seen = await server.look(url)
        async with server.session(url) as control:
            await _refuse_others(control, self.settings)
        change = self.change(fault.params, seen)
        return Recipe(
            injector=self.name,
            says=f"{change.says}; put back as it was before",
            data={**whereabouts(component, tag), "began": seen.identity, "new": dict(change.new)},
            claims=(seen.claim,),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write the note, then the settings.

        Not as one (MULTI): a server without memory takes no such thing, so neither could an undo. Should we die in
        between, the note says what nobody has changed, and an undo only takes it away.
        """
        new = recipe.data["new"]
        assert isinstance(new, Mapping)
        async with asking(recipe, tools) as control:
            await _refuse_others(control, self.settings)
            note = {
                "of": self.name,
                "was": await server.read_settings(control, new),
                "new": dict(new),
                "felt": self.counted(await server.info(control, "everything")),
            }
            text = json.dumps(note, separators=(",", ":"))
            await control.execute_command("ACL SETUSER", tag_of(recipe), "reset", "off", f"~{text}")
            await control.execute_command("CONFIG SET", *_words(new))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Our note and our values are there, and the server counts what they do to the application."""
        async with asking(recipe, tools) as control:
            note = await _note(control, tag_of(recipe))
            if note is None or await server.read_settings(control, note["new"]) != note["new"]:
                return await missing(control, recipe, "it is not set, or not by us")
            felt = self.counted(await server.info(control, "everything")) - int(note["felt"])
        return Evidence(ok=True if felt > 0 else None, says=f"{felt} {self.counts} since", data={"felt": felt})

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Write back what it was, where it still is what we wrote; the note goes last."""
        async with asking(recipe, tools) as control:
            note = await _note(control, tag_of(recipe))
            if note is None:
                return
            now = await server.read_settings(control, note["new"])
            back = {name: note["was"][name] for name, value in now.items() if value == note["new"][name]}
            if back:
                await control.execute_command("CONFIG SET", *_words(back))
            await control.execute_command("ACL DELUSER", tag_of(recipe))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No note of ours is there."""
        async with asking(recipe, tools) as control:
            note = await _note(control, tag_of(recipe))
        if note is not None:
            return Evidence(ok=False, says=f"a note of {tag_of(recipe)} is still there")
        return Evidence(ok=True, says=f"no note of {tag_of(recipe)} is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any run has left changed, found by its notes."""
        found = []
        for component in system.components.values():
            if component.redis is None:
                continue
            async with server.session(revealed(component, tools)) as control:
                notes = await _notes(control)
            for tag, note in notes.items():
                if note["of"] == self.name:
                    data = {**whereabouts(component, tag), "new": note["new"]}
                    says = f"{self.name} of {tag} at {component.name}, put back by writing the values before"
                    found.append(Recipe(injector=self.name, says=says, data=data, claims=(), settle_s=SETTLE_S))
        return found


class OutOfMemory(Changed):
    """There is no room for another byte."""

    name: ClassVar[str] = "redis.out_of_memory"
    about: ClassVar[str] = (
        "Lowers maxmemory below what is used, with maxmemory-policy noeviction: whoever writes is told OOM, reads go "
        "on, nothing is lost. Undone by writing the earlier settings."
    )
    settings: ClassVar[tuple[str, ...]] = ("maxmemory-policy", "maxmemory")
    counts: ClassVar[str] = "commands refused with OOM"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def change(self, params: object, seen: Server) -> Change:
        """Both in one command: with a policy that evicts, so little memory would empty the server."""
        new = {"maxmemory-policy": "noeviction", "maxmemory": LEAST_MEMORY}
        return Change(says="every write that needs memory is refused", new=new)

    def counted(self, info: Mapping[str, Any]) -> int:
        """Refused for want of memory."""
        return server.refused(info, "OOM")


class Eviction(Changed):
    """Keys go before their time."""

    name: ClassVar[str] = "redis.eviction"
    about: ClassVar[str] = (
        "Lowers maxmemory so that the server throws keys away, as a cache that has become too small does. The settings "
        "are put back; the keys are lost for good."
    )
    settings: ClassVar[tuple[str, ...]] = ("maxmemory-policy", "maxmemory")
    counts: ClassVar[str] = "keys evicted"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How much is lost, and that it may be."""

        lose_keys: bool = field(metadata={"help": "true: the keys that are evicted may be lost for good."})
        keep: Share = field(default=Share(0.5), metadata={"help": "Of the data there is then; below 100%."})
        policy: Literal["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"] = field(
            default="allkeys-lru",
            metadata={"help": "Whose turn it is; volatile-…: only keys that would expire anyway."},
        )

        def __post_init__(self) -> None:
            """Nobody's data is lost unasked."""
            if not self.lose_keys:
                raise ValueError("evicted keys are lost for good: say 'lose_keys: true', or use redis.out_of_memory")
            if not 0 <= self.keep < 1:
                raise ValueError("'keep' is at least 0 % and below 100 %")

    def change(self, params: object, seen: Server) -> Change:
        """What the server needs for itself, and a share of its data."""
        assert isinstance(params, Eviction.Params)
        used, data = int(seen.info["used_memory"]), int(seen.info["used_memory_dataset"])
        most = int(seen.settings["maxmemory"])
        keep = max(1, used - round(data * (1 - params.keep)))
        if 0 < most <= keep:
            raise InjectorError(f"maxmemory is {most} bytes already, and keeping {params.keep * 100:g}% needs {keep}")
        return Change(
            says=f"keys lost for good ({params.policy}) until {params.keep * 100:g}% of {data} bytes of data are left",
            new={"maxmemory-policy": params.policy, "maxmemory": str(keep)},
        )

    def counted(self, info: Mapping[str, Any]) -> int:
        """Thrown away."""
        return int(info["evicted_keys"])


class ReadOnly(Changed):
    """Nobody may write any more."""

    name: ClassVar[str] = "redis.read_only"
    about: ClassVar[str] = (
        "Asks for more replicas than there are before a write (min-replicas-to-write), as after a failover that went "
        "wrong: whoever writes is told NOREPLICAS, reads go on. Undone by writing the earlier setting."
    )
    settings: ClassVar[tuple[str, ...]] = ("min-replicas-to-write",)
    counts: ClassVar[str] = "commands refused with NOREPLICAS"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def change(self, params: object, seen: Server) -> Change:
        """More than there are."""
        if seen.info["role"] != "master":
            raise InjectorError("this server is a replica, to which nobody writes; aim at its master")
        if seen.settings["min-replicas-max-lag"] == "0":
            raise InjectorError("min-replicas-max-lag is 0, with which this server never asks for replicas")
        return Change(says="every write is refused", new={"min-replicas-to-write": MANY_REPLICAS})

    def counted(self, info: Mapping[str, Any]) -> int:
        """Refused for want of replicas."""
        return server.refused(info, "NOREPLICAS")


async def _notes(control: Redis) -> dict[str, dict[str, Any]]:
    """Notes of any run: tag → note."""
    names = [name for name in await control.execute_command("ACL USERS") if name.startswith(NOTES)]
    found = {name: await _note(control, name) for name in names}
    return {name: note for name, note in found.items() if note is not None}


async def _note(control: Redis, tag: str) -> dict[str, Any] | None:
    user = await control.execute_command("ACL GETUSER", tag)
    if user is None:
        return None
    text = "".join(user["keys"]).removeprefix("~")
    note: dict[str, Any] = json.loads(text)
    return note


async def _refuse_others(control: Redis, settings: tuple[str, ...]) -> None:
    """Raises InjectorError where a fault has changed one of these settings already, or its way back was lost."""
    for tag, note in (await _notes(control)).items():
        if set(note["new"]) & set(settings):
            raise InjectorError(f"{note['of']} of {tag} is at work there already, or its way back was lost")


def _words(settings: Mapping[str, str]) -> list[str]:
    return [word for pair in settings.items() for word in pair]
