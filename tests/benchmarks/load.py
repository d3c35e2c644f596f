"""How fast and how honest the load driver is beside wrk, vegeta, k6, Locust and an aiohttp loop: one run, tables.

`python tests/benchmarks/load.py [--quick] [--only SECTION …]`, or `make bench-load`. One nginx has one core, the load
generator the other. In each round every generator works once, so that noise meets all alike; a ratio is ours divided
by the other's in the same round, and a target is judged by the median over the rounds.

Exit code: 0 if every target is met, 1 if one is missed, 2 if none is missed but one could not be measured, because a
program is not installed or a measurement failed. `make bench-load` installs or builds what is missing where it can.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench_day import simulated_day
from bench_frozen import PERIOD_S, SERVICE_S, behind_s, expected_s
from bench_generators import (
    AIOHTTP,
    BARE,
    GENERATORS,
    K6,
    LOCUST,
    OURS,
    PGBENCH,
    PICOWS,
    VEGETA,
    WRK,
    Job,
    installed,
    pgbench,
    picows,
    spin,
    version,
)
from bench_ours import ours
from bench_peers import FailedError, find, pinned, take_priority
from bench_sheet import Claim, Section
from bench_sites import echo, frozen, nginx
from bench_sites import postgres as postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench_generators import Said

A = TypeVar("A")
B = TypeVar("B")
CLOSED_TARGETS = {WRK: 0.7, VEGETA: 1.5, K6: 3.0, LOCUST: 25.0, AIOHTTP: 8.0}
SCENARIO_TARGETS = {K6: 1.5, LOCUST: 5.0}
QUANTILES = {"p50": "p50 ms", "p99": "p99 ms"}
COMPARED = {"per_s": "requests/s", **QUANTILES, "ours": "ours ÷ it"}
OMISSION_NOTE = (
    f"The server answers after {SERVICE_S * 1000:.0f} ms; what must be seen is in the first row. The second is what "
    "had to be seen by ours: this server, too, takes its time to read what has waited, and says how long."
)
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Size:
    """How long it all takes.

    Attributes:
        rounds: How often each generator works.
        seconds: How long, each time.
        periods: Of the server that stands still, each ten seconds.
        minutes: Of the simulated day.
    """

    rounds: int = 5
    seconds: int = 3
    periods: int = 2
    minutes: float = 30.0


QUICK = Size(rounds=1, seconds=2, periods=1, minutes=5.0)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it happens.

    Attributes:
        folder: For small files.
        server: The core of what is loaded.
        generator: The core of what loads.
    """

    folder: Path
    server: int
    generator: int

    def run(self, name: str, job: Job, workers: int = 1) -> Said | None:
        """Have a generator do a job; None if it cannot."""
        if name != OURS:
            return GENERATORS[name](job, self.folder, self.generator)
        # In a closed loop all of ours has the one core; in an open model its worker has a core of its own.
        leads = self.generator if job.rate is None else self.server
        return ours(job, (leads, self.generator), workers)


def closed(ground: Ground, size: Size) -> Section:
    """Requests a second of 50 users without pauses."""
    section = Section(
        "Closed loop: GET, 50 keep-alive connections",
        COMPARED,
    )
    with nginx(ground.folder, ground.server) as url:
        for number in _rounds(section.title, size):
            said = _all(ground, Job(url, size.seconds), number)
            _compare(section, said, CLOSED_TARGETS)
    return section


def scenario(ground: Ground, size: Size) -> Section:
    """Requests a second of 50 users who log in, look for something and check it."""
    section = Section(
        "Scenario: log in, list with the token, read what was found and check it; 50 users",
        COMPARED,
    )
    with nginx(ground.folder, ground.server) as url:
        for number in _rounds(section.title, size):
            said = _all(ground, Job(url, size.seconds, steps="scenario"), number)
            _compare(section, said, SCENARIO_TARGETS)
    return section


def arrivals(ground: Ground, size: Size) -> Section:
    """Response times at a rate, and the generator's own lateness."""
    section = Section(
        "Open model: a rate, on a core of its own",
        {"per_s": "requests/s", "missing": "missing %", "lag": "lag p99 µs", **QUANTILES, "ours": "our lag ÷ its"},
        [
            "*lag* is how late the generator itself was; only ours tells. *missing* was asked for and never sent.",
            f"*{BARE}* turns until a request is due, reads the clock, sends it: what it is late by, the machine takes.",
        ],
    )
    with nginx(ground.folder, ground.server) as url:
        for number in _rounds(section.title, size):
            for rate in (10_000, 30_000):
                job = Job(url, size.seconds, rate)
                runs = (partial(_all, ground, job, number, (OURS, VEGETA, K6)), partial(spin, job, ground.generator))
                said, bare = _both(number, runs)
                _put_arrivals(section, said, bare, rate)
    return section


def _put_arrivals(section: Section, said: dict[str, Said], bare: Said, rate: int) -> None:
    for name, one in said.items():
        p50, p99 = one.quantiles[0.5], one.quantiles[0.99]
        section.put(
            f"{name} at {rate:,}/s", per_s=one.per_s, missing=one.missing * 100, lag=one.lag_p99_us, p50=p50, p99=p99
        )
    mine = said[OURS]
    assert mine.lag_p99_us is not None
    assert bare.lag_p99_us is not None
    ratio = mine.lag_p99_us / bare.lag_p99_us
    section.put(f"{BARE} at {rate:,}/s", per_s=bare.per_s, lag=bare.lag_p99_us, ours=ratio)
    section.claim(Claim(f"lag p99 at {rate:,}/s, µs", 100, least=False), mine.lag_p99_us)
    section.claim(Claim(f"delivered at {rate:,}/s, off by %", 0.5, least=False), abs(mine.per_s / rate - 1) * 100)
    section.claim(Claim(f"never sent at {rate:,}/s, %", 0, least=False), mine.missing * 100)


def omission(ground: Ground, size: Size) -> Section:
    """Coordinated omission: what is said of a server that stands still one second in every ten."""
    section = Section(
        "Coordinated omission: 1,000/s to a server that stands still 1 s every 10 s",
        {"p50": "p50 ms", "p90": "p90 ms", "p99": "p99 ms", "per_s": "requests/s"},
        [OMISSION_NOTE],
    )
    section.put("is", **{name: expected_s(share) * 1000 for name, share in SHARES.items()}, per_s=1000)
    seconds = round(PERIOD_S) * size.periods
    # wrk has no rate: so many connections make 1,000/s as long as the server does not stand still.
    wrks = round(1_000 * SERVICE_S)
    connections = {WRK: wrks, LOCUST: 2 * wrks}
    for name in (OURS, *installed()):
        print(f"a server that stands still: {name}", file=sys.stderr)
        rate, many = None if name == WRK else 1_000, connections.get(name, 1_300)
        with frozen(ground.folder, ground.server) as (url, output):
            said = None if name == AIOHTTP else ground.run(name, Job(url, seconds, rate, many, settles=False))
        if said is None:
            continue
        if name == OURS:
            behind = behind_s(output.read_text())
            was = {label: expected_s(share, *behind) * 1000 for label, share in SHARES.items()}
            section.put("was", **was, per_s=1000)
            for label, share in SHARES.items():
                off = abs(said.quantiles[share] / was[label] - 1) * 100
                section.claim(Claim(f"{label} off by %", 5, least=False), off)
        section.put(name, **{label: said.quantiles[share] for label, share in SHARES.items()}, per_s=said.per_s)
    return section


def workers(ground: Ground, size: Size) -> Section:
    """CPU of a request with one worker process and with two, on the same core."""
    section = Section("Two worker processes", {"per_s": "requests/s", "cpu": "cpu µs/request"})
    with nginx(ground.folder, ground.server) as url:
        for number in _rounds(section.title, size):
            cpu = {}
            for count in (1, 2) if number % 2 else (2, 1):
                said = ours(Job(url, size.seconds), (ground.generator, ground.generator), count)
                section.put(f"{count} worker{'s' * (count > 1)}", per_s=said.per_s, cpu=said.cpu_us)
                cpu[count] = said.cpu_us or 0.0
            section.claim(Claim("CPU of a request, two workers ÷ one", 1.1, least=False), cpu[2] / cpu[1])
    return section


def day(ground: Ground, size: Size) -> Section:
    """What a long load leaves on disk and in memory."""
    section = Section(
        f"A load of 10,000/s with five names, {size.minutes:g} simulated minutes",
        {"disk": "disk MB/h", "growth": "growth MB", "peak": "peak MB"},
        ["Ledger, frames, journal, compaction, on a virtual clock. *growth*: of resident memory, second half."],
    )
    seen = simulated_day(ground.folder, size.minutes * 60)
    section.put(OURS, disk=seen.disk_mb_per_hour, growth=seen.growth_mb, peak=seen.peak_mb)
    section.claim(Claim("on disk, MB/h", 25, least=False), seen.disk_mb_per_hour)
    section.claim(Claim("memory grows in the second half by, MB", 2, least=False), seen.growth_mb)
    return section


def websocket(ground: Ground, size: Size) -> Section:
    """Messages a second to and fro, beside a client that measures nothing."""
    section = Section("WebSocket: echo of a small message, 50 sockets", {"per_s": "messages/s", **QUANTILES})
    with echo(ground.folder, ground.server) as url:
        for number in _rounds(section.title, size):
            job = Job(url, size.seconds, steps="echo")
            runs = (partial(ground.run, OURS, job), partial(picows, job, ground.generator))
            mine, bare = _both(number, runs)
            section.put(OURS, per_s=mine.per_s, p50=mine.quantiles[0.5], p99=mine.quantiles[0.99])
            section.put(PICOWS, per_s=bare.per_s)
            section.claim(Claim(f"ours ÷ {PICOWS}", 0.5), mine.per_s / bare.per_s)
    return section


def postgres(ground: Ground, size: Size) -> Section:
    """Statements a second, beside pgbench."""
    section = Section(
        "Postgres: SELECT 1, 10 connections; pgbench -S looks up one row by its key",
        {"per_s": "statements/s", **QUANTILES},
    )
    with postgres_server(ground.folder, ground.server) as dsn:
        for number in _rounds(section.title, size):
            job = Job(dsn, size.seconds, connections=10, steps="select")
            runs = (partial(ground.run, OURS, job), partial(pgbench, job, ground.generator))
            mine, bare = _both(number, runs)
            section.put(OURS, per_s=mine.per_s, p50=mine.quantiles[0.5], p99=mine.quantiles[0.99])
            section.put(PGBENCH, per_s=bare.per_s)
            section.claim(Claim(f"ours ÷ {PGBENCH} -S, prepared", 0.6), mine.per_s / bare.per_s)
    return section


SECTIONS = {
    section.__name__: section for section in (closed, scenario, arrivals, omission, workers, websocket, postgres, day)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    given = _options(argv)
    size, chosen = _size(given), given.only
    if given.priority:
        take_priority()
    cores = sorted(os.sched_getaffinity(0))
    began = time.monotonic()
    sections: list[Section] = []
    with tempfile.TemporaryDirectory() as folder, pinned(cores[0]):
        Path(folder).chmod(0o755)
        ground = Ground(Path(folder), cores[0], cores[-1])
        _print_head(ground)
        for name in chosen:
            try:
                sections.append(SECTIONS[name](ground, size))
            except FailedError as failure:
                sections.append(Section(f"{name}: not measured, {failure}", {}))
                sections[-1].claim(Claim(name, 0), None)
            print(*sections[-1].lines(), "", sep="\n", flush=True)
    print(f"{size.rounds} rounds of {size.seconds} s, {time.monotonic() - began:.0f} s in all")
    return _verdict(sections)


def _rounds(title: str, size: Size) -> Iterator[int]:
    for number in range(size.rounds):
        print(f"{title}: round {number + 1} of {size.rounds}", file=sys.stderr)
        yield number


def _all(ground: Ground, job: Job, number: int, names: Sequence[str] = (OURS, *GENERATORS)) -> dict[str, Said]:
    """Every generator once, each round beginning with another one."""
    there = [name for name in names if name == OURS or name in installed()]
    turn = number % len(there)
    said = {name: ground.run(name, job) for name in (*there[turn:], *there[:turn])}
    return {name: one for name in there if (one := said[name]) is not None}


def _both(number: int, runs: tuple[Callable[[], A | None], Callable[[], B | None]]) -> tuple[A, B]:
    """What both say; every second round begins with the second one."""
    if number % 2:
        second, first = runs[1](), runs[0]()
    else:
        first, second = runs[0](), runs[1]()
    assert first is not None
    assert second is not None
    return first, second


def _compare(section: Section, said: dict[str, Said], targets: dict[str, float]) -> None:
    mine = said[OURS]
    for name, one in said.items():
        ratio = None if name == OURS else mine.per_s / one.per_s
        section.put(name, per_s=one.per_s, p50=one.quantiles[0.5], p99=one.quantiles[0.99], ours=ratio)
    for name, bound in targets.items():
        section.claim(Claim(f"ours ÷ {name}", bound), mine.per_s / said[name].per_s if name in said else None)


def _verdict(sections: Sequence[Section]) -> int:
    missed = [text for section in sections for text in section.missed()]
    unknown = [text for section in sections for text in section.unknown()]
    for text in missed:
        print(f"MISSED  {text}")
    for text in unknown:
        print(f"not measured  {text}")
    return 1 if missed else 2 if unknown else 0


def _print_head(ground: Ground) -> None:
    programs = [name for name in ("nginx", "wrk", "vegeta", "k6", "locust") if find(name)]
    names = [*map(version, programs), *(f"{name} {version_of(name)}" for name in ("aiohttp", "uvloop", "httptools"))]
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; {'; '.join(names)}")
    if ground.server == ground.generator:
        print("only one core: server and generator share it, so nothing here says much")
    for name in sorted({"nginx", "wrk", "vegeta", "k6", "locust"} - set(programs)):
        print(f"not installed: {name}; what needs it is not measured")
    print(flush=True)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="chaosrunner's load driver beside wrk, vegeta, k6, Locust and aiohttp")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of fifteen: numbers to look at only")
    parser.add_argument("--rounds", type=int, help="how often each generator works")
    parser.add_argument("--seconds", type=int, help="how long, each time")
    parser.add_argument("--minutes", type=float, help="of the simulated day; 1440 is a whole one")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections")
    parser.add_argument("--priority", action="store_true", help="before all else that this machine does; needs root")
    return parser.parse_args(argv)


def _size(given: argparse.Namespace) -> Size:
    size = QUICK if given.quick else Size()
    rounds, seconds = given.rounds or size.rounds, given.seconds or size.seconds
    return Size(rounds, seconds, size.periods, given.minutes or size.minutes)


if __name__ == "__main__":
    sys.exit(main())
