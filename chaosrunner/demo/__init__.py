"""A small real system to break: a gateway, three replicas, a slow back end, a real Postgres and, if asked for, a Redis.

Every part is an operating-system process of its own, and all traffic to the replicas and to what is behind them passes
the embedded fault proxy. `--fragile` swaps care for the defects real systems have, with the same API on top.

    running_demo ─starts▶ supervisor ─starts▶ gateway ─▶ proxy ─▶ api-1..3 ─▶ proxy ─▶ model, Postgres, Redis
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def serve(argv: Sequence[str] | None = None) -> int:
    """Run the demo until it is told to stop; the main of `python -m chaosrunner.demo`.

    Args:
        argv: Command-line arguments without the program name; those of the process when None.

    Returns:
        An exit code: 0 after a stop that was asked for, 2 for a port that is taken or a Postgres that is missing,
        70 when a part did not start.
    """
    from chaosrunner.demo.__main__ import main

    return main(argv)
