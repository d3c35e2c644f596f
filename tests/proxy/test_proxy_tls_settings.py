"""Setting TLS: what is asked for, what is shown back, what is refused, and what is undone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from proxy_rig import Api, EchoServer, connected, eventually
from tls_rig import Authority, TlsEchoServer, tls_connected

from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.command import read_config

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path / "authority")


async def test_tls_is_shown_as_it_was_set_and_only_then(api: Api, authority: Authority) -> None:
    """Paths and flags are shown back as they were given, and a proxy without TLS shows nothing of it."""
    tls = {
        "listen": {**authority.pair().as_json(), "client_ca": authority.file},
        "upstream": {"ca": authority.file, "server_name": "db.example", **authority.pair().as_json()},
    }
    await api.proxy_to(9)
    assert "tls" not in await api.ok("GET", "/proxies/p")
    assert "tls_failed" not in (await api.stats())["connections"]
    assert (await api.ok("PATCH", "/proxies/p", {"tls": tls}))["tls"] == tls
    assert (await api.ok("GET", "/proxies/p"))["tls"] == tls
    assert (await api.stats())["connections"] == {
        "open": 0,
        "opened": 0,
        "refused": 0,
        "cut": 0,
        "tls_failed": 0,
        "tls_truncated": 0,
    }


async def test_no_key_is_ever_shown_or_written_down(api: Api, authority: Authority) -> None:
    """Neither the API's answers nor the audit hold a line of a key file."""
    pair = authority.pair()
    await api.proxy_to(9, tls={"listen": pair.as_json()})
    _, shown = await api.call("GET", "/proxies/p")
    secret = pair.key_text.splitlines()[1]
    assert pair.key in json.dumps(shown)
    assert pair.key in api.audit.getvalue()
    assert secret not in json.dumps(shown) + api.audit.getvalue()


@pytest.mark.parametrize("nothing", [None, {}, {"listen": None}])
async def test_null_and_an_empty_object_take_tls_away(api: Api, authority: Authority, nothing: Any) -> None:
    """After null or {} bytes pass as they are, and a change that does not name tls leaves it alone."""
    await api.proxy_to(9, tls={"listen": authority.pair().as_json()})
    assert "tls" in await api.ok("PATCH", "/proxies/p", {"upstream": "127.0.0.1:10"})
    assert "tls" not in await api.ok("PATCH", "/proxies/p", {"tls": nothing})


async def test_populate_and_a_config_file_set_it(api: Api, authority: Authority, tmp_path: Path) -> None:
    """Both take the field, and a populate call that asks for what is there already leaves connections alone."""
    tls = {"listen": authority.pair().as_json()}
    async with EchoServer() as echo:
        wanted = {"name": "p", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{echo.port}", "tls": tls}
        (made,) = (await api.ok("POST", "/populate", [wanted]))["proxies"]
        assert made["tls"] == tls
        wanted["listen"] = made["listen"]
        async with tls_connected(int(made["listen"].rpartition(":")[2]), authority.client_context()) as client:
            await client.ask()
            await api.ok("POST", "/populate", [wanted])
            await client.ask()
            await api.ok("POST", "/populate", [{**wanted, "tls": None}])
            assert await client.end() == "reset"
    config = tmp_path / "proxies.json"
    config.write_text(json.dumps([{**wanted, "name": "q", "listen": "127.0.0.1:0"}]))
    other = FaultProxy("127.0.0.1", 0)
    await other.start(read_config(config))
    try:
        async with api.session.get(f"{other.url}/proxies/q") as answer:
            assert (await answer.json())["tls"] == tls
    finally:
        await other.stop()


async def test_a_leased_change_goes_back_to_what_was(api: Api, authority: Authority, echo: EchoServer) -> None:
    """TLS set for a while or for an owner is gone afterwards, and TLS taken away for an owner is back."""
    port = await api.proxy_to(echo.port)
    tls = {"listen": authority.pair().as_json()}
    await api.ok("PATCH", "/proxies/p", {"tls": tls, "ttl": 0.3})
    async with tls_connected(port, authority.client_context()) as client:
        await client.ask()

    async def plain_again() -> bool:
        return "tls" not in await api.ok("GET", "/proxies/p")

    await eventually(plain_again)
    async with connected(port) as client:
        await client.ask()
    await api.ok("PATCH", "/proxies/p", {"tls": tls})
    await api.ok("PATCH", "/proxies/p", {"tls": None, "owner": "me"})
    await api.ok("DELETE", "/owners/me")
    assert (await api.ok("GET", "/proxies/p"))["tls"] == tls


async def test_a_change_cuts_connections_and_the_same_again_does_not(
    api: Api, authority: Authority, echo: EchoServer
) -> None:
    """Setting what is set already, from files with the same contents, leaves connections alone; anything else cuts."""
    pair = authority.pair()
    port = await api.proxy_to(echo.port, tls={"listen": pair.as_json()})
    async with tls_connected(port, authority.client_context()) as client:
        await client.ask()
        await api.ok("PATCH", "/proxies/p", {"tls": {"listen": pair.as_json()}})
        await client.ask()
        await api.ok("PATCH", "/proxies/p", {"tls": {"listen": authority.pair().as_json()}})
        assert await client.end() == "reset"


async def test_files_are_read_when_they_are_named(api: Api, authority: Authority, echo: EchoServer) -> None:
    """A rotated certificate is served from the next change that names its file, not before."""
    old, new = authority.pair("old.example"), authority.pair("new.example")
    tls = {"listen": old.as_json()}
    port = await api.proxy_to(echo.port, tls=tls)
    context = authority.client_context()
    new.replace(old)
    async with tls_connected(port, context, "old.example") as client:
        await client.ask()
        await api.ok("PATCH", "/proxies/p", {"tls": tls})
        assert await client.end() == "reset"
    async with tls_connected(port, context, "new.example") as client:
        await client.ask()


def locked(pair: Any) -> dict[str, str]:
    """The pair with its key under a passphrase."""
    path = Path(pair.key)
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    return dict(pair.as_json())


def in_file(authority: Authority, content: bytes) -> str:
    """A file with that content."""
    path = authority.directory / "odd.pem"
    path.write_bytes(content)
    return str(path)


def a_pipe(authority: Authority) -> str:
    """A named pipe that nobody writes to."""
    path = str(authority.directory / "pipe")
    os.mkfifo(path)
    return path


REFUSED: dict[str, tuple[Callable[[Authority], Any], str]] = {
    "no object": (lambda _: {"tls": []}, "expected an object under tls"),
    "unknown side": (lambda _: {"tls": {"lisen": {}}}, "tls does not know 'lisen', only listen, upstream"),
    "no certificate": (lambda _: {"tls": {"listen": {}}}, "missing required field: tls.listen.certificate"),
    "no key": (
        lambda a: {"tls": {"listen": {"certificate": a.pair().certificate}}},
        "missing required field: tls.listen.key",
    ),
    "unknown field": (
        lambda a: {"tls": {"listen": {**a.pair().as_json(), "client-ca": a.file}}},
        "tls.listen does not know 'client-ca'",
    ),
    "relative": (
        lambda a: {"tls": {"listen": {**a.pair().as_json(), "key": "server.key"}}},
        "tls.listen.key must be an absolute path, not 'server.key'",
    ),
    "empty": (
        lambda a: {"tls": {"listen": {**a.pair().as_json(), "client_ca": ""}}},
        "tls.listen.client_ca must be an absolute path, not ''",
    ),
    "missing": (
        lambda _: {"tls": {"upstream": {"ca": "/no/such/ca.pem"}}},
        "tls.upstream.ca: there is no file /no/such/ca.pem",
    ),
    "directory": (lambda _: {"tls": {"upstream": {"ca": "/proc"}}}, "tls.upstream.ca: there is no file /proc"),
    "endless": (lambda _: {"tls": {"upstream": {"ca": "/dev/zero"}}}, "tls.upstream.ca: there is no file /dev/zero"),
    "pipe": (lambda a: {"tls": {"upstream": {"ca": a_pipe(a)}}}, "tls.upstream.ca: there is no file"),
    "unreadable": (
        lambda _: {"tls": {"upstream": {"ca": "/proc/self/mem"}}},
        "tls.upstream.ca: cannot read /proc/self/mem",
    ),
    "not text": (lambda _: {"tls": {"upstream": {"ca": 7}}}, "ca must be text"),
    "zero byte": (lambda _: {"tls": {"upstream": {"ca": "/a\0b"}}}, "must be an absolute path"),
    "no certificate inside": (
        lambda a: {"tls": {"upstream": {"ca": in_file(a, b"nothing")}}},
        "odd.pem holds no certificate in PEM form",
    ),
    "large": (
        lambda a: {"tls": {"upstream": {"ca": in_file(a, bytes(5_000_000))}}},
        "odd.pem is larger than",
    ),
    "key for certificate": (
        lambda a: {"tls": {"listen": {**a.pair().as_json(), "certificate": a.pair().key}}},
        "tls.listen.certificate: ",
    ),
    "certificate for key": (
        lambda a: {"tls": {"listen": {**a.pair().as_json(), "key": a.file}}},
        "holds no private key in PEM form",
    ),
    "another's key": (
        lambda a: {"tls": {"upstream": {**a.pair().as_json(), "key": a.pair().key}}},
        "is not the key of the certificate",
    ),
    "locked key": (
        lambda a: {"tls": {"listen": locked(a.pair())}},
        "is locked by a passphrase",
    ),
    "half a client certificate": (
        lambda a: {"tls": {"upstream": {"key": a.pair().key}}},
        "missing required field: tls.upstream.certificate",
    ),
    "trusting and not verifying": (
        lambda a: {"tls": {"upstream": {"ca": a.file, "verify": False}}},
        "tls.upstream.ca says whom to trust, but verify is false",
    ),
    "verify": (lambda _: {"tls": {"upstream": {"verify": "no"}}}, "verify must be true or false"),
    "no name": (lambda _: {"tls": {"upstream": {"server_name": ""}}}, "server_name cannot be the name of a server: ''"),
    "bad name": (lambda _: {"tls": {"upstream": {"server_name": "a" * 70}}}, "cannot be the name of a server"),
    "zero name": (lambda _: {"tls": {"upstream": {"server_name": "a\0b"}}}, "cannot be the name of a server"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_work_is_refused_and_changes_nothing(
    api: Api, authority: Authority, echo: EchoServer, case: str
) -> None:
    """Whatever is wrong is a 400 whose sentence names the field and the file, and connections live on."""
    fields, words = REFUSED[case]
    body = fields(authority)
    port = await api.proxy_to(echo.port)
    before = await api.ok("GET", "/proxies/p")
    async with connected(port) as client:
        await client.ask()
        for method, path, asked in (
            ("PATCH", "/proxies/p", {**body, "upstream": "127.0.0.1:1"}),
            ("POST", "/proxies", {**body, "name": "q", "upstream": "127.0.0.1:1"}),
            ("POST", "/populate", [{**body, "name": "q", "upstream": "127.0.0.1:1"}]),
        ):
            status, answer = await api.call(method, path, asked)
            assert status == 400, answer
            assert words in answer["error"], answer
        await client.ask()
    assert await api.ok("GET", "/proxies") == {"p": before}


async def test_an_expired_certificate_may_be_served(api: Api, authority: Authority, echo: EchoServer) -> None:
    """A certificate that is out of date is no mistake here but a fault to inject: it is served, and clients refuse."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair(expired=True).as_json()})
    with pytest.raises(OSError, match="certificate has expired"):
        async with tls_connected(port, authority.client_context()):
            pass


async def test_the_systems_authorities_are_trusted_if_none_is_named(api: Api, authority: Authority) -> None:
    """With an upstream that nobody known has signed, an empty object fails and verify false works."""
    async with TlsEchoServer(authority.server_context()) as echo:
        port = await api.proxy_to(echo.port, tls={"upstream": {}})
        async with connected(port) as client:
            assert await client.end() == "reset"
        assert (await api.stats())["connections"]["tls_failed"] == 1
        await api.ok("PATCH", "/proxies/p", {"tls": {"upstream": {"verify": False}}})
        async with connected(port) as client:
            await client.ask()
