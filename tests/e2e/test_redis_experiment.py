"""The shipped question about a cache that falls silent has two true answers."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_play import ROOT, Played, assert_trustworthy, play

sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))
from redis_bench import PASSWORD, free_port, launch_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@asynccontextmanager
async def cached_page(kind: str, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The application and its Redis; gives where both are, as the system file wants it."""
    async with launch_redis(folder) as redis:
        port, url = free_port(), f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        place = Path(__file__).with_name("cached_page.py")
        process = await asyncio.create_subprocess_exec(sys.executable, str(place), str(port), url, kind)
        try:
            await _answers(port, process)
            yield {"APP_URL": f"http://127.0.0.1:{port}", "REDIS_URL": url}
        finally:
            process.kill()
            await process.wait()


async def _answers(port: int, process: asyncio.subprocess.Process) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert process.returncode is None
            assert time.monotonic() < end, "the application does not listen"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _played(kind: str, folder: Path) -> Played:
    async with cached_page(kind, folder) as where:
        return await play("run", str(ROOT / "experiments/silent-cache.yaml"), directory=folder, **where)


async def test_pages_stay_quick_with_a_deadline_and_hang_without_one(tmp_path: Path) -> None:
    """A silent cache is HELD with a deadline and a way around, and BROKEN where every connection waits for it."""
    for kind in ("careful", "fragile"):
        (tmp_path / kind).mkdir()
    careful, fragile = await asyncio.gather(  # neither needs much of a CPU
        _played("careful", tmp_path / "careful"), _played("fragile", tmp_path / "fragile")
    )
    assert careful.code == 0, careful
    assert careful.verdict["outcome"] == "HELD", careful
    assert fragile.code == 1, fragile
    assert "during: errors < 1%" in fragile.broken, fragile
    for played in (careful, fragile):
        assert_trustworthy(played, offered=300)
        assert PASSWORD not in "".join(
            path.read_text(errors="ignore") for path in played.run_dir.rglob("*") if path.is_file()
        )
        assert played.verdict["faults"][0]["lasted_s"] == pytest.approx(5, abs=1.5), played
