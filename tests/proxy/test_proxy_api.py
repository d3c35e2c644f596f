"""The control API: status codes, bodies, decoding rules, and what is refused."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from proxy_rig import Api, EchoServer, connected, eventually, free_port, port_of, running_api

UP = "127.0.0.1:9"
P = {"name": "p", "listen": "127.0.0.1:0", "upstream": UP}


def toxic(kind: str = "latency", **more: Any) -> dict[str, Any]:
    """The body that adds a toxic."""
    return {"type": kind, **more}


def attributes(kind: str, **values: Any) -> dict[str, Any]:
    """The body that adds a toxic with attributes."""
    return toxic(kind, attributes=values)


CALLS = [
    # method, path, body, status, words of the answer
    ("GET", "/version", None, 200, '"2.'),
    ("GET", "/proxies", None, 200, '"p"'),
    ("GET", "/proxies/p", None, 200, '"toxics":['),
    ("GET", "/proxies/none", None, 404, "proxy not found"),
    ("POST", "/proxies", {**P, "name": "q"}, 201, '"enabled":true'),
    ("POST", "/proxies", {"name": "q", "upstream": UP}, 201, '"listen":"127.0.0.1:'),
    ("POST", "/proxies", {**P, "name": "q", "enabled": False}, 201, '"enabled":false'),
    ("POST", "/proxies", P, 409, "proxy already exists"),
    ("POST", "/proxies", {"upstream": UP}, 400, "missing required field: name"),
    ("POST", "/proxies", {"name": "q"}, 400, "missing required field: upstream"),
    ("POST", "/proxies", {**P, "name": "a/b"}, 400, "without '/'"),
    ("POST", "/proxies", {**P, "name": ".."}, 400, "name must be"),
    ("POST", "/proxies", {**P, "name": "a\nb"}, 400, "name must be"),
    ("POST", "/proxies", {**P, "name": "q", "listen": "nonsense"}, 400, "listen must be host:port"),
    ("POST", "/proxies", {**P, "name": "q", "listen": "127.0.0.1:99999"}, 400, "listen must be host:port"),
    ("POST", "/proxies", {**P, "name": "q", "listen": "0.0.0.0:0"}, 400, "--token"),
    ("POST", "/proxies", {**P, "name": "q", "listen": ":0"}, 400, "--token"),
    ("POST", "/proxies", {**P, "name": "q", "upstream": "nonsense"}, 400, "upstream must be host:port"),
    ("POST", "/proxies", {**P, "name": "q", "ttl": 3}, 201, '"ttl":'),
    ("POST", "/proxies", {**P, "name": "q", "ttl": -3}, 400, "ttl must be above 0"),
    ("POST", "/proxies", {**P, "name": "q", "protocol": "smtp"}, 400, "protocol must be one of"),
    ("POST", "/proxies", {**P, "name": "q", "listen": "192.0.2.1:80"}, 400, "--token"),
    ("POST", "/proxies", "text", 400, "bad request body"),
    ("POST", "/proxies", [], 400, "bad request body"),
    ("PATCH", "/proxies/p", {"enabled": False}, 200, '"enabled":false'),
    ("POST", "/proxies/p", {"enabled": False}, 200, '"enabled":false'),
    ("PATCH", "/proxies/p", {"enabled": "no"}, 400, "enabled must be true or false"),
    ("PATCH", "/proxies/p", {"upstream": "127.0.0.1:10"}, 200, "127.0.0.1:10"),
    ("PATCH", "/proxies/p", {"upstream": 5}, 400, "upstream must be text"),
    ("PATCH", "/proxies/none", {}, 404, "proxy not found"),
    ("PATCH", "/proxies/p", {"ttl": 3}, 400, "nothing to lease"),
    ("DELETE", "/proxies/p", None, 204, ""),
    ("DELETE", "/proxies/none", None, 404, "proxy not found"),
    ("GET", "/proxies/p/toxics", None, 200, '"name":"t"'),
    ("GET", "/proxies/none/toxics", None, 404, "proxy not found"),
    ("POST", "/proxies/p/toxics", toxic(), 200, '"latency_downstream"'),
    ("POST", "/proxies/p/toxics", toxic(stream="upstream"), 200, '"latency_upstream"'),
    ("POST", "/proxies/p/toxics", toxic("noop"), 200, '"noop_downstream"'),
    ("POST", "/proxies/p/toxics", toxic("slow_close"), 200, '"delay":0'),
    ("POST", "/proxies/p/toxics", toxic("timeout"), 200, '"timeout":0'),
    ("POST", "/proxies/p/toxics", toxic("reset_peer"), 200, '"timeout":0'),
    ("POST", "/proxies/p/toxics", toxic("limit_data"), 200, '"bytes":0'),
    ("POST", "/proxies/p/toxics", attributes("bandwidth", rate=5), 200, '"rate":5'),
    ("POST", "/proxies/p/toxics", attributes("slicer", average_size=5), 200, '"average_size":5'),
    ("POST", "/proxies/p/toxics", toxic(name="t"), 409, "toxic already exists"),
    ("POST", "/proxies/p/toxics", toxic(name="t", stream="upstream"), 409, "toxic already exists"),
    ("POST", "/proxies/p/toxics", toxic(name="a/b"), 400, "without '/'"),
    ("POST", "/proxies/p/toxics", {}, 400, "invalid toxic type"),
    ("POST", "/proxies/p/toxics", toxic("gremlin"), 400, "invalid toxic type"),
    ("POST", "/proxies/p/toxics", toxic(stream="sideways"), 400, "stream was invalid"),
    ("POST", "/proxies/p/toxics", toxic(toxicity=1.5), 400, "toxicity must be between 0 and 1"),
    ("POST", "/proxies/p/toxics", toxic(toxicity=-0.1), 400, "toxicity must be between 0 and 1"),
    ("POST", "/proxies/p/toxics", toxic(toxicity="all"), 400, "toxicity must be a number"),
    ("POST", "/proxies/p/toxics", toxic(attributes=[]), 400, "object"),
    ("POST", "/proxies/p/toxics", attributes("latency", latency=-1), 400, "latency must not be negative"),
    ("POST", "/proxies/p/toxics", attributes("latency", jitter=-1), 400, "jitter must not be negative"),
    ("POST", "/proxies/p/toxics", attributes("latency", latency="1s"), 400, "latency must be a number"),
    ("POST", "/proxies/p/toxics", attributes("latency", latency=True), 400, "latency must be a number"),
    ("POST", "/proxies/p/toxics", attributes("latency", latency=1e300), 400, "2^53"),
    ("POST", "/proxies/p/toxics", toxic("bandwidth"), 200, '"rate":0'),
    ("POST", "/proxies/p/toxics", attributes("bandwidth", rate=-5), 400, "rate must not be negative"),
    ("POST", "/proxies/p/toxics", toxic("slicer"), 200, '"average_size":0'),
    ("POST", "/proxies/p/toxics", toxic(stream=""), 400, "stream was invalid"),
    ("POST", "/proxies/p/toxics", attributes("slicer", average_size=2.5), 400, "whole number"),
    ("POST", "/proxies/p/toxics", attributes("slicer", average_size=5, size_variation=5), 400, "smaller than"),
    ("POST", "/proxies/p/toxics", attributes("limit_data", bytes=-1), 400, "bytes must not be negative"),
    ("POST", "/proxies/p/toxics", toxic(ttl=0), 400, "ttl must be above 0"),
    ("POST", "/proxies/p/toxics", toxic(ttl="soon"), 400, "ttl must be a number"),
    ("POST", "/proxies/p/toxics", toxic(owner="a/b"), 400, "owner must be"),
    ("POST", "/proxies/none/toxics", toxic(), 404, "proxy not found"),
    ("GET", "/proxies/p/toxics/t", None, 200, '"latency":10'),
    ("GET", "/proxies/p/toxics/none", None, 404, "toxic not found"),
    ("PATCH", "/proxies/p/toxics/t", {"attributes": {"jitter": 3}}, 200, '"latency":10,"jitter":3'),
    ("POST", "/proxies/p/toxics/t", {"toxicity": 0.5}, 200, '"toxicity":0.5'),
    ("PATCH", "/proxies/p/toxics/t", {"attributes": {"latency": -3}}, 400, "latency must not be negative"),
    ("PATCH", "/proxies/p/toxics/t", {"ttl": 3}, 400, "nothing to lease"),
    ("PATCH", "/proxies/p/toxics/none", {}, 404, "toxic not found"),
    ("DELETE", "/proxies/p/toxics/t", None, 204, ""),
    ("DELETE", "/proxies/p/toxics/none", None, 404, "toxic not found"),
    ("DELETE", "/proxies/none/toxics/t", None, 404, "proxy not found"),
    ("POST", "/populate", [P, {**P, "name": "q"}], 201, '"proxies":['),
    ("POST", "/populate", [], 201, '"proxies":[]'),
    ("POST", "/populate", [{"name": "q"}], 400, "missing required field: upstream at proxy 1"),
    ("POST", "/populate", [{**P, "name": "q"}, {**P, "name": "q"}], 400, "given twice"),
    ("POST", "/populate", {}, 400, "bad request body"),
    ("POST", "/reset", None, 204, ""),
    ("GET", "/proxies/p/stats", None, 200, '"connections"'),
    ("GET", "/proxies/none/stats", None, 404, "proxy not found"),
    ("GET", "/owners", None, 200, "{}"),
    ("DELETE", "/owners/nobody", None, 200, "[]"),
    ("GET", "/metrics", None, 404, "404 page not found"),
    ("GET", "/nonsense", None, 404, "404 page not found"),
    ("PUT", "/proxies/p", None, 405, ""),
    ("HEAD", "/version", None, 405, ""),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]} {call[2]}"[:70])
async def test_each_call_answers_as_documented(api: Api, call: tuple[str, str, Any, int, str]) -> None:
    """Every call, good or bad, has its status, its sentence, and a request id."""
    method, path, body, status, words = call
    await api.proxy_to(9)
    await api.toxic("latency", more={"name": "t"}, latency=10)
    async with api.session.request(method, api.proxy.url + path, json=body) as answer:
        text = await answer.text()
        assert (answer.status, words in text) == (status, True), text
        assert answer.headers["X-Toxiproxy-Request-Id"]
        if status >= 400 and answer.content_type == "application/json":
            assert json.loads(text).keys() == {"error", "status"} | ({"proxies"} if path == "/populate" else set())
            assert json.loads(text)["status"] == status


async def test_a_refused_call_changes_nothing(api: Api) -> None:
    """No refused call of the table leaves a trace in what the API shows."""
    await api.proxy_to(9)
    await api.toxic("latency", more={"name": "t"}, latency=10)
    before = await api.ok("GET", "/proxies")
    for method, path, body, status, _ in CALLS:
        if status >= 400:
            await api.call(method, path, body)
            assert await api.ok("GET", "/proxies") == before, (method, path, body)


async def test_an_ordinary_client_sees_toxiproxys_shapes(api: Api) -> None:
    """Without lease or owner, proxies and toxics have exactly Toxiproxy's fields."""
    await api.proxy_to(9)
    assert await api.toxic("latency", latency=10) == {
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 10, "jitter": 0},
    }
    assert (await api.ok("GET", "/proxies/p")).keys() == {"name", "listen", "upstream", "enabled", "toxics"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"NAME": "q", "Upstream": "127.0.0.1:9"}',
        b' {"name": "q", "upstream": "127.0.0.1:9", "colour": "red"}',
        b'{"name": "q", "upstream": "127.0.0.1:9", "listen": null, "enabled": null} and more',
    ],
    ids=["any case", "unknown key", "null and trailing bytes"],
)
async def test_bodies_are_read_as_go_reads_them(api: Api, body: bytes) -> None:
    """Keys match in any case, unknown keys and trailing bytes are ignored, null is absent."""
    status, made = await api.call("POST", "/proxies", data=body)
    assert (status, made["name"], made["enabled"]) == (201, "q", True)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"name": NaN}', b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}"]
)
async def test_a_body_that_is_no_json_is_a_400(api: Api, body: bytes) -> None:
    """Bytes that are not JSON are refused with a sentence."""
    status, answer = await api.call("POST", "/proxies", data=body)
    assert status == 400
    assert answer["error"].startswith("bad request body: ")


async def test_a_base_url_that_ends_in_a_slash_works(api: Api) -> None:
    """A POST to //proxies arrives as one to /proxies, body included."""
    status, made = await api.call("POST", "//proxies", P)
    assert (status, made["name"]) == (201, "p")


async def test_refusals_look_like_toxiproxys_only_when_asked_to() -> None:
    """With `like_toxiproxy` an error is JSON that calls itself plain text, without it is JSON that says so."""
    for like_toxiproxy, content_type in ((True, "text/plain; charset=utf-8"), (False, "application/json")):
        async with (
            running_api(like_toxiproxy=like_toxiproxy) as api,
            api.session.get(f"{api.proxy.url}/proxies/none") as answer,
        ):
            assert answer.headers["Content-Type"] == content_type
            assert json.loads(await answer.text()) == {"error": "proxy not found", "status": 404}


@pytest.mark.parametrize("like_toxiproxy", [False, True])
async def test_a_timeout_restarts_only_when_asked_to(echo: EchoServer, like_toxiproxy: bool) -> None:
    """Under steady traffic a timeout toxic cuts in time, and with `like_toxiproxy` only once the traffic stops."""
    async with running_api(like_toxiproxy=like_toxiproxy) as api, connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("timeout", timeout=500, more={"stream": "upstream"})
        for _ in range(40):  # a byte every 50 ms, for four times as long as the timeout
            if await api.all_closed():
                break
            client.writer.write(b"x")
            await asyncio.sleep(0.05)
        assert (await api.stats())["connections"]["open"] == int(like_toxiproxy)
        await eventually(api.all_closed)


async def test_a_failed_rebind_keeps_the_old_listener(api: Api, echo: EchoServer) -> None:
    """Moving to a port that is taken is a 500; the proxy and its connections go on where they were."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as client:
        await client.ask()
        status, answer = await api.call("PATCH", "/proxies/p", {"listen": f"127.0.0.1:{echo.port}"})
        assert (status, "in use" in answer["error"]) == (500, True)
        await client.ask()
    async with connected(port) as client:
        await client.ask()


async def test_a_moved_proxy_listens_at_its_new_address_only(api: Api, echo: EchoServer) -> None:
    """After a change of `listen` the new port works and the old one refuses."""
    old, new = await api.proxy_to(echo.port), free_port()
    moved = await api.ok("PATCH", "/proxies/p", {"listen": f"127.0.0.1:{new}"})
    assert port_of(moved) == new
    async with connected(new) as client:
        await client.ask()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", old)


async def test_another_upstream_is_for_every_connection(api: Api, echo: EchoServer) -> None:
    """When the upstream changes open connections are reset, and new ones lead to the new server."""
    async with EchoServer() as other, connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        changed = await api.ok("PATCH", "/proxies/p", {"upstream": f"127.0.0.1:{other.port}"})
        assert await client.end() == "reset"
        async with connected(port_of(changed)) as next_client:
            await next_client.ask()
        assert (len(echo.writers), len(other.writers)) == (1, 1)


async def test_a_proxy_cannot_be_created_on_a_port_that_is_taken(api: Api, echo: EchoServer) -> None:
    """Creating on a taken port is a 500 and leaves no proxy behind."""
    status, _ = await api.call("POST", "/proxies", {"name": "q", "listen": f"127.0.0.1:{echo.port}", "upstream": UP})
    assert status == 500
    assert await api.ok("GET", "/proxies") == {}


async def test_populate_is_all_or_nothing(api: Api, echo: EchoServer) -> None:
    """If one of several proxies cannot listen, none is created or replaced and open connections go on."""
    port = await api.proxy_to(echo.port)
    before = await api.ok("GET", "/proxies")
    wanted = [
        {"name": "new", "listen": f"127.0.0.1:{free_port()}", "upstream": UP},
        {"name": "p", "listen": f"127.0.0.1:{port}", "upstream": UP},
        {"name": "bad", "listen": f"127.0.0.1:{echo.port}", "upstream": UP},
    ]
    async with connected(port) as client:
        await client.ask()
        assert (await api.call("POST", "/populate", wanted))[0] == 500
        await client.ask()
    assert await api.ok("GET", "/proxies") == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(wanted[0]["listen"].rpartition(":")[2]))


async def test_populate_replaces_what_differs_and_keeps_what_is_there(api: Api, echo: EchoServer) -> None:
    """A proxy with the same addresses keeps its toxics; one with another upstream is replaced at the same port."""
    ports = {name: await api.proxy_to(echo.port, name) for name in ("same", "other")}
    for name in ports:
        await api.toxic("latency", name)
    wanted = [
        {"name": "same", "listen": f"127.0.0.1:{ports['same']}", "upstream": f"127.0.0.1:{echo.port}"},
        {"name": "other", "listen": f"127.0.0.1:{ports['other']}", "upstream": f"localhost:{echo.port}"},
    ]
    made = (await api.ok("POST", "/populate", wanted))["proxies"]
    assert [(proxy["name"], len(proxy["toxics"])) for proxy in made] == [("same", 1), ("other", 0)]
    async with connected(ports["other"]) as client:
        await client.ask()


async def test_reset_enables_everything_and_removes_every_toxic(api: Api, echo: EchoServer) -> None:
    """After a reset every proxy lets clients through and none has a toxic."""
    ports = [await api.proxy_to(echo.port, name) for name in ("p", "q")]
    await api.toxic("timeout", "q")
    await api.ok("PATCH", "/proxies/p", {"enabled": False})
    await api.ok("POST", "/reset")
    for port in ports:
        async with connected(port) as client:
            await client.ask()


async def test_reset_is_all_or_nothing(api: Api, echo: EchoServer) -> None:
    """If one proxy cannot listen again, reset is a 500 and every proxy stays as it was."""
    taken = echo.port
    await api.proxy_to(echo.port, "p")
    await api.toxic("latency", "p")
    await api.proxy_to(echo.port, "q")
    await api.ok("PATCH", "/proxies/q", {"enabled": False})
    await api.ok("POST", "/proxies", {"name": "r", "listen": f"127.0.0.1:{taken}", "upstream": UP, "enabled": False})
    before = await api.ok("GET", "/proxies")
    assert (await api.call("POST", "/reset"))[0] == 500
    assert await api.ok("GET", "/proxies") == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port_of(before["q"]))


async def test_a_disabled_proxy_refuses_and_keeps_its_port(api: Api, echo: EchoServer) -> None:
    """Disabled, the port refuses clients and cannot be taken by others; open connections are reset."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as client:
        await client.ask()
        await api.ok("PATCH", "/proxies/p", {"enabled": False})
        assert await client.end() == "reset"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    for reuse in (0, 1):
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            with pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", port))
    stats = await api.stats()
    assert (stats["enabled"], stats["connections"]["cut"], stats["down_since_seconds"] >= 0) == (False, 1, True)
    await api.ok("PATCH", "/proxies/p", {"enabled": True})
    async with connected(port) as client:
        await client.ask()
    assert "down_since_seconds" not in await api.stats()
