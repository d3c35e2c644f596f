"""Any sequence of calls leaves what a small model of the API says: proxies, toxics, leases, populate and reset."""

from __future__ import annotations

import copy
import json
import socket
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from proxy_rig import free_port
from toxiproxy_peer import our_server

if TYPE_CHECKING:
    from toxiproxy_peer import Served

NAMES = st.sampled_from(["a", "b", "c d"])
TOXICS = st.sampled_from(["t", "u", "latency_downstream"])
OWNERS = st.sampled_from(["me", "you"])
SHAPES = st.fixed_dictionaries(
    {
        "type": st.just("latency"),
        "stream": st.sampled_from(["upstream", "downstream"]),
        "toxicity": st.sampled_from([0, 0.5, 1]),
        "attributes": st.fixed_dictionaries({"latency": st.integers(0, 9)}),
    }
)
UPSTREAMS = st.sampled_from(["127.0.0.1:9", "127.0.0.1:10"])
# Of fixed proxies, so that populate can meet one that is there, and of one that somebody else has.
PORTS = st.sampled_from(["first", "second", "taken"])
TTL_S = 3600


class Model(RuleBasedStateMachine):
    """What a client knows after its calls: the proxies with their toxics, and for each lease its owner and way back."""

    served: Served
    ports: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.proxies: dict[str, dict[str, Any]] = {}
        self.leases: dict[tuple[str, str], tuple[str, dict[str, Any] | None]] = {}  # (proxy, toxic) → owner, before

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and parsed body."""
        path = path.replace(" ", "%20")
        answer = self.served.ask(method, path, None if body is None else json.dumps(body).encode())
        return answer.status, json.loads(answer.body) if answer.body else None

    @initialize()
    def begin_with_nothing(self) -> None:
        """Each sequence starts on a server without proxies."""
        for name in self.ask("GET", "/proxies")[1]:
            assert self.ask("DELETE", f"/proxies/{name}")[0] == 204

    def had(self, port: str, but: str) -> bool:
        """Whether somebody has that port, other than proxy `but`; a proxy keeps its own while it is disabled."""
        others = [proxy for name, proxy in self.proxies.items() if name != but]
        return port == "taken" or any(proxy["port"] == port and proxy["bound"] for proxy in others)

    @rule(name=NAMES, port=PORTS, upstream=UPSTREAMS, enabled=st.booleans())
    def create(self, name: str, port: str, upstream: str, enabled: bool) -> None:
        """Created if the name is new and the port is free."""
        body = {"name": name, "listen": f"127.0.0.1:{self.ports[port]}", "upstream": upstream, "enabled": enabled}
        status, made = self.ask("POST", "/proxies", body)
        if name in self.proxies:
            assert (status, made["error"]) == (409, "proxy already exists")
        elif enabled and self.had(port, but=name):
            assert status == 500
        else:
            assert status == 201
            self.proxies[name] = fresh_proxy(port, upstream, enabled)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """Gone, with its toxics and leases."""
        status, _ = self.ask("DELETE", f"/proxies/{name}")
        assert status == (204 if name in self.proxies else 404)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Take a proxy and its leases out of the model."""
        self.proxies.pop(name, None)
        self.leases = {place: lease for place, lease in self.leases.items() if place[0] != name}

    @rule(name=NAMES, enabled=st.none() | st.booleans(), upstream=st.none() | UPSTREAMS, port=st.none() | PORTS)
    def update(self, name: str, enabled: bool | None, upstream: str | None, port: str | None) -> None:
        """Changed as asked, or not at all if the port cannot be had."""
        listen = None if port is None else f"127.0.0.1:{self.ports[port]}"
        status, _ = self.ask("PATCH", f"/proxies/{name}", {"listen": listen, "upstream": upstream, "enabled": enabled})
        if name not in self.proxies:
            assert status == 404
            return
        given = {"enabled": enabled, "upstream": upstream, "port": port}
        wanted = self.proxies[name] | {key: value for key, value in given.items() if value is not None}
        bound = self.proxies[name]["bound"] and wanted["port"] == self.proxies[name]["port"]
        if wanted["enabled"] and not bound and self.had(wanted["port"], but=name):
            assert status == 500
        else:
            assert status == 200
            self.proxies[name] = {**wanted, "bound": bound or wanted["enabled"]}

    @rule(name=NAMES, toxic=TOXICS, shape=SHAPES, owner=st.none() | OWNERS)
    def add_toxic(self, name: str, toxic: str, shape: dict[str, Any], owner: str | None) -> None:
        """Added if the proxy is there and the name is new."""
        status, _ = self.ask("POST", f"/proxies/{name}/toxics", {"name": toxic, **shape, **self.term(owner)})
        if name not in self.proxies or toxic in self.proxies[name]["toxics"]:
            assert status == (404 if name not in self.proxies else 409)
            return
        assert status == 200
        self.proxies[name]["toxics"][toxic] = {**shape, "attributes": {"jitter": 0, **shape["attributes"]}}
        if owner is not None:
            self.leases[name, toxic] = (owner, None)

    def term(self, owner: str | None) -> dict[str, Any]:
        """What makes a change a lease of that owner's."""
        return {} if owner is None else {"owner": owner, "ttl": TTL_S}

    @rule(name=NAMES, toxic=TOXICS, latency=st.none() | st.integers(-1, 9), owner=st.none() | OWNERS)
    def change_toxic(self, name: str, toxic: str, latency: int | None, owner: str | None) -> None:
        """Changed, leased or renewed, unless it is another owner's; without owner, a leased change is set for good."""
        body = {"attributes": None if latency is None else {"latency": latency}, **self.term(owner)}
        status, _ = self.ask("PATCH", f"/proxies/{name}/toxics/{toxic}", body)
        if toxic not in self.proxies.get(name, {"toxics": {}})["toxics"]:
            assert status == 404
            return
        place, lease = (name, toxic), self.leases.get((name, toxic))
        if owner is not None and lease is not None and lease[0] != owner:
            assert status == 409
        elif latency == -1 or (latency is None and owner is not None and lease is None):
            assert status == 400
        else:
            assert status == 200
            before = copy.deepcopy(self.proxies[name]["toxics"][toxic])
            if latency is not None:
                self.proxies[name]["toxics"][toxic]["attributes"]["latency"] = latency
            if owner is not None and lease is None:
                self.leases[place] = (owner, before)
            elif owner is None and latency is not None and lease is not None and lease[1] is not None:
                del self.leases[place]

    @rule(name=NAMES, toxic=TOXICS)
    def remove_toxic(self, name: str, toxic: str) -> None:
        """Gone, with its lease."""
        status, _ = self.ask("DELETE", f"/proxies/{name}/toxics/{toxic}")
        there = toxic in self.proxies.get(name, {"toxics": {}})["toxics"]
        assert status == (204 if there else 404)
        if there:
            del self.proxies[name]["toxics"][toxic]
            self.leases.pop((name, toxic), None)

    @rule(owner=OWNERS)
    def end_owner(self, owner: str) -> None:
        """Each of the owner's toxics is as it was before, newest first."""
        status, undone = self.ask("DELETE", f"/owners/{owner}")
        mine = {place: before for place, (whose, before) in self.leases.items() if whose == owner}
        assert status == 200
        assert [(lease["proxy"], lease["toxic"]) for lease in undone] == list(reversed(mine))
        for (name, toxic), before in mine.items():
            if before is None:
                del self.proxies[name]["toxics"][toxic]
            else:
                self.proxies[name]["toxics"][toxic] = before
            del self.leases[name, toxic]

    @rule(wanted=st.lists(st.tuples(NAMES, PORTS, UPSTREAMS, st.booleans()), max_size=3))
    def populate(self, wanted: list[tuple[str, str, str, bool]]) -> None:
        """All or none; what is there already with the same addresses stays as it is."""
        body = [
            {"name": name, "listen": f"127.0.0.1:{self.ports[port]}", "upstream": upstream, "enabled": enabled}
            for name, port, upstream, enabled in wanted
        ]
        status, answer = self.ask("POST", "/populate", body)
        fresh = [entry for entry in wanted if not self.is_there(*entry[:3])]
        needed = [port for _, port, _, enabled in fresh if enabled]
        if len({name for name, *_ in wanted}) < len(wanted):
            assert status == 400
        elif len(set(needed)) < len(needed) or any(
            enabled and self.had(port, but=name) for name, port, _, enabled in fresh
        ):  # also by a proxy that this very call would move
            assert status == 500
        else:
            assert status == 201
            assert [proxy["name"] for proxy in answer["proxies"]] == [name for name, *_ in wanted]
            for name, *settings_of_it in fresh:
                self.forget(name)
                self.proxies[name] = fresh_proxy(*settings_of_it)

    def is_there(self, name: str, port: str, upstream: str) -> bool:
        """Whether a populate call finds that proxy."""
        proxy = self.proxies.get(name)
        return proxy is not None and (proxy["port"], proxy["upstream"]) == (port, upstream)

    @precondition(lambda self: self.proxies)
    @rule()
    def reset(self) -> None:
        """All enabled, without toxics or leases, or nothing if one cannot have its port."""
        status, _ = self.ask("POST", "/reset")
        needed = [(name, proxy["port"]) for name, proxy in self.proxies.items() if not proxy["bound"]]
        if len({port for _, port in needed}) < len(needed) or any(self.had(port, but=name) for name, port in needed):
            assert status == 500
            return
        assert status == 204
        for proxy in self.proxies.values():
            proxy.update(enabled=True, bound=True, toxics={})
        self.leases = {}

    @invariant()
    def the_api_shows_what_the_model_says(self) -> None:
        """Every proxy, every toxic in its order, every owner's open leases: as the model has them."""
        shown = self.ask("GET", "/proxies")[1]
        assert {name: self.known(proxy) for name, proxy in shown.items()} == {
            name: visible(proxy) for name, proxy in self.proxies.items()
        }
        owners = self.ask("GET", "/owners")[1]
        found = {(lease["proxy"], lease["toxic"]): owner for owner, leases in owners.items() for lease in leases}
        assert found == {place: owner for place, (owner, _) in self.leases.items()}

    def known(self, proxy: dict[str, Any]) -> dict[str, Any]:
        """A proxy as the API shows it, in the words of the model."""
        named = {f"127.0.0.1:{number}": port for port, number in self.ports.items()}
        toxics = [
            (toxic["name"], {key: toxic[key] for key in ("type", "stream", "toxicity", "attributes")})
            for toxic in proxy["toxics"]
        ]
        return {
            "port": named[proxy["listen"]],
            "upstream": proxy["upstream"],
            "enabled": proxy["enabled"],
            "toxics": toxics,
        }


def fresh_proxy(port: str, upstream: str, enabled: bool) -> dict[str, Any]:
    """A new proxy; `bound` is whether it has its port, which it keeps while it is disabled."""
    return {"port": port, "upstream": upstream, "enabled": enabled, "bound": enabled, "toxics": {}}


def visible(proxy: dict[str, Any]) -> dict[str, Any]:
    """What the API shows of the model's proxy: upstream toxics first, each stream as they were added."""
    toxics = sorted(proxy["toxics"].items(), key=lambda item: item[1]["stream"], reverse=True)
    return {key: proxy[key] for key in ("port", "upstream", "enabled")} | {"toxics": toxics}


def test_any_sequence_of_calls_leaves_what_the_model_says() -> None:
    """After every call of random sequences all proxies, toxics and leases are as a small model predicts."""
    with our_server() as served, socket.create_server(("127.0.0.1", 0)) as taken:

        class Put(Model):
            pass

        Put.served = served
        Put.ports = {"first": free_port(), "second": free_port(), "taken": taken.getsockname()[1]}
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Put,
            settings=settings(
                max_examples=150,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
            ),
        )
