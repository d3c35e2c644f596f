"""WebSocket for the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner.errors import LoadBroken

if TYPE_CHECKING:
    from chaosrunner.load.bench import Bench
    from chaosrunner.load.websocket.sockets import Sockets


def driver(bench: Bench) -> Sockets:
    """The WebSocket driver of a worker. Raises LoadBroken where its library has no build."""
    try:
        from chaosrunner.load.websocket.sockets import Sockets
    except ImportError as error:
        raise LoadBroken(f"WebSocket steps need a package; pip install picows ({error})") from error
    return Sockets(bench)
