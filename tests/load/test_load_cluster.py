"""Load from a real Dask cluster, and what becomes of it when parts of that are killed or stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from dask_rig import Desk, alive, dask, said, until
from load_rig import OK, Books, BootClock, Keys, Target, always, playing, profile

from chaosrunner.errors import Exit
from chaosrunner.load.cluster.crew import cluster
from chaosrunner.load.crew import LocalCrew
from chaosrunner.load.driver import LoadDriver
from chaosrunner.model.events import ClockCompared, LoadStarted
from chaosrunner.model.load import Outcome


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A user's files, apart from those of the cluster."""
    home = tmp_path / "home"
    home.mkdir()
    return Desk(home)


def twice(target: Target) -> dict[str, int]:
    """What was asked for more than once; every journey asks for a path of its own."""
    return {path: count for path, count in Counter(request.path for request in target.requests).items() if count > 1}


def over(books: Books, workers: int, us: int) -> bool:
    """Whether every worker has reported all that was due before an instant, and nothing is open."""
    latest = {frame.worker: frame.until_us for frame in books.frames}
    return len(latest) == workers and min(latest.values()) > us and not books.all.open


def is_mistake(heard: tuple[int | None, str, str], why: str) -> bool:
    """Whether a program ended with exit 2 and one line that begins so."""
    code, out, err = heard
    lines = err.splitlines()
    return (code, out, len(lines)) == (Exit.MISTAKE, "", 2) and lines[0].startswith(f"--cluster: {why}")


async def test_a_cluster_sends_what_one_process_sends(tmp_path: Path) -> None:
    """One process, three, and three Dask workers send the very same journeys, slot by slot; no figure is lost."""
    load, seen = profile(rate=80, lasts_s=1.5, at_random=True), []
    three = replace(load, workers=3)
    async with dask(tmp_path) as there, cluster(there.url) as crew, Target(always(OK)) as target:
        for sent, workers, who in ((load, 1, LocalCrew()), (three, 3, LocalCrew()), (load, 3, crew)):
            books, before = Books(), len(target.requests)
            driver = LoadDriver(sent, entry=target.url, seed=7, longest_s=30, clock=BootClock(), tools=Keys(), crew=who)
            async with playing(driver, books):
                await books.until(lambda books, workers=workers: over(books, workers, 1_500_000))
                assert len(driver.pids()) == (6 if who is crew else workers)
            books.check()
            assert books.done == {Outcome.OK: len(target.requests) - before}
            seen.append({number: slot.due for number, slot in books.by_slot.items() if slot.due})
        loads = [load for one in there.loads.values() for load in [one] if alive(load)]
    assert seen[0] == seen[1] == seen[2]
    assert loads == []
    compared = {event.worker: event.error_us for event in books.events if isinstance(event, ClockCompared)}
    assert compared.keys() == {0, 1, 2}
    assert all(0 < error < 1_000_000 for error in compared.values())
    (started,) = [event for event in books.events if isinstance(event, LoadStarted)]
    assert started.why == f"one for each of the 3 Dask workers at {there.url}"
    for worker in range(3):
        untils = [frame.until_us for frame in books.frames if frame.worker == worker and frame.until_us]
        assert len(untils) <= 2 * untils[-1] / 1e6 + 2  # two a second; the first and the last are not in step


async def test_others_go_on_without_a_killed_worker(tmp_path: Path) -> None:
    """A Dask worker is killed: its load ends with it and is a LoadLost at once; the others go on and end properly."""
    books = Books()
    async with dask(tmp_path) as there, cluster(there.url) as crew, Target(always(OK)) as target:
        load = profile(rate=60, lasts_s=None)
        driver = LoadDriver(load, entry=target.url, seed=1, longest_s=60, clock=BootClock(), tools=Keys(), crew=crew)
        async with playing(driver, books):
            await books.until(lambda books: books.all.finished > 30)
            victim, process = next(iter(there.loads.items()))
            victim.kill()
            await books.until(lambda books: bool(books.lost()))
            await until(lambda: not alive(process), "the end of its load worker")
            before = len(books.frames)
            await books.until(lambda books: len(books.frames) > before + 3)
        await until(lambda: not there.loads, "the end of all load")
    (lost,) = books.lost()
    # On a crowded host its lease may run out before anybody says so.
    assert lost.why.endswith(("its Dask worker was lost", "so its lease has run out"))
    assert {frame.worker for frame in books.frames if frame.last} == {0, 1, 2} - {lost.worker}


async def test_a_killed_worker_is_unknown(tmp_path: Path, desk: Desk) -> None:
    """A Dask worker is killed, its nanny starts another: no share is run twice, and the answer is UNKNOWN, exit 3."""
    async with dask(tmp_path, nanny=True) as there, Target(always(OK)) as target:
        desk.write(target.url)
        program = await desk.start("run", "own.yaml", "--cluster", there.url)
        await until(lambda: len(target.requests) > 40 or program.returncode is not None, "load")
        next(iter(there.loads)).kill()
        await until(lambda: there.joined() == 4, "a worker started anew")
        code, out, err = await said(program)
        assert code == Exit.UNKNOWN, out + err
        assert "the load has gaps: worker" in out
        await until(lambda: not there.loads, "the end of all load")
    assert twice(target) == {}
    assert [event["kind"] for event in desk.events()].count("LoadLost") == 1


async def test_a_stopped_worker_stops_its_load(tmp_path: Path, desk: Desk) -> None:
    """A Dask worker is stopped: its load ends with its lease while it still stands, the run ends in time: UNKNOWN."""
    async with dask(tmp_path) as there, Target(always(OK)) as target:
        desk.write(target.url)
        program = await desk.start("run", "own.yaml", "--cluster", there.url)
        await until(lambda: len(target.requests) > 40 or program.returncode is not None, "load")
        victim, load = next(iter(there.loads.items()))
        victim.suspend()
        await until(lambda: not alive(load), "the end of its load worker")
        assert victim.status() == "stopped"
        code, out, err = await said(program)
        assert victim.status() == "stopped"
        victim.resume()
        assert code == Exit.UNKNOWN, out + err
        assert "its lease has run out" in out
        await until(lambda: not there.loads, "the end of all load")
    assert twice(target) == {}


async def test_a_killed_runner_stops_the_load(tmp_path: Path, desk: Desk) -> None:
    """The runner is killed: every load worker ends with its lease, the Dask workers live, and serve the next run."""
    async with dask(tmp_path) as there, Target(always(OK)) as target:
        desk.write(target.url)
        program = await desk.start("run", "own.yaml", "--cluster", there.url)
        await until(lambda: len(target.requests) > 30 or program.returncode is not None, "load")
        assert len(there.loads) == 3
        program.kill()
        await program.wait()
        await until(lambda: not there.loads, "the end of all load")
        target.requests.clear()
        code, out, err = await desk.run("run", "own.yaml", "--cluster", there.url)
        assert code == Exit.HELD, out + err
    assert there.joined() == 3
    assert twice(target) == {}
    kinds = [event["kind"] for event in desk.events()]
    assert kinds.count("ClockCompared") >= 3
    assert "LoadLost" not in kinds


async def test_tls(tmp_path: Path, desk: Desk) -> None:
    """Scheduler, workers and runner prove to each other who they are; whoever has no certificate is refused, exit 2."""
    ca, names = trustme.CA(), {}
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
    for who in ("cluster", "runner"):
        proof = ca.issue_cert("127.0.0.1", common_name=who)
        names[who] = (tmp_path / f"{who}.pem", tmp_path / f"{who}.key")
        proof.cert_chain_pems[0].write_to_path(names[who][0])
        proof.private_key_pem.write_to_path(names[who][1])
    cert, key = map(str, names["cluster"])
    options = ["--protocol", "tls", "--tls-ca-file", str(tmp_path / "ca.pem"), "--tls-cert", cert, "--tls-key", key]
    cert, key = map(str, names["runner"])
    trust, stranger, nowhere = (
        {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(tmp_path / name)}
        for name in ("ca.pem", "stranger.pem", "none.pem")
    )
    proof = {"DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": cert, "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": key}
    async with dask(tmp_path, workers=2, options=options) as there, Target(always(OK)) as target:
        desk.write(target.url)
        assert there.url.startswith("tls://")
        code, out, err = await desk.run("run", "own.yaml", "--cluster", there.url, env=trust | proof)
        assert code == Exit.HELD, out + err
        sent = len(target.requests)
        assert sent > 60
        plain = there.url.replace("tls://", "tcp://")
        for url, env, why in (
            (there.url, {}, f"no Dask scheduler answers at {there.url}: no certificate is known; Dask's configuration"),
            (there.url, trust, f"no Dask scheduler answers at {there.url}: no certificate is known"),
            (there.url, stranger | proof, f"no Dask scheduler answers at {there.url}: TLS certificate does not match"),
            (there.url, proof | nowhere, f"{there.url} cannot be used: [Errno 2] No such file or directory"),
            (plain, trust | proof, f"no Dask scheduler answers at {plain}"),
        ):
            heard = await desk.run("run", "own.yaml", "--cluster", url, env=env)
            assert is_mistake(heard, why), heard
        assert len(target.requests) == sent


async def test_no_cluster_is_a_mistake(tmp_path: Path, desk: Desk) -> None:
    """Nobody at the address, nothing like an address, and no worker: each is one line and exit 2."""
    desk.write("http://127.0.0.1:1")

    async def refused(url: str, why: str) -> None:
        heard = await desk.run("run", "own.yaml", "--cluster", url)
        assert is_mistake(heard, why), heard

    async with dask(tmp_path, workers=0) as there:
        await asyncio.gather(
            refused(there.url, f"no worker has joined the Dask scheduler at {there.url}"),
            refused("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1: Timed out"),
            refused("127.0.0.1:8786", "'127.0.0.1:8786' is no address of a Dask scheduler; expected tcp://host:port"),
            refused("tcp://nope.invalid", "'tcp://nope.invalid' is no address of a Dask scheduler; did you mean"),
            refused("tcp://nope.invalid:8786", "no host is known by the name 'nope.invalid'"),
            refused("", "'' is no address of a Dask scheduler"),
        )
    assert not (desk.home / "runs").exists()


async def test_without_dask_it_says_what_to_install(desk: Desk) -> None:
    """Where the extra is not installed, `--cluster` says which it is, with exit 2."""
    desk.write("http://127.0.0.1:1")
    (desk.home / "empty").mkdir()
    (desk.home / "empty/distributed.py").write_text("raise ImportError('No module named distributed')")
    paths = {"PYTHONPATH": f"{desk.home / 'empty'}:{Path(__file__).parents[2]}"}
    why = "needs Dask (No module named distributed); install it with: pip install 'chaosrunner[cluster]'"
    heard = await desk.run("run", "own.yaml", "--cluster", "tcp://127.0.0.1:1", env=paths)
    assert is_mistake(heard, why), heard
