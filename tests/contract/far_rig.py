"""Another host: a real sshd in network and process namespaces of its own, and a server to break there."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SSHD, SSH, KEYGEN, IP = (shutil.which(name, path=PATH) for name in ("sshd", "ssh", "ssh-keygen", "ip"))
PORT = 2022
STARTS_WITHIN_S = 10.0
SLEEPER = "import sys, time; time.sleep(3600)"


def can_run() -> str:
    """Why there can be no other host; empty when there can be one. With CI=true as root, that is a failure."""
    if os.geteuid() != 0:
        return "namespaces for another host need root"
    if None in (SSHD, SSH, KEYGEN, IP):
        missing = "openssh-server and iproute2 are not installed; 'make packages' installs them"
        assert os.environ.get("CI") != "true", missing
        return missing
    return ""


class FarHost:
    """The other host."""

    def __init__(self, directory: Path, space: str, address: str) -> None:
        self.directory, self.space, self.address = directory, space, address
        self.name = f"ssh://root@{address}:{PORT}{Path(sys.executable).parent}/chaosrunner"

    def run(self, *words: str) -> None:
        """A command in its network."""
        subprocess.run([str(IP), "netns", "exec", self.space, *words], check=True, env={"PATH": PATH})

    def call(self, command: str) -> str:
        """A shell command there, by ssh."""
        words = [str(SSH), "-F", str(self.directory / "client"), f"root@{self.address}", "-p", str(PORT), command]
        return subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    def start(self, mark: str) -> None:
        """A process there, with a mark on its command line; it is there when this returns."""
        self.call(f"{sys.executable} -c '{SLEEPER}' {mark} >/dev/null 2>&1 </dev/null & echo")
        end = time.monotonic() + STARTS_WITHIN_S
        while states_of(mark) != ["S"]:
            assert time.monotonic() < end, f"{states_of(mark)}: nothing with {mark} came up there"
            time.sleep(0.05)

    def cut(self, *, off: bool) -> None:
        """Cut it off, or let it be reached again."""
        self.run(str(IP), "link", "set", "there", "down" if off else "up")


def pids_of(mark: str) -> list[int]:
    """Pids, as this host sees them, of processes with a mark on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:-1] == [mark.encode()]:
            found.append(int(place.name))
    return sorted(found)


def states_of(mark: str) -> list[str]:
    """The kernel's letters for them; running and sleeping are one."""
    letters = []
    for pid in pids_of(mark):
        try:
            letters.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return ["S" if letter in "RSD" else letter for letter in letters]


async def becomes(mark: str, letters: list[str], within_s: float) -> None:
    """Wait until they are in these states."""
    end = time.monotonic() + within_s
    while states_of(mark) != letters:
        assert time.monotonic() < end, f"{states_of(mark)}, not {letters}"
        await asyncio.sleep(0.05)


@contextmanager
def far_host(directory: Path) -> Iterator[FarHost]:
    """A host that is reached by ssh alone, with a state directory of its own. Ends with all that was started on it."""
    if why := can_run():
        pytest.skip(why)
    space, subnet = f"cr-far-{secrets.token_hex(3)}", f"10.{random.randrange(64, 250)}.{random.randrange(250)}"
    host = FarHost(directory, space, f"{subnet}.2")
    _write_files(host)
    with ExitStack() as undo:
        undo.callback(_ip, "netns", "del", space)
        _ip("netns", "add", space)
        _ip("link", "add", space[-13:], "type", "veth", "peer", "name", "there", "netns", space)
        _ip("addr", "add", f"{subnet}.1/24", "dev", space[-13:])
        _ip("link", "set", space[-13:], "up")
        for words in (
            ("addr", "add", f"{subnet}.2/24", "dev", "there"),
            ("link", "set", "there", "up"),
            ("link", "set", "lo", "up"),
        ):
            host.run(str(IP), *words)
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        with (directory / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [str(IP), "netns", "exec", space, *unshare, str(SSHD), "-D", "-e", "-f", str(directory / "server")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": PATH},
            )
        undo.callback(_end, daemon)
        _answering(host, daemon)
        yield host


def _write_files(host: FarHost) -> None:
    place = host.directory
    Path("/run/sshd").mkdir(exist_ok=True)
    for key in ("host_key", "user_key"):
        subprocess.run([str(KEYGEN), "-q", "-t", "ed25519", "-N", "", "-f", str(place / key)], check=True)
    given = {"CHAOSRUNNER_STATE": place / "state", "PYTHONPATH": Path(__file__).parents[2]}
    (place / "server").write_text(
        f"Port {PORT}\nListenAddress {host.address}\nHostKey {place}/host_key\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {place}/user_key.pub\nStrictModes no\nPermitRootLogin prohibit-password\n"
        f"SetEnv {' '.join(f'{name}={value}' for name, value in given.items())}\n"
    )
    (place / "client").write_text(
        f"IdentityFile {place}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile /dev/null\n"
        "StrictHostKeyChecking no\nLogLevel ERROR\n"
    )


def _ip(*words: str) -> None:
    subprocess.run([str(IP), *words], check=True, capture_output=True)


def _answering(host: FarHost, daemon: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            host.call("true")
            return
        except subprocess.CalledProcessError as error:
            said = f"{error.stderr}{(host.directory / 'log').read_text()}"
            assert daemon.poll() is None and time.monotonic() < end, said  # noqa: PT018
            time.sleep(0.1)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """`unshare` kills the first process of its namespace, and the kernel all others."""
    daemon.kill()
    daemon.wait()
