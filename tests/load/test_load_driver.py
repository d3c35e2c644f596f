"""The driver and its worker processes, for real."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from load_rig import GET, OK, Asked, Books, BootClock, Keys, Target, always, finished, playing, profile, reply

from chaosrunner.errors import JournalBroken, LoadBroken
from chaosrunner.load.crew import LocalCrew
from chaosrunner.load.driver import LoadDriver
from chaosrunner.load.process import WorkerProcess
from chaosrunner.model.events import Event, LoadEnded, LoadStarted, SlotsArrived
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import LoadProfile, Outcome
from chaosrunner.model.secret import Secret

FOREVER = 120.0


def driver(load: LoadProfile, entry: str, *, longest_s: float = FOREVER, tools: Keys | None = None) -> LoadDriver:
    return LoadDriver(load, entry=entry, seed=1, longest_s=longest_s, clock=BootClock(), tools=tools or Keys())


def gone(pids: frozenset[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


async def until_gone(pids: frozenset[int]) -> None:
    async with asyncio.timeout(20):
        while not gone(pids):  # noqa: ASYNC110 - the death of another process is no event of ours
            await asyncio.sleep(0.01)


async def test_figures_that_add_up() -> None:
    """Every journey of the schedule is sent once, answered once, and reported once, in the order of events."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=1), target.url)
        async with playing(load, books):
            await books.until(finished(100))
            assert len(load.pids()) == 1
            assert load.pids() <= {child.pid for child in psutil.Process().children()}
    books.check()
    assert books.done == {Outcome.OK: 100}
    assert len(target.requests) == 100
    assert isinstance(books.events[0], LoadStarted)
    assert isinstance(books.events[-1], LoadEnded)
    assert all(isinstance(event, SlotsArrived) for event in books.events[1:-1])
    assert {number: slot.due for number, slot in books.by_slot.items()} == dict.fromkeys(range(10), 10)
    assert sum(frame.cpu_us for frame in books.frames) > 0


async def test_two_workers_are_one_load() -> None:
    """Two workers send the schedule of one between them; slots merge without loss and limits are shared."""

    async def slow(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.1)
        return OK

    books = Books()
    step = Request(name="get", method="GET", path="/<n>")
    rows = tuple({"n": str(n)} for n in range(200))
    async with Target(slow) as target:
        load = driver(profile(step, rate=100, lasts_s=2, workers=2, connections=30, data=rows), target.url)
        async with playing(load, books):
            await books.until(finished(200))
            assert len(load.pids()) == 2
    books.check()
    assert books.done == {Outcome.OK: 200}
    assert {frame.worker for frame in books.frames} == {0, 1}
    assert sorted(int(request.path[1:]) for request in target.requests) == list(range(200))
    assert {number: slot.due for number, slot in books.by_slot.items()} == dict.fromkeys(range(20), 10)
    assert target.most_open <= 30


async def test_a_killed_worker_is_a_fact_and_the_others_go_on() -> None:
    """SIGKILL of one worker is one LoadLost; the other worker's frames keep coming and end properly."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None, workers=2), target.url)
        async with playing(load, books):
            await books.until(lambda books: {frame.worker for frame in books.frames} == {0, 1})
            victim = min(load.pids())
            os.kill(victim, signal.SIGKILL)
            await books.until(lambda books: bool(books.lost()))
            (lost,) = books.lost()
            count = len(books.frames)
            await books.until(lambda books: len(books.frames) > count + 3)
            assert victim not in load.pids()
    assert books.lost() == [lost]
    assert lost.why == "killed by SIGKILL"
    assert {frame.worker for frame in books.frames if frame.last} == {1 - lost.worker}
    assert books.ended()


async def test_a_worker_that_falls_silent_is_lost() -> None:
    """A worker that lives and says nothing is given up after eight looks, and killed."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None), target.url)
        async with playing(load, books) as running:
            await books.until(lambda books: len(books.frames) > 1)
            (pid,) = load.pids()
            os.kill(pid, signal.SIGSTOP)
            await books.until(lambda books: bool(books.lost()))
            async with asyncio.timeout(20):
                await running
    assert books.lost()[0].why.startswith("silent")
    assert gone(frozenset({pid}))


@pytest.mark.parametrize(
    ("says", "why"),
    [
        pytest.param("print('hello')", "broke its protocol", id="no JSON"),
        pytest.param("print('[1]')", "broke its protocol", id="no object"),
        pytest.param("print('{}')", "broke its protocol: KeyError", id="no frame"),
        pytest.param('print(\'{"frame": {"worker": 0}}\')', "broke its protocol: KeyError", id="half a frame"),
        pytest.param('print(\'{"broken": "the clock"}\')', "the clock", id="a reason"),
        pytest.param("print('{\"frame', end='')", "exit 0", id="half a line"),
        pytest.param("raise ValueError('a bug')", "exit 1: ValueError: a bug", id="an exception"),
        pytest.param("sys.exit(3)", "exit 3", id="an exit"),
    ],
)
async def test_a_worker_that_breaks_its_protocol_is_lost(says: str, why: str) -> None:
    """Whatever a worker says or does instead of a frame is one LoadLost with the reason, and it is killed."""
    program = f"import sys; input(); print('{{\"ready\": true}}', flush=True); input(); {says}; sys.stdout.flush()"
    if "exit" not in why:
        program += "; sys.stdin.read()"
    books = Books()

    async def spawn(number: int) -> WorkerProcess:
        return await WorkerProcess.spawn(number, ("-c", program))

    load = LoadDriver(
        profile(), entry="", seed=1, longest_s=9, clock=BootClock(), tools=Keys(), crew=LocalCrew(start=spawn)
    )
    async with asyncio.timeout(20):
        await load.run(books.report)
    (lost,) = books.lost()
    assert lost.why.startswith(why)
    assert load.pids() == frozenset()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        pytest.param("raise SystemExit('no such thing')", "exit 1: no such thing", id="exits"),
        pytest.param("print('hello')", "worker 0", id="nonsense"),
        pytest.param("print('{}')", "worker 0 said", id="another word"),
    ],
)
async def test_a_worker_that_does_not_get_ready(program: str, why: str) -> None:
    """A worker that ends or babbles before it is ready is LoadBroken."""

    async def spawn(number: int) -> WorkerProcess:
        return await WorkerProcess.spawn(number, ("-c", program))

    load = LoadDriver(
        profile(), entry="", seed=1, longest_s=9, clock=BootClock(), tools=Keys(), crew=LocalCrew(start=spawn)
    )
    with pytest.raises(LoadBroken, match=why):
        await load.run(Books().report)
    assert load.pids() == frozenset()


async def test_a_report_that_fails_ends_the_load() -> None:
    """When the journal cannot be written any more, `run` raises that and leaves no process."""
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None), target.url)

        def report(event: Event) -> None:
            if isinstance(event, SlotsArrived):
                raise JournalBroken("disk full")

        with pytest.raises(JournalBroken):
            await load.run(report)
    assert load.pids() == frozenset()


async def test_a_worker_ends_with_its_parent() -> None:
    """When the runner is killed its workers end by themselves, at once, though nobody told them."""
    async with Target(always(OK)) as target:
        program = Path(__file__).with_name("abandoned_load.py")
        runner = await asyncio.create_subprocess_exec(
            sys.executable, str(program), target.url, stdout=asyncio.subprocess.PIPE
        )
        assert runner.stdout is not None
        async with asyncio.timeout(30):
            pids = frozenset(map(int, (await runner.stdout.readline()).split()))
        assert len(pids) == 2
        assert not gone(pids)
        runner.kill()
        await runner.wait()
        await until_gone(pids)


async def test_the_load_ends_at_its_absolute_end() -> None:
    """Without a word from anybody the workers end `longest_s` after the epoch, with everything booked."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None), target.url, longest_s=0.6)
        async with asyncio.timeout(30):
            await load.run(books.report)
    books.check()
    assert books.done == {Outcome.OK: 60}
    assert books.ended()
    assert load.pids() == frozenset()


async def test_a_cancelled_load_leaves_no_process() -> None:
    """However often `run` is cancelled, its workers are gone when it returns."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None, workers=2), target.url)
        running = asyncio.create_task(load.run(books.report))
        await books.until(lambda books: len(books.frames) > 1)
        pids = load.pids()
        for _ in range(3):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(pids) == 2
    assert gone(pids)


async def test_a_load_stopped_before_it_began() -> None:
    """`stop` before the workers are ready ends `run` without a request, an event or a process."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None), target.url)
        load.stop()
        async with asyncio.timeout(30):
            await load.run(books.report)
    assert books.events == []
    assert target.requests == []
    assert load.pids() == frozenset()


async def test_what_cannot_start_says_why() -> None:
    """A profile that cannot be sent is LoadBroken with the worker's reason, and no process stays."""
    books = Books()
    load = driver(profile(Request(name="a", method="GET", path="/<x>")), "http://127.0.0.1:1")
    with pytest.raises(LoadBroken, match="nothing known as <x>"):
        await load.run(books.report)
    assert books.events == []
    assert load.pids() == frozenset()


async def test_too_many_connections_for_this_system() -> None:
    """More connections than the system allows open files is LoadBroken before anything is sent, not CONNECT later."""
    load = driver(profile(connections=1 << 30), "http://127.0.0.1:1")
    with pytest.raises(LoadBroken, match="open files"):
        await load.run(Books().report)


async def test_a_secret_reaches_the_target_and_nobody_else() -> None:
    """The auth secret is revealed to the worker through stdin: not in its arguments, not in its environment."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(
            profile(lasts_s=None, auth=Secret("bearer ${TOKEN}")), target.url, tools=Keys({"${TOKEN}": "hush-1"})
        )
        async with playing(load, books):
            await books.until(finished(10))
            (pid,) = load.pids()
            worker = psutil.Process(pid)
            assert "hush" not in f"{worker.cmdline()} {worker.environ()}"
    assert {request.headers["authorization"] for request in target.requests} == {"Bearer hush-1"}


async def test_a_worker_is_out_of_reach_of_the_terminal() -> None:
    """A worker is in a session of its own, so a Ctrl-C at the terminal does not reach it."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(lasts_s=None), target.url)
        async with playing(load, books):
            await books.until(finished(1))
            (pid,) = load.pids()
            assert os.getsid(pid) == pid != os.getsid(0)


async def test_steering() -> None:
    """Raised, lowered and paused while it runs: the rate follows from the instant told, slot by slot."""
    books = Books()
    async with Target(always(OK)) as target:
        load = driver(profile(rate=100, lasts_s=None, workers=2), target.url)
        async with playing(load, books):
            await books.until(finished(50))
            load.steer(3)
            await books.until(lambda books: any(slot.due == 30 for slot in books.by_slot.values()))
            load.steer(0)
            await books.until(lambda books: (last := max(books.by_slot)) + 8 < covered(books) and last >= 0)
            load.steer(1)
            quiet = max(books.by_slot)
            await books.until(lambda books: any(n > quiet and slot.due == 10 for n, slot in books.by_slot.items()))
            with pytest.raises(ValueError, match="factor"):
                load.steer(-1)
    books.check()
    assert books.done.keys() == {Outcome.OK}
    assert books.by_slot[0].due == 10
    assert not any(quiet < number <= quiet + 8 for number in books.by_slot)


def covered(books: Books) -> int:
    """The slot up to which every worker has reported."""
    latest = {frame.worker: frame.until_us for frame in books.frames}
    return min(latest.values()) // 100_000


async def test_instants_are_those_of_the_boot_clock() -> None:
    """A hit's due time from the epoch is an instant of CLOCK_BOOTTIME: the target saw it then, not before."""
    seen: list[int] = []

    async def note(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        seen.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        return OK

    books = Books()
    async with Target(note) as target, playing(driver(profile(rate=20, lasts_s=0.5), target.url), books):
        await books.until(finished(10))
    dues = sorted(books.epoch_ns + hit.due_us * 1000 for hit in books.hits)
    ends = sorted(books.epoch_ns + (hit.due_us + hit.response_us) * 1000 for hit in books.hits)
    assert all(due <= at <= end + 1000 for due, at, end in zip(dues, sorted(seen), ends, strict=True))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    where = tmp_path_factory.mktemp("tls")
    pem = where / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(where / "key.pem"), "-out", str(where / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text((where / "key.pem").read_text() + (where / "cert.pem").read_text())
    return pem


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool) -> None:
    """HTTPS works with a certificate the system trusts; one it does not trust is TLS, on every hit."""
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    books = Books()
    async with Target(always(reply(200, {"id": 1})), ssl=context) as target:
        step = Request(name="get", method="GET", path="/", keep={"id": "$.id"})
        async with playing(driver(profile(step, GET, rate=50, lasts_s=0.4), target.url), books):
            await books.until(finished(40 if trusted else 20))
    books.check()
    assert books.done == ({Outcome.OK: 40} if trusted else {Outcome.TLS: 20})
    if trusted:
        assert target.connections < 40
