"""The same calls to a real toxiproxy-server and to ours: every difference is in the table, with its reason."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from proxy_calls import SCENES, Call
from proxy_differences import PAGE, TABLE, Finding, findings, page_with_table
from proxy_rig import free_port
from toxiproxy_peer import Answer, Served, our_server, their_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LISTEN = re.compile(rb'("listen": ?"[^"]*:)\d{4,5}"')
CALLS = [call for calls in SCENES.values() for call in calls]


class Stage:
    """A server with ports of its own for the placeholders of a scene."""

    def __init__(self, served: Served, taken: int) -> None:
        self._served = served
        self._ports = {f"<{name}>": str(free_port()) for name in "abc"} | {"<taken>": str(taken)}

    def play(self, call: Call) -> Answer:
        """The answer to a call, with its ports called by their placeholders again."""
        payload, path = call.payload, call.path
        for name, port in self._ports.items():
            payload = payload if payload is None else payload.replace(name.encode(), port.encode())
        answer = self._served.ask(call.method, path, payload, call.headers)
        body = answer.body
        for name, port in self._ports.items():
            body = body.replace(port.encode(), name.encode())
        return replace(answer, body=LISTEN.sub(rb'\1<some>"', body))


def put(calls: Sequence[Call], ours: Served) -> Iterator[Finding]:
    """Put the calls of one scene to both, one after the other."""
    with ExitStack() as stack:
        # Toxiproxy can create what it cannot delete, so that each scene needs a new one.
        theirs = stack.enter_context(their_server())
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        stages = Stage(theirs, taken), Stage(ours, taken)
        for call in calls:
            yield from findings(call, *(stage.play(call) for stage in stages))
    for name in _names(ours):
        assert ours.ask("DELETE", f"/proxies/{name}").status == 204


def _names(served: Served) -> list[str]:
    return [quote(name, safe="") for name in json.loads(served.ask("GET", "/proxies").body)]


@pytest.fixture(scope="module", params=[[], ["--compat", "toxiproxy"]], ids=["by default", "compat"])
def shown(request: pytest.FixtureRequest) -> tuple[bool, Mapping[str, list[Finding]]]:
    """Whether compatibility is asked for, and what differs, by scene."""
    with our_server(*request.param) as ours:
        return bool(request.param), {scene: list(put(calls, ours)) for scene, calls in SCENES.items()}


def test_every_difference_is_in_the_table(shown: tuple[bool, Mapping[str, list[Finding]]]) -> None:
    """Whatever differs is claimed by exactly one entry, and by none that the compatibility switch covers."""
    compat, found = shown
    entries = [entry for entry in TABLE if not (compat and entry.compat)]
    unclaimed = [
        f"{scene}: {finding} claimed by {claims}"
        for scene, differing in found.items()
        for finding in differing
        if len(claims := [entry.id for entry in entries if entry.claims(finding)]) != 1
    ]
    assert unclaimed == [], "\n".join(unclaimed)


def test_every_entry_of_the_table_is_shown(shown: tuple[bool, Mapping[str, list[Finding]]]) -> None:
    """An entry that no call shows any more, or that names a test which is not there, has to go."""
    compat, found = shown
    differing = [finding for findings_of_scene in found.values() for finding in findings_of_scene]
    shown_ids = {entry.id for entry in TABLE for finding in differing if entry.claims(finding)}
    assert {entry.id for entry in TABLE if entry.test is None and not (compat and entry.compat)} - shown_ids == set()


def test_every_call_that_is_said_to_differ_does(shown: tuple[bool, Mapping[str, list[Finding]]]) -> None:
    """A call that names a difference shows it."""
    _, found = shown
    differing = {id(finding.call) for findings_of_scene in found.values() for finding in findings_of_scene}
    assert [str(call) for call in CALLS if call.differs and id(call) not in differing] == []


def test_the_table_is_complete_and_printed() -> None:
    """Ids are unique, tests that are named exist, every call names a known id, and the reference shows the table."""
    assert [key for key, times in Counter(entry.id for entry in TABLE).items() if times > 1] == []
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [entry.test for entry in TABLE if entry.test and f"def {entry.test}(" not in tests] == []
    assert {call.differs for call in CALLS} - {None} <= {entry.id for entry in TABLE}
    assert PAGE.read_text() == page_with_table(PAGE.read_text()), "run: python tests/proxy/proxy_differences.py"


def test_there_are_enough_calls() -> None:
    """More than 300 different calls are compared, to every route with each of its verbs."""
    assert len({str(call) for call in CALLS}) >= 300
