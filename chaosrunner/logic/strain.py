"""What workers saw of themselves, folded: bounded in memory, by worker and, where it was notable, by second.

A frame's `watch` is a worker's account since its previous frame (`chaosrunner.load.selfwatch` says how it is taken):

| key | is |
|---|---|
| `at_us`, `span_us` | when it was taken, µs after the epoch, and how long it stands for |
| `wait_us` | time in which the loop's thread was ready to run and had no CPU |
| `stalls`, `stall_us`, `stall_max_us` | the event loop stood still for more than 10 ms: how often, in all, at most |
| `spin_us` | CPU time spent on purpose, to fire on time |
| `files_max`, `files_allowed_max` | open files, and how many may be |
| `time_wait_max`, `ports_max` | sockets in TIME_WAIT on its host, and local ports there are |
| `clock_steps`, `clock_step_max_us` | jumps of its wall clock: how many, and the largest |

Keys that end in `max` or `max_us` are high-water marks; all others are sums. A key that is missing is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.model.slots import Frame

SECONDS_KEPT = 20_000
"""Notable seconds kept, over all workers; then the oldest are forgotten."""

FULL = 0.95
"""Share of its time that a worker runs or waits to run, before it counts as never idle; waiting awake is idling."""


@dataclass(slots=True)
class Strain:
    """A second of a worker in which it was not up to its work."""

    still_us: float = 0.0
    """The longest that its loop stood still at once: it had no CPU, or was busy with something else."""
    full_us: float = 0.0
    """Time in which it was never idle: it could not have done more."""


Watched = dict[int, dict[str, float]]
"""Worker → key → sum or high-water mark."""

Strains = dict[tuple[int, int], Strain]
"""(second after the epoch, worker) → what was notable there."""


def note_watch(watched: Watched, strains: Strains, frame: Frame) -> None:
    """Fold a frame's own account in."""
    watch = frame.watch
    if not watch:
        return
    totals = watched.setdefault(frame.worker, {})
    for key, value in watch.items():
        if key.endswith(("max", "max_us")):
            totals[key] = max(totals.get(key, 0.0), value)
        elif key != "at_us":
            totals[key] = totals.get(key, 0.0) + value
    still_us = watch.get("stall_max_us", 0.0)
    full_us = watch["span_us"] if _full(watch, frame.cpu_us) else 0.0
    totals["full_us"] = totals.get("full_us", 0.0) + full_us
    if not still_us and not full_us:
        return
    strain = strains.setdefault((int(watch["at_us"] // 1_000_000), frame.worker), Strain())
    strain.still_us = max(strain.still_us, still_us)
    strain.full_us += full_us
    if len(strains) > SECONDS_KEPT:
        del strains[next(iter(strains))]


def _full(watch: Mapping[str, float], cpu_us: int) -> bool:
    """Whether the worker was never idle. A frame cut early, of a few milliseconds, says nothing."""
    span_us = watch.get("span_us", 0.0)
    return span_us > 20_000 and cpu_us + watch.get("wait_us", 0.0) - watch.get("spin_us", 0.0) >= FULL * span_us
