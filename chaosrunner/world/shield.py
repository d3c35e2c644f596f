"""Work that must finish: no number of cancels can end it early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def unshakable(work: Coroutine[Any, Any, T]) -> T:
    """Await work to its end, whatever cancels arrive meanwhile; one is delivered afterwards if any came.

    Raises:
        asyncio.CancelledError: the work is done, and somebody had asked to stop.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and task.exception() is None:
        raise asyncio.CancelledError
    return task.result()
