"""The proxies that are compared, on one core, and the origins they lead to, on the other.

Each peer opens the same ways: `http` and `http_1ms`, `http_10ms` to nginx, `clock` and `clock_100ms` to the clock.
HAProxy knows no toxics, so it has `http` and `clock` only; "direct" is no proxy at all.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 10.0
BULK_BYTES = 64 * 1024
OURS, TOXIPROXY, HAPROXY, DIRECT = "chaosrunner", "Toxiproxy", "HAProxy", "direct"
# Debian keeps servers where a user's PATH does not look, and `make peers` builds Toxiproxy beside the interpreter.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:{sys.prefix}/peers"
# Toxics by the way they are at work on: latency in ms, and the direction.
TOXICS = {"http_1ms": (1, "downstream"), "http_10ms": (10, "downstream"), "clock_100ms": (100, "upstream")}

NGINX_HEAD = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
"""
NGINX = (
    NGINX_HEAD
    + """\
    location = / {{ return 200 "ok"; }}
    location = /bulk {{ root {folder}; }}
  }}
}}
"""
)
HAPROXY_HEAD = """
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
"""


class FailedError(Exception):
    """Something did not start, or a measurement met an error: there is no number, and the others mean nothing."""


@dataclass(slots=True)
class Peer:
    """Something to connect through.

    Attributes:
        name: What the table calls it.
        ways: Loopback ports, by what is behind them.
        process: The proxy's process; None for no proxy.
    """

    name: str
    ways: dict[str, int]
    process: psutil.Process | None = None

    def cpu_s(self) -> float:
        """Seconds of CPU it has used."""
        if self.process is None:
            return 0.0
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def waited_s(self) -> float:
        """Seconds in which it could have run and something else had its core: noise, but for its own threads'."""
        if self.process is None:
            return 0.0
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9

    def resident_bytes(self) -> int:
        """Memory that is in RAM for it."""
        return 0 if self.process is None else int(self.process.memory_info().rss)


@dataclass(slots=True)
class Field:
    """Everything that takes part.

    Attributes:
        peers: The proxies that are installed, ours first, and then no proxy.
        absent: The programs that are not installed.
        versions: What the programs call themselves.
    """

    peers: list[Peer] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


def find(program: str) -> str | None:
    """Where a program is; None if it is not installed."""
    return shutil.which(program, path=PATH)


def take_priority(pid: int | None = None) -> None:
    """Have a process, this one unless said, and all it starts run before all else. Raises OSError."""
    os.setpriority(os.PRIO_PROCESS, pid or 0, -20)
    group = Path(f"/proc/{pid or 'self'}/autogroup")  # where Linux first shares the CPUs among sessions
    if group.exists():
        group.write_text("-20")


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run on one core, with all that is started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def on_the_field(folder: Path, proxy_core: int, other_core: int) -> Iterator[Field]:
    """Start all that is installed, and end it: proxies on one core, origins on the other.

    Args:
        folder: For the files of nginx and HAProxy.
        proxy_core: Number of the core for each proxy.
        other_core: Number of the core for the origins.

    Raises:
        FailedError: If something does not start within 10 s.
    """
    programs = ("wrk", "nginx", "haproxy", "toxiproxy-server")
    found = Field(absent=[name for name in programs if not find(name)])
    found.versions = [_version(name) for name in programs if find(name)]
    with ExitStack() as stack:
        with pinned(other_core):
            origins = _origins(Starting(stack, folder))
        with pinned(proxy_core):
            found.peers.append(_ours(origins, Starting(stack, folder)))
            if find("toxiproxy-server"):
                found.peers.append(_toxiproxy(origins, Starting(stack, folder)))
            if find("haproxy"):
                found.peers.append(_haproxy(origins, Starting(stack, folder)))
        found.peers.append(Peer(DIRECT, origins))
        yield found


@dataclass(frozen=True, slots=True)
class Starting:
    """Starts processes that end with `stack`; their files are in `folder`."""

    stack: ExitStack
    folder: Path

    def said(self, port: int) -> Path:
        """Where the output goes of what listens there."""
        return self.folder / f"said-{port}"

    def listening(self, port: int, *command: str, env: dict[str, str] | None = None, **popen: Any) -> psutil.Process:
        """A process of that command, as soon as it listens at a loopback port.

        Raises:
            FailedError: If it does not within 10 s; with its last words.
        """
        said = self.said(port)
        with said.open("wb") as file:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **popen)
        self.stack.callback(_end, process)
        end = time.monotonic() + DEADLINE_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise FailedError(f"{command[0]} does not listen: {said.read_text()[-500:]}")
            time.sleep(0.02)
        return psutil.Process(process.pid)


def _origins(starting: Starting) -> dict[str, int]:
    origins = {"clock": free_port()}
    script = Path(__file__).with_name("bench_clock.py")
    starting.listening(origins["clock"], sys.executable, str(script), str(origins["clock"]))
    nginx, folder = find("nginx"), starting.folder
    if nginx:
        origins["http"] = free_port()
        (folder / "bulk").write_bytes(bytes(BULK_BYTES))
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=origins["http"]))
        files = ("-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf"))
        starting.listening(origins["http"], nginx, *files)
    return origins


def _ours(origins: dict[str, int], starting: Starting) -> Peer:
    port = free_port()
    command = (sys.executable, "-m", "chaosrunner.proxy", "--host", "127.0.0.1", "--port", str(port))
    process = starting.listening(port, *command)
    return Peer(OURS, _opened_by_api(port, origins), process)


def _toxiproxy(origins: dict[str, int], starting: Starting) -> Peer:
    port = free_port()
    program = find("toxiproxy-server")
    assert program is not None
    # At its best: it writes a line for each connection unless it is told not to.
    environment = {**os.environ, "GOMAXPROCS": "1", "LOG_LEVEL": "error"}
    process = starting.listening(port, program, "-host", "127.0.0.1", "-port", str(port), env=environment)
    return Peer(TOXIPROXY, _opened_by_api(port, origins), process)


def _haproxy(origins: dict[str, int], starting: Starting) -> Peer:
    ways = {name: free_port() for name in origins}
    program = find("haproxy")
    assert program is not None
    sections = [
        f"listen {name}\n  bind 127.0.0.1:{ways[name]}\n  server s 127.0.0.1:{port}\n" for name, port in origins.items()
    ]
    config = starting.folder / "haproxy.cfg"
    config.write_text(HAPROXY_HEAD + "".join(sections))
    return Peer(HAPROXY, ways, starting.listening(ways["clock"], program, "-db", "-f", str(config)))


def _opened_by_api(port: int, origins: dict[str, int]) -> dict[str, int]:
    ways = {}
    for name in (*origins, *TOXICS):
        kind = name.partition("_")[0]
        if kind in origins:
            upstream = f"127.0.0.1:{origins[kind]}"
            made = _post(port, "/proxies", name=name, listen="127.0.0.1:0", upstream=upstream, enabled=True)
            ways[name] = int(made["listen"].rpartition(":")[2])
        if name in ways and name in TOXICS:
            latency_ms, stream = TOXICS[name]
            _post(port, f"/proxies/{name}/toxics", type="latency", stream=stream, attributes={"latency": latency_ms})
    return ways


def _post(port: int, path: str, **body: Any) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return json.load(answer)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _version(program: str) -> str:
    flag = {"wrk": "-v", "nginx": "-v", "haproxy": "-v", "toxiproxy-server": "-version"}[program]
    path = find(program)
    assert path is not None
    said = subprocess.run([path, flag], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    first = (said.stdout + said.stderr).strip().partition("\n")[0]
    number = re.search(r"\d+\.\d+(\.\d+)?", first)
    return f"{program} {number.group() if number else first}"


def free_port() -> int:
    """A port that nobody has now, below the range from which the kernel gives ports to others meanwhile."""
    for port in random.sample(range(12_000, 30_000), 100):
        if not _listens(port):
            return port
    raise FailedError("no free port among 100")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
