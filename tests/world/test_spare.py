"""Which processes no fault may touch, and which are the target's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.spare import family, spare, targets_here

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@pytest.fixture
def listener() -> Iterator[tuple[int, int]]:
    """(pid, port) of another process that listens."""
    child = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    yield child.pid, int(child.stdout.readline())
    child.communicate(b"\n")


def system(**changes: object) -> System:
    return System(name="s", file="s.yaml", **changes)


def test_the_family_is_spared() -> None:
    """This process, its parent and pid 1 are spared; a child is not, for it may be the target."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert {1, os.getpid(), os.getppid()} <= family()
        assert child.pid not in family()
    finally:
        child.communicate(b"\n")


def test_what_the_run_has_started_is_spared_when_it_is_there() -> None:
    """Watchdog and workers are looked up at the time of asking."""
    started: set[int] = set()
    ask = spare(system(), lambda: started)
    assert ask() == family()
    started.add(4_000_001)
    assert ask() == family() | {4_000_001}


def test_the_fault_proxy_is_spared(listener: tuple[int, int]) -> None:
    """Whoever listens on the fault proxy's port on this host is the way back of its faults."""
    pid, port = listener
    assert pid in spare(system(fault_proxy=f"http://127.0.0.1:{port}"))()
    assert pid not in spare(system())()
    assert pid not in spare(system(fault_proxy="http://proxy-without-a-port"))()


def test_targets_are_who_listens_on_the_components_ports(listener: tuple[int, int]) -> None:
    """The processes behind the ports of a system file are found; a port without a listener adds none."""
    pid, port = listener
    with socket.create_server(("127.0.0.1", 0)) as free:
        silent = free.getsockname()[1]
    parts = {
        "api": Component(name="api", processes=Processes(ports=(port, silent))),
        "far": Component(name="far"),
    }
    assert targets_here(system(components=parts))() == {pid}
    assert targets_here(system())() == frozenset()
