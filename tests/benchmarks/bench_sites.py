"""What is loaded: one nginx on one core, or a server that stands still now and then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_peers import NGINX_HEAD, FailedError, Starting, find, free_port, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS_PYTHON = Path(sys.prefix) / "peers/python/bin/python"
"""Has Locust and picows."""

SITE = (
    NGINX_HEAD
    + """\
    default_type application/json;
    location = / {{ return 200 "ok"; }}
    location = /login {{ return 200 '{{"token": "e30.e30.c2lnbmVk", "expires_in": 3600}}'; }}
    location = /items {{
      if ($http_authorization != "Bearer e30.e30.c2lnbmVk") {{ return 401; }}
      return 200 '{{"items": [{{"id": 7, "name": "lamp"}}, {{"id": 8, "name": "chair"}}]}}';
    }}
    location = /items/7 {{ return 200 '{{"id": 7, "name": "lamp", "price": 12.5}}'; }}
  }}
}}
"""
)


@contextmanager
def nginx(folder: Path, core: int) -> Iterator[str]:
    """An nginx that answers two bytes at `/`, and three steps of a user's journey; its URL without a path.

    Raises:
        FailedError: If it is not installed, or does not listen within 10 s.
    """
    program = find("nginx")
    if program is None:
        raise FailedError("nginx is not installed, and it is what is loaded")
    port = free_port()
    (folder / "nginx.conf").write_text(SITE.format(folder=folder, port=port))
    files = ("-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf"))
    with ExitStack() as stack, pinned(core):
        Starting(stack, folder).listening(port, program, *files)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def frozen(folder: Path, core: int) -> Iterator[tuple[str, Path]]:
    """A fresh `bench_frozen`, five seconds before its first freeze; its URL, and where it writes what it says."""
    port = free_port()
    with ExitStack() as stack, pinned(core):
        starting = Starting(stack, folder)
        starting.listening(port, sys.executable, str(Path(__file__).with_name("bench_frozen.py")), str(port))
        yield f"http://127.0.0.1:{port}", starting.said(port)


@contextmanager
def echo(folder: Path, core: int) -> Iterator[str]:
    """A picows server that sends every message back; its URL. Raises FailedError."""
    if not PEERS_PYTHON.exists():
        raise FailedError("picows is not installed")
    port = free_port()
    with ExitStack() as stack, pinned(core):
        script = str(Path(__file__).with_name("bench_picows.py"))
        Starting(stack, folder).listening(port, str(PEERS_PYTHON), script, "serve", str(port))
        yield f"http://127.0.0.1:{port}"


@contextmanager
def postgres(folder: Path, core: int) -> Iterator[str]:
    """A fresh Debian Postgres that trusts everybody; its DSN. Raises FailedError."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
    program = find("pgbench")
    if programs is None or program is None:
        raise FailedError("Postgres is not installed")
    data, port = folder / "data", free_port()
    data.mkdir()
    nobody: dict[str, Any] = {}
    if os.getuid() == 0:  # which Postgres refuses to run as
        shutil.chown(data, 65534, 65534)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    init = (str(programs.with_name("initdb")), "-D", str(data), "-U", "bench", "-A", "trust", "--no-sync")
    try:
        done = subprocess.run(init, capture_output=True, text=True, cwd="/", check=False, **nobody)
        if done.returncode:
            raise FailedError(f"initdb: {done.stderr[-300:]}")
        with ExitStack() as stack, pinned(core):
            command = (str(programs), "-D", str(data), "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1")
            Starting(stack, folder).listening(port, *command, **nobody)
            tables = (program, "-i", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "postgres")
            done = subprocess.run(tables, capture_output=True, text=True, check=False)
            if done.returncode:
                raise FailedError(f"pgbench -i: {done.stderr[-300:]}")
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(data, ignore_errors=True)
