"""What every test may count on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A shared machine may be slow for a while: an example that takes long is not an error.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

LONGEST = (
    "test_contract_docker.py",
    "test_contract_proxy.py",
    "test_kill.py",
    "test_cli_exit_codes.py",
    "test_contract_network.py",
    "test_cli_signals.py",
    "test_contract_far.py",
    "test_load_users.py",
    "test_load_cluster.py",
    "test_contract_dialects.py",
    "test_cli_safety.py",
    "test_cli_crash_safety.py",
)
"""Files that take longest, the longest first: begun last, one of them would go on alone when all others are done."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all else as it was found."""
    turns = {name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.name, len(turns)))


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """A command played in this process ignores signals once it has ended; later tests must not hand that on."""
    before = {one: signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for one, handler in before.items():
        if handler is not None and signal.getsignal(one) is not handler:
            signal.signal(one, handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, object, None]:
    """In CI nothing that this machine could run may be skipped: a skip there is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {item.nodeid}: {call.excinfo.value if call.excinfo else ''}"
