"""Everything the control API can do, in the proxy's own terms.

Names are resolved first; from there to the end each operation runs without a pause, so that two of them never mix and
one that is refused has changed nothing.
"""

import asyncio
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from chaosrunner.proxy import decode
from chaosrunner.proxy.leases import Lease, Leases, Place, Term, parse_term
from chaosrunner.proxy.listener import Endpoint, Listener, parse_address, resolve
from chaosrunner.proxy.proxies import Protocol, Proxy, Settings, Shared, route, understands
from chaosrunner.proxy.refusals import RefusedError, bad_value, missing_field, proxy_not_found
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.tls.settings import parse_tls
from chaosrunner.proxy.toxics.toxic import parse_toxic


@dataclass(frozen=True, slots=True)
class Wanted:
    """A proxy that a request asks for."""

    name: str
    settings: Settings


class Control:
    """All proxies of this process, and their leases."""

    def __init__(self, shared: Shared, *, loopback_only: bool) -> None:
        self.leases = Leases(shared.audit, shared.agenda)
        self._proxies: dict[str, Proxy] = {}
        self._shared = shared
        self._loopback_only = loopback_only
        self._audit = shared.audit

    def proxies(self) -> list[Proxy]:
        """All proxies, oldest first."""
        return list(self._proxies.values())

    def find(self, name: str) -> Proxy:
        """The proxy of that name.

        Raises:
            RefusedError: 404 if there is none.
        """
        proxy = self._proxies.get(name)
        if proxy is None:
            raise proxy_not_found()
        return proxy

    async def create(self, fields: decode.Fields) -> Proxy:
        """Create a proxy, for its ttl if it gives one.

        Raises:
            RefusedError: 400 for bad fields, 409 if it exists, 500 if the address cannot be bound.
        """
        wanted, term = await self._wanted(fields), parse_term(fields)
        if wanted.name in self._proxies:
            raise RefusedError(409, "proxy already exists")
        proxy = self._new(wanted)
        proxy.configure(wanted.settings)
        self._proxies[wanted.name] = proxy
        if term.given:
            self.leases.hold(Lease(Place(proxy.name), "", "proxy created", term, self._undo_created))
        self._audit.info("proxy created", **_described(proxy), **_leased(term))
        return proxy

    async def update(self, name: str, fields: decode.Fields) -> Proxy:
        """Change the settings that `fields` names, for its ttl if it gives one.

        Raises:
            RefusedError: 400, 404, 409 (another owner's lease) or 500 (cannot bind); the old listener stays then.
        """
        self.find(name)
        term = parse_term(fields)
        changes = await self._changes(fields)
        proxy, place = self.find(name), Place(name)
        self._check_term(place, changes, term)
        before = {key: getattr(proxy.settings, key) for key in changes}
        proxy.configure(dataclasses.replace(proxy.settings, **changes))
        self._lease(Lease(place, "", "proxy changed", term, self._undo_settings), before)
        if changes:
            self._audit.info("proxy changed", **_described(proxy), **_leased(term))
        return proxy

    def delete(self, name: str) -> None:
        """Delete a proxy; its connections are reset.

        Raises:
            RefusedError: 404 if there is none.
        """
        self._delete(self.find(name))
        self._audit.info("proxy deleted", proxy=name)

    async def populate(self, entries: Sequence[decode.Fields]) -> list[Proxy]:
        """Create or replace proxies, all or none; one that is there already with the same addresses stays as it is.

        Raises:
            RefusedError: 400 for bad fields, 500 if an address cannot be bound; nothing has changed then.
        """
        wanted = [await self._numbered(number, fields) for number, fields in enumerate(entries, start=1)]
        names = [want.name for want in wanted]
        if len(set(names)) < len(names):
            raise bad_value("the same name is given twice")
        fresh = [want for want in wanted if not self._is_there(want)]
        listeners = self._listeners(fresh)
        for want in fresh:
            self._replace(want, listeners.get(want.name), kept=set(listeners.values()))
        for name in names:
            self.leases.forget(Place(name))  # it was asked for as it is now, and for good
        return [self._proxies[name] for name in names]

    def reset(self) -> None:
        """Enable every proxy, remove every toxic, and take back leased settings; all or none.

        A proxy that was made for a time goes on to its end.

        Raises:
            RefusedError: 500 if a proxy cannot listen again; nothing has changed then.
        """
        wanted = {proxy.name: self._unleased(proxy) for proxy in self.proxies()}
        changed = {name: settings for name, settings in wanted.items() if settings != self._proxies[name].settings}
        listeners = self._listeners([Wanted(name, settings) for name, settings in changed.items()])
        for proxy in self.proxies():
            proxy.remove_toxics([applied.toxic.name for applied in proxy.toxics()])
            if proxy.name in changed:
                proxy.configure(changed[proxy.name], listeners[proxy.name])
        self.leases.forget_changes()
        self._audit.info("all proxies reset", proxies=len(self._proxies))

    def _unleased(self, proxy: Proxy) -> Settings:
        """A proxy's settings without what is leased of them, enabled."""
        before = {lease.field: lease.before for lease in self.leases.at(Place(proxy.name)) if lease.field}
        return dataclasses.replace(proxy.settings, **{**before, "enabled": True})

    def add_toxic(self, name: str, fields: decode.Fields) -> AppliedToxic:
        """Add a toxic to a proxy, for its ttl if it gives one.

        Raises:
            RefusedError: 400 for bad fields, 404 if there is no such proxy, 409 if the name is taken.
        """
        proxy, toxic, term = self.find(name), parse_toxic(fields), parse_term(fields)
        applied = proxy.add_toxic(toxic)
        if term.given:
            self.leases.hold(Lease(Place(name, toxic.name), "", "toxic added", term, self._undo_added))
        self._audit.info("toxic added", proxy=name, **toxic.as_json(), **_leased(term))
        return applied

    def change_toxic(self, name: str, toxic: str, fields: decode.Fields) -> AppliedToxic:
        """Change the attributes or toxicity that `fields` names, for its ttl if it gives one, or only renew its lease.

        Raises:
            RefusedError: 400 for bad fields, 404, or 409 if another owner has a lease on it.
        """
        proxy, term = self.find(name), parse_term(fields)
        applied, place = proxy.find_toxic(toxic), Place(name, toxic)
        before, after = applied.toxic.values(fields), applied.toxic.amended(fields)
        self._check_term(place, before, term)
        # What goes back later must go together with what is set now.
        kept = [lease for lease in self.leases.at(place) if lease.field and (term.given or lease.field not in before)]
        after.restored({lease.field: lease.before for lease in kept})
        if before:
            proxy.change_toxic(applied, after)
            self._audit.info("toxic changed", proxy=name, **after.as_json(), **_leased(term))
        self._lease(Lease(place, "", "toxic changed", term, self._undo_changed), before)
        return applied

    def remove_toxic(self, name: str, toxic: str) -> None:
        """Remove a toxic.

        Raises:
            RefusedError: 404 if there is no such proxy or toxic.
        """
        proxy = self.find(name)
        proxy.find_toxic(toxic)
        proxy.remove_toxics([toxic])
        self.leases.forget(Place(name, toxic))
        self._audit.info("toxic removed", proxy=name, toxic=toxic)

    async def close(self, drain_s: float) -> None:
        """Stop listening everywhere, and close connections once what was written has been sent.

        Args:
            drain_s: Seconds after which connections that still have something to send are cut.
        """
        self.leases.close()
        await asyncio.gather(*(proxy.close(drain_s) for proxy in self.proxies()))

    async def _numbered(self, number: int, fields: decode.Fields) -> Wanted:
        try:
            if parse_term(fields).given:
                raise bad_value("ttl and owner are for single changes, not for populate")
            return await self._wanted(fields)
        except RefusedError as refusal:
            raise RefusedError(refusal.status, f"{refusal.sentence} at proxy {number}") from None

    async def _wanted(self, fields: decode.Fields) -> Wanted:
        name, upstream = decode.name(fields), decode.text(fields, "upstream")
        if not upstream:
            raise missing_field("upstream")
        enabled = decode.flag(fields, "enabled")
        return Wanted(
            name,
            Settings(
                listen=await self._endpoint(decode.text(fields, "listen") or "localhost:0"),
                upstream=parse_address(upstream, "upstream"),
                enabled=True if enabled is None else enabled,
                protocol=_protocol(fields) or "tcp",
                tls=await parse_tls(fields),
            ),
        )

    async def _changes(self, fields: decode.Fields) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        decode.text(fields, "name")  # names cannot be changed, but a wrong type is a mistake that Toxiproxy reports
        if fields.get("listen") is not None:
            changes["listen"] = await self._endpoint(decode.text(fields, "listen"))
        if fields.get("upstream") is not None:
            changes["upstream"] = parse_address(decode.text(fields, "upstream"), "upstream")
        if "tls" in fields:
            changes["tls"] = await parse_tls(fields)
        given = {"enabled": decode.flag(fields, "enabled"), "protocol": _protocol(fields)}
        return changes | {key: value for key, value in given.items() if value is not None}

    async def _endpoint(self, text: str) -> Endpoint:
        endpoint = await resolve(parse_address(text, "listen"))
        if self._loopback_only and not endpoint.loopback:
            raise bad_value(f"to listen on {endpoint.address}, beyond this machine, start the proxy with --token")
        return endpoint

    def _new(self, wanted: Wanted) -> Proxy:
        return Proxy(wanted.name, wanted.settings, self._shared)

    def _is_there(self, wanted: Wanted) -> bool:
        proxy = self._proxies.get(wanted.name)
        return proxy is not None and _same(proxy.settings, wanted.settings)

    def _listeners(self, wanted: Iterable[Wanted]) -> dict[str, Listener]:
        """Listeners at all wanted addresses, taken over from the proxy of the same name where it has the address.

        Raises:
            RefusedError: 500 if one cannot be had; everything is as before then.
        """
        ready: dict[str, Listener] = {}
        woken: list[Listener] = []
        made: list[Listener] = []
        try:
            for want in wanted:
                old = self._proxies.get(want.name)
                if not want.settings.enabled:
                    continue
                if old is None or old.listener is None or old.settings.listen.address != want.settings.listen.address:
                    ready[want.name] = Listener(want.settings.listen, self._audit)
                    made.append(ready[want.name])
                    continue
                ready[want.name] = old.listener
                if not old.settings.enabled:
                    woken.append(old.listener)
                    old.listener.listen()
        except RefusedError:
            for listener in made:
                listener.close()
            for listener in woken:
                listener.suspend()
            raise
        return ready

    def _replace(self, wanted: Wanted, listener: Listener | None, *, kept: set[Listener]) -> None:
        old = self._proxies.get(wanted.name)
        if old is not None:
            self.leases.forget_proxy(old.name)
            if old.listener in kept:
                old.listener = None
            old.remove()
        proxy = self._new(wanted)
        proxy.configure(wanted.settings, listener)
        self._proxies[wanted.name] = proxy
        self._audit.info("proxy created" if old is None else "proxy replaced", **_described(proxy))

    def _check_term(self, place: Place, fields: Collection[str], term: Term) -> None:
        """See that a change of those fields, or with none a renewal, may be leased so."""
        self.leases.guard(place, fields, term)
        if term.given and not fields and not self.leases.at(place):
            raise bad_value("nothing to lease: no lease is open here, and nothing was given to change")

    def _lease(self, like: Lease, before: Mapping[str, Any]) -> None:
        """Lease each field that was changed, from what it was `before`; with none, renew what is open at the place."""
        place, term = like.place, like.term
        if not term.given:  # set for good: not to be taken back when a lease ends
            self.leases.forget(place, before)
            return
        for lease in () if before else self.leases.at(place):
            self.leases.renew(lease, term)
        for key, value in before.items():
            known = self.leases.get(place, key)
            if known is None:
                self.leases.hold(dataclasses.replace(like, field=key, before=value))
            else:
                self.leases.renew(known, term)

    def _undo_settings(self, leases: Sequence[Lease]) -> None:
        proxy = self.find(leases[0].place.proxy)
        wanted = dataclasses.replace(proxy.settings, **{lease.field: lease.before for lease in leases})
        self._remove_not_understood(proxy, wanted)
        proxy.configure(wanted)

    def _remove_not_understood(self, proxy: Proxy, wanted: Settings) -> None:
        """Remove the toxics that act on what the proxy is about to understand no more."""
        for applied in list(proxy.toxics()):
            if not understands(wanted.protocol, applied.toxic):
                self.remove_toxic(proxy.name, applied.toxic.name)

    def _delete(self, proxy: Proxy) -> None:
        proxy.remove()
        del self._proxies[proxy.name]
        self.leases.forget_proxy(proxy.name)

    def _undo_created(self, leases: Sequence[Lease]) -> None:
        self._delete(self.find(leases[0].place.proxy))

    def _undo_added(self, leases: Sequence[Lease]) -> None:
        place = leases[0].place
        assert place.toxic is not None
        self.find(place.proxy).remove_toxics([place.toxic])
        self.leases.forget(place)

    def _undo_changed(self, leases: Sequence[Lease]) -> None:
        place = leases[0].place
        assert place.toxic is not None
        proxy = self.find(place.proxy)
        applied = proxy.find_toxic(place.toxic)
        proxy.change_toxic(applied, applied.toxic.restored({lease.field: lease.before for lease in leases}))


def _protocol(fields: decode.Fields) -> Protocol | None:
    text = decode.text(fields, "protocol")
    for known in get_args(Protocol):
        if text == known:
            return known  # type: ignore[no-any-return]
    if text:
        raise bad_value(f"protocol must be one of {', '.join(get_args(Protocol))}, not {text!r}")
    return None


def _same(one: Settings, other: Settings) -> bool:
    """Whether a populate call would find what it asks for."""
    return one.listen.address == other.listen.address and route(one) == route(other)


def _described(proxy: Proxy) -> dict[str, object]:
    settings = proxy.settings
    return {
        "proxy": proxy.name,
        "listen": str(settings.listen.address),
        "upstream": str(settings.upstream),
        "enabled": settings.enabled,
        **({} if settings.tls is None else {"tls": settings.tls.as_json()}),
    }


def _leased(term: Term) -> dict[str, object]:
    return {key: value for key, value in (("ttl", term.ttl_s), ("owner", term.owner)) if value is not None}
