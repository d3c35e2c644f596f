"""A desk for every test that wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_rig import Desk, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with a server; whatever is still running afterwards is ended."""
    desk = Desk(tmp_path, Server.start(tmp_path / "sick"))
    try:
        yield desk
    finally:
        desk.tidy()
