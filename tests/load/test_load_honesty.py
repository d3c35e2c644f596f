"""A load that was really sent, judged: whose slowness, whose failure it was is told rightly."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from load_rig import OK, Asked, Books, BootClock, Keys, Target, always, crowd, finished, playing, profile, work

from chaosrunner.load.driver import LoadDriver
from chaosrunner.logic.fold import fold
from chaosrunner.logic.judge import judge
from chaosrunner.logic.parse.tolerance import Names, parse_tolerance
from chaosrunner.logic.strain import Strains, Watched, note_watch
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import LoadProfile, Outcome
from chaosrunner.model.slots import Frame, Slot
from chaosrunner.model.system import System
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Finding, PhaseStats, Verdict
from chaosrunner.model.verdict import Outcome as Judged

EPOCH_NS = 1_000 * NANOS
NAMES = Names(frozenset({"get"}), frozenset())


def judged(books: Books, load: LoadProfile, *asked: str, seconds: float) -> Verdict:
    """The verdict on what workers reported, all of it as one baseline of so many seconds."""
    facts = [
        e.LoadStarted(epoch_ns=EPOCH_NS, workers=len({frame.worker for frame in books.frames})),
        e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH_NS),
        *(e.SlotsArrived(frame=frame) for frame in books.frames),
        e.LoadEnded(at_ns=EPOCH_NS + round(seconds * NANOS)),
        e.Ended(why="played to the end", at_ns=EPOCH_NS + round(seconds * NANOS)),
    ]
    state = fold(e.Entry(n=n, at_ns=EPOCH_NS, wall="", epoch=0, event=fact) for n, fact in enumerate(facts))
    experiment = Experiment(
        question="?",
        file="x.yaml",
        source="",
        system=System(name="s", file="s.yaml"),
        system_source="",
        load=load,
        baseline_s=seconds,
        faults=(),
        hypothesis=Hypothesis(before=tuple(parse_tolerance(text, NAMES) for text in asked)),
        recover=RecoveryTarget(),
    )
    return judge(experiment, state)


def found(verdict: Verdict, text: str) -> Finding:
    return next(one for one in verdict.findings if one.name == f"before: {text}")


def overall(verdict: Verdict) -> PhaseStats:
    return next(one for one in verdict.phases if not one.name)


@asynccontextmanager
async def hanging(seconds: float) -> AsyncIterator[str]:
    """A server that answers nobody for so long, from one second after the first request on."""
    program = str(Path(__file__).with_name("hanging_server.py"))
    server = await asyncio.create_subprocess_exec(sys.executable, program, str(seconds), stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        async with asyncio.timeout(20):
            yield f"http://127.0.0.1:{int(await server.stdout.readline())}"
    finally:
        server.kill()
        await server.wait()


async def test_a_target_that_hangs_is_a_slow_target() -> None:
    """When a hanging target holds all connections, waiting for one is its doing: BROKEN, while our lag is small."""
    books, load = Books(), profile(rate=60, lasts_s=3, connections=5, timeout_s=30)
    async with hanging(1) as url:
        driver = LoadDriver(load, entry=url, seed=1, longest_s=60, clock=BootClock(), tools=Keys())
        async with playing(driver, books):
            await books.until(finished(180))
    books.check()
    assert books.done == {Outcome.OK: 180}
    verdict = judged(books, load, "p95 <= 500ms", "errors < 1%", seconds=3.0)
    assert found(verdict, "p95 <= 500ms").outcome is Judged.BROKEN, verdict
    assert found(verdict, "errors < 1%").outcome is Judged.HELD
    seen = overall(verdict)
    times = (seen.p95, seen.service.max, seen.wait.p95, seen.lag.p95)
    assert None not in times
    response, service, wait, lag = (value or 0.0 for value in times)
    assert response > 0.5
    assert wait > 0.5
    assert service > 0.5  # of the five that were asked when it hung
    assert lag < 0.25
    assert seen.service.p50 is not None
    assert seen.service.p50 < 0.25


async def test_the_four_times_of_a_hit_add_up() -> None:
    """Response is lag, wait and service together; each has a histogram of its own."""

    async def slowly(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.05)
        return OK

    async with Target(slowly) as target:
        books = await work(profile(rate=100, lasts_s=0.3, connections=2), target.url, until=finished(30))
    whole = books.all
    parts = sum((one.mean() or 0.0) * one.total for one in (whole.lag, whole.wait, whole.service))
    assert whole.ok.total == whole.service.total == whole.lag.total == whole.wait.total == 30
    assert math.isclose(parts, (whole.ok.mean() or 0.0) * 30, rel_tol=0.01)
    assert (whole.service.quantile(0.5) or 0) >= 50_000
    assert (whole.wait.quantile(0.9) or 0) >= 50_000


async def test_a_worker_that_is_never_idle_says_so() -> None:
    """Users whose requests are answered at once, by this very process, keep it busy: its account says that it was."""
    async with Target(always(OK)) as target:
        books = await work(crowd(users=20), target.url, until=lambda books: len(books.frames) > 3)
    watched: Watched = {}
    strains: Strains = {}
    for frame in books.frames:
        note_watch(watched, strains, frame)
    assert watched[0]["full_us"] > 0.5 * watched[0]["span_us"]
    assert any(strain.full_us for strain in strains.values())


async def test_a_refused_connection_is_never_quick() -> None:
    """Every quantile of requests that were refused is infinite, not nearly zero: the latency is BROKEN, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    load = profile(rate=200, lasts_s=0.6)
    books = await work(load, f"http://127.0.0.1:{port}", until=finished(120))
    assert books.done == {Outcome.REFUSED: 120}
    assert (books.all.ok.total, books.all.service.total) == (0, 0)
    verdict = judged(books, load, "p50 <= 400ms", "mean <= 400ms", "errors < 1%", seconds=0.6)
    seen = overall(verdict)
    assert (seen.p50, seen.p95, seen.p99) == (math.inf, math.inf, math.inf)
    assert {finding.outcome for finding in verdict.findings} == {Judged.BROKEN}
    assert found(verdict, "p50 <= 400ms").observed == "failed"


async def test_half_refused_is_half_infinite() -> None:
    """A quantile that falls on what succeeded is that; one that falls on a failure is infinite."""

    async def every_other(target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        return OK if request.n % 2 else None

    load = profile(rate=200, lasts_s=0.5)
    async with Target(every_other) as target:
        books = await work(load, target.url, until=finished(100))
    seen = overall(judged(books, load, "p50 <= 400ms", seconds=0.5))
    assert books.done == {Outcome.OK: 50, Outcome.RESET: 50}
    assert seen.p50 is not None
    assert seen.p50 < 10
    assert seen.p95 == math.inf


async def short_of(what: str, *wrapped: str) -> tuple[dict[str, int], dict[str, int]]:
    """(outcome → hits, what was counted) of a hundred hits on a host that runs short of something."""
    program = str(Path(__file__).with_name("short_of.py"))
    process = await asyncio.create_subprocess_exec(
        *(*wrapped, sys.executable, program, what), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(40):
        out, _ = await process.communicate()
    said = json.loads(out)
    return said["done"], said["counts"]


async def test_a_host_without_descriptors_blames_nobody_else() -> None:
    """When this process may open no more files its requests end LOCAL, not as the target's failure to connect."""
    done, counts = await short_of("files")
    assert set(done) == {"ok", "local"}
    assert done["local"] == counts["here.EMFILE"] >= 10


async def test_a_host_without_local_ports_blames_nobody_else() -> None:
    """When every local port is taken requests end LOCAL, and the kernel's EADDRNOTAVAIL is named."""
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip for a network of its own with few ports")
    few = 'ip link set lo up && echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
    done, counts = await short_of("ports", "unshare", "--net", "sh", "-c", few, "sh")
    assert set(done) == {"ok", "local"}
    assert done["local"] == counts["here.EADDRNOTAVAIL"] >= 40


def test_a_violation_within_our_own_stalls_is_no_finding() -> None:
    """The account of a worker that stood still turns the slowness it may have caused into UNKNOWN."""
    slot = Slot(due=200, done={Outcome.OK: 200})
    for histogram in (slot.ok, slot.adjusted):
        for _ in range(200):
            histogram.record(300_000)
    books, load = Books(), profile(rate=100, lasts_s=2)
    still = {"at_us": 1_900_000.0, "span_us": 250_000.0, "stall_max_us": 240_000.0}
    for seq, at_us in enumerate((900_000.0, 1_900_000.0)):
        slots = {(5, 0): slot} if not seq else {}
        watch = still | {"at_us": at_us}
        books.frame(Frame(worker=0, seq=seq, until_us=2_000_000, slots=slots, watch=watch, last=bool(seq)))
    assert found(judged(books, load, "p95 <= 200ms", seconds=2.0), "p95 <= 200ms").outcome is Judged.UNKNOWN
    books.frames = [replace(frame, watch={}) for frame in books.frames]
    assert found(judged(books, load, "p95 <= 200ms", seconds=2.0), "p95 <= 200ms").outcome is Judged.BROKEN
