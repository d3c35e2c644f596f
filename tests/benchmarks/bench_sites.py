"""What is loaded: one nginx on one core, or a server that stands still now and then."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench_peers import FailedError, Starting, find, free_port, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
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
def frozen(folder: Path, core: int) -> Iterator[str]:
    """A fresh `bench_frozen`, five seconds before its first freeze; its URL."""
    port = free_port()
    with ExitStack() as stack, pinned(core):
        Starting(stack, folder).listening(
            port, sys.executable, str(Path(__file__).with_name("bench_frozen.py")), str(port)
        )
        yield f"http://127.0.0.1:{port}"
