"""Changes that end themselves, and the owners they belong to."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from proxy_rig import Api, EchoServer, connected, eventually, port_of

TOXIC = "/proxies/p/toxics/latency_downstream"


async def gone(api: Api, path: str) -> float:
    """Wait until `path` is a 404; the monotonic clock at that moment."""

    async def is_gone() -> bool:
        return (await api.call("GET", path))[0] == 404

    await eventually(is_gone)
    return time.monotonic()


async def settled(api: Api, path: str, **wanted: object) -> None:
    """Wait until the body at `path` holds what is wanted."""

    async def is_settled() -> bool:
        return bool(wanted.items() <= (await api.ok("GET", path)).items())

    await eventually(is_settled)


async def test_a_leased_toxic_removes_itself(api: Api, echo: EchoServer) -> None:
    """A toxic with a ttl is gone when it ends, not before, and connections no longer feel it."""
    async with connected(await api.proxy_to(echo.port)) as client:
        start = time.monotonic()
        shown = await api.toxic("latency", more={"ttl": 1.0, "owner": "run-1"}, latency=300)
        assert (shown["owner"], 0 < shown["ttl"] <= 1.0) == ("run-1", True)
        assert await client.ask() >= 0.299
        assert await gone(api, TOXIC) - start >= 0.999
        assert min([await client.ask() for _ in range(3)]) < 0.25
        assert await api.ok("GET", "/owners") == {}


async def test_a_lease_can_be_renewed(api: Api) -> None:
    """A PATCH with a ttl by its owner starts the time anew and changes nothing else; nobody else can."""
    await api.proxy_to(9)
    await api.toxic("latency", more={"ttl": 1.0, "owner": "run-1"}, latency=50)
    assert (await api.call("PATCH", TOXIC, {"ttl": 0.01}))[0] == 409
    renewed = await api.ok("PATCH", TOXIC, {"ttl": 60, "owner": "run-1"})
    assert (renewed["ttl"] > 50, renewed["owner"], renewed["attributes"]["latency"]) == (True, "run-1", 50)
    await asyncio.sleep(1.05)  # beyond the first ttl
    assert (await api.ok("GET", TOXIC))["ttl"] > 50
    await api.ok("PATCH", TOXIC, {"ttl": 0.05, "owner": "run-1"})
    await gone(api, TOXIC)


async def test_a_leased_change_of_a_toxic_goes_back(api: Api) -> None:
    """When a leased change ends the toxic has exactly its earlier attributes and toxicity."""
    await api.proxy_to(9)
    before = await api.toxic("latency", more={"toxicity": 0.5}, latency=50, jitter=5)
    changed = await api.ok("PATCH", TOXIC, {"attributes": {"latency": 900}, "toxicity": 1, "ttl": 0.1})
    assert (changed["attributes"]["latency"], changed["toxicity"]) == (900, 1)
    await settled(api, TOXIC, **before)
    assert await api.ok("GET", TOXIC) == before


async def test_a_change_for_good_during_a_lease_stays(api: Api) -> None:
    """What is set without a ttl while a leased change is open is not taken back when the lease ends."""
    await api.proxy_to(9)
    await api.toxic("latency", latency=50)
    await api.ok("PATCH", TOXIC, {"attributes": {"latency": 900}, "ttl": 0.1})
    await api.ok("PATCH", TOXIC, {"attributes": {"latency": 77}})
    await asyncio.sleep(0.15)
    assert (await api.ok("GET", TOXIC))["attributes"]["latency"] == 77


async def test_a_leased_outage_ends_itself(api: Api, echo: EchoServer) -> None:
    """A proxy that is disabled with a ttl lets clients through again when it ends."""
    port = await api.proxy_to(echo.port)
    down = await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.2, "owner": "run-1"})
    assert (down["enabled"], down["owner"], 0 < down["ttl"] <= 0.2) == (False, "run-1", True)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await settled(api, "/proxies/p", enabled=True)
    async with connected(port) as client:
        await client.ask()
    assert (await api.ok("GET", "/proxies/p")).keys() == {"name", "listen", "upstream", "enabled", "toxics"}


async def test_a_leased_outage_of_a_proxy_that_was_down_leaves_it_down(api: Api) -> None:
    """What was disabled before a leased outage is disabled after it."""
    await api.proxy_to(9)
    await api.ok("PATCH", "/proxies/p", {"enabled": False})
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.05, "owner": "run-1"})
    await settled(api, "/proxies/p", enabled=False)

    async def nobody() -> bool:
        return not await api.ok("GET", "/owners")

    await eventually(nobody)
    assert (await api.ok("GET", "/proxies/p"))["enabled"] is False


async def test_a_leased_detour_goes_back(api: Api, echo: EchoServer) -> None:
    """A leased change of upstream and address is undone as a whole."""
    await api.proxy_to(echo.port)
    before = await api.ok("GET", "/proxies/p")
    await api.ok("PATCH", "/proxies/p", {"upstream": "127.0.0.1:9", "listen": "127.0.0.1:0", "ttl": 0.1})
    await settled(api, "/proxies/p", **before)
    async with connected(int(before["listen"].rpartition(":")[2])) as client:
        await client.ask()


async def test_a_second_leased_change_keeps_the_first_way_back(api: Api) -> None:
    """Renewing an outage does not make the outage the state to go back to."""
    await api.proxy_to(9)
    for _ in range(3):
        await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.1, "owner": "run-1"})
    await settled(api, "/proxies/p", enabled=True)


async def test_enabling_by_hand_ends_the_lease(api: Api) -> None:
    """A proxy that is enabled by hand during a leased outage stays as later set, and nothing is open."""
    await api.proxy_to(9)
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.1, "owner": "run-1"})
    await api.ok("PATCH", "/proxies/p", {"enabled": True})
    assert await api.ok("GET", "/owners") == {}
    await api.ok("PATCH", "/proxies/p", {"enabled": False})
    await asyncio.sleep(0.15)
    assert (await api.ok("GET", "/proxies/p"))["enabled"] is False


async def test_another_owners_lease_is_not_overwritten(api: Api) -> None:
    """A leased change to what another owner has leased is a 409 and changes nothing."""
    await api.proxy_to(9)
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 60, "owner": "run-1"})
    await api.toxic("latency", more={"ttl": 60, "owner": "run-1"}, latency=5)
    before = await api.ok("GET", "/proxies/p/toxics")
    for path in ("/proxies/p", TOXIC):
        status, answer = await api.call("PATCH", path, {"enabled": True, "toxicity": 0, "ttl": 1, "owner": "run-2"})
        assert (status, "run-1" in answer["error"]) == (409, True)
    assert (await api.ok("GET", "/proxies/p"))["enabled"] is False
    assert [toxic["toxicity"] for toxic in await api.ok("GET", "/proxies/p/toxics")] == [before[0]["toxicity"]]


async def test_an_owners_changes_end_together(api: Api) -> None:
    """DELETE of an owner undoes all of its changes and only those, lists them newest first, and then finds none."""
    for name in ("p", "q"):
        await api.proxy_to(9, name)
    await api.toxic("latency", more={"owner": "run-1"}, latency=5)
    await api.toxic("timeout", "q", {"owner": "run-1", "ttl": 60})
    await api.toxic("noop", "q", {"owner": "run-2"})
    await api.ok("PATCH", "/proxies/q", {"enabled": False, "owner": "run-1", "ttl": 60})
    owners = await api.ok("GET", "/owners")
    assert {name: len(changes) for name, changes in owners.items()} == {"run-1": 3, "run-2": 1}
    undone = await api.ok("DELETE", "/owners/run-1")
    assert [(change["proxy"], change["toxic"]) for change in undone] == [
        ("q", None),
        ("q", "timeout_downstream"),
        ("p", "latency_downstream"),
    ]
    proxies = await api.ok("GET", "/proxies")
    assert {name: (p["enabled"], len(p["toxics"])) for name, p in proxies.items()} == {"p": (True, 0), "q": (True, 1)}
    assert await api.ok("DELETE", "/owners/run-1") == []
    assert list(await api.ok("GET", "/owners")) == ["run-2"]


async def test_a_lease_does_not_outlive_what_it_is_about(api: Api) -> None:
    """Removing a toxic or a proxy, or a reset, closes its leases; a later namesake is not touched by them."""
    await api.proxy_to(9)
    await api.toxic("latency", more={"ttl": 0.1, "owner": "run-1"}, latency=5)
    await api.ok("DELETE", TOXIC)
    await api.toxic("latency", latency=6)
    await asyncio.sleep(0.15)
    assert (await api.ok("GET", TOXIC))["attributes"]["latency"] == 6
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 60, "owner": "run-1"})
    await api.ok("POST", "/reset")
    assert await api.ok("GET", "/owners") == {}
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 60, "owner": "run-1"})
    await api.ok("DELETE", "/proxies/p")
    assert await api.ok("GET", "/owners") == {}


async def test_an_undo_that_cannot_be_done_yet_is_tried_until_it_is(api: Api, echo: EchoServer) -> None:
    """If the old port is taken when a lease ends, going back is tried again until the port is free."""
    port = await api.proxy_to(echo.port)
    await api.ok("PATCH", "/proxies/p", {"listen": "127.0.0.1:0", "ttl": 60, "owner": "run-1"})
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        status, answer = await api.call("DELETE", "/owners/run-1")
        assert (status, "not undone yet" in answer["error"]) == (500, True)
        assert list(await api.ok("GET", "/owners")) == ["run-1"]
    await settled(api, "/proxies/p", listen=f"127.0.0.1:{port}")
    assert await api.ok("GET", "/owners") == {}


async def test_each_field_goes_back_at_its_own_time(api: Api) -> None:
    """Changes with different ttls each end by themselves, and what is set for good of one field leaves the others."""
    await api.proxy_to(9)
    await api.toxic("latency", latency=100, jitter=5)
    await api.ok("PATCH", TOXIC, {"attributes": {"latency": 1000}, "ttl": 0.1, "owner": "run-1"})
    await api.ok("PATCH", TOXIC, {"attributes": {"jitter": 50}, "ttl": 60, "owner": "run-1"})
    await api.ok("PATCH", TOXIC, {"toxicity": 0.5})
    await settled(api, TOXIC, attributes={"latency": 100, "jitter": 50}, toxicity=0.5)
    await api.ok("DELETE", "/owners/run-1")
    await settled(api, TOXIC, attributes={"latency": 100, "jitter": 5}, toxicity=0.5)


async def test_a_short_outage_of_a_leased_proxy_is_not_its_end(api: Api) -> None:
    """A leased change to what was itself made for a time undoes the change, not what was made."""
    await api.proxy_to(9, ttl=60, owner="run-1")
    await api.toxic("latency", more={"ttl": 60, "owner": "run-1"}, latency=100)
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.1, "owner": "run-1"})
    await api.ok("PATCH", TOXIC, {"attributes": {"latency": 900}, "ttl": 0.1, "owner": "run-1"})
    await settled(api, "/proxies/p", enabled=True)
    await settled(api, TOXIC, attributes={"latency": 100, "jitter": 0})
    await api.ok("DELETE", "/owners/run-1")
    await gone(api, "/proxies/p")


async def test_a_reset_takes_leased_settings_back(api: Api) -> None:
    """After a reset a proxy leads where it led before a leased change; one that was made for a time still ends."""
    port = await api.proxy_to(9)
    await api.ok("PATCH", "/proxies/p", {"upstream": "127.0.0.1:10", "listen": "127.0.0.1:0", "ttl": 60})
    await api.proxy_to(9, name="q", ttl=0.3)
    await api.ok("POST", "/reset")
    shown = await api.ok("GET", "/proxies/p")
    assert (shown["upstream"], port_of(shown), "ttl" in shown) == ("127.0.0.1:9", port, False)
    await gone(api, "/proxies/q")


async def test_what_populate_names_is_there_for_good(api: Api) -> None:
    """A proxy that was made for a time stays when a populate call asks for it as it is."""
    port = await api.proxy_to(9, ttl=0.1, owner="dead")
    await api.ok("POST", "/populate", [{"name": "p", "listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:9"}])
    assert await api.ok("GET", "/owners") == {}
    await asyncio.sleep(0.15)  # beyond the ttl
    assert "ttl" not in await api.ok("GET", "/proxies/p")


async def test_a_leased_protocol_goes_back_with_its_toxics(api: Api) -> None:
    """Toxics that act on requests go when the proxy, at the end of a lease, no longer understands them."""
    await api.proxy_to(9)
    await api.ok("PATCH", "/proxies/p", {"protocol": "http", "ttl": 60, "owner": "run-1"})
    await api.toxic("http_status")
    await api.toxic("latency", latency=1)
    await api.ok("DELETE", "/owners/run-1")
    shown = await api.ok("GET", "/proxies/p")
    assert ("protocol" in shown, [toxic["type"] for toxic in shown["toxics"]]) == (False, ["latency"])


async def test_a_change_that_would_be_in_the_way_of_going_back_is_refused(api: Api) -> None:
    """What could not stay once a leased change is undone is a 400 and changes nothing."""
    await api.proxy_to(9)
    await api.toxic("slicer", average_size=100)
    slicer = "/proxies/p/toxics/slicer_downstream"
    await api.ok("PATCH", slicer, {"attributes": {"average_size": 1000}, "ttl": 60})
    assert (await api.call("PATCH", slicer, {"attributes": {"size_variation": 500}}))[0] == 400
    assert (await api.ok("GET", slicer))["attributes"]["size_variation"] == 0
