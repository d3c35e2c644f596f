"""Latencies of faults on another host, behind a real sshd in namespaces of its own, beside ssh with the plain tool."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contract_rig import system_of
from far_rig import PORT, FarHost, far_host
from latency_ways import OURS, Faults, Step, Way, nothing, ours, program

from chaosrunner.model.system import Component, Processes
from chaosrunner.world.far import OPTIONS, SSH_VARIABLE, reaching
from fault_injectors.process import Pause
from fault_injectors.process_limits import Priority
from fault_injectors.resources import Cpu

MARK = "latency-mark"


@asynccontextmanager
async def hosts_faults() -> AsyncIterator[Faults]:
    """Faults of a process there, and of the host itself; each step is one connection, or more."""
    with tempfile.TemporaryDirectory(prefix="chaosrunner-latency-") as folder, far_host(Path(folder)) as host:
        os.environ[SSH_VARIABLE] = f"ssh -F {folder}/client"
        host.start(MARK)
        pid = host.call(f"pgrep -f '[{MARK[0]}]{MARK[1:]}'").strip()
        there = Component(name="target", host=host.name, processes=Processes(command=MARK, at_most=1))
        system = system_of(there)

        def plain(tool: str, inject: str, undo: str) -> Way:
            return Way(f"ssh, {tool}", _ssh(host, f"{inject} {pid}"), _ssh(host, f"{undo} {pid}"), nothing)

        yield {
            "process.pause": [ours(OURS, reaching(Pause()), system), plain("kill", "kill -STOP", "kill -CONT")],
            "process.priority": [ours(OURS, reaching(Priority()), system), plain("renice", "renice 19", "renice 0")],
            "resources.cpu": [ours(OURS, reaching(Cpu()), system, load=0.2, cores=1)],
        }
        del os.environ[SSH_VARIABLE]


def _ssh(host: FarHost, command: str) -> Step:
    client = f"{host.directory}/client"
    return program("ssh", "-F", client, *OPTIONS, "-p", str(PORT), f"root@{host.address}", command)
