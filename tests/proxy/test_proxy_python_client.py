"""The toxiproxy-python client from PyPI drives the real Toxiproxy and ours, unmodified, through the same tests."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy_peer import our_server, their_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[their_server, our_server], ids=["Toxiproxy", "chaosrunner"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toxiproxy]:
    """The client, pointed at a server."""
    monkeypatch.setenv("NO_PROXY", "*")
    with request.param() as served:
        toxiproxy = Toxiproxy()
        toxiproxy.update_api_consumer("127.0.0.1", served.port)
        yield toxiproxy


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A port whose server sends back what it is sent, one client after another."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        while data := connection.recv(4096):
                            connection.sendall(data)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def round_trip_s(listen: str) -> float:
    """Seconds until a byte has come back."""
    with socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])), timeout=10) as connection:
        start = time.perf_counter()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        return time.perf_counter() - start


def test_it_lists_creates_and_destroys(client: Toxiproxy) -> None:
    """Proxies are created, found, and destroyed; a second of the same name is refused."""
    assert client.running()
    assert json.loads(client.version())["version"]
    client.create(name="p", upstream="127.0.0.1:9", listen="127.0.0.1:0")
    assert list(client.proxies()) == ["p"]
    with pytest.raises(ProxyExists):
        client.create(name="p", upstream="127.0.0.1:9")
    assert client.destroy(client.get_proxy("p"))
    assert client.proxies() == {}


def test_its_toxics_act(client: Toxiproxy, echo_port: int) -> None:
    """A latency toxic is added, felt, listed and destroyed."""
    proxy = client.create(name="p", upstream=f"127.0.0.1:{echo_port}", listen="127.0.0.1:0")
    proxy.add_toxic(type="latency", attributes={"latency": 500})
    assert round_trip_s(proxy.listen) >= 0.499
    toxic = proxy.get_toxic("latency_downstream")
    assert (toxic.type, toxic.stream, toxic.toxicity, toxic.attributes["latency"]) == ("latency", "downstream", 1, 500)
    assert proxy.destroy_toxic("latency_downstream")
    assert proxy.toxics() == {}
    assert min(round_trip_s(proxy.listen) for _ in range(3)) < 0.4


def test_its_errors_are_raised(client: Toxiproxy) -> None:
    """Bad toxics, doubled ones and unknown proxies raise the client's own exceptions."""
    proxy = client.create(name="p", upstream="127.0.0.1:9", listen="127.0.0.1:0")
    for bad in ({"type": "gremlin"}, {"type": "noop", "stream": "sideways"}, {"type": "noop", "attributes": [5]}):
        with pytest.raises(InvalidToxic):
            proxy.add_toxic(**bad)
    proxy.add_toxic(type="noop")
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="noop")
    assert client.destroy(proxy)
    with pytest.raises(NotFound):
        proxy.toxics()


def test_a_rate_of_nothing_cuts_a_connection(client: Toxiproxy, echo_port: int) -> None:
    """With a bandwidth of 0 nothing passes; once that toxic is gone the connection works on, and nothing is lost."""
    proxy = client.create(name="p", upstream=f"127.0.0.1:{echo_port}", listen="127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", int(proxy.listen.rpartition(":")[2])), timeout=10) as connection:
        proxy.add_toxic(type="bandwidth", name="cut", attributes={"rate": 0})
        connection.sendall(b"held")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert proxy.destroy_toxic("cut")
        connection.settimeout(10)
        assert connection.recv(4, socket.MSG_WAITALL) == b"held"


def test_down_and_reset(client: Toxiproxy, echo_port: int) -> None:
    """`down()` refuses clients while it lasts, `reset` enables and cleans everything."""
    proxy = client.create(name="p", upstream=f"127.0.0.1:{echo_port}", listen="127.0.0.1:0")
    with proxy.down(), pytest.raises(ConnectionRefusedError):
        round_trip_s(proxy.listen)
    round_trip_s(proxy.listen)
    proxy.disable()
    proxy.add_toxic(type="timeout")
    client.reset()
    assert client.get_proxy("p").enabled
    assert client.get_proxy("p").toxics() == {}
    round_trip_s(proxy.listen)


def test_populate(client: Toxiproxy) -> None:
    """The client's own populate creates every proxy."""
    client.populate([{"name": name, "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"} for name in ("a", "b")])
    assert set(client.proxies()) == {"a", "b"}
