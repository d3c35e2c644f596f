"""TLS that fails: each such connection ends, is counted and explained, and nobody else notices."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from pathlib import Path

import pytest
from proxy_rig import (
    DEADLINE_S,
    Api,
    DeafServer,
    EchoServer,
    Server,
    SinkServer,
    connected,
    eventually,
    free_port,
    until,
)
from tls_rig import Authority, Talk, TlsEchoServer, one_client, talk_to, tls_connected

from chaosrunner.proxy.audit import audit_to
from chaosrunner.proxy.openings import TlsWay, Way
from chaosrunner.proxy.stats import ProxyTally
from chaosrunner.proxy.tls.failures import TlsFailedError, TlsWatch
from chaosrunner.proxy.tls.openings import open_with_tls
from chaosrunner.proxy.tls.settings import parse_tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path / "authority")


def both(authority: Authority) -> dict[str, object]:
    """TLS on both sides."""
    return {"listen": authority.pair().as_json(), "upstream": authority.upstream()}


async def counted(api: Api, number: int) -> str:
    """Wait until so many failures are counted and nothing is open; the audit."""

    async def so_many() -> bool:
        counts = (await api.stats())["connections"]
        return (counts["tls_failed"], counts["open"]) == (number, 0)

    await eventually(so_many)
    return api.audit.getvalue()


async def test_a_client_that_speaks_plain_is_cut_and_never_reaches_the_server(api: Api, authority: Authority) -> None:
    """Plain HTTP to a TLS listener ends there, and the next client is served."""
    async with EchoServer() as echo:
        port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
        async with connected(port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.end() in {"fin", "reset"}
        audit = await counted(api, 1)
        assert "side=client" in audit
        assert "it does not speak TLS" in audit
        assert not echo.writers
        async with tls_connected(port, authority.client_context()) as client:
            await client.ask()


async def test_a_client_that_does_not_trust_us_is_counted(api: Api, authority: Authority, echo: EchoServer) -> None:
    """A client that knows nobody who signed our certificate says so, and the audit repeats it."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(lambda: talk_to(port, ssl.create_default_context()))
    assert "unknown ca" in await counted(api, 1)


async def test_who_only_looks_whether_the_port_is_open_did_not_fail(
    api: Api, authority: Authority, echo: EchoServer
) -> None:
    """A connection that ends before its first byte is no TLS failure, one that ends in its hello is."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    async with connected(port):
        pass
    async with connected(port) as client:
        client.writer.write_eof()
        await client.end()
    await eventually(api.all_closed)
    assert (await api.stats())["connections"]["tls_failed"] == 0
    async with connected(port) as client:
        client.writer.write(b"\x16\x03\x01")
        client.writer.write_eof()
        await client.end()
    assert "it ended the connection during the handshake" in await counted(api, 1)


class PlainServer(Server):
    """Answers anything in plain text."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer once."""
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()


class Leaver(Server):
    """Hangs up."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hang up when something comes."""
        await reader.read(1000)
        writer.close()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("stranger", "self-signed certificate|unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("other name", "IP address mismatch"),
        ("plain", "wrong version number"),
        ("leaver", "it ended the connection during the handshake"),
    ],
)
async def test_a_server_whose_tls_is_wrong_is_never_spoken_to(
    api: Api, authority: Authority, bad: str, reason: str
) -> None:
    """If the server's certificate or its TLS is wrong the client is reset, and the audit says why."""
    stranger = Authority(authority.directory / "stranger")
    server: Server = {
        "stranger": lambda: TlsEchoServer(stranger.server_context()),
        "expired": lambda: TlsEchoServer(authority.server_context(authority.pair(expired=True))),
        "other name": lambda: TlsEchoServer(authority.server_context(authority.pair("other.example"))),
        "plain": PlainServer,
        "leaver": Leaver,
    }[bad]()
    async with server:
        port = await api.proxy_to(server.port, tls={"upstream": authority.upstream()})
        async with connected(port) as client:
            client.writer.write(b"secret")
            assert await client.end() == "reset"
        audit = await counted(api, 1)
        assert "side=server" in audit
        assert any(words in audit for words in reason.split("|")), audit
        await api.ok("PATCH", "/proxies/p", {"tls": both(authority)})
        with pytest.raises(ConnectionResetError):
            async with tls_connected(port, authority.client_context()):
                pass
        await counted(api, 2)
    assert (await api.stats())["bytes"] == {"upstream": 0, "downstream": 0}


async def test_a_server_that_is_not_there_is_refused_as_ever(api: Api, authority: Authority) -> None:
    """An upstream that does not accept counts as refused, not as failed TLS, and the client is reset."""
    port = await api.proxy_to(free_port(), tls={"upstream": authority.upstream()})
    async with connected(port) as client:
        assert await client.end() == "reset"
    counts = (await api.stats())["connections"]
    assert (counts["refused"], counts["tls_failed"], counts["open"]) == (1, 0, 0)


async def test_a_server_that_finds_our_certificate_wanting_is_counted(api: Api, authority: Authority) -> None:
    """In TLS 1.3 a server rejects a client only after its handshake: the client is reset, and the audit says why."""
    refusals = []

    def serve(accepted: socket.socket) -> None:
        with pytest.raises(ssl.SSLError) as refused:
            Talk(accepted, authority.server_context(mutual=True), server=True)
        refusals.append(refused.value.reason)

    async with one_client(serve) as server_port:
        port = await api.proxy_to(server_port, tls={"upstream": authority.upstream()})
        async with connected(port) as client:
            assert await client.end() == "reset"
        assert "certificate required" in await counted(api, 1)
    assert refusals == ["PEER_DID_NOT_RETURN_A_CERTIFICATE"]


async def test_the_audit_says_it_once_in_a_while(api: Api, authority: Authority, echo: EchoServer) -> None:
    """Thirty clients that fail, and a server that does, are a line each."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    for _ in range(30):
        async with connected(port) as client:
            client.writer.write(b"hello?")
            await client.end()
    await counted(api, 30)
    await api.ok("PATCH", "/proxies/p", {"tls": {"upstream": authority.upstream(), "listen": None}})
    async with PlainServer() as plain:
        await api.ok("PATCH", "/proxies/p", {"upstream": f"127.0.0.1:{plain.port}"})
        async with connected(port) as client:
            assert await client.end() == "reset"
    audit = await counted(api, 31)
    failures = [line for line in audit.splitlines() if "tls failed" in line]
    assert len(failures) == 2
    assert "side=client" in failures[0]
    assert "failed=31" in failures[1]


async def test_silent_clients_keep_nobody_waiting(api: Api, authority: Authority, echo: EchoServer) -> None:
    """While a hundred clients say nothing, one that does is served, and cutting the silent ones leaves none."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    async with tls_connected(port, authority.client_context()) as client:
        await client.ask()
        assert len(echo.writers) == 1
        await api.ok("PATCH", "/proxies/p", {"enabled": False})
    await eventually(api.all_closed)
    for reader, writer in silent:
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.transport.abort()


async def test_a_hello_may_come_byte_by_byte(api: Api, authority: Authority, echo: EchoServer) -> None:
    """A client whose first message arrives in single bytes is served like any other."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})

    class Dribble(socket.socket):
        def sendall(self, data: bytes, *_: int) -> None:  # type: ignore[override]
            for byte in data:
                super().send(bytes((byte,)))

    def ask() -> None:
        with Dribble() as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect(("127.0.0.1", port))
            talk = Talk(plain, authority.client_context())
            talk.say(b"ping")
            assert talk.read(4) == b"ping"

    await asyncio.to_thread(ask)


async def test_tls_that_breaks_later_is_a_reset_for_the_other_side(api: Api, authority: Authority) -> None:
    """A spoilt record in the middle of a stream is told to its sender, and resets the server behind what was whole."""
    async with SinkServer() as sink:
        port = await api.proxy_to(sink.port, tls={"listen": authority.pair().as_json()})

        def spoil() -> str | None:
            plain = socket.create_connection(("127.0.0.1", port))
            talk = Talk(plain, authority.client_context())
            talk.say(b"fine")
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            try:
                return talk.rest()[1]
            except ssl.SSLError as alert:
                return alert.reason
            finally:
                talk.close()

        assert await asyncio.to_thread(spoil) == "SSLV3_ALERT_BAD_RECORD_MAC"
        await until(lambda: sink.ended == "reset")
        assert sink.received == b"fine"
    assert "decryption failed or bad record mac" in await counted(api, 1)


async def way_to(port: int, tally: ProxyTally, audit: io.StringIO, **tls: object) -> Way:
    """A way whose handshakes must be done in a fifth of a second."""
    parsed = await parse_tls({"tls": tls})
    assert parsed is not None
    watch = TlsWatch("p", tally, audit_to(audit))
    return Way(("127.0.0.1", port), TlsWay(parsed.listen, parsed.upstream, "tcp", watch, handshake_timeout_s=0.2))


async def opened_in_vain(way: Way, accepted: socket.socket) -> tuple[str, str]:
    """The side and the reason for which a connection is not opened."""
    accepted.setblocking(False)
    with pytest.raises(TlsFailedError) as failed:
        await open_with_tls(way, accepted, asyncio.Protocol(), asyncio.Protocol())
    return failed.value.side, failed.value.reason


async def test_a_client_that_never_finishes_its_handshake_is_cut(authority: Authority, echo: EchoServer) -> None:
    """Whether it says nothing, half a hello or no more than a hello: after its time it is cut and counted."""
    tally, audit = ProxyTally(), io.StringIO()
    way = await way_to(echo.port, tally, audit, listen=authority.pair().as_json())
    outgoing = ssl.MemoryBIO()
    hello = authority.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    said = outgoing.read()
    for words in (b"", said[:20], said):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(words)
            assert await opened_in_vain(way, ours) == ("client", "no handshake within 0.2 s")
            theirs.settimeout(DEADLINE_S)
            while await asyncio.to_thread(theirs.recv, 65536):
                pass
    assert tally.tls_failed == 3
    assert audit.getvalue().count("tls failed") == 1


async def test_a_server_that_never_finishes_its_handshake_is_given_up(authority: Authority) -> None:
    """A server that accepts and says nothing is left after its time, and the client is reset."""
    tally, audit = ProxyTally(), io.StringIO()
    async with DeafServer() as deaf:
        way = await way_to(deaf.port, tally, audit, upstream=authority.upstream())
        listening = socket.create_server(("127.0.0.1", 0))
        with listening, socket.create_connection(listening.getsockname()) as theirs:
            accepted, _ = listening.accept()
            assert await opened_in_vain(way, accepted) == ("server", "no handshake within 0.2 s")
            theirs.settimeout(DEADLINE_S)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(theirs.recv, 1)
    assert tally.tls_failed == 1


async def test_a_change_while_it_is_being_opened_cuts_it(api: Api, authority: Authority) -> None:
    """A connection in the middle of its handshake is reset when the proxy is disabled, and nothing of it is left."""
    async with DeafServer() as deaf:
        port = await api.proxy_to(deaf.port, tls={"upstream": authority.upstream()})
        async with connected(port) as client:
            await until(lambda: deaf.writers)
            await api.ok("PATCH", "/proxies/p", {"enabled": False})
            assert await client.end() == "reset"
        counts = (await api.stats())["connections"]
        assert (counts["open"], counts["cut"], counts["tls_failed"], counts["refused"]) == (0, 1, 0, 0)
