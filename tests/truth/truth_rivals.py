"""How other tools would have decided on the same target: by a probe before and after, and by thresholds of the run.

- *Tolerance before and after* (Chaos Toolkit): a steady-state probe is asked once when the method is over, which ends
  with a pause of the recovery target; the hypothesis holds if that one answer is within its tolerance.
- *Thresholds* (k6): shares and percentiles of the whole run, at its end.
"""

from __future__ import annotations

from virtual_play import World

from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot


def probe_after(world: World, bound_s: float) -> bool:
    """Whether one request to the first endpoint, when the recovery target has passed, succeeds in time."""
    outcome, response = world.answer(world.ended_s + world.experiment.recover.within_s, 0)
    return outcome is Outcome.OK and response <= bound_s


def thresholds(world: World, bound_s: float) -> bool:
    """Whether fewer than 1 % of all requests failed, and 95 % of those that were answered were within the bound."""
    whole = Slot()
    for names in world.state.slots.values():
        for slot in names.values():
            whole.add(slot)
    p95 = whole.ok.quantile(0.95)
    return p95 is not None and whole.errors < 0.01 * whole.finished and p95 <= bound_s * 1e6
