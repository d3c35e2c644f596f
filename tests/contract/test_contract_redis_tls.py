"""Redis faults through TLS: the server wants a certificate of its clients, and has one of an authority of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import trustme
from redis_bench import PASSWORD, RedisServer, bench_at, launch_redis
from test_contract_redis import MECHANISMS, OTHERS

from chaosrunner.contract import InjectorContract
from chaosrunner.errors import InjectorError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAULTS: dict[str, Any] = {
    name: made for name, made in (MECHANISMS | OTHERS).items() if name not in ("pause writes", "near")
}
"""All seven."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who is trusted (`ca.pem`), what the server shows, what we show, and an authority that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    for name in ("127.0.0.1", "ops"):
        issued = authority.issue_cert(name)
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[RedisServer]:
    """One Redis for all; its application speaks plainly, whoever injects does not."""
    own, ca = str(folder / "127.0.0.1.pem"), str(folder / "ca.pem")
    words = ("--tls-cert-file", own, "--tls-key-file", own, "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes")
    async with launch_redis(folder, "--maxclients", "40", *words, secure=f"ssl_ca_certs={ca}&{_shown(folder)}") as made:
        yield made


def _shown(folder: Path) -> str:
    return f"ssl_certfile={folder}/ops.pem&ssl_keyfile={folder}/ops.pem"


@pytest.mark.parametrize("name", FAULTS)
async def test_a_redis_fault_comes_and_goes_through_tls(
    name: str, monkeypatch: pytest.MonkeyPatch, server: RedisServer
) -> None:
    """It has proof while it lasts, touches nobody else, and leaves all as it was."""
    monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
    kind, params = FAULTS[name]
    async with bench_at(server, kind(), **params) as bench:
        before = await bench.observe()
        await InjectorContract().test_8_it_touches_nothing_else(bench)
        await bench.seen(before)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("ssl_ca_certs={}/stranger.pem", r"its certificate is not trusted \(.*self.signed"),
        ("ssl_ca_certs={}/absent.pem", "a file that its URL names .* is not there"),
        ("ssl_ca_certs={}/ca.pem&ssl_certificate=x", "an option of it, is not understood"),
        ("ssl_ca_certs={0}/ca.pem", "certificate required|reset by peer"),  # what comes first of the two
    ],
)
async def test_a_server_that_is_not_trusted_or_does_not_trust_us_is_told_in_a_line_and_left_alone(
    options: str, why: str, monkeypatch: pytest.MonkeyPatch, folder: Path, server: RedisServer
) -> None:
    """Another authority, a file that is not there, a misspelt option, no certificate of ours: nothing is touched."""
    monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
    kind, _ = FAULTS["pause"]
    async with bench_at(server.secured(options.format(folder)), kind()) as bench:
        before = await bench.observe()
        with pytest.raises(InjectorError, match=why) as caught:
            await bench.prepared()
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
        assert await bench.observe() == before
