"""What a worker says while nobody hears it, and how it is heard afterwards."""

from __future__ import annotations

import pytest
from load_rig import OK, Target, always, profile, work

from chaosrunner.load.process import READ_AHEAD_BYTES, WorkerProcess
from chaosrunner.load.worker import FRAME_S, UNSENT_BYTES


@pytest.mark.parametrize(("waiting", "on_time"), [(UNSENT_BYTES - 1, True), (UNSENT_BYTES, False)])
async def test_frames_are_cut_on_time_though_nobody_hears_up_to_a_bound(waiting: int, on_time: bool) -> None:
    """Each holds what was due since the one before; beyond the bound all is kept for one, and nothing is lost."""
    async with Target(always(OK)) as target:
        books = await work(profile(rate=100, lasts_s=1.0), target.url, longest_s=1.5, waiting=waiting)
    assert books.all.finished == 100
    assert (len(books.frames) >= 3) is on_time
    if not on_time:
        (whole,) = books.frames
        assert whole.until_us > 3 * FRAME_S * 1e6


@pytest.mark.parametrize("length", [1, READ_AHEAD_BYTES - 20, READ_AHEAD_BYTES + 7, 3 * READ_AHEAD_BYTES])
async def test_lines_of_any_length_are_heard_whole_and_in_order(length: int) -> None:
    """However much longer than what is read ahead; half a line of a worker that died is nothing."""
    says = f"[print(json.dumps({{'n': n, 'text': 'x' * {length}}})) for n in range(3)]; print('{{', end='')"
    worker = await WorkerProcess.spawn(0, ("-c", f"import json; {says}"))
    try:
        heard = [await worker.hear() for _ in range(4)]
    finally:
        await worker.reap()
    assert heard == [*({"n": n, "text": "x" * length} for n in range(3)), None]
