"""Faults on other hosts: a component's `host: ssh://user@web-2` is reached by the system's own ssh.

There `chaosrunner hand` obeys one order a connection, with the same injector that would act here. It leaves a guard
behind before it injects, so that a lost connection, or the end of this host, heals itself when the fault is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shlex
from dataclasses import fields, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from chaosrunner import __version__
from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Evidence, recipe_from_json
from chaosrunner.world.machine import machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.model.fault import Fault, Injector, Recipe, Tools

FAMILIES = frozenset({"process", "network", "resources"})
"""Faults of a host. Any other family has an address of its own."""
SSH_VARIABLE = "CHAOSRUNNER_SSH"
"""Environment variable with the ssh to use and its options, such as `ssh -F /etc/chaosrunner/ssh.conf`."""
ANSWERS_S = 30.0
"""A hand ends an order that takes longer than this, and so do we; it may have landed."""
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=2")
NO_CONNECTION, NOT_FOUND = 255, 127
"""What ssh, and the shell over there, exit with."""
ONLY_HERE = frozenset({"tools", "rng", "spare", "drawn", "keep"})
"""What of a Context does not travel; the host over there has its own."""


def reaching(injector: Injector) -> Injector:
    """The injector, also where its target is on another host; as it is when its family is none of a host's."""
    family = injector.name.partition(".")[0]
    return cast("Injector", Reaching(injector)) if family in FAMILIES else injector


def reached(injector: Injector) -> Injector:
    """The injector itself, without its reach."""
    return injector.here if isinstance(injector, Reaching) else injector


class Reaching:
    """An injector that acts where its target is: here, or by a hand on another host."""

    def __init__(self, injector: Injector) -> None:
        self.here = injector

    def __getattr__(self, name: str) -> Any:
        return getattr(self.here, name)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look, choose, claim; there, if the target's component has a host."""
        host = host_of(fault, context.system.components)
        if not host:
            return await self.here.prepare(fault, context)
        given = {item.name: getattr(context, item.name) for item in fields(Context) if item.name not in ONLY_HERE}
        there = fault if self.here.needs else replace(fault, target=None)
        ours = {"machine": machine(), "spare": context.spare(), "keep": context.keep}
        order = {"do": "prepare", "fault": there, "context": given, "rng": context.rng.getstate(), "ours": ours}
        answer = await ask(host, order)
        if "drawn" in answer:
            context.drawn(tuple(answer["drawn"][0]), answer["drawn"][1])
        # Of this very look: whoever is told to undo it refuses what comes later under the same name.
        recipe = received(host, answer, answer["recipe"], f"{context.tag(fault)}/{token_hex(4)}")
        return replace(recipe, guard="target", lasts_s=fault.for_s)

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Do the harm the recipe describes, where it says."""
        if "host" in recipe.data:
            await self._ask("inject", recipe)
        else:
            await self.here.inject(recipe, tools)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is the fault in effect, by what is seen where the target is?"""
        if "host" in recipe.data:
            return Evidence(**(await self._ask("verify", recipe))["evidence"])
        return await self.here.verify(recipe, tools)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Put it back, where it is."""
        if "host" in recipe.data:
            await self._ask("undo", recipe)
        else:
            await self.here.undo(recipe, tools)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is the fault gone, by what is seen where the target is?"""
        if "host" in recipe.data:
            return Evidence(**(await self._ask("absent", recipe))["evidence"])
        return await self.here.absent(recipe, tools)

    async def _ask(self, do: str, recipe: Recipe) -> dict[str, Any]:
        order = {"do": do, "recipe": recipe.data["recipe"], "tag": recipe.data["tag"], "lasts_s": recipe.lasts_s}
        return await ask(str(recipe.data["host"]), order)


def host_of(fault: Fault, components: Any) -> str:
    """The host of a fault's target; empty when it is this one, or has no say."""
    component = components.get(fault.target.component) if fault.target else None
    return component.host if component is not None else ""


def received(host: str, answer: dict[str, Any], raw: dict[str, Any], tag: str) -> Recipe:
    """A recipe of a hand, made one that is carried out by it.

    Args:
        host: where it is.
        answer: what the hand has said, its machine among it.
        raw: the recipe, as the hand knows it.
        tag: what the hand is to call it.
    """
    recipe = recipe_from_json(raw)
    return replace(
        recipe,
        says=f"{recipe.says} on {host}",
        claims=there_claimed(host, answer, recipe.claims),
        data={"host": host, "recipe": raw, "tag": tag},
    )


def there_claimed(host: str, answer: dict[str, Any], claims: Iterable[str]) -> tuple[str, ...]:
    """Claims of a hand as they are called here: by its machine, whatever the system file calls that.

    On this very machine they are called as those of faults without a host, since they mean the same.
    """
    there = str(answer.get("machine", ""))
    if there and there == machine():
        return tuple(claims)
    where = f"machine:{there}" if there else host
    return tuple(f"{where} {claim}" for claim in claims)


async def ask(host: str, order: dict[str, Any]) -> dict[str, Any]:
    """Have a hand on another host obey an order.

    Args:
        host: `ssh://user@web-2:22/path/of/chaosrunner`; all but the name may be left out.
        order: what to do; it is pickled, for a hand of the same version, which its first line insists on.

    Raises:
        InjectorError: the host cannot be reached, has no chaosrunner of this version, or its injector refused.
    """
    parts = urlsplit(host)
    place = [
        *(("-p", str(parts.port)) if parts.port else ()),
        parts.netloc.rpartition(":")[0] if parts.port else parts.netloc,
    ]
    program = parts.path or "chaosrunner"
    process = await _ssh([*OPTIONS, *place, shlex.join([program, "hand"])])
    try:
        async with asyncio.timeout(ANSWERS_S + 5):
            said, complained = await process.communicate(f"{__version__}\n".encode() + pickle.dumps(order))
    except TimeoutError:
        raise InjectorError(f"{host} did not answer within {ANSWERS_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _answer(host, process.returncode or 0, said, complained.decode(errors="replace").strip())


async def _ssh(words: list[str]) -> asyncio.subprocess.Process:
    """Start the system's ssh, or the one that is to be used. Raises InjectorError when there is none."""
    named = os.environ.get(SSH_VARIABLE) or "ssh"
    try:
        return await asyncio.create_subprocess_exec(
            *shlex.split(named), *words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C of ours must not cut off an undo
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise InjectorError(
            f"'{named}' cannot be started ({error}): install ssh, or say which in {SSH_VARIABLE}"
        ) from None


def _answer(host: str, code: int, said: bytes, complained: str) -> dict[str, Any]:
    last = complained.splitlines()[-1] if complained else f"exit {code}"
    if code == NO_CONNECTION:
        raise InjectorError(f"{host} cannot be reached by ssh: {last}")
    if code == NOT_FOUND:
        raise InjectorError(
            f"there is no chaosrunner on {host}: install chaosrunner {__version__} there, or name its path"
        )
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        raise InjectorError(f"{host}: the hand there failed: {last}") from None
    if "error" in answer:
        claims = there_claimed(host, answer, answer.get("claims", ()))
        raise InjectorError(f"{host}: {answer['error']}", claims=claims)
    return answer
