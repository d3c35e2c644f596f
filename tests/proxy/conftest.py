"""The proxy's tests run on both event loops it may meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

from proxy_rig import Api, EchoServer, running_api


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Each asynchronous test runs once on uvloop and once on asyncio's own loop."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A fault proxy in this process, and a client of its control API."""
    async with running_api() as api:
        yield api


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    """A server that sends back what it is sent."""
    async with EchoServer() as server:
        yield server
