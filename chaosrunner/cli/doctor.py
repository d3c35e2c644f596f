"""`chaosrunner doctor`: what this host can do, and what to do about what it cannot."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import ChaosrunnerError, Exit

PROXY_PORT = 8474
"""Where the fault proxy listens unless told otherwise; Toxiproxy's port."""
ENOUGH_FILES = 4096
"""Open files a load of a few thousand connections needs."""
DOCKER_SOCKET = Path("/var/run/docker.sock")
PRESSURE = Path("/proc/pressure/cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    says: str
    needed: bool = True
    """False: something works less well without it, or it is for faults of a later kind."""
    advice: str = ""


def doctor() -> list[Check]:
    """Look at everything; touches nothing but a temporary file in the state directory."""
    checks: Sequence[Callable[[], Check]] = (
        python, pidfds, boottime, injectors, state, files, event_loop, postgres, proxy_port, pressure, docker,
    )  # fmt: skip
    return [check() for check in checks]


def python() -> Check:
    """The interpreter."""
    return Check(
        name="Python",
        ok=sys.version_info >= (3, 11),
        says=f"{platform.python_version()} on {platform.system()} {platform.release()}",
        advice="use Python 3.11 or newer",
    )


def pidfds() -> Check:
    """Handles of processes, which make sure that no stranger is ever signalled."""
    from chaosrunner.world.injectors import find

    pause = find("process.pause")
    here = pause.available() if pause is not None else None
    ok = here is not None and here.ok
    why = "process.pause is not installed" if here is None else here.why
    return Check(name="pidfds", ok=ok, says="the kernel has them" if ok else why, advice="use Linux 5.3 or newer")


def boottime() -> Check:
    """The clock of deadlines, and the id of this boot."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    ok = hasattr(time, "CLOCK_BOOTTIME") and boot.exists()
    says = f"up for {time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s" if ok else "no CLOCK_BOOTTIME or boot id"
    return Check(name="boot clock", ok=ok, says=says, advice="use Linux")


def injectors() -> Check:
    """What the installed metadata offers."""
    from chaosrunner.world.injectors import names

    found = names()
    return Check(
        name="injectors",
        ok=bool(found),
        says=f"{len(found)} installed; 'chaosrunner faults' lists them",
        advice="install chaosrunner again: its metadata is missing",
    )


def state() -> Check:
    """Where claims and the way back are kept."""
    import tempfile

    from chaosrunner.world.state_home import StateHome

    folder = StateHome.find().path
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(
            name="state directory",
            ok=False,
            says=f"{folder}: {error.strerror}",
            advice="set CHAOSRUNNER_STATE to a directory you can write to",
        )
    return Check(name="state directory", ok=True, says=f"{folder} can be written")


def files() -> Check:
    """Open files allowed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Check(
        name="open files",
        ok=soft >= ENOUGH_FILES,
        says=f"{soft} allowed, {hard} at most",
        needed=False,
        advice=f"run 'ulimit -n {ENOUGH_FILES}' first",
    )


def event_loop() -> Check:
    """The quick event loop."""
    try:
        from importlib.metadata import version

        import uvloop  # noqa: F401 - having it is the question
    except ImportError:
        return Check(
            name="event loop", ok=False, says="no uvloop: load is slower", needed=False, advice="install uvloop"
        )
    return Check(name="event loop", ok=True, says=f"uvloop {version('uvloop')}", needed=False)


def postgres() -> Check:
    """A Postgres for the demo."""
    from chaosrunner.demo.binaries import find_binaries

    try:
        found = find_binaries()
    except ChaosrunnerError as error:
        return Check(name="Postgres for the demo", ok=False, says=str(error), needed=False)
    return Check(name="Postgres for the demo", ok=True, says=f"{found.directory} ({found.source})", needed=False)


def proxy_port() -> Check:
    """Whether a fault proxy could start where it does unless told otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PROXY_PORT))
        except OSError as error:
            says = f"127.0.0.1:{PROXY_PORT}: {error.strerror}"
            return Check(name="fault proxy's port", ok=False, says=says, needed=False, advice="give it another --port")
    return Check(name="fault proxy's port", ok=True, says=f"127.0.0.1:{PROXY_PORT} is free", needed=False)


def pressure() -> Check:
    """Whether the kernel says how contended this host is."""
    try:
        PRESSURE.read_text()
    except OSError as error:
        return Check(
            name="pressure",
            ok=False,
            says=f"{PRESSURE}: {error.strerror}; contention from outside cannot be told from the target's",
            needed=False,
            advice="boot with psi=1",
        )
    return Check(name="pressure", ok=True, says=f"{PRESSURE} can be read", needed=False)


def docker() -> Check:
    """Whether an engine listens; for faults of a later version."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(DOCKER_SOCKET))
        except OSError as error:
            says = f"{DOCKER_SOCKET}: {error.strerror or error}; nothing of this version needs it"
            return Check(name="Docker engine", ok=False, says=says, needed=False)
    return Check(name="Docker engine", ok=True, says=f"listens at {DOCKER_SOCKET}", needed=False)


@click.command("doctor")
def command() -> int:
    """Check what this host can do. Exit code 2 when something is missing that every run needs."""
    checks = doctor()
    for check in checks:
        mark = (
            click.style("ok  ", fg="green")
            if check.ok
            else click.style("NO  ", fg="red")
            if check.needed
            else click.style("-   ", fg="yellow")
        )
        tell(f"{mark}{check.name}: {check.says}")
        if not check.ok and check.advice:
            tell(f"    {check.advice}")
    return Exit.HELD if all(check.ok for check in checks if check.needed) else Exit.MISTAKE
