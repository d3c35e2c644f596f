"""The agenda does each thing once, in order, never early, and forgets what is cancelled."""

from __future__ import annotations

import asyncio
import os
import time

from proxy_rig import until

from chaosrunner.proxy.agenda import PER_TURN, SWEEP_ABOVE, Agenda


async def test_entries_are_done_in_order_and_never_early() -> None:
    """Whatever order they are entered in, each is done once, at or after its instant, by due time."""
    agenda, done = Agenda(), list[tuple[int, float]]()
    now = time.monotonic()
    for number in (5, 1, 3, 2, 4, 0):
        agenda.at(now + number * 0.01, lambda number=number: done.append((number, time.monotonic())))
    await until(lambda: len(done) == 6)
    assert [number for number, _ in done] == [0, 1, 2, 3, 4, 5]
    assert all(at >= now + number * 0.01 for number, at in done)
    agenda.close()


async def test_a_cancelled_entry_is_not_done() -> None:
    """Cancelling before, even by an entry of the same instant, means that it is not done; after, it is harmless."""
    agenda, done = Agenda(), list[str]()
    due = time.monotonic() + 0.01
    first = agenda.at(due, lambda: (done.append("first"), second.cancel()))
    second = agenda.at(due + 1e-6, lambda: done.append("second"))
    agenda.at(due + 0.01, lambda: done.append("last"))
    await until(lambda: "last" in done)
    first.cancel()
    assert done == ["first", "last"]
    agenda.close()


async def test_what_is_due_again_and_again_leaves_time_for_others() -> None:
    """An entry that enters itself anew, always due, does not stop the loop from turning."""
    agenda, turns = Agenda(), 0

    def again() -> None:
        nonlocal turns
        turns += 1
        agenda.at(0.0, again)

    again()
    await asyncio.sleep(0)
    await until(lambda: turns > PER_TURN)
    agenda.close()


async def test_cancelled_entries_do_not_pile_up() -> None:
    """A hundred thousand entries far ahead, each cancelled, leave at most a few behind."""
    agenda = Agenda()
    for _ in range(100_000):
        agenda.at(time.monotonic() + 3600, again_never).cancel()
    assert len(agenda) <= 2 * SWEEP_ABOVE + 1
    agenda.close()


async def test_an_entry_that_fails_does_not_stop_the_others() -> None:
    """After one raised, those that are due at the same time and those that are due later are still done."""
    agenda, done = Agenda(), list[str]()
    raised = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context["exception"]))
    agenda.at(0.0, lambda: done.append(str(1 // 0)))
    agenda.at(0.0, lambda: done.append("beside it"))
    agenda.at(time.monotonic() + 0.01, lambda: done.append("later"))
    await until(lambda: done == ["beside it", "later"])
    assert [type(error) for error in raised] == [ZeroDivisionError]
    agenda.close()


async def test_closing_twice_closes_once() -> None:
    """A second close leaves descriptors alone that are somebody else's by now."""
    agenda = Agenda()
    agenda.at(time.monotonic() + 3600, again_never)
    agenda.close()
    reader, writer = os.pipe()  # takes the numbers that have become free
    agenda.close()
    os.close(reader)
    os.close(writer)


def again_never() -> None:
    """Never done."""
    raise AssertionError("done though cancelled")
