"""The same run as a punctual generator would have seen it: responses without the generator's own lag."""

from __future__ import annotations

from dataclasses import replace

from chaosrunner.logic.fold import State
from chaosrunner.model.slots import Slot


def without_lag(state: State) -> State:
    """The state with the lag taken off every response; the given one is left as it is."""
    return replace(
        state,
        hits=[replace(hit, response_us=max(0, hit.response_us - hit.lag_us)) for hit in state.hits],
        slots={
            number: {name: _punctual(slot) for name, slot in names.items()} for number, names in state.slots.items()
        },
    )


def _punctual(slot: Slot) -> Slot:
    return replace(slot, ok=slot.adjusted)
