"""`GET /metrics`: Toxiproxy's counters under its names, live, and ours; read with Prometheus's own parser."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from proxy_rig import Api, EchoServer, connected, eventually, running_api
from toxiproxy_peer import Served, our_server, their_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(families: Iterable[Metric]) -> dict[Sample, float]:
    """Name and labels to value."""
    found: dict[Sample, float] = {}
    for family in families:
        for sample in family.samples:
            assert family.type != "unknown", family.name
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> Sample:
    """The key of one sample."""
    return name, frozenset(labels.items())


async def scrape(api: Api) -> dict[Sample, float]:
    """What Prometheus would read now."""
    status, text = await api.call("GET", "/metrics")
    assert status == 200
    return samples(text_string_to_metric_families(text))


async def test_bytes_are_counted_while_the_connection_is_open(echo: EchoServer) -> None:
    """Received and sent bytes of both directions grow with the traffic, and what a toxic swallows is received only."""
    async with running_api(metrics=["proxy"]) as api:
        port = await api.proxy_to(echo.port)
        where = {"proxy": "p", "listener": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{echo.port}"}
        async with connected(port) as client:
            await client.ask(b"x" * 1000)
            seen = await scrape(api)
            for direction in ("upstream", "downstream"):
                for name in ("received", "sent"):
                    assert seen[key(f"toxiproxy_proxy_{name}_bytes_total", direction=direction, **where)] == 1000
            await api.toxic("drop", more={"stream": "upstream"})
            client.writer.write(b"y" * 500)

            async def swallowed() -> bool:
                seen = await scrape(api)
                return seen[key("toxiproxy_proxy_received_bytes_total", direction="upstream", **where)] == 1500

            await eventually(swallowed)
            seen = await scrape(api)
            assert seen[key("toxiproxy_proxy_sent_bytes_total", direction="upstream", **where)] == 1000


async def test_connections_toxics_and_leases_are_counted(echo: EchoServer) -> None:
    """Open, opened and cut connections, what a toxic touched and delayed, and open leases are shown."""
    async with running_api(metrics=["proxy"]) as api:
        port = await api.proxy_to(echo.port)
        await api.toxic("latency", latency=30, more={"ttl": 60, "owner": "me"})
        toxic = {"proxy": "p", "toxic": "latency_downstream", "type": "latency", "stream": "downstream"}
        async with connected(port) as client, connected(port) as other:
            await asyncio.gather(client.ask(b"12345"), other.ask(b"123"))
            seen = await scrape(api)
            assert seen[key("chaosrunner_proxy_connections_open", proxy="p")] == 2
            assert seen[key("chaosrunner_proxy_connections_opened_total", proxy="p")] == 2
            assert seen[key("chaosrunner_proxy_toxic_connections_total", **toxic)] == 2
            assert seen[key("chaosrunner_proxy_toxic_bytes_total", **toxic)] == 8
            assert seen[key("chaosrunner_proxy_toxic_delay_seconds_count", **toxic)] == 2
            assert seen[key("chaosrunner_proxy_toxic_delay_seconds_sum", **toxic)] >= 0.06
            assert seen[key("chaosrunner_proxy_leases_open")] == 1
        await eventually(api.all_closed)
        async with connected(port) as client:
            await client.ask()
            await api.ok("PATCH", "/proxies/p", {"enabled": False})
        assert (await scrape(api))[key("chaosrunner_proxy_connections_cut_total", proxy="p")] == 1
        await api.ok("DELETE", "/proxies/p")
        assert set(await scrape(api)) == {key("chaosrunner_proxy_leases_open")}


async def test_what_cannot_be_reached_is_refused() -> None:
    """A connection whose server does not answer is counted as refused."""
    async with running_api(metrics=["proxy"]) as api:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with connected(await api.proxy_to(closed.getsockname()[1])) as client:
                await client.end()
        assert (await scrape(api))[key("chaosrunner_proxy_connections_refused_total", proxy="p")] == 1


async def test_each_kind_is_shown_only_when_asked_for() -> None:
    """Without a kind there are no metrics; the process's and the proxies' come one by one or together."""
    for kinds in ((), ("proxy",), ("runtime",), ("proxy", "runtime")):
        async with running_api(metrics=kinds) as api:
            await api.proxy_to(9)
            if not kinds:
                assert await api.call("GET", "/metrics") == (404, "404 page not found\n")
                continue
            names = {name for name, _ in await scrape(api)}
            assert ("toxiproxy_proxy_sent_bytes_total" in names) == ("proxy" in kinds)
            assert ("process_resident_memory_bytes" in names) == ("runtime" in kinds)
            document = await api.ok("GET", "/openapi.json")
            assert "/metrics" in document["paths"]


async def test_a_scraper_that_knows_openmetrics_gets_it() -> None:
    """Asked for OpenMetrics, the answer is that, and says so; odd names survive it."""
    async with running_api(metrics=["proxy", "runtime"]) as api:
        await api.proxy_to(9, 'odd "name"\\ ü')
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with api.session.get(f"{api.proxy.url}/metrics", headers=accept) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            found = samples(openmetrics.text_string_to_metric_families(await answer.text()))
        assert key("chaosrunner_proxy_connections_open", proxy='odd "name"\\ ü') in found


def byte_counters(served: Served) -> dict[Sample, float]:
    """The byte counters after 1,000 bytes went up and 1,000 down and the connection ended; ports by their names."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        upstream = server.getsockname()[1]
        body = f'{{"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:{upstream}"}}'
        made: dict[str, Any] = json.loads(served.ask("POST", "/proxies", body.encode()).body)
        listener = made["listen"]
        host, _, port = listener.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"x" * 1000)
                assert len(accepted.recv(1000, socket.MSG_WAITALL)) == 1000
                accepted.sendall(b"y" * 1000)
            assert len(client.recv(1000, socket.MSG_WAITALL)) == 1000
    found: dict[Sample, float] = {}
    for _ in range(200):
        text = served.ask("GET", "/metrics").body.decode()
        text = text.replace(listener, "LISTENER").replace(str(upstream), "UPSTREAM")
        found = samples(text_string_to_metric_families(text))
        found = {key: value for key, value in found.items() if key[0].startswith("toxiproxy_")}
        if len(found) == 4 and set(found.values()) == {1000}:
            break
    return found


def test_byte_counters_are_toxiproxys() -> None:
    """After the same connection the real server and ours show the same samples of `toxiproxy_*`."""
    with their_server("-proxy-metrics") as theirs, our_server("-proxy-metrics") as ours:
        expected = byte_counters(theirs)
        assert len(expected) == 4
        assert byte_counters(ours) == expected
