"""A server that is not ours: nginx, named by URL and port, with nothing of the demo around."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from real_play import ROOT, Played, assert_trustworthy, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

CONFIG = """\
{user}
daemon off;
worker_processes 2;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {prefix}/body;
  proxy_temp_path {prefix}/proxy;
  fastcgi_temp_path {prefix}/fastcgi;
  uwsgi_temp_path {prefix}/uwsgi;
  scgi_temp_path {prefix}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "hello\\n"; }}
  }}
}}
"""

KILLED = """\
question: Does anybody bring the server back when it is killed?
system: {system}
load:
  each_user:
    - visit: {{GET: /}}
  arrivals: 50 users/s
baseline: 5s
faults:
  - process.kill: {{target: server, comes_back: by itself, with_children: true}}
    for: 3s
hypothesis:
  before: [p95 <= 500ms, errors < 1%]
  after:  [errors < 1%]
recover: within 4s, hold 2s
"""


@asynccontextmanager
async def nginx(prefix: Path) -> AsyncIterator[int]:
    """An nginx on a free loopback port, all its files below `prefix`; gives the port and ends it with its workers."""
    if NGINX is None:
        pytest.skip("nginx is not installed; 'make packages' installs it as root on Debian and Ubuntu")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    config = prefix / "nginx.conf"
    config.write_text(CONFIG.format(user=user, prefix=prefix, port=port))
    server = _start([NGINX, "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(config)])
    try:
        await _answers(server, port, prefix)
        yield port
    finally:
        _end(server)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, by which all of it can be ended."""
    return subprocess.Popen(command, start_new_session=True)


async def _answers(server: subprocess.Popen[bytes], port: int, prefix: Path) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert server.poll() is None, (prefix / "error.log").read_text()
            assert time.monotonic() < end, "nginx does not listen"
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def _end(server: subprocess.Popen[bytes]) -> None:
    """End its whole session: its workers outlive a master that was killed."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sent)
        except ProcessLookupError:
            pass
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            continue


async def _play(experiment: Path, port: int, directory: Path) -> Played:
    where = {"SERVER_URL": f"http://127.0.0.1:{port}", "SERVER_PORT": str(port)}
    return await play("run", str(experiment), directory=directory, **where)


async def test_a_server_of_your_own_that_hangs_for_five_seconds_serves_everybody_afterwards(tmp_path: Path) -> None:
    """The shipped experiment for any server holds on nginx: callers wait while it is paused, none is turned away."""
    async with nginx(tmp_path) as port:
        played = await _play(ROOT / "experiments/own-server.yaml", port, tmp_path)
    assert played.code == 0, played
    assert played.verdict["outcome"] == "HELD", played
    assert_trustworthy(played, offered=500)
    assert played.recovery["state"] == "recovered", played
    waited = played.recovery["waited_s"]
    assert waited > 100, f"20 callers a second for 5 s wait 2.5 s on average, not {waited} s in all: {played}"
    assert played.verdict["faults"][0]["lasted_s"] == pytest.approx(5, abs=1.5), played


async def test_a_killed_server_that_nobody_restarts_never_recovers(tmp_path: Path) -> None:
    """A kill leaves no debt, so its verdict is BROKEN (exit 1), with recovery NEVER, and not 'unrestored' (exit 4)."""
    experiment = tmp_path / "killed.yaml"
    experiment.write_text(KILLED.format(system=ROOT / "experiments/systems/own-server.yaml"))
    async with nginx(tmp_path) as port:
        played = await _play(experiment, port, tmp_path)
    assert played.code == 1, played
    assert played.verdict["outcome"] == "BROKEN", played
    assert_trustworthy(played, offered=500)
    assert played.recovery["state"] == "never", played
    assert played.recovery["time_s"] is None, played
    assert "recovery within 4 s" in played.broken, played
    assert played.recovery["lost"] > 100, played
