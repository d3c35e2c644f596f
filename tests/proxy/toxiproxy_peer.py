"""The real Toxiproxy and ours, as processes of their own, and one way to put the same call to both."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from proxy_rig import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEADLINE_S = 20.0
PEERS = Path(sys.prefix) / "peers"


def peer(name: str) -> str:
    """The path of a program of Toxiproxy's; skips the test where it is not, fails it in CI where it could be."""
    path = PEERS / name
    if path.exists():
        return str(path)
    if os.environ.get("CI") == "true" and shutil.which("go"):
        pytest.fail(f"{name} is not built although Go is here: make peers")
    pytest.skip(f"{name} is not here; with Go on PATH, make peers builds it")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: Lower-case names.
        body: As it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Served:
    """A control API on a local port."""

    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Put one call, with the path as it is written, and nothing added that was not asked for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


@contextmanager
def their_server(*arguments: str, port: int = 0) -> Iterator[Served]:
    """The real toxiproxy-server, ready, on a port that is free unless it is said."""
    server, port = peer("toxiproxy-server"), port or free_port()
    process = subprocess.Popen(
        [server, "-port", str(port), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + DEADLINE_S
        while not _listens(port):
            assert time.monotonic() < end, "toxiproxy-server never listened"
            assert process.poll() is None, "toxiproxy-server ended"
            time.sleep(0.01)
        yield Served(port)
    finally:
        process.kill()
        process.wait(DEADLINE_S)


@contextmanager
def our_server(*arguments: str) -> Iterator[Served]:
    """Our proxy, ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chaosrunner.proxy", "-port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, url = process.stdout.readline().split()
        assert ready == "ready"
        yield Served(int(url.rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
