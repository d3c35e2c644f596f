"""Whatever is sent to the control API, it answers as its document says, at once, and bytes keep flowing."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
import schemathesis.openapi
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_proxy_process import wait_until
from toxiproxy_peer import our_server

from chaosrunner.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toxiproxy_peer import Served

OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(FaultProxy().document()).get_all_operations()]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# Names that exist, so that more than 404 is found; the traffic's own proxy has a name that nobody guesses.
KNOWN = {"proxy": "p", "toxic": "t", "owner": "me"}
TRAFFIC = "traffic-7d1c"
SLOWEST_S = 1.0
REACHABLE = {
    operation.label: {int(status) for status in operation.definition.raw["responses"]} & {200, 201, 204, 400, 404}
    for operation in OPERATIONS
}
SENSIBLE = {
    "name": st.sampled_from(["p", "q", "r", "t"]),
    "listen": st.sampled_from(["127.0.0.1:0", "localhost:0", ":0", "[::1]:0", "127.0.0.1:1", "192.0.2.1:5", "x"]),
    "upstream": st.sampled_from(["127.0.0.1:9", "localhost:9", "[::1]:9", "x"]),
    "ttl": st.sampled_from([0.01, 0.5, 60]),
    "owner": st.sampled_from(["me", "you"]),
    "protocol": st.sampled_from(["tcp", "http", "postgres"]),
    "toxicity": st.sampled_from([0, 0.5, 1]),
}


class Traffic:
    """An echo through a proxy, again and again, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.trips = 0
        self.failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                while not self._stop.wait(0.005):
                    exchange(connection)
                    self.trips += 1
        except (OSError, AssertionError) as error:
            self.failure = repr(error)


def exchange(connection: socket.socket) -> None:
    """Have 100 bytes sent back."""
    connection.sendall(b"x" * 100)
    assert connection.recv(100, socket.MSG_WAITALL) == b"x" * 100


@contextmanager
def echoing() -> Iterator[int]:
    """The port of a server that sends back what it is sent, to any number of clients."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client:
                try:
                    while data := client.recv(4096):
                        client.sendall(data)
                except OSError:
                    pass

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=[client], daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def busy_server() -> Iterator[tuple[Served, Traffic]]:
    """A server in which a proxy is at work all the time, and that traffic."""
    with our_server() as served, echoing() as upstream:
        made = served.ask(
            "POST", "/proxies", json.dumps({"name": TRAFFIC, "upstream": f"127.0.0.1:{upstream}"}).encode()
        )
        with Traffic(int(json.loads(made.body)["listen"].rpartition(":")[2])) as traffic:
            yield served, traffic


@st.composite
def cases(draw: st.DrawFn) -> Any:
    """A call as the document allows it, or one that it does not; often with names and addresses that mean something."""
    operation = draw(st.sampled_from(OPERATIONS))
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    names = {parameter.name: KNOWN[parameter.name] for parameter in operation.path_parameters}
    case = draw(operation.as_strategy(mode, path_parameters=names if draw(st.integers(0, 3)) else None))
    for body in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(body, dict) and draw(st.integers(0, 3)):
            body |= {key: draw(SENSIBLE[key]) for key in SENSIBLE.keys() & body.keys()}
    return case


def ensure_known(served: Served) -> None:
    """Have proxy p with its toxic t, whatever the calls before have left."""
    served.ask("POST", "/proxies", b'{"name": "p", "upstream": "127.0.0.1:9"}')
    served.ask("POST", "/proxies/p/toxics", b'{"name": "t", "type": "latency"}')


def fuzz(served: Served, examples: int) -> Counter[tuple[str, int]]:
    """Put calls and check each answer; how often each call had each status."""
    answered: Counter[tuple[str, int]] = Counter()
    with requests.Session() as session:
        session.trust_env = False  # no proxy from the environment

        @seed(20_26)
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=cases())
        def put(case: Any) -> None:
            ensure_known(served)
            answer = case.call(base_url=served.url, session=session, timeout=SLOWEST_S, allow_redirects=False)
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code >= 500:
                assert answer.json()["error"].startswith("listen tcp ")
            answered[case.operation.label, answer.status_code] += 1

        put()
    return answered


def test_the_api_answers_as_its_document_says_and_bytes_flow_on() -> None:
    """Each answer is documented and comes within 1 s, a 500 is a taken address, and no connection elsewhere suffers."""
    with busy_server() as (served, traffic):
        answered = fuzz(served, examples=600)
        before = traffic.trips
        with socket.create_connection(("127.0.0.1", traffic.port), timeout=5) as connection:
            for _ in range(10):
                exchange(connection)
        wait_until(lambda: traffic.failure or traffic.trips > before > 100)
        assert traffic.failure is None
        stats = json.loads(served.ask("GET", f"/proxies/{TRAFFIC}/stats").body)
    assert stats["connections"]["cut"] == 0
    expected = {(label, status) for label, statuses in REACHABLE.items() for status in statuses}
    assert expected - answered.keys() == set(), "the fuzzing did not reach these answers"
