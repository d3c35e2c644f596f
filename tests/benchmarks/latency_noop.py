"""Latency of the fault that does nothing: what our own measuring costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contract_rig import system_of
from latency_ways import OURS, Faults, ours

from chaosrunner.model.system import Component
from fault_injectors.noop import Noop


@asynccontextmanager
async def noop_faults() -> AsyncIterator[Faults]:
    """The one of its family."""
    yield {"noop": [ours(OURS, Noop(), system_of(Component(name="target")))]}
