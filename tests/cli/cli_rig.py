"""A desk to use the program at: a server of its own, files, a state directory, and real processes of the program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVER = HERE / "answering_server.py"
STRANGER = """\
[chaosrunner.injectors]
stranger.flag = stranger_faults:Flag
"""
DEADLINE_S = 40.0

EXPERIMENT = """\
question: {question}
system: {system}
load:
  each_user: [{{visit: {{GET: /}}}}]
  arrivals: 40 users/s
  warmup: 500ms
baseline: {baseline}
{faults}
hypothesis:
{hypothesis}
recover: {recover}
{more}
"""
BUG = """\
import importlib.abc, importlib.util, sys

class Breaks(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "chaosrunner.logic.decide":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            sound = module.decide

            def decide(experiment, state, now):
                if any(fault.proven for fault in state.faults.values()):
                    raise ZeroDivisionError("a bug of ours")
                return sound(experiment, state, now)

            module.decide = decide

        spec.loader.exec_module = exec_module
        return spec

if any("chaosrunner" in one for one in sys.orig_argv):
    sys.meta_path.insert(0, Breaks())
"""
PAUSE = "{process.pause: {target: server}, for: 1s, accept: unguarded}"
LONG_PAUSE = "{process.pause: {target: server}, for: 60s, accept: unguarded}"
HYPOTHESIS = "  before: [errors < 5%]\n  after: [errors < 5%]"


def until(look: Callable[[], Any], what: str, at_most_s: float = DEADLINE_S) -> Any:
    """Look until there is something to see; what was seen."""
    ends = time.monotonic() + at_most_s
    while time.monotonic() < ends:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"not within {at_most_s:g} s: {what}")


@dataclass
class Server:
    """An HTTP server in a process of its own, which says what became of it."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, sick: Path) -> Server:
        """On a free port; it says 503 while there is a file `sick`."""
        process = subprocess.Popen([sys.executable, SERVER, sick], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    @property
    def paused(self) -> bool:
        """Whether the kernel calls it stopped."""
        return self.stat()[0] == "T"

    def stat(self) -> list[str]:
        """What the kernel says of it, from its state on."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()

    def end(self) -> None:
        """End it, stopped or not."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Desk:
    """One user's files, environment, server and programs."""

    home: Path
    server: Server
    env: dict[str, str] = field(default_factory=dict)
    started: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.env = os.environ | {
            "CHAOSRUNNER_STATE": str(self.state),
            "PYTHONPATH": os.pathsep.join(map(str, (self.home / "site", HERE, HERE.parents[1]))),
            "STRANGER": str(self.home / "stranger"),
            "COLUMNS": "80",
        }
        self.env.pop("CI", None)
        (self.home / "stranger").mkdir()
        info = self.home / "site/stranger-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(STRANGER)
        self.system()
        self.experiment()

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.home / "state"

    @property
    def flag(self) -> bool:
        """Whether the stranger's flag is up."""
        return (self.home / "stranger/flag").exists()

    @property
    def runs(self) -> list[Path]:
        """Run directories, oldest first."""
        return sorted((self.home / "runs").glob("*"), key=lambda path: path.stat().st_mtime_ns)

    def system(self, name: str = "own", server: Server | None = None) -> None:
        """Write a system file."""
        port = (server or self.server).port
        (self.home / "systems").mkdir(exist_ok=True)
        (self.home / f"systems/{name}.yaml").write_text(
            f"entry: http://127.0.0.1:{port}\nserver: {{processes: {{ports: [{port}]}}}}\n"
        )

    def experiment(self, *faults: str, file: str = "own.yaml", **words: str) -> Path:
        """Write an experiment file: a pause of a second unless said."""
        listed = "\n".join(f"  - {fault}" for fault in faults or (PAUSE,))
        said = {
            "question": "Does it answer after a hang?",
            "system": "own",
            "baseline": "1500ms",
            "faults": f"faults:\n{listed}",
            "hypothesis": HYPOTHESIS,
            "recover": "within 4s, hold 1s",
            "more": "",
        }
        path = self.home / file
        path.write_text(EXPERIMENT.format(**(said | words)))
        return path

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The program, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "chaosrunner", *args],
            cwd=self.home, env=self.env | dict(env or {}), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> Program:
        """The program, on its way."""
        log = self.home / f"program{len(self.started)}.out"
        with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "chaosrunner", *args],
                cwd=self.home, env=self.env | dict(env or {}), stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(Program(process, log))
        return self.started[-1]

    def events(self, kind: str = "", run: Path | None = None) -> list[dict[str, object]]:
        """The small facts of the youngest run or another, of one kind or all."""
        if not (run or self.runs) or not (file := (run or self.runs[-1]) / "events.jsonl").exists():
            return []
        found = []
        for line in file.read_bytes().splitlines():
            try:
                found.append(json.loads(line)["event"])
            except ValueError:
                continue  # half a line of a runner that was killed
        return [event for event in found if kind in ("", event["kind"])]

    def broken(self) -> Path:
        """A folder that, on the module path, gives the program a bug: whoever asks to heal finds an exception."""
        folder = self.home / "broken"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(BUG)
        return folder

    def verdict(self) -> dict[str, object]:
        """What the youngest run wrote down as its verdict."""
        found: dict[str, object] = json.loads((self.runs[-1] / "verdict.json").read_text())
        return found

    def paused_run(self, *args: str) -> Program:
        """A run that has just paused the server for a minute, and has proof."""
        self.experiment(LONG_PAUSE)
        program = self.start("run", "own.yaml", "--seed", "1", *args)
        until(lambda: self.events("Verified") or program.ended, f"a pause: {program.err}")
        assert self.server.paused, program.out + program.err
        return program

    def tidy(self) -> None:
        """Leave no process behind, whatever a test did."""
        for program in self.started:
            program.tidy()
        for run in self.runs:
            for event in self.events("WatchdogReady", run):
                end_watchdog(int(str(event["pid"])), run)
        self.server.end()


def end_watchdog(pid: int, run: Path) -> None:
    """End a watchdog, if it is still the one of that run."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"chaosrunner.world.watchdog" in command and Path(f"/proc/{pid}/fd/2").resolve() == run / "watchdog.log":
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone already


@dataclass
class Program:
    """A process of the program, and what it has said."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def out(self) -> str:
        """Its results so far."""
        return self.log.read_text()

    @property
    def err(self) -> str:
        """Its diagnostics so far."""
        return self.log.with_suffix(".err").read_text()

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    def send(self, *signals: signal.Signals) -> None:
        """One signal after the other, at once."""
        for one in signals:
            self.process.send_signal(one)

    def exit(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(DEADLINE_S)

    def tidy(self) -> None:
        """End it if it lives, and reap it."""
        if not self.ended:
            self.process.kill()
        self.process.wait()
