"""Who may call, what may be sent, and that every change is written down."""

from __future__ import annotations

import asyncio
import io
import json

import aiohttp
import pytest
from aiohttp import web
from proxy_rig import Api, free_port, running_api, until

from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.api.calls import Manner, make_app
from chaosrunner.proxy.api.guards import Guard
from chaosrunner.proxy.audit import audit_to
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.proxies import Shared

UP = "127.0.0.1:9"
P = {"name": "p", "listen": "127.0.0.1:0", "upstream": UP}
AUDITED = ["proxy created", "undone for its owner", "undone for its owner", "all proxies reset"]


NOT_GZIP = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
MALFORMED = [
    b"GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer secret\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\nBad Name: secret\r\n\r\n",
    b"POST /proxies HTTP/1.1\r\nHost: a\r\nContent-Length: secret\r\n\r\n",
]


async def exchange(port: int, request: bytes) -> bytes:
    """What the API answers to these bytes before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def a_control() -> Control:
    """What the API acts on, without a proxy."""
    return Control(Shared(7, audit_to(io.StringIO()), Agenda()), loopback_only=True)


async def test_a_body_beyond_the_limit_is_a_413(api: Api) -> None:
    """More than a megabyte is not read."""
    status, _ = await api.call("POST", "/populate", data=b" " * (1024 * 1024 + 1))
    assert status == 413


async def test_a_body_that_does_not_come_is_a_408() -> None:
    """A client that announces a body and does not send it is told so, and the API serves others meanwhile."""
    app = make_app(a_control(), Guard(), Manner(body_timeout_s=0.2))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
    other_reader, other = await asyncio.open_connection("127.0.0.1", port)
    other.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await other_reader.readline()
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    for open_writer in (writer, other):
        open_writer.close()
    await until(lambda: all(one.transport is None for one in runner.server.connections))  # else it waits for the body
    await runner.cleanup()


async def test_headers_beyond_the_limit_are_a_400(api: Api) -> None:
    """A header of 64 KiB is refused, and the next call is served."""
    status, _ = await api.call("GET", "/version", headers={"X-Long": "x" * 65536})
    assert status == 400
    assert (await api.call("GET", "/version"))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"User-Agent": "Mozilla/5.0 (X11)"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8474"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "127.0.0.2"}, 200),
    ],
)
async def test_web_pages_are_kept_out(api: Api, headers: dict[str, str], status: int) -> None:
    """A browser, a foreign origin or a name that was rebound to this machine gets a 403."""
    assert (await api.call("GET", "/proxies", headers=headers))[0] == status


async def test_with_a_token_every_call_needs_it() -> None:
    """Without the bearer token every call is a 401, with it even a foreign host name is served."""
    async with running_api(token="secret") as api:
        assert (await api.call("GET", "/version"))[0] == 401
        assert (await api.call("GET", "/version", headers={"Authorization": "Bearer wrong"}))[0] == 401
        for wrong in ("secret", "Basic secret", "Basic Og==", "Basic \xff", aiohttp.encode_basic_auth("secret", "")):
            assert (await api.call("GET", "/version", headers={"Authorization": wrong}))[0] == 401
        right = {"Authorization": "Bearer secret", "Host": "proxy.shop"}
        assert (await api.call("GET", "/version", headers=right))[0] == 200
        in_the_url = api.proxy.url.replace("http://", "http://anyone:secret@")
        async with api.session.get(f"{in_the_url}/version") as answer:
            assert answer.status == 200
        wide = {"name": "q", "listen": "0.0.0.0:0", "upstream": UP}
        assert (await api.call("POST", "/proxies", wide, headers=right))[0] == 201


async def test_changes_of_many_are_audited_one_by_one(api: Api) -> None:
    """Each proxy that populate makes, each undone lease and a reset are a line of the audit; a refusal is none."""
    await api.ok("POST", "/populate", [P, {**P, "name": "q"}])
    await api.toxic("latency", more={"owner": "me"})
    await api.toxic("noop", "q", more={"owner": "me"})
    before = api.audit.getvalue()
    await api.ok("POST", "/populate", [{**P, "name": "r"}])
    await api.ok("DELETE", "/owners/me")
    await api.ok("POST", "/reset")
    assert (await api.call("POST", "/populate", [{}]))[0] == 400
    lines = api.audit.getvalue().removeprefix(before).splitlines()
    assert len(lines) == len(AUDITED)
    assert [words for words, line in zip(AUDITED, lines, strict=True) if words not in line] == []


async def test_every_change_is_audited_once(api: Api) -> None:
    """Each change is one line in the audit; looking is none."""
    await api.proxy_to(9)
    lines = api.audit.getvalue().count("\n")
    await api.toxic("latency")
    await api.ok("PATCH", "/proxies/p/toxics/latency_downstream", {"toxicity": 0.5})
    await api.ok("PATCH", "/proxies/p", {"enabled": False})
    await api.ok("GET", "/proxies")
    await api.ok("DELETE", "/proxies/p/toxics/latency_downstream")
    await api.ok("DELETE", "/proxies/p")
    assert api.audit.getvalue().count("\n") - lines == 5


async def test_a_token_may_be_any_bytes() -> None:
    """Credentials that are no UTF-8 are compared as bytes: a 401 where they are wrong, let in where they are right."""
    request = b"GET /version HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n"
    for token, status in (("secret", b" 401 "), (b"\xff\xfe".decode(errors="surrogateescape"), b" 200 ")):
        async with running_api(token=token) as api:
            assert status in (await exchange(api.proxy.port, request)).partition(b"\r\n")[0]


async def test_a_body_that_is_not_encoded_as_it_says_is_a_400(api: Api) -> None:
    """What calls itself gzip and is not is refused with a sentence, and the next call is served."""
    status, body = await api.call("POST", "/proxies", data=b"garbage", headers=NOT_GZIP)
    assert (status, body["error"]) == (400, "bad request body: it is not encoded as its headers say")
    await api.ok("GET", "/version")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_in_mid_body_is_no_error(reset: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A client that closes or resets before its body is whole leaves no line in the audit, nor in the process's log."""
    async with running_api() as api:
        before, others = api.audit.getvalue(), asyncio.all_tasks()
        reader, writer = await asyncio.open_connection("127.0.0.1", api.proxy.port)
        writer.write(b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n{")
        assert b" 100 " in await asyncio.wait_for(reader.readline(), 10)
        if reset:
            writer.transport.abort()
        else:
            writer.close()
        await until(lambda: asyncio.all_tasks() <= others)
        assert api.audit.getvalue() == before
    assert caplog.records == []


@pytest.mark.parametrize("request_bytes", MALFORMED)
async def test_a_malformed_request_is_one_line_without_its_bytes(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed request is a 400 and one line of the audit, in its format, that shows nothing of what was sent."""
    stream = io.StringIO()
    async with FaultProxy("127.0.0.1", 0, token="secret", audit=audit_to(stream, as_json=True)) as proxy:
        before = stream.getvalue()
        assert b" 400 " in (await exchange(proxy.port, request_bytes)).partition(b"\r\n")[0]
        line = stream.getvalue().removeprefix(before)
        assert json.loads(line)["event"] == "API request failed"
        assert "secret" not in line
        assert caplog.records == []


async def test_a_seed_is_not_changed_in_silence(api: Api) -> None:
    """Another seed for a toxic is refused and nothing else is changed; the one it has may come back."""
    await api.proxy_to(9)
    await api.toxic("latency", more={"seed": 4})
    await api.toxic("noop")
    latency, noop = "/proxies/p/toxics/latency_downstream", "/proxies/p/toxics/noop_downstream"
    for path in (latency, noop):
        status, body = await api.call("PATCH", path, {"seed": 7, "toxicity": 0.5})
        assert (status, "seed" in body["error"]) == (400, True)
        assert (await api.ok("GET", path))["toxicity"] == 1
    assert (await api.ok("PATCH", latency, {"seed": 4, "toxicity": 0.5}))["toxicity"] == 0.5
    shown = await api.ok("GET", noop)
    assert await api.ok("PATCH", noop, shown) == shown
