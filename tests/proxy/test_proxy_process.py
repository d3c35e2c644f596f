"""The proxy as a process of its own: starting, refusing to start, surviving, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from proxy_rig import free_port

from chaosrunner import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 20.0


@contextmanager
def proxy_process(*arguments: str, **popen: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A proxy process that is ready, and the address of its API."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chaosrunner.proxy", "-port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], process.communicate(timeout=DEADLINE_S)
        yield process, ready[1]
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def call(method: str, url: str, body: Any = None) -> Any:
    """The parsed answer of a control API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=DEADLINE_S) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def refused(port: int) -> bool:
    """Whether nobody listens at a local port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(condition: Any) -> None:
    """Wait until `condition()` is true; an AssertionError if it never is."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


def test_a_config_file_creates_proxies(tmp_path: Path) -> None:
    """The proxies of -config listen when the process says it is ready."""
    config, port = tmp_path / "proxies.json", free_port()
    config.write_text(
        json.dumps(
            [
                {"name": "a", "listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:9"},
                {"name": "b", "listen": "localhost:0", "upstream": "127.0.0.1:9", "enabled": False},
            ]
        )
    )
    with proxy_process("-config", str(config), "-seed", "4") as (_, url):
        proxies = call("GET", f"{url}/proxies")
        assert {name: proxy["enabled"] for name, proxy in proxies.items()} == {"a": True, "b": False}
        assert proxies["a"]["listen"] == f"127.0.0.1:{port}"
        assert not refused(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    """Told to stop, it closes what is open, frees its ports and exits with 0."""
    with socket.create_server(("127.0.0.1", 0)) as server, proxy_process() as (process, url):
        upstream = f"127.0.0.1:{server.getsockname()[1]}"
        made = call("POST", f"{url}/proxies", {"name": "p", "upstream": upstream})
        port = int(made["listen"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
            server.accept()[0].close()
            process.send_signal(number)
            assert process.wait(DEADLINE_S) == 0
            assert client.recv(1) == b""
        assert refused(port)


def test_a_signal_lets_go_what_toxics_hold() -> None:
    """Told to stop, it sends the 50,019 bytes that a latency toxic holds, and then the end."""
    with socket.create_server(("127.0.0.1", 0)) as server, proxy_process() as (process, url):
        upstream = f"127.0.0.1:{server.getsockname()[1]}"
        made = call("POST", f"{url}/proxies", {"name": "p", "upstream": upstream})
        call("POST", f"{url}/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 600_000}})
        port = int(made["listen"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client, server.accept()[0] as serving:
            serving.sendall(bytes(50_019))
            wait_until(lambda: call("GET", f"{url}/proxies/p/stats")["toxics"]["latency_downstream"]["bytes"] == 50_019)
            process.send_signal(signal.SIGTERM)
            with client.makefile("rb") as heard:
                assert heard.read() == bytes(50_019)
            assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("arguments", "config", "words"),
    [
        (["-host", "0.0.0.0"], None, "give a --token"),
        (["-host", "no.such.host.invalid"], None, "cannot listen on"),
        (["-config", "CONFIG"], "{", "bad request body"),
        (["-config", "CONFIG"], '[{"name": "a"}]', "missing required field: upstream"),
        (["-config", "CONFIG"], '[{"name": "a", "upstream": "h:1", "listen": ":0"}]', "--token"),
        (
            ["-config", "CONFIG"],
            '[{"name": "a", "upstream": "h:1", "toxics": [{"type": "noop"}]}]',
            "cannot set toxics",
        ),
        (["-config", "CONFIG"], '[{"name": "a", "upstream": "h:1", "listen": "127.0.0.1:TAKEN"}]', "in use"),
        (["-config", "missing.json"], None, "cannot read missing.json"),
        (["-port", "TAKEN"], None, "in use"),
        (["-port", "70000"], None, "0 to 65535"),
        (["-proxy-metrics=maybe"], None, "'maybe' is not true or false"),
        (["--compat", "nginx"], None, "invalid choice"),
        (["-nonsense"], None, "unrecognized arguments"),
        (["-seed", "many"], None, "invalid int value"),
        (["-config", "CONFIG"], '{"name": "a"}', "c.json: bad request body"),
        (["-config", "CONFIG"], '[{"name": "a", "upstream": "h:1"}, {"upstream": "h:1"}]', "name at proxy 2"),
    ],
)
def test_it_refuses_to_start_with_one_clear_line(
    tmp_path: Path, arguments: list[str], config: str | None, words: str
) -> None:
    """What cannot be done as asked is exit code 2 and a sentence, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        if config is not None:
            (tmp_path / "c.json").write_text(config.replace("TAKEN", port))
        options = [item.replace("CONFIG", str(tmp_path / "c.json")).replace("TAKEN", port) for item in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "chaosrunner.proxy", "-port", "0", *options],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("spelling", "shown"),
    [
        (["-proxy-metrics"], True),
        (["--proxy-metrics"], True),
        (["-proxy-metrics=true"], True),
        (["--proxy-metrics=T"], True),
        (["-proxy-metrics=1", "-seed=-5"], True),
        (["-proxy-metrics=false"], False),
        (["-proxy-metrics", "-runtime-metrics=F", "-host=localhost"], True),
        (["-runtime-metrics=0"], False),
    ],
)
def test_options_are_spelled_as_go_spells_them(spelling: list[str], shown: bool) -> None:
    """One dash or two, a value behind a space or =, and any of Go's words for true and false."""
    with proxy_process(*spelling) as (_, url):
        if shown:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/metrics") as answer:
                assert b"toxiproxy_proxy_sent_bytes_total" in answer.read()
        else:
            with pytest.raises(urllib.error.HTTPError, match="404"):
                call("GET", f"{url}/metrics")


def test_it_says_its_version_and_whose_api_it_has() -> None:
    """`-version` prints both versions and starts nothing."""
    for spelling in ("-version", "--version"):
        done = subprocess.run(
            [sys.executable, "-m", "chaosrunner.proxy", spelling],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == f"chaosrunner proxy version {__version__}, API of toxiproxy-server version 2.12.0\n"


def test_what_was_sent_arrives_although_it_stops() -> None:
    """Told to stop while a slow client has not read yet, it still delivers every byte that the server had sent."""
    sent = 200_000
    with socket.create_server(("127.0.0.1", 0)) as server, proxy_process() as (process, url):
        made = call("POST", f"{url}/proxies", {"name": "p", "upstream": f"127.0.0.1:{server.getsockname()[1]}"})
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(DEADLINE_S)
            client.connect(("127.0.0.1", int(made["listen"].rpartition(":")[2])))
            with server.accept()[0] as accepted:
                accepted.sendall(b"x" * sent)
                wait_until(lambda: call("GET", f"{url}/proxies/p/stats")["bytes"]["downstream"] == sent)
                process.send_signal(signal.SIGTERM)
                received = 0
                while data := client.recv(65536):
                    received += len(data)
                assert received == sent
        assert process.wait(DEADLINE_S) == 0


SETS_LEASES = """
import json, sys, time, urllib.request
for number in range(int(sys.argv[2])):
    body = {"name": f"t{number}", "type": "noop", "ttl": 0.5, "owner": "dying"}
    request = urllib.request.Request(sys.argv[1] + "/proxies/p/toxics", json.dumps(body).encode(), method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
print("set", flush=True)
time.sleep(600)
"""


def test_leases_end_although_their_client_was_killed() -> None:
    """50 leased toxics are gone within their ttl after their client was killed."""
    with proxy_process() as (_, url):
        call("POST", f"{url}/proxies", {"name": "p", "upstream": "127.0.0.1:9"})
        client = subprocess.Popen([sys.executable, "-c", SETS_LEASES, url, "50"], stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        assert client.stdout.readline() == "set\n"
        client.kill()
        client.communicate(timeout=DEADLINE_S)
        wait_until(lambda: call("GET", f"{url}/proxies/p/toxics") == [])
        assert call("GET", f"{url}/owners") == {}


def test_nobody_reading_its_output_does_not_stop_it() -> None:
    """With stdout and stderr closed at the other end, and far more audit lines than a pipe holds, it still answers."""
    with proxy_process() as (process, url):
        assert process.stdout is not None
        assert process.stderr is not None
        call("POST", f"{url}/proxies", {"name": "p", "upstream": "127.0.0.1:9"})
        for enabled in [False, True] * 400:  # more than 64 KiB of audit, unread
            call("PATCH", f"{url}/proxies/p", {"enabled": enabled})
        process.stdout.close()
        process.stderr.close()
        assert call("PATCH", f"{url}/proxies/p", {"enabled": False})["enabled"] is False
        process.stdout = process.stderr = None
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("limit", [40, 41])
def test_running_out_of_descriptors_is_survived(limit: int) -> None:
    """Out of descriptors, an even number or an odd, it neither dies nor spins, and serves again once some are free."""

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    with socket.create_server(("127.0.0.1", 0)) as server, proxy_process(preexec_fn=few_descriptors) as (process, url):
        made = call("POST", f"{url}/proxies", {"name": "p", "upstream": f"127.0.0.1:{server.getsockname()[1]}"})
        port = int(made["listen"].rpartition(":")[2])
        open_sockets = fill_up(port, server)
        waiting = [knock(port) for _ in range(5)]
        cpu_before = cpu_seconds(process.pid)
        time.sleep(1.0)
        assert cpu_seconds(process.pid) - cpu_before < 0.3
        assert process.poll() is None
        for opened in (*open_sockets, *waiting):
            opened.close()
        wait_until(lambda: flows(port, server))
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=DEADLINE_S)[1].count("cannot accept") <= 1


def knock(port: int) -> socket.socket:
    """A socket that tried to connect; it may have been reset already."""
    knocking = socket.socket()
    knocking.settimeout(DEADLINE_S)
    with contextlib.suppress(ConnectionResetError):
        knocking.connect(("127.0.0.1", port))
    return knocking


def fill_up(port: int, server: socket.socket) -> list[socket.socket]:
    """Open connections, one after the other, until one does not get through; both ends of them all."""
    server.settimeout(1)
    ends: list[socket.socket] = []
    for _ in range(100):
        ends.append(knock(port))
        try:
            ends.append(server.accept()[0])
        except TimeoutError:
            return ends
    raise AssertionError("the limit was never reached")


def flows(port: int, server: socket.socket) -> bool:
    """Whether a byte gets through."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"x")
            server.settimeout(2)
            for _ in range(200):
                accepted = server.accept()[0]
                with accepted:
                    accepted.settimeout(2)
                    if accepted.recv(1) == b"x":
                        return True
    except OSError:
        return False
    return False


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_token_can_come_from_the_environment() -> None:
    """With a token in the environment it may listen widely and asks every call for it."""
    environment = {**os.environ, "CHAOSRUNNER_PROXY_TOKEN": "secret"}
    with proxy_process("--host", "127.0.0.1", env=environment) as (process, url):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            call("GET", f"{url}/version")
        assert "secret" not in "".join(process.args)


def test_both_spellings_and_the_package_main_agree() -> None:
    """`main` is the same program, and takes one dash or two."""
    from chaosrunner.proxy import main

    assert main(["--host", "0.0.0.0", "--port", "0"]) == 2
    assert main(["-host", "0.0.0.0", "-port", "0"]) == 2


def test_importing_the_package_is_cheap() -> None:
    """Importing the package for its `main` brings in neither aiohttp nor structlog."""
    code = "import sys, chaosrunner.proxy; print([m for m in ('aiohttp', 'structlog', 'uvloop') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert done.stdout == "[]\n"


async def test_it_runs_in_process_on_either_loop() -> None:
    """`async with FaultProxy(port=0)` gives a port that answers, and frees it at the end."""
    from chaosrunner.proxy import FaultProxy
    from chaosrunner.proxy.audit import audit_to

    async with FaultProxy(host="127.0.0.1", port=0, audit=audit_to()) as proxy:
        version = await asyncio.to_thread(call, "GET", f"{proxy.url}/version")
        assert version["version"]
    assert refused(proxy.port)
