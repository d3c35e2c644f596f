"""The embedded fault proxy: TCP proxies that break connections on request, with Toxiproxy's HTTP API."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaosrunner.proxy.server import FaultProxy

__all__ = ["API_VERSION", "FaultProxy", "main"]

# The Toxiproxy release whose API this is; clients choose their calls by it.
API_VERSION = "2.12.0"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a fault proxy until it is told to stop.

    Args:
        argv: The command line without the program's name; the process's own if None.

    Returns:
        The exit code: 0 after a signal to stop, 2 if it could not start as asked.
    """
    from chaosrunner.proxy.command import run

    return run(argv)


def __getattr__(name: str) -> Any:
    """Import the server only when somebody wants one in process, so that `--help` stays instant."""
    if name != "FaultProxy":
        raise AttributeError(name)
    from chaosrunner.proxy.server import FaultProxy

    return FaultProxy
