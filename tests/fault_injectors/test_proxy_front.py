"""A proxy in front of an address that is not loopback: for clients elsewhere, and for a server elsewhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network_rig import HERE, WHY_NOT, Cable, cables, command

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not HERE, reason=WHY_NOT)
SCRIPT = Path(__file__).parent.parent / "contract" / "front_inside.py"


def family_of(address: str) -> socket.AddressFamily:
    """IPv4 or IPv6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def serving(cable: Cable, inside: str, address: str) -> Iterator[int]:
    """A server in a namespace that tells each client the port it is seen at; its own port."""
    listener = cable.inside(inside, socket.SOCK_STREAM, family_of(address))
    listener.settimeout(None)
    listener.bind((address, 0))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, seen = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(b"%d" % seen[1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def way_to(cable: Cable, inside: str, address: tuple[str, int]) -> str:
    """Which way a client in a namespace comes to a server."""
    with cable.inside(inside, socket.SOCK_STREAM, family_of(address[0])) as client:
        client.settimeout(5)
        client.connect(address)
        own = client.getsockname()[1]
        return "direct" if int(client.makefile().read()) == own else "proxy"


@pytest.mark.parametrize("server_here", [True, False], ids=["clients elsewhere", "server elsewhere"])
def test_beyond_loopback_connections_come_through_the_proxy_and_afterwards_do_not(server_here: bool) -> None:
    """Who connects from elsewhere to an address here, or from here to one elsewhere, meets the proxy, by IPv4 and 6."""
    with cables(1) as [cable], ExitStack() as stack:
        server, client = (cable.name, cable.peer) if server_here else (cable.peer, cable.name)
        for space, address in ((cable.name, "fd09::1/64"), (cable.peer, "fd09::2/64")):
            command("ip", "-n", space, "address", "add", address, "dev", "eth0", "nodad")
        hosts = ("10.9.0.1", "fd09::1") if server_here else ("10.9.0.2", "fd09::2")
        places = [(host, stack.enter_context(serving(cable, server, host))) for host in hosts]
        assert {way_to(cable, client, place) for place in places} == {"direct"}
        behind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places]
        with subprocess.Popen(
            ["ip", "netns", "exec", cable.name, sys.executable, str(SCRIPT), *behind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as inside:
            assert inside.stdin is not None
            assert inside.stdout is not None
            assert inside.stdout.readline() == "in front\n"
            ways = [way_to(cable, one, place) for one in sorted({client, cable.name}) for place in places]
            inside.stdin.write("\n")
            inside.stdin.flush()
            assert ({*ways}, inside.stdout.readline()) == ({"proxy"}, "proven\n"), ways
            assert inside.stdout.readline() == "gone\n"
            assert {way_to(cable, client, place) for place in places} == {"direct"}
            inside.stdin.write("\n")
            inside.stdin.flush()
        assert inside.returncode == 0
