"""The audit trail on a disk that takes it, and on one that does not."""

import json
import resource
import signal
from contextlib import contextmanager

import pytest

from chaosrunner.demo.trail import MOST_BYTES, HastyTrail, PatientTrail


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def room(size):
    """No file can be longer than this: the kernel writes what fits, and refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_whoever_waits_for_the_disk_fails_with_it(tmp_path):
    """The hasty trail writes at once, and what it cannot write is the request's failure."""
    trail = HastyTrail(tmp_path / "there")
    trail.note("ann", "created", 7)
    [line] = lines(tmp_path / "there")
    assert (line["user"], line["did"], line["agent"]) == ("ann", "created", 7)
    away = HastyTrail(tmp_path / "away" / "there")
    with pytest.raises(FileNotFoundError):
        away.note("ann", "created", 8)
    assert (trail.lost, away.lost) == (0, 1)


async def test_what_waited_for_the_disk_is_written_once_and_in_order(tmp_path):
    """While the disk is away nobody fails; once it is back everything is there."""
    folder = tmp_path / "away"
    trail = PatientTrail(folder / "trail")
    async with trail.kept():
        trail.note("ann", "created", 1)
        await trail.write()
        assert trail.waiting == 1
        folder.mkdir()
        trail.note("ann", "deleted", 1)
        await trail.write()
        assert trail.waiting == 0
        trail.note("bob", "created", 2)
    assert [(line["user"], line["did"]) for line in lines(folder / "trail")] == [
        ("ann", "created"),
        ("ann", "deleted"),
        ("bob", "created"),
    ]
    assert trail.lost == 0


async def test_half_a_line_is_never_left(tmp_path):
    """Where only a part has room the file is as before, and the whole comes later."""
    path = tmp_path / "trail"
    trail = PatientTrail(path)
    trail.note("ann", "created", 1)
    await trail.write()
    before = path.read_bytes()
    trail.note("ann", "renamed", 1)
    with room(len(before) + 5):
        await trail.write()
        assert path.read_bytes() == before
        assert trail.waiting == 1
    await trail.write()
    assert [line["did"] for line in lines(path)] == ["created", "renamed"]


async def test_what_is_lost_is_counted_where_it_would_have_been(tmp_path, capsys):
    """Beyond its bound lines are lost; the trail says how many, after those that came before them."""
    folder = tmp_path / "away"
    trail = PatientTrail(folder / "trail", most=2)
    for number in range(5):
        trail.note("ann", "created", number)
    assert (trail.waiting, trail.lost) == (2, 3)
    folder.mkdir()
    await trail.write()
    trail.note("ann", "created", 5)
    await trail.write()
    assert [line.get("agent", line) for line in lines(folder / "trail")[:2]] == [0, 1]
    assert [line.get("lost") for line in lines(folder / "trail")] == [None, None, 3, None]
    assert trail.lost == 3
    assert capsys.readouterr().err == ""


async def test_a_trail_that_ends_without_room_says_so(tmp_path, capsys):
    """At the end it tries once more; what then is nowhere is told."""
    trail = PatientTrail(tmp_path / "away" / "trail", most=1)
    async with trail.kept():
        trail.note("ann", "created", 1)
        trail.note("ann", "created", 2)
    assert capsys.readouterr().err == "1 lines of the audit trail never found room, 1 lost\n"


async def test_a_long_trail_becomes_the_old_one(tmp_path):
    """The file stays bounded: what is beyond its size begins a new one."""
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b"x" * MOST_BYTES)
    trail = PatientTrail(path)
    trail.note("ann", "created", 1)
    await trail.write()
    assert not path.exists()
    assert path.with_suffix(".old").stat().st_size > MOST_BYTES
    trail.note("ann", "created", 2)
    await trail.write()
    assert [line["agent"] for line in lines(path)] == [2]


async def test_a_trail_that_cannot_become_the_old_one_is_not_written_twice(tmp_path):
    """Where the old one cannot be replaced it grows on, each line in it once."""
    path = tmp_path / "trail.jsonl"
    path.write_bytes(b"\n" * MOST_BYTES)
    path.with_suffix(".old").mkdir()
    trail = PatientTrail(path)
    for agent in (1, 2):
        trail.note("ann", "created", agent)
        await trail.write()
        assert trail.waiting == 0
    written = path.read_bytes().lstrip().splitlines()
    assert [json.loads(line)["agent"] for line in written] == [1, 2]
