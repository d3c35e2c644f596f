"""A Postgres of our own: found, reachable, started, ended."""

import asyncio
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from chaosrunner.demo.binaries import BIN_VARIABLE, NOBODY, Binaries, can_enter, find_binaries, reachable
from chaosrunner.demo.options import DemoFailed, DemoUnavailable
from chaosrunner.demo.postgres import PostgresOptions, launch_postgres
from chaosrunner.demo.scratch import scratch_directory

pytestmark = pytest.mark.postgres
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root must give its rights away")


async def test_the_application_is_no_superuser_and_the_administrator_is():
    """Both roles connect without a password, and only one may everything."""
    async with launch_postgres() as server:
        for dsn, expected in ((server.dsn, "off"), (server.admin_dsn, "on")):
            connection = await asyncpg.connect(dsn)
            assert await connection.fetchval("SHOW is_superuser") == expected
            await connection.close()


async def test_a_superuser_gets_in_when_all_other_slots_are_taken():
    """The slots are as many as asked for, and the reserved ones are kept for the way back."""
    async with launch_postgres(PostgresOptions(max_connections=10)) as server:
        held = [await asyncpg.connect(server.dsn) for _ in range(7)]
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(server.dsn)
        admin = await asyncpg.connect(server.admin_dsn)
        for connection in [*held, admin]:
            await connection.close()


def data_of(process):
    return Path(process.cmdline()[2])


def is_there(path):
    return path.exists()


async def test_nothing_is_left_after_the_block():
    """The server has ended, its port is free and its data is gone."""
    async with launch_postgres() as server:
        process = psutil.Process(server.pid)
        data = data_of(process)
        assert is_there(data)
    assert not process.is_running()
    assert not is_there(data)
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_a_server_dies_with_a_process_that_is_killed():
    """SIGKILL of whoever launched it ends the server and all its processes."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        """
import asyncio
from chaosrunner.demo.postgres import launch_postgres
async def main():
    async with launch_postgres() as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
""",
        stdout=asyncio.subprocess.PIPE,
    )
    postmaster = psutil.Process(int(await holder.stdout.readline()))
    family = [postmaster, *postmaster.children(recursive=True)]
    assert len(family) > 3
    holder.kill()
    await holder.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


async def test_a_port_that_is_taken_is_told_in_postgres_own_words():
    """A server that cannot listen is an error that says why, not a timeout."""
    words = "Postgres did not start: .*could not create any TCP/IP sockets"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DemoFailed, match=re.compile(words)):
        async with launch_postgres(PostgresOptions(port=taken.getsockname()[1])):
            pass


def test_a_directory_without_postgres_is_refused(tmp_path):
    """A directory that was asked for is never silently replaced by another one."""
    with pytest.raises(DemoUnavailable, match=f"no initdb and postgres in {tmp_path}"):
        find_binaries(tmp_path)


def test_the_variable_names_a_directory(tmp_path, monkeypatch):
    """`CHAOSRUNNER_PG_BIN` counts as asked for."""
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path))
    with pytest.raises(DemoUnavailable, match=str(tmp_path)):
        find_binaries()


def test_entering_needs_the_right_on_every_directory_above(tmp_path):
    """One closed directory on the way closes all below it for others, and not for its owner."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    stranger = os.geteuid() + 12345
    (tmp_path / "a").chmod(0o700)
    assert not can_enter(inner, stranger)
    assert can_enter(inner, os.geteuid()) == can_enter(tmp_path, os.geteuid())


@AS_ROOT
@pytest.mark.root
async def test_a_wheel_below_a_closed_directory_is_copied_and_runs(tmp_path):
    """Root's own 0700 directories do not keep the server's user from running a wheel that is installed there."""
    wheel = find_binaries()
    if wheel.source != "wheel":
        pytest.skip("no Postgres wheel is installed")
    package = wheel.directory.parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in (package / wheel.directory.parent.name, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.relative_to(package.parent), symlinks=True)
    directory = closed / package.name / wheel.directory.parent.name / "bin"
    assert not can_enter(directory, NOBODY)
    async with launch_postgres(PostgresOptions(binaries=directory)) as server:
        connection = await asyncpg.connect(server.dsn)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


@AS_ROOT
@pytest.mark.root
def test_other_binaries_below_a_closed_directory_are_refused_with_a_reason(tmp_path):
    """What cannot be copied with certainty is an error that says which user cannot reach which directory."""
    closed = tmp_path / "closed" / "bin"
    closed.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    with scratch_directory() as scratch, pytest.raises(DemoUnavailable, match=f"{NOBODY} cannot reach {closed}"):
        reachable(Binaries(closed, "given"), scratch)


def test_what_a_killed_demo_left_is_removed_by_the_next_start():
    """An old directory whose lock nobody holds goes; one that is in use stays."""
    with scratch_directory() as in_use:
        abandoned = in_use.with_name(f"{in_use.name}-abandoned")
        abandoned.mkdir()
        (abandoned / "in-use").touch()
        long_ago = abandoned.stat().st_mtime - 3600
        for directory in (in_use, abandoned):
            os.utime(directory, (long_ago, long_ago))
        with scratch_directory():
            assert in_use.exists()
            assert not abandoned.exists()
