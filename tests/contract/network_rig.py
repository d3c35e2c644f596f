"""Pairs of network namespaces of our own, joined by a cable, and sockets inside them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resources_rig import may_mount

from fault_injectors.network_netem import Latency

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
HERE = may_mount() and all(shutil.which(name) for name in ("ip", "nft", "tc", "ss", "nsenter"))
WHY_NOT = "needs root with CAP_SYS_ADMIN, nftables and iproute2: namespaces of our own are broken"
NETEM = HERE and Latency().available().ok
"""Whether this kernel has netem. What needs it is collected only then; `make kernel` boots a kernel that has it."""
PORT = 53


def command(*words: str, check: bool = True) -> str:
    """Run a program to its end."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert not check or not done.returncode, done.stderr
    return done.stdout


def question(name: str) -> bytes:
    """A DNS question for the IPv4 address of a name (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return secrets.token_bytes(2) + b"\x01\x00\x00\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01"


class Cable:
    """A target and its peer, each a namespace, 10.9.0.1 and 10.9.0.2."""

    def __init__(self) -> None:
        self.name = f"cr-{secrets.token_hex(3)}"
        self.peer = f"{self.name}-peer"
        self.sockets: list[socket.socket] = []

    def plug(self) -> None:
        """Make both, and the sockets they talk by."""
        for name in (self.name, self.peer):
            command("ip", "netns", "add", name)
            command("ip", "-n", name, "link", "set", "dev", "lo", "up")
        command("ip", "-n", self.name, "link", "add", "dev", "eth0", "type", "veth",
                "peer", "name", "eth0", "netns", self.peer)  # fmt: skip
        for name, address in ((self.name, "10.9.0.1/24"), (self.peer, "10.9.0.2/24")):
            command("ip", "-n", name, "address", "add", address, "dev", "eth0")
            command("ip", "-n", name, "link", "set", "dev", "eth0", "up")
        self.server, self.listener = (self.inside(self.peer, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        for one in (self.server, self.listener):
            one.bind(("10.9.0.2", PORT))
        self.listener.listen()
        self.client = self.inside(self.name, socket.SOCK_DGRAM)

    def unplug(self) -> None:
        """Remove both."""
        while self.sockets:
            self.sockets.pop().close()
        for name in (self.name, self.peer):
            command("ip", "netns", "del", name, check=False)

    def inside(self, name: str, kind: int, family: int = socket.AF_INET) -> socket.socket:
        """A socket that lives in a namespace, wherever it is used; it waits for at most 0.3 s."""
        made: list[socket.socket] = []

        def make() -> None:
            handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(handle, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            os.close(handle)
            made.append(socket.socket(family, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(0.3)
        self.sockets.append(made[0])
        return made[0]

    def connect(self) -> socket.socket:
        """A new TCP connection from the target to its peer; its other end is closed with everything else."""
        client = self.inside(self.name, socket.SOCK_STREAM)
        client.connect(("10.9.0.2", PORT))
        self.sockets.append(self.listener.accept()[0])
        return client

    def talk(self, count: int = 20, size: int = 1000) -> tuple[int, int]:
        """Send datagrams to the peer, which answers each. Returns how many arrived, and how many answers."""
        arrived = answers = 0
        self.server.setblocking(False)
        self.client.setblocking(False)
        for _ in range(count):
            with suppress(OSError):
                self.client.sendto(bytes(size), ("10.9.0.2", PORT))
            with suppress(OSError):
                _, sender = self.server.recvfrom(2000)
                arrived += 1
                self.server.sendto(b"answer", sender)
            with suppress(OSError):
                self.client.recv(2000)
                answers += 1
        return arrived, answers

    def ask(self, name: str, patience_s: float = 5.0) -> tuple[int, float] | None:
        """Ask the peer for a name's address; it knows every one. Returns the RCODE and the seconds it took."""
        with self.inside(self.name, socket.SOCK_DGRAM) as client:
            begun = time.monotonic()
            client.sendto(question(name), ("10.9.0.2", PORT))
            while (left := begun + patience_s - time.monotonic()) > 0:
                ready, _, _ = select.select([client, self.server], [], [], left)
                if self.server in ready:
                    asked, sender = self.server.recvfrom(2000)
                    self.server.sendto(asked[:2] + b"\x81\x80" + asked[4:], sender)
                if client in ready:
                    return client.recv(2000)[3] & 15, time.monotonic() - begun
        return None

    def state(self, name: str) -> tuple[str, str, list[object], str]:
        """Rules without counters, queues, interfaces as far as they may be set, and routes, of one of the two."""
        links = json.loads(command("ip", "-n", name, "-j", "link", "show"))
        return (
            command("ip", "netns", "exec", name, "nft", "-s", "list", "ruleset"),
            command("tc", "-n", name, "qdisc", "show"),
            [(link["ifname"], link["mtu"], link.get("ifalias")) for link in links],
            command("ip", "-n", name, "-4", "route", "show", "table", "all"),
        )

    def tags(self) -> list[str]:
        """The tags of tables and of interfaces in the target."""
        rules, _, links, _ = self.state(self.name)
        return re.findall(r"chaosrunner/[^\s\"']+", f"{rules} {links}")


@contextmanager
def cables(count: int) -> Iterator[list[Cable]]:
    """So many pairs."""
    made = [Cable() for _ in range(count)]
    try:
        for cable in made:
            cable.plug()
        yield made
    finally:
        for cable in made:
            cable.unplug()
        assert not [cable.name for cable in made if (Path("/run/netns") / cable.name).exists()]
