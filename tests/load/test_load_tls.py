"""TLS of the load: whom it trusts, what it shows, which name it asks for, and how each refusal is counted."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from load_rig import OK, Books, Target, always, finished, profile, work

from chaosrunner.errors import LoadBroken
from chaosrunner.load.http.tls import context, reason
from chaosrunner.model.http_client import Client, Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome

FAST = Request(name="get", method="GET", path="/")
FULL = Request(name="get", method="GET", path="/", client=Client(redirects=1))


class Pki:
    """An authority, a certificate of the target, and one of the client."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.ca_file = self.write("ca.pem", self.ca.cert_pem.bytes())
        me = self.ca.issue_cert("me@load.test")
        self.certificate = self.write("me.pem", b"".join(blob.bytes() for blob in me.cert_chain_pems))
        self.key = self.write("me.key", me.private_key_pem.bytes())
        self.both = self.write("both.pem", me.private_key_and_cert_chain_pem.bytes())
        key = serialization.load_pem_private_key(me.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"geheim"),
        )
        self.locked = self.write("locked.key", locked)

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def server(self, *names: str, asks: bool = False) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(made)
        if asks:
            made.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(made)
        return made


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority nobody knows."""
    return Pki(tmp_path_factory.mktemp("pki"))


async def ask(server: ssl.SSLContext, tls: Tls | None, step: Request = FAST) -> tuple[Books, Target]:
    async with Target(always(OK), ssl=server) as target:
        books = await work(profile(step, tls=tls), target.url, until=finished(20))
    return books, target


@pytest.mark.parametrize("step", [FAST, FULL], ids=["fast", "full"])
async def test_an_authority_of_ones_own(pki: Pki, step: Request) -> None:
    """With `ca` the target's certificate is right, and connections are kept alive."""
    books, target = await ask(pki.server(), Tls(ca=pki.ca_file), step)
    assert books.done == {Outcome.OK: 20}
    assert target.connections == books.connects < 20


@pytest.mark.parametrize("step", [FAST, FULL], ids=["fast", "full"])
async def test_a_certificate_that_is_not_trusted(pki: Pki, step: Request) -> None:
    """Unless it is told otherwise, a load verifies: a strange authority is TLS, with a time, and nothing was asked."""
    books, target = await ask(pki.server(), None, step)
    assert books.done == {Outcome.TLS: 20}
    assert books.all.failed.total == 20
    assert not target.requests


async def test_nothing_is_verified_if_so_wished(pki: Pki) -> None:
    """With `verify: false` any certificate will do."""
    books, _ = await ask(pki.server("elsewhere.test"), Tls(verify=False))
    assert books.done == {Outcome.OK: 20}


async def test_the_name_in_the_certificate(pki: Pki) -> None:
    """A certificate of another name is TLS; with `server_name` it is the one asked for and expected."""
    wrong, _ = await ask(pki.server("shop.test"), Tls(ca=pki.ca_file))
    assert wrong.done == {Outcome.TLS: 20}
    asked: list[str | None] = []
    server = pki.server("shop.test")
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    right, _ = await ask(server, Tls(ca=pki.ca_file, server_name="shop.test"))
    assert right.done == {Outcome.OK: 20}
    assert set(asked) == {"shop.test"}


@pytest.mark.parametrize("way", ["two files", "one file", "locked"])
async def test_a_certificate_of_the_client(pki: Pki, way: str) -> None:
    """A target that asks for a certificate is shown the one that the load names, its key in any of three ways."""
    shown = {
        "two files": Tls(ca=pki.ca_file, certificate=pki.certificate, key=pki.key),
        "one file": Tls(ca=pki.ca_file, certificate=pki.both),
        "locked": Tls(ca=pki.ca_file, certificate=pki.certificate, key=pki.locked, password="geheim"),
    }[way]
    books, _ = await ask(pki.server(asks=True), shown)
    assert books.done == {Outcome.OK: 20}


async def test_no_certificate_where_one_is_asked_for(pki: Pki) -> None:
    """A target that turns a client without a certificate away fails every hit, as TLS or as a reset."""
    books, target = await ask(pki.server(asks=True), Tls(ca=pki.ca_file))
    assert sum(books.done.values()) == 20
    assert set(books.done) <= {Outcome.TLS, Outcome.RESET}
    assert not target.requests


@pytest.mark.parametrize("step", [FAST, FULL], ids=["fast", "full"])
async def test_https_where_plain_http_is_spoken(step: Request) -> None:
    """A target that answers a handshake with plain HTTP, as servers do, is TLS."""

    async def bad_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(bad_request, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        books = await work(profile(step), f"https://127.0.0.1:{port}", until=finished(20))
    assert books.done == {Outcome.TLS: 20}


async def test_plain_http_where_tls_is_spoken(pki: Pki) -> None:
    """A target that speaks TLS only cuts a plain request off, and every hit is a failure with a name."""
    async with Target(always(OK), ssl=pki.server()) as target:
        books = await work(profile(FAST), target.url.replace("https:", "http:"), until=finished(20))
    assert sum(books.done.values()) == 20
    assert set(books.done) <= {Outcome.PROTOCOL, Outcome.RESET}


@pytest.mark.parametrize("step", [FAST, FULL], ids=["fast", "full"])
async def test_every_failed_handshake_says_why(pki: Pki, step: Request) -> None:
    """Expired, not by an authority that is known, or of another name: each is counted by its name."""
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki.ca.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(expired)
    for server, tls, why in (
        (expired, Tls(ca=pki.ca_file), "expired"),
        (pki.server(), None, "unknown_ca"),
        (pki.server("elsewhere.test"), Tls(ca=pki.ca_file), "wrong_name"),
    ):
        books, _ = await ask(server, tls, step)
        assert (books.done, books.counts) == ({Outcome.TLS: 20}, {f"tls.{why}": 20})


@pytest.mark.parametrize("step", [FAST, FULL], ids=["fast", "full"])
async def test_a_handshake_that_is_never_answered_is_of_tls(step: Request) -> None:
    """A target that takes the connection and then says nothing fails at the handshake: not at TCP, nor at an answer."""
    gone = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asked = replace(profile(step), timeout_s=0.3)
        books = await work(asked, f"https://127.0.0.1:{port}", until=finished(20))
        gone.set()
    assert set(books.done) == {Outcome.TLS}
    assert set(books.counts) == {"tls.no_answer"}
    assert books.counts.total() == books.done[Outcome.TLS]


def refused(answer: bytes) -> str:
    """The word for what OpenSSL says of such an answer to the first message of a handshake."""
    incoming = ssl.MemoryBIO()
    client = context(Tls()).wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="shop.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(answer)
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    return reason(caught.value)


def test_the_words_for_what_openssl_says() -> None:
    """Versions that do not meet and what is no TLS have a word; other alerts keep OpenSSL's; no word is broken off."""
    alert = b"\x15\x03\x03\x00\x02\x02"  # fatal; RFC 8446 §6
    assert refused(alert + b"\x46") == "protocol"
    assert refused(alert + b"\x28") == "protocol"
    assert refused(b"HTTP/1.1 400 Bad Request\r\n\r\n") == "not_tls"
    assert "access_denied" in refused(alert + b"\x31")
    assert reason(ConnectionResetError()) == "broken_off"


def test_files_that_cannot_be_used(pki: Pki) -> None:
    """A file that is missing, no certificate or locked is named, and its password is not."""
    empty = pki.write("empty.pem", b"")
    for tls, problem in (
        (Tls(ca=str(pki.folder / "none")), "none' or its key cannot be read: No such file"),
        (Tls(ca=empty), "empty.pem' holds nothing that can be used"),
        (Tls(certificate=empty), "empty.pem' holds nothing that can be used"),
        (Tls(certificate=pki.certificate, key=pki.locked, password="falsch"), "me.pem' holds nothing"),
    ):
        with pytest.raises(ValueError, match=r"^tls: ") as caught:
            context(tls)
        assert problem in str(caught.value)
        assert "falsch" not in str(caught.value)


async def test_a_load_with_such_a_file_is_broken_before_it_begins() -> None:
    """The worker says which file it cannot use, and nothing is sent."""
    with pytest.raises(LoadBroken, match=r"step 'get': tls: '/nowhere/ca.pem'"):
        await work(profile(FAST, tls=Tls(ca="/nowhere/ca.pem")), "https://127.0.0.1:1")
