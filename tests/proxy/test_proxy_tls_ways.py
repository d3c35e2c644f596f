"""TLS passed through, ended, begun, and both: with real clients and servers of several makes."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from proxy_rig import DEADLINE_S, Api, Client, EchoServer, connected, eventually, free_port
from tls_rig import Authority, TlsEchoServer, tls_connected

from chaosrunner.proxy.tls.line import Session
from chaosrunner.proxy.tls.settings import Contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path / "authority")


@pytest.fixture
async def tls_echo(authority: Authority) -> AsyncIterator[TlsEchoServer]:
    """A TLS server that sends back what it is sent, and speaks no ALPN."""
    async with TlsEchoServer(authority.server_context()) as server:
        yield server


async def test_without_tls_set_it_passes_through(api: Api, authority: Authority, tls_echo: TlsEchoServer) -> None:
    """TLS between client and server goes through a proxy that has none of its own, and toxics delay its bytes."""
    port = await api.proxy_to(tls_echo.port)
    async with tls_connected(port, authority.client_context()) as client:
        await client.ask()
        await api.toxic("latency", latency=50)
        assert await client.ask() >= 0.05
    assert tls_echo.names == ["localhost"]


async def test_listen_alone_ends_tls(api: Api, authority: Authority, echo: EchoServer) -> None:
    """The client has TLS, the server plain bytes, and the counters count plain bytes."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    async with tls_connected(port, authority.client_context()) as client:
        await client.ask(b"x" * 100_000)
    assert (await api.stats())["bytes"] == {"upstream": 100_000, "downstream": 100_000}


async def test_upstream_alone_begins_tls(api: Api, authority: Authority, tls_echo: TlsEchoServer) -> None:
    """The client has plain bytes, the server TLS."""
    port = await api.proxy_to(tls_echo.port, tls={"upstream": authority.upstream()})
    async with connected(port) as client:
        await client.ask(b"x" * 100_000)
    assert (await api.stats())["bytes"] == {"upstream": 100_000, "downstream": 100_000}


async def test_a_server_that_speaks_first_is_heard(api: Api, authority: Authority) -> None:
    """What a TLS server says at once, in the flight of its handshake, reaches a client that has said nothing."""

    class Greeter(TlsEchoServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hello")
            await super().serve(reader, writer)

    async with Greeter(authority.server_context()) as greeter:
        tls = {"listen": authority.pair().as_json(), "upstream": authority.upstream()}
        port = await api.proxy_to(greeter.port, tls=tls)
        async with tls_connected(port, authority.client_context()) as client:
            assert await client.reader.readexactly(9) == b"220 hello"
            await client.ask()
        await api.ok("PATCH", "/proxies/p", {"tls": {"upstream": tls["upstream"]}})
        async with connected(port) as client:
            assert await client.reader.readexactly(9) == b"220 hello"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_end_it_and_begin_it_anew(api: Api, authority: Authority, version: ssl.TLSVersion) -> None:
    """With both parts set each side has its own TLS, of any version from 1.2 on."""
    context = authority.server_context()
    context.maximum_version = version
    async with TlsEchoServer(context) as server:
        port = await api.proxy_to(
            server.port, tls={"listen": authority.pair().as_json(), "upstream": authority.upstream()}
        )
        client_context = authority.client_context()
        client_context.maximum_version = version
        async with tls_connected(port, client_context) as client:
            await client.ask(b"x" * 1_000_000)
            assert client.writer.get_extra_info("ssl_object").version() == version.name.replace("v1_", "v1.")


async def test_tls_before_1_2_is_refused(api: Api, authority: Authority, echo: EchoServer) -> None:
    """A client that knows TLS 1.1 at most is told that its version is not supported."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        async with tls_connected(port, context):
            pass


async def test_the_server_is_asked_for_by_its_name(api: Api, authority: Authority) -> None:
    """The name in SNI is `server_name`, else the host of `upstream`, and none for an address; each is verified."""
    async with TlsEchoServer(authority.server_context(authority.pair("db.example", "localhost", "127.0.0.1"))) as echo:
        port = await api.proxy_to(echo.port, tls={"upstream": authority.upstream()})
        for change in (
            {},
            {"upstream": f"localhost:{echo.port}"},
            {"tls": {"upstream": authority.upstream(server_name="db.example")}},
            {"tls": {"upstream": {"verify": False, "server_name": "anything.example"}}},
        ):
            await api.ok("PATCH", "/proxies/p", change)
            async with connected(port) as client:
                await client.ask()
        assert echo.names == [None, "localhost", "db.example", "anything.example"]
        await api.ok("PATCH", "/proxies/p", {"tls": {"upstream": authority.upstream(server_name="other.example")}})
        async with connected(port) as client:
            assert await client.end() == "reset"
        assert "Hostname mismatch" in api.audit.getvalue()


async def test_mutual_tls_on_both_sides(api: Api, authority: Authority) -> None:
    """Clients must show a certificate of `client_ca`, and the server is shown the one of `upstream`."""
    async with TlsEchoServer(authority.server_context(mutual=True)) as echo:
        upstream = authority.upstream(**authority.pair("client.example").as_json())
        listen = {**authority.pair().as_json(), "client_ca": authority.file}
        port = await api.proxy_to(echo.port, tls={"listen": listen, "upstream": upstream})
        async with tls_connected(port, authority.client_context(own=authority.pair("somebody.example"))) as client:
            await client.ask()
        assert await refused(port, authority.client_context())
        stranger = Authority(authority.directory / "stranger").pair("somebody.example")
        assert await refused(port, authority.client_context(own=stranger))
        assert (await api.stats())["connections"]["tls_failed"] == 2


async def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether a client gets nothing back; in TLS 1.3 it learns only after its own handshake that it is not wanted."""
    try:
        async with tls_connected(port, context) as client:
            await client.ask()
    except (OSError, asyncio.IncompleteReadError):
        return True
    return False


@pytest.mark.parametrize(
    ("offered", "spoken", "agreed"),
    [
        (("h2", "http/1.1"), ("h2", "http/1.1"), "h2"),
        (("h2", "http/1.1"), ("http/1.1",), "http/1.1"),
        (("http/1.1", "h2"), ("h2",), "h2"),
        (("postgresql",), ("postgresql",), "postgresql"),
        (("h2", "http/1.1"), (), None),
        ((), ("h2",), None),
    ],
)
async def test_both_sides_agree_on_one_protocol(
    api: Api, authority: Authority, offered: tuple[str, ...], spoken: tuple[str, ...], agreed: str | None
) -> None:
    """The server is offered what the client offers, and the client gets what the server chose."""
    async with TlsEchoServer(authority.server_context(alpn=spoken)) as echo:
        port = await api.proxy_to(
            echo.port, tls={"listen": authority.pair().as_json(), "upstream": authority.upstream()}
        )
        async with tls_connected(port, authority.client_context(alpn=offered)) as client:
            await client.ask()
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
        assert echo.protocols == [agreed]


@pytest.mark.parametrize(
    ("offered", "agreed"), [(("h2",), "h2"), (("postgresql",), "postgresql"), (("h2", "http/1.1"), None), ((), None)]
)
async def test_before_a_plain_server_only_a_single_offer_is_taken(
    api: Api, authority: Authority, echo: EchoServer, offered: tuple[str, ...], agreed: str | None
) -> None:
    """A plain server cannot say what it speaks: who offers one protocol gets it, who offers several gets none."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    async with tls_connected(port, authority.client_context(alpn=offered)) as client:
        await client.ask()
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed


async def test_offers_of_many_clients_are_not_mixed_up(api: Api, authority: Authority) -> None:
    """Clients that come at once with different offers each get their own."""
    names = ("h2", "http/1.1", "postgresql", "mqtt", None)
    async with TlsEchoServer(authority.server_context(alpn=("mqtt", "postgresql", "http/1.1", "h2"))) as echo:
        port = await api.proxy_to(
            echo.port, tls={"listen": authority.pair().as_json(), "upstream": authority.upstream()}
        )

        async def one(name: str | None) -> None:
            context = authority.client_context(alpn=(name,) if name else ())
            async with tls_connected(port, context) as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == name
                await client.ask()

        await asyncio.gather(*(one(names[number % 5]) for number in range(50)))


def test_a_second_hello_gets_the_same_answer(authority: Authority) -> None:
    """A client that has to say hello again (HelloRetryRequest) gets its own protocol, whoever came in between."""

    def make() -> ssl.SSLContext:
        context = authority.server_context()
        context.set_ecdh_curve("secp384r1")  # clients send a key for another curve first
        return context

    contexts = Contexts(make)
    context = authority.client_context(alpn=("mqtt", "h2"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    server, rounds, done = Session(contexts, ("mqtt",), None), 0, False
    while not done:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        server.incoming.write(outgoing.read())
        contexts.offering(("h2",))  # somebody else's handshake
        done = server.go_on()
        incoming.write(server.outgoing.read())
        rounds += 1
    assert rounds == 3
    assert client.selected_alpn_protocol() == "mqtt"


@pytest.mark.parametrize("upstream_tls", [True, False])
async def test_https_with_aiohttp_on_both_ends(api: Api, authority: Authority, upstream_tls: bool) -> None:
    """Keep-alive requests with bodies of a megabyte work over TLS, whether or not the server has it too."""

    async def reverse(request: web.Request) -> web.Response:
        return web.Response(body=(await request.read())[::-1])

    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/", reverse)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context() if upstream_tls else None)
    await site.start()
    tls = {"listen": authority.pair().as_json(), **({"upstream": authority.upstream()} if upstream_tls else {})}
    port = await api.proxy_to(runner.addresses[0][1], tls=tls)
    connector = aiohttp.TCPConnector(ssl=authority.client_context(), limit=4)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(number: int) -> None:
            body = bytes([number]) + bytes(1_000_000)
            async with session.post(f"https://localhost:{port}/", data=body) as answer:
                assert await answer.read() == body[::-1]

        await asyncio.gather(*(one(number) for number in range(20)))
    assert (await api.stats())["connections"]["opened"] <= 4
    await runner.cleanup()


async def test_a_proxy_that_understands_http_agrees_on_http_1(api: Api, authority: Authority, echo: EchoServer) -> None:
    """With protocol http nothing but HTTP/1.1 is agreed on, with a plain server and with one that has TLS."""
    context = authority.client_context(alpn=("h2", "http/1.1"))
    tls: dict[str, object] = {"listen": authority.pair().as_json()}
    port = await api.proxy_to(echo.port, protocol="http", tls=tls)
    async with TlsEchoServer(authority.server_context(alpn=("h2", "http/1.1"))) as modern:
        for server, more in ((modern, {"upstream": authority.upstream()}), (echo, {})):
            await api.ok("PATCH", "/proxies/p", {"upstream": f"127.0.0.1:{server.port}", "tls": {**tls, **more}})
            async with tls_connected(port, context) as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert modern.protocols == ["http/1.1"]


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("curl")), reason="nginx or curl is not installed")
@pytest.mark.parametrize(("asked", "got"), [("--http2", "2"), ("--http1.1", "1.1")])
async def test_http_2_works_from_end_to_end(api: Api, authority: Authority, asked: str, got: str) -> None:
    """Curl and nginx, with a proxy in between that ends TLS and begins it anew, speak the HTTP that curl asks for."""
    async with nginx(authority) as server_port:
        port = await api.proxy_to(
            server_port, tls={"listen": authority.pair().as_json(), "upstream": authority.upstream()}
        )
        out = await curl(asked, "--cacert", authority.file, f"https://localhost:{port}/", f"https://localhost:{port}/")
        assert out == f"hello over HTTP/{'2.0' if got == '2' else got}".encode() * 2
    assert (await api.stats())["connections"]["opened"] == 1


async def curl(*arguments: str) -> bytes:
    """What curl prints."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(DEADLINE_S), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return out


@asynccontextmanager
async def nginx(authority: Authority) -> AsyncIterator[int]:
    """An nginx that says by which HTTP it was asked; the port it listens at."""
    port, pair, directory = free_port(), authority.pair(), authority.directory
    config = directory / "nginx.conf"
    config.write_text(
        f"""
        daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; events {{}}
        http {{
          access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
          fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
          server {{
            listen 127.0.0.1:{port} ssl http2;
            ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
            location / {{ return 200 "hello over $server_protocol"; }}
          }}
        }}"""
    )
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(config), "-e", "stderr", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(lambda: accepts(port))
        yield port
    finally:
        process.kill()
        await process.wait()


async def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        async with connected(port):
            return True
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_openssl_s_client_is_served(api: Api, authority: Authority, tls_echo: TlsEchoServer) -> None:
    """OpenSSL's own client verifies the chain and the name, and gets its line back."""
    tls = {"listen": authority.pair().as_json(), "upstream": authority.upstream()}
    port = await api.proxy_to(tls_echo.port, tls=tls)
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", authority.file),
        *("-servername", "localhost", "-verify_hostname", "localhost", "-verify_return_error", "-quiet"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"ping\n")
    async with asyncio.timeout(DEADLINE_S):
        assert await process.stdout.readexactly(5) == b"ping\n"
    process.kill()
    await process.communicate()


async def test_200_connections_at_once_all_work(api: Api, authority: Authority, tls_echo: TlsEchoServer) -> None:
    """200 clients that come together each get their own bytes back, and all are gone when they are."""
    tls = {"listen": authority.pair().as_json(), "upstream": authority.upstream()}
    port = await api.proxy_to(tls_echo.port, tls=tls)
    context = authority.client_context()
    together = asyncio.Barrier(200)

    async def one(number: int) -> None:
        async with asyncio.timeout(60), together:
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        client = Client(reader, writer)
        await client.ask(f"I am {number:03}".encode() * 50)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(200)))
    counts = (await api.stats())["connections"]
    assert (counts["opened"], counts["refused"], counts["tls_failed"]) == (200, 0, 0)
