"""Latencies of the docker family, on an engine of our own, beside docker's own command line, iptables, tc and kill."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from docker_rig import Yard, running_engine
from latency_ways import GONE_WITHIN_S, OURS, Faults, Step, Way, after, nothing, ours, program

from chaosrunner.model.system import Component, Containers, System
from fault_injectors.docker_bandwidth import Bandwidth
from fault_injectors.docker_down import Kill, Stop
from fault_injectors.docker_inside import Fill, KillInside
from fault_injectors.docker_limits import Cpu, Memory
from fault_injectors.docker_network import Disconnect
from fault_injectors.docker_packets import Drop, Loss, Reject
from fault_injectors.docker_state import Crash, Pause, Restart

BOX, LIMITED, FALLS = "box", "limited", "falls"
"""A container; one that has a limit of its memory, which is all that docker's command line can put back; and one whose
place a new one takes before each of its faults, because the engine waits longer before each restart of the same."""
DROP, REJECT = "INPUT -j DROP", "INPUT -p tcp --dport 80 -j REJECT"
LOSE = "INPUT -m statistic --mode random --probability 0.5 -j DROP"
SHAPE = "dev eth0 root tbf rate 80kbit burst 10kb latency 50ms"
LIMIT, LESS = 256_000_000, 64_000_000
FILLED = 16_000_000
FILE = "/tmp/by-hand"
VICTIM = "sleep 54321"


@asynccontextmanager
async def docker_faults() -> AsyncIterator[Faults]:
    """Faults of one container; both sides come to it while it runs."""
    with tempfile.TemporaryDirectory(prefix="chaosrunner-latency-") as place, running_engine(Path(place)) as address:
        yard = Yard(address)
        yard.run(BOX)
        yard.run(LIMITED, host={"mem_limit": LIMIT})
        yard.run(FALLS)
        yield {
            **_living(yard),
            **_limits(yard),
            **_packets(yard),
            **_inside(yard),
            **_crash(yard),
            **_down(yard),  # last, because these give it another interface, process or network namespace
        }
        yard.close()


def _at(yard: Yard, name: str = BOX) -> System:
    component = Component(name="target", containers=Containers(engine=yard.address, names=(name,)))
    return System(name="bench", file="bench.yaml", components={"target": component})


def _docker(yard: Yard, *words: str) -> Step:
    return program("docker", "--host", yard.address, *words)


def _cli(inject: Step, undo: Step = nothing) -> Way:
    return Way("docker", inject, undo, nothing)


def _living(yard: Yard) -> Faults:
    """What its processes live through."""
    fill = _docker(yard, "exec", BOX, "busybox", "fallocate", "-l", str(FILLED), FILE)
    return {
        "docker.pause": [
            ours(OURS, Pause(), _at(yard)),
            _cli(_docker(yard, "pause", BOX), _docker(yard, "unpause", BOX)),
        ],
        "docker.fill": [
            ours(OURS, Fill(), _at(yard), at_most=FILLED),
            _cli(fill, _docker(yard, "exec", BOX, "busybox", "rm", FILE)),
        ],
    }


def _limits(yard: Yard) -> Faults:
    """What its control group is told."""

    def update(name: str, option: str, there: str, back: str) -> Way:
        return _cli(*(_docker(yard, "update", option, value, name) for value in (there, back)))

    return {
        "docker.cpu": [ours(OURS, Cpu(), _at(yard), cores=0.2), update(BOX, "--cpu-quota", "20000", "-1")],
        "docker.memory": [
            ours(OURS, Memory(), _at(yard, LIMITED), limit=LESS),
            update(LIMITED, "--memory", str(LESS), str(LIMIT)),
        ],
    }


def _packets(yard: Yard) -> Faults:
    """What happens in its network namespace."""
    enter = ("nsenter", f"--net=/proc/{yard.pid(BOX)}/ns/net")

    def plain(tool: str, inject: str, undo: str) -> Way:
        there, back = (program(*enter, tool, *words.split()) for words in (inject, undo))
        return Way(tool, there, back, nothing)

    def iptables(rule: str) -> Way:
        return plain("iptables", f"-A {rule}", f"-D {rule}")

    return {
        "docker.drop": [ours(OURS, Drop(), _at(yard), direction="in"), iptables(DROP)],
        "docker.loss": [ours(OURS, Loss(), _at(yard), direction="in", share=0.5), iptables(LOSE)],
        "docker.reject": [ours(OURS, Reject(), _at(yard), direction="in", port=80), iptables(REJECT)],
        "docker.bandwidth": [
            ours(OURS, Bandwidth(), _at(yard), rate=10_000.0),
            plain("tc", f"qdisc add {SHAPE}", "qdisc del dev eth0 root"),
        ],
    }


def _inside(yard: Yard) -> Faults:
    """A process beside its main one is killed; there is another before each time."""
    victim: list[str] = []

    def look() -> list[str]:
        """The pid that it has in the container, as long as it lives."""
        victim[:] = [_pid_inside(row[1]) for row in yard.api.top(BOX)["Processes"] if row[-1] == VICTIM]
        return victim

    async def another() -> None:
        async with asyncio.timeout(GONE_WITHIN_S):
            while look():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
            yard.api.exec_start(yard.api.exec_create(BOX, VICTIM)["Id"], detach=True)
            while not look():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def kill() -> None:
        await _docker(yard, "exec", BOX, "kill", "-KILL", *victim)()

    by_us = ours(OURS, KillInside(), _at(yard), command=VICTIM, comes_back="by itself")
    return {"docker.kill_inside": after(another, [by_us, _cli(kill)])}


def _pid_inside(pid: str) -> str:
    """The last of its pids, from the host's to that of the innermost namespace; empty when it has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"^NSpid:.*\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return found[1] if found else ""
    return ""


def _crash(yard: Yard) -> Faults:
    """Its main process is killed."""
    main: dict[str, str] = {}

    async def anew() -> None:
        await asyncio.to_thread(yard.again, [FALLS])
        await yard.all_run(FALLS)
        main["pid"] = str(yard.pid(FALLS))

    async def kill() -> None:
        await program("/bin/kill", "-KILL", main["pid"])()

    by_us = ours(OURS, Crash(), _at(yard, FALLS), comes_back="by itself")
    return {"docker.crash": after(anew, [by_us, Way("kill", kill, nothing, nothing)])}


def _down(yard: Yard) -> Faults:
    """It is taken off its network, restarted, or stopped."""
    start = _docker(yard, "start", BOX)
    again = _docker(yard, "network", "connect", "--alias", f"{BOX}-alias", "yard", BOX)
    return {
        "docker.disconnect": [
            ours(OURS, Disconnect(), _at(yard)),
            _cli(_docker(yard, "network", "disconnect", "yard", BOX), again),
        ],
        "docker.restart": [
            ours(OURS, Restart(), _at(yard), grace=0.0),
            _cli(_docker(yard, "restart", "--time", "0", BOX)),
        ],
        "docker.stop": [
            ours(OURS, Stop(), _at(yard), grace=0.0),
            _cli(_docker(yard, "stop", "--time", "0", BOX), start),
        ],
        "docker.kill": [ours(OURS, Kill(), _at(yard), then="start it"), _cli(_docker(yard, "kill", BOX), start)],
    }
