"""Processes that hold a fault for as long as it may last: how they are started and found, and how they stay.

A holder is `python -m MODULE TAG …`, its orders on stdin because they hold secrets. It outlives whoever started it, but
never its own deadline. It says one line of JSON, `{"began": true}` or `{"error": …}`, and is silent from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from chaosrunner.errors import InjectorError
from fault_injectors import processes
from fault_injectors.processes import Process

BEGIN_S = 20.0
GRACE_S = 10.0
"""A holder, and what its target holds for it, lets go this long after the fault should have ended."""
SETTLE_S = 0.5
"""A holder whose starter dies is visible by its command line within this; it has then not begun, or is ended."""


async def start(module: str, tag: str, orders: Mapping[str, object]) -> None:
    """Start a holder and wait until it has begun; bounded by `BEGIN_S`.

    Raises:
        InjectorError: it could not begin; it has then ended.
    """
    await asyncio.to_thread(begin, module, (tag,), orders)


def begin(module: str, words: Sequence[str], orders: Mapping[str, object], within_s: float = BEGIN_S) -> None:
    """Start a holder that is found by these words, of which the first is the tag; blocking, bounded by `within_s`.

    Raises:
        InjectorError: it could not begin; it has then ended.
    """
    answer = _answer(module, words, json.dumps(orders), within_s)
    if "began" not in answer:
        raise InjectorError(f"the holder of {words[0]} could not begin: {answer.get('error')}")


def holders(module: str, tag: str) -> list[Process]:
    """The holder, if it lives on this host."""
    return processes.running(["-m", module, tag])


def end(module: str, tag: str) -> None:
    """End it, if it lives on this host."""
    for holder in holders(module, tag):
        processes.send(holder, signal.SIGKILL)


def say(answer: Mapping[str, object]) -> None:
    """Of a holder: its one line, after which nobody waits for it any more."""
    try:
        print(json.dumps(answer), flush=True)
    except OSError:
        return  # whoever asked is gone; the deadline stays
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.close(quiet)


def stay(hold: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Of a holder: read the orders, leave the family of whoever gave them, and hold for their `seconds` at most.

    `hold` returns when there is nothing to hold any more; its InjectorError is said.
    """
    try:
        orders = json.loads(sys.stdin.read())
    except ValueError:
        say({"error": "the orders did not arrive whole"})
        return
    if os.fork():
        os._exit(0)  # so that nobody has to wait for us: init does
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(int(orders["seconds"]) + 2)  # should the loop ever hang
    asyncio.run(_held(hold, orders))


async def _held(hold: Callable[[dict[str, Any]], Awaitable[None]], orders: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(orders["seconds"]):
            await hold(orders)
    except TimeoutError:
        pass
    except InjectorError as error:
        say({"error": str(error)})


def _answer(module: str, words: Sequence[str], orders: str, within_s: float) -> Mapping[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(orders.encode(), timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"it said nothing in {within_s:g} s"}
    answer: Mapping[str, Any] = json.loads(said) if said else {"error": "it ended without a word"}
    return answer
