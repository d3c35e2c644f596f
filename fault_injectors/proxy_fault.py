"""What all faults of a fault proxy share: choosing proxies, naming before making, evidence, and the way back.

The way back is threefold. Our proxy holds the deadline itself: each change is leased and ends with its lease, even
when nobody is left to ask for it. While somebody is, every change has one owner, named before it exists, and ending
the owner ends them all. And a plain Toxiproxy, which has neither, is put back piece by piece from the recipe
(`toxiproxy_undo`).

A proxy that cannot be reached is never called restored. Its toxics live in its memory, so they do end with its process;
but a refused connection looks the same when only the way to it is gone, and users of a dead proxy are cut off anyway,
so the undo fails and is tried again until it can be read back (a proxy that was started again has no toxic of ours).
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import OwnProxy, System
from fault_injectors import proxy_front, toxiproxy_seen, toxiproxy_undo
from fault_injectors.aim import choose, component_of
from fault_injectors.proxy_control import ControlApi, Json, Unreachable
from fault_injectors.toxiproxy_client import ToxiproxyApi, load_library
from fault_injectors.toxiproxy_undo import MARK

GRACE_S = 10.0
"""A lease ends this long after the fault should have; watchdogs wait as long for a runner that does not undo it."""
SETTLE_S = 0.5
PLAIN_SETTLE_S = 1.0
TOXIPROXYS = frozenset({"latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"})
"""Toxics that a plain Toxiproxy has as well."""


class ProxyFault:
    """A change to proxies; a subclass says which."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("proxies",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"
    protocol: ClassVar[str] = ""  # what the proxy must understand of its bytes; "" = nothing
    Params: ClassVar[type]

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], toxiproxy_seen.Mark] = {}
        """Owner and proxy → since when a plain Toxiproxy's traffic proves it; a fresh process begins anew."""

    def available(self) -> Availability:
        """Everywhere: what matters is where the proxy runs."""
        return Availability(ok=True)

    def change(self, params: object) -> Json:
        """The change to make, as JSON, in the proxy's own words and units; `says` is for people."""
        raise NotImplementedError

    async def make(self, api: ControlApi, proxy: str, recipe: Recipe) -> None:
        """Make the change on one proxy."""
        raise NotImplementedError

    async def evidence(self, api: ControlApi, proxy: str, recipe: Recipe) -> Evidence:
        """Whether the change acts on the traffic through one proxy."""
        raise NotImplementedError

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look which proxies are there, draw from them, and remember how they are."""
        component, base = component_of(fault, context), context.system.fault_proxy
        if component.proxy is not None and not component.proxy.listen:
            return await self._prepare_front(fault, context, component.name, component.proxy)
        if not component.proxies or not base:
            missing = f"{component.name} has no 'proxies'" if base else "there is no 'fault_proxy'"
            raise InjectorError(f"{missing} in the system file of {context.system.name}")
        async with ControlApi(base, context.tools) as api:
            there = await api.proxies()
            leases = await api.owners() is not None
            live = [name for name in component.proxies if _found(name, there)["enabled"]]
            chosen = choose(fault, context, live)
            self._check_protocol(there[name] for name in chosen)
            change = self.change(fault.params)
            if leases:
                before = {name: await _look(api, name) for name in chosen}
            else:
                await _check_toxiproxy(self.name, change)
                before = {name: await _look_plain(api, there[name]) for name in chosen}
        owner = f"{MARK}{context.run}-{fault.index}"
        ttl_s = fault.for_s + GRACE_S
        return Recipe(
            injector=self.name,
            says=f"{change.pop('says')} at {', '.join(chosen)}, put back by removing {owner}",
            data={
                "api": base,
                "owner": owner,
                "leases": leases,
                "ttl_s": ttl_s,
                "before": before,
                "change": change,
            },
            claims=tuple(f"proxy:{base.rstrip('/')}/{name}" for name in chosen),
            settle_s=SETTLE_S if leases else PLAIN_SETTLE_S,
            guard="target" if leases else "runner",
            lasts_s=fault.for_s,
        )

    async def _prepare_front(self, fault: Fault, context: Context, name: str, own: OwnProxy) -> Recipe:
        """Say what will be put in front of the component; nothing is there yet."""
        if why := proxy_front.missing():
            raise InjectorError(f"no proxy can be put in front of {name}: {why}")
        tag = context.tag(fault)
        ways = await asyncio.to_thread(proxy_front.ways_of, name, own.behind, tag)
        front = proxy_front.Front(
            tag=tag,
            ways=choose(fault, context, ways),
            port=proxy_front.control_port(tag),
            seconds=int(fault.for_s + GRACE_S),
            reset_open=own.reset_open,
            protocol=self.protocol or "tcp",
        )
        change = self.change(fault.params)
        places = ", ".join(way.to for way in front.ways)
        open_ones = "open ones are reset" if own.reset_open else "open ones stay as they are"
        return Recipe(
            injector=self.name,
            says=f"{change.pop('says')} at a proxy put in front of {places} for new connections ({open_ones}), put back"
            f" by deleting the table {front.table} and ending the proxy",
            data={
                "api": front.api,
                "owner": f"{MARK}{context.run}-{fault.index}",
                "leases": True,
                "ttl_s": fault.for_s + GRACE_S,
                "before": {way.name: {"enabled": True, "cut": 0, "opened": 0} for way in front.ways},
                "change": change,
                "front": proxy_front.to_json(front),
            },
            claims=tuple(way.claim for way in front.ways),
            settle_s=SETTLE_S,
            guard="target",
            lasts_s=fault.for_s,
        )

    def _check_protocol(self, chosen: Iterable[Json]) -> None:
        for proxy in chosen:
            understood = proxy.get("protocol", "tcp")
            if self.protocol and understood != self.protocol:
                raise InjectorError(
                    f"{self.name} acts on {self.protocol}, and proxy '{proxy['name']}' understands {understood}",
                    advice=f'create it with "protocol": "{self.protocol}"; only our own fault proxy can',
                )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Make the change everywhere it was chosen for, and read it back; a proxy that is put in front has it first."""
        front = _front(recipe)
        if front is not None:
            await asyncio.to_thread(proxy_front.start, front)
        async with _api(recipe, tools) as api:
            for way in front.ways if front else ():
                settings = {"listen": way.listen, "upstream": way.to, "protocol": front.protocol if front else ""}
                await api.create({"name": way.name, **settings, **_term(recipe)})
            for proxy in _before(recipe):
                await self.make(api, proxy, recipe)
        if front is not None:
            await asyncio.to_thread(proxy_front.send_there, front)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The worst that any proxy has to say; who is gone changes no byte, whatever its users suffer instead."""
        try:
            async with ControlApi(str(recipe.data["api"]), tools) as api:
                seen = {proxy: await self.evidence(api, proxy, recipe) for proxy in _before(recipe)}
        except Unreachable as error:
            return Evidence(ok=False, says=str(error))
        says = "; ".join(f"{proxy}: {evidence.says}" for proxy, evidence in seen.items())
        data = {proxy: dict(evidence.data) for proxy, evidence in seen.items()}
        answers = [evidence.ok for evidence in seen.values()]
        ok = False if False in answers else None if None in answers else True
        return Evidence(ok=ok, says=says, data=data)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the owner of the changes; on a plain Toxiproxy take them back one by one; take away what is in front."""
        owner = str(recipe.data["owner"])
        if front := _front(recipe):
            await asyncio.to_thread(proxy_front.remove, front)
            return
        async with _api(recipe, tools) as api:
            if isinstance(api, ToxiproxyApi):
                for name, before in _before(recipe).items():
                    await toxiproxy_undo.put_back(api, name, owner, before)
                return
            await api.end_owner(owner)
            there = await api.proxies()
            for name in _before(recipe):
                if _toxic(there.get(name), owner) is not None:  # somebody has renewed it without its owner
                    await api.remove_toxic(name, owner)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No toxic of that name, no change of that owner; on a plain Toxiproxy everything enabled as before."""
        owner = str(recipe.data["owner"])
        if front := _front(recipe):
            still = await asyncio.to_thread(proxy_front.left, front)
            return Evidence(ok=not still, says=still or f"nothing of {front.tag} is left")
        async with _api(recipe, tools) as api:
            if isinstance(api, ToxiproxyApi):
                before = _before(recipe).items()
                ours = {name for name, old in before if await toxiproxy_undo.left_over(api, name, owner, old)}
            else:
                there = await api.proxies()
                ours = {name for name in _before(recipe) if _toxic(there.get(name), owner) is not None}
                ours |= {str(change["proxy"]) for change in (await api.owners() or {}).get(owner, [])}
        if ours:
            return Evidence(ok=False, says=f"{owner} is still at {', '.join(sorted(ours))}")
        return Evidence(ok=True, says=f"no change of {owner} is left")


class Toxic(ProxyFault):
    """A fault that is one toxic."""

    async def make(self, api: ControlApi, proxy: str, recipe: Recipe) -> None:
        """Add the toxic, leased where the proxy can."""
        await api.add_toxic(proxy, {"name": recipe.data["owner"], **_change(recipe), **_term(recipe)})

    async def evidence(self, api: ControlApi, proxy: str, recipe: Recipe) -> Evidence:
        """Bytes of the proxy's own traffic that went through the toxic since it was added."""
        if not recipe.data["leases"]:
            return await self._read_back(api, proxy, recipe)
        stats = await api.stats(proxy)
        toxic = (stats or {}).get("toxics", {}).get(recipe.data["owner"])
        if stats is None or toxic is None:
            return Evidence(ok=False, says="the toxic is not there")
        if not toxic.get("struck", toxic["bytes"] or toxic["connections"]):
            return Evidence(ok=None, says="nothing has passed through it yet", data=toxic)
        return Evidence(ok=True, says=_struck(toxic, stats["connections"]["open"]), data=toxic)

    async def _read_back(self, api: ControlApi, name: str, recipe: Recipe) -> Evidence:
        """Read back that the toxic is there, and see what clients have sent into it since."""
        owner = str(recipe.data["owner"])
        proxy = await api.proxy(name)
        toxic = _toxic(proxy, owner)
        if proxy is None or toxic is None:
            return Evidence(ok=False, says="the toxic is not there")
        traffic = await toxiproxy_seen.look(api, proxy)
        mark = self.marks.get((owner, name))
        if mark is None:
            self.marks[owner, name] = toxiproxy_seen.Mark(traffic)
            return Evidence(ok=None, says="the toxic is there; what clients send from now on is counted")
        return toxiproxy_seen.judge(mark, traffic, toxic)


class Down(ProxyFault):
    """A fault that closes the way; also finds what any fault of the family left behind."""

    async def make(self, api: ControlApi, proxy: str, recipe: Recipe) -> None:
        """Disable the proxy, leased where it can."""
        await api.set_proxy(proxy, {**_change(recipe), **_term(recipe)})

    async def evidence(self, api: ControlApi, proxy: str, recipe: Recipe) -> Evidence:
        """Somebody was using it until it closed: connections were cut, or had come in just before.

        Who knocks at a closed port is refused by the kernel and cannot be counted, so a way that nobody used proves
        nothing about users.
        """
        stats = await api.stats(proxy)
        found = await api.proxy(proxy)
        if found is None or found["enabled"]:
            return Evidence(ok=False, says="it is not closed")
        if front := _front(recipe):
            sent = (await asyncio.to_thread(proxy_front.sent, front)).get(proxy, 0)
            return Evidence(ok=True if sent else None, says=f"closed, {sent} connections sent to it")
        before = _before(recipe)[proxy]
        if stats is None:
            left = len((await toxiproxy_seen.look(api, found)).live)
            if not before["open"] or left:
                return Evidence(ok=None, says=f"it is closed; {before['open']} connections were open, {left} still are")
            return Evidence(ok=True, says=f"closed, {before['open']} connections cut")
        now = stats["connections"]
        cut, opened = now["cut"] - before["cut"], now["opened"] - before["opened"]
        if not cut and not opened:
            return Evidence(ok=None, says="it is closed, but no connection was open to be cut", data=now)
        says = f"closed, {cut} connections cut" if cut else f"closed, {opened} connections had come in just before"
        return Evidence(ok=True, says=says, data=now)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any run left at the system's fault proxy, or put in front of it, found by name.

        A plain Toxiproxy that was left down has no name on it and is not found.
        """
        fronts = []
        if any(part.proxy is not None for part in system.components.values()) and not proxy_front.missing():
            fronts = [_left_in_front(self.name, tag) for tag in await asyncio.to_thread(proxy_front.leftovers)]
        if not system.fault_proxy:
            return fronts
        async with ControlApi(system.fault_proxy, tools) as api:
            there, owners = await api.proxies(), await api.owners()
        places: dict[str, set[str]] = {}
        for owner, changes in (owners or {}).items():
            places.setdefault(owner, set()).update(str(change["proxy"]) for change in changes)
        for name, proxy in there.items():
            for toxic in proxy["toxics"]:
                places.setdefault(toxic["name"], set()).add(name)
        return fronts + [
            _leftover(self.name, system.fault_proxy, owner, {name: there[name] for name in sorted(names)})
            for owner, names in sorted(places.items())
            if owner.startswith(MARK)
        ]


def _leftover(injector: str, base: str, owner: str, proxies: Mapping[str, Json]) -> Recipe:
    before = {name: toxiproxy_undo.remembered(proxy) for name, proxy in proxies.items()}
    leases = any("owner" in each for proxy in proxies.values() for each in (proxy, *proxy["toxics"]))
    return Recipe(
        injector=injector,
        says=f"{owner} at {', '.join(proxies)}, put back by removing it",
        data={"api": base, "owner": owner, "leases": leases, "ttl_s": 0.0, "before": before, "change": {}},
        claims=tuple(f"proxy:{base.rstrip('/')}/{name}" for name in proxies),
        guard="target" if leases else "runner",
    )


def _left_in_front(injector: str, tag: str) -> Recipe:
    front = proxy_front.Front(tag=tag, ways=(), port=0, seconds=0, reset_open=False, protocol="tcp")
    return Recipe(
        injector=injector,
        says=f"what {tag} put in front of a component, put back by taking it away",
        data={"api": "", "owner": tag, "front": proxy_front.to_json(front)},
        claims=(),
        guard="target",
    )


def _struck(toxic: Json, opened: int) -> str:
    if "struck" in toxic:
        return f"it struck {toxic['struck']:,} of {toxic['matched']:,} that it was meant for"
    if not toxic["bytes"]:
        return f"it struck {toxic['connections']} connections ({opened} open)"
    late = f", each piece late by {toxic['delay_ms']['p50']:.3g} ms (median)" if toxic["delay_ms"] else ""
    return f"{toxic['bytes']:,} bytes of {toxic['connections']} connections ({opened} open) went through it{late}"


async def _look(api: ControlApi, name: str) -> Json:
    stats = await api.stats(name)
    counted = {key: stats["connections"][key] for key in ("cut", "opened")} if stats else {}
    return {"enabled": True, **counted}


async def _look_plain(api: ControlApi, proxy: Json) -> Json:
    return {**toxiproxy_undo.remembered(proxy), "open": len((await toxiproxy_seen.look(api, proxy)).live)}


async def _check_toxiproxy(fault: str, change: Json) -> None:
    """See that a plain Toxiproxy can do it, and that we can speak to it, before anything is promised."""
    if "type" in change and change["type"] not in TOXIPROXYS:
        raise InjectorError(
            f"{fault} is not one of Toxiproxy's faults", advice="use `chaosrunner proxy`, which speaks the same API"
        )
    await asyncio.to_thread(load_library)


def _found(name: str, there: Mapping[str, Json]) -> Json:
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(there)) or 'none'}"
        raise InjectorError(f"the fault proxy has no proxy '{name}'; {hint}")
    return there[name]


def _toxic(proxy: Json | None, name: str) -> Json | None:
    return next((toxic for toxic in (proxy or {}).get("toxics", ()) if toxic["name"] == name), None)


def _api(recipe: Recipe, tools: Tools) -> ControlApi:
    return (ControlApi if recipe.data["leases"] else ToxiproxyApi)(str(recipe.data["api"]), tools)


def _front(recipe: Recipe) -> proxy_front.Front | None:
    raw: Any = recipe.data.get("front")
    return proxy_front.from_json(raw) if raw else None


def _before(recipe: Recipe) -> dict[str, Json]:
    before: Any = recipe.data["before"]
    return dict(before)


def _change(recipe: Recipe) -> Json:
    change: Any = recipe.data["change"]
    return dict(change)


def _term(recipe: Recipe) -> Json:
    return {"ttl": recipe.data["ttl_s"], "owner": recipe.data["owner"]} if recipe.data["leases"] else {}
