"""Which processes no fault may touch, and which are the target's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.spare import family, is_kin, port_here, spare, targets_here

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
    assert ask() >= family()
    assert 4_000_001 not in ask()
    started.add(4_000_001)
    assert ask() >= family() | {4_000_001}


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("python -P -m chaosrunner.world.watchdog", True),
        ("python -m chaosrunner.load.worker", True),
        ("python -m chaosrunner.world.hand /state/hands/a", True),
        ("python -m chaosrunner run slow.yaml", True),
        ("python -m chaosrunner --verbose watchdog --state x", True),
        ("/venv/bin/python /venv/bin/chaosrunner dashboard", True),
        ("chaosrunner run slow.yaml", True),
        ("chaosrunner", True),
        ("python -m chaosrunner demo", False),
        ("chaosrunner proxy --port 1", False),
        ("python -m chaosrunner.demo --fragile", False),
        ("vim docs/chaosrunner", False),
        ("python -m", False),
        ("", False),
    ],
)
def test_every_runs_runner_and_watchdog_are_spared(line: str, ours: bool) -> None:
    """Runner, watchdog, workers and dashboard of any run are known by their command lines; the demo is a target."""
    assert is_kin(line.split()) is ours


def test_a_runner_of_another_run_is_spared() -> None:
    """A process with a runner's command line is among those that no fault may touch."""
    other = subprocess.Popen([sys.executable, "-m", "chaosrunner.load.worker"], stdin=subprocess.PIPE)
    try:
        assert other.pid in spare(system())()
    finally:
        other.communicate(b"")


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


CALLS = """
import socket, sys
mine = socket.create_server(("127.0.0.1", 0))
other = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(mine.getsockname()[1], flush=True)
input()
"""


def test_the_target_is_also_what_it_talks_to(listener: tuple[int, int]) -> None:
    """Behind the entry comes whoever listens there, and then whoever that one is connected to on this host."""
    pid, port = listener
    gateway = subprocess.Popen(
        [sys.executable, "-c", CALLS, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert gateway.stdout is not None
        entry = f"http://localhost:{int(gateway.stdout.readline())}/"
        assert targets_here(system(entry=entry))() == {gateway.pid, pid}
        dsn = Component(name="database", dsn=Secret(f"postgresql://app@127.0.0.1:{port}/shop"))
        assert targets_here(system(components={"database": dsn}))() == {pid}
        cache = Component(name="cache", redis=Secret(f"redis://:${{PW}}@127.0.0.1:{port}/0"))
        assert targets_here(system(components={"cache": cache}))() == {pid}
    finally:
        gateway.communicate("\n")


def test_behind_a_forwarder_there_is_no_target_to_see() -> None:
    """Where a port is only forwarded, to a container say, nobody's processes are taken for the target's."""
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'docker-proxy'); " + LISTEN
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert targets_here(system(entry=f"http://127.0.0.1:{port}"))() == frozenset()
    finally:
        child.communicate(b"\n")


def test_the_target_is_also_who_the_file_names(listener: tuple[int, int], tmp_path: Path) -> None:
    """Processes given by pid, by pid file or by their command line belong to the target without listening."""
    pid, _ = listener
    (tmp_path / "a.pid").write_text(f"{pid}\n")
    (tmp_path / "b.pid").write_text("none")
    ways = [
        Processes(pids=(pid,)),
        Processes(pidfiles=(str(tmp_path / "a.pid"), str(tmp_path / "b.pid"), str(tmp_path / "c.pid"))),
        Processes(command=r"create_server\(\('127.0.0.1', 0\)\); print", at_most=1),
    ]
    for way in ways:
        assert targets_here(system(components={"api": Component(name="api", processes=way)}))() == {pid}


@pytest.mark.parametrize(
    ("place", "port"),
    [
        ("http://127.0.0.1:8080/a", 8080),
        ("http://localhost", 80),
        ("https://[::1]/", 443),
        ("localhost:5432", 5432),
        ("postgresql://u:p@127.0.0.5:5433/db", 5433),
        ("http://192.0.2.7:8080", None),
        ("http://shop.example", None),
        ("postgresql://u@127.0.0.1/db", 5432),
        ("${env:SHOP_DSN}", None),
        ("127.0.0.1:${PORT}", None),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_which_places_are_here(place: str, port: int | None) -> None:
    """A port of this host is known by a loopback name or address; what is elsewhere, unsaid or secret has none."""
    assert port_here(place) == port
