"""Ours, as the product runs it: an experiment's load, by LoadDriver and worker processes, counted by their frames."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench_generators import Said
from bench_peers import FailedError, pinned, take_priority

from chaosrunner.load.driver import LoadDriver
from chaosrunner.logic.parse import Source, parse_experiment
from chaosrunner.model.events import LoadLost, LoadStarted, SlotsArrived
from chaosrunner.model.fault import Tools
from chaosrunner.model.secret import Secret
from chaosrunner.model.slots import Slot
from chaosrunner.world.files import around_journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench_generators import Job

    from chaosrunner.model.events import Event
    from chaosrunner.model.load import LoadProfile

GET = "[get: {GET: /}]"
SCENARIO = """
    - log in: {POST: /login, body: {user: ann, password: secret}, keep: {token: $.token}}
    - list: {GET: /items, keep: {id: "$.items[0].id"}}
    - read: {GET: "/items/<id>", expect: 200, keep: {price: $.price}}
  auth: bearer <token>"""
FIVE = "[" + ", ".join(f"{name}: {{GET: /}}" for name in ("one", "two", "three", "four", "five")) + "]"
ECHO = '[open: {OPEN: /}, ask: {SEND: {id: "<id>"}, times: 1000000}]'
SELECT = "[ask: {SQL: select 1, on: db, pool: {connections}}]"
STEPS = {"get": GET, "scenario": SCENARIO, "five": FIVE, "echo": ECHO, "select": SELECT}
EXPERIMENT = """
question: How fast is it?
system: site
load:
  each_user: {steps}
  {model}
  connections: {connections}
  workers: {workers}
baseline: 1h
hypothesis: {{before: [errors < 1%]}}
"""
OPEN = "arrivals: {rate} users/s\n  max_in_flight: 5000"
SETTLED = 10
"""Slots of the first second, in which users begin and connections are opened."""


class Boot:
    """CLOCK_BOOTTIME."""

    def now(self) -> int:
        """The instant, in nanoseconds."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class NoSecrets(Tools):
    """The loads here have none."""

    def reveal(self, secret: Secret) -> str:
        """What it is."""
        return secret.template


@dataclass
class Counted:
    """What the frames of a load add up to.

    Attributes:
        only: Index of the one name that counts; None = all.
    """

    only: int | None = None
    first: int = 0
    """Slots before this one are set aside."""
    whole: Slot = field(default_factory=Slot)
    aside: Slot = field(default_factory=Slot)
    cpu_us: int = 0
    lost: list[str] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Take in one event of the driver."""
        if isinstance(event, SlotsArrived):
            self.cpu_us += event.frame.cpu_us
            for (number, name), slot in event.frame.slots.items():
                if self.only is not None and name != self.only:
                    continue
                (self.whole if number >= self.first else self.aside).add(slot)
        elif isinstance(event, LoadLost):
            self.lost.append(event.why)


def ours(job: Job, cores: tuple[int, int], workers: int = 1) -> Said:
    """What the product says of a job.

    Args:
        job: What to do. It is done for a second longer, and the first one is not counted: connections are opened then.
        cores: Where the process that leads runs, and where the workers do.
        workers: How many.

    Raises:
        FailedError: A worker was lost, or a request failed.
    """
    spare = SETTLED if job.settles else 0
    load = profile(job, workers)
    counted = Counted({name: index for index, name in load.names.items()}.get("ask"), spare)
    with pinned(cores[0]):
        asyncio.run(play(driver(load, job.url, job.seconds + spare / 10), cores[1], counted.note))
    whole = counted.whole
    failed = {
        outcome.value: count
        for outcome, count in (*whole.done.items(), *counted.aside.done.items())
        if outcome.value not in ("ok", "unfinished", "shed")
    }
    if counted.lost or failed:
        raise FailedError(f"chaosrunner: {counted.lost or failed}")
    missing = 0.0 if job.rate is None else 1 - whole.lag.total / (job.rate * job.seconds)
    return Said(
        per_s=whole.ok.total / job.seconds,
        quantiles={share: (whole.ok.quantile(share) or 0) / 1000 for share in (0.5, 0.9, 0.99)},
        missing=missing,
        lag_p99_us=whole.lag.quantile(0.99),
        cpu_us=counted.cpu_us / max(1, whole.finished + counted.aside.finished),
    )


def profile(job: Job, workers: int) -> LoadProfile:
    """The job as an experiment says it."""
    steps = STEPS[job.steps].replace("{connections}", str(job.connections))
    text = EXPERIMENT.format(
        steps=steps,
        model=f"users: {job.connections}" if job.rate is None else OPEN.format(rate=job.rate),
        connections=job.connections,
        workers=workers,
    )
    where = f"db: {{dsn: {job.url}}}" if job.steps == "select" else f"entry: {job.url}"
    system = Source("site.yaml", f"environment: bench\n{where}\n")
    return parse_experiment(Source("bench.yaml", text), system, around_journal({})).load


def driver(load: LoadProfile, url: str, seconds: float) -> LoadDriver:
    """The product's driver; `url` is an entry or a DSN."""
    places = {"db": Secret(url)} if url.startswith("postgresql:") else {}
    return LoadDriver(
        load, entry=url, places=places, run="bench", seed=1, longest_s=seconds, clock=Boot(), tools=NoSecrets()
    )


async def play(playing: LoadDriver, core: int, report: Callable[[Event], object]) -> None:
    """Run a driver to its end; its workers have a core to themselves before the load begins."""

    def also_pin(event: Event) -> None:
        if isinstance(event, LoadStarted):
            for pid in playing.pids():
                os.sched_setaffinity(pid, {core})
                if os.getpriority(os.PRIO_PROCESS, 0) < 0:
                    take_priority(pid)  # it has a session of its own
        report(event)

    await playing.run(also_pin)
