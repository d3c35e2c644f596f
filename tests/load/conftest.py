"""What one worker does to a connection is tested on both event loops it may meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BOTH = {
    "test_load_alarm.py",
    "test_load_journeys.py",
    "test_load_pool.py",
    "test_load_replies.py",
    "test_load_tls.py",
    "test_load_users.py",
    "test_load_websocket_faults.py",
}

FAST = {"test_load_fuzz.py", "test_load_http_full.py", "test_load_http_steps.py"}
"""On the loop that workers prefer, which is enough once the connections were seen on both."""


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, which workers prefer, and asyncio's own, which they fall back to."""
    if item.path.name in BOTH:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if item.path.name in FAST:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
