"""Recovery where requests are missing, or too few: silences in a journey, and failures that chance explains."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Answer, Script, away, errors, steps, well
from recovering import FEW, HEAL, LATER, after, measured

from chaosrunner.logic.fold import State
from chaosrunner.logic.recovery import recovery
from chaosrunner.model.experiment import RecoveryTarget
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot


def journeys(answer: Answer, until: float) -> list[float]:
    """Log in every 100 ms, read 50 ms later if that went well."""
    dues = []
    for nth in range(int(until * 10)):
        dues += [nth / 10, nth / 10 + 0.05]
    return dues


class Journey:
    """Reads that are never asked while the log in before them fails (or, `slow`, hangs for seconds)."""

    def __init__(self, begin: float, end: float) -> None:
        self.ill = begin, end

    def script(self, outcome: Outcome, **more: object) -> Script:
        begin, end = self.ill
        dues = [due for due in journeys(well, 60.0) if round(due * 20) % 2 == 0 or not begin <= due < end + 0.06]
        asked = Script(dues=dues, names=1, **more)  # type: ignore[arg-type]
        return replace(asked, answer=lambda due, _: (outcome, 0.001) if begin <= due < end else (Outcome.OK, 0.005))


def named(state: State) -> State:
    """Turn the hits due at odd twentieths into name 1."""
    hits = [replace(hit, name=round(hit.due_us / 50_000) % 2) for hit in state.hits]
    slots: dict[int, dict[int, Slot]] = {}
    from building import count

    for hit in hits:
        slot = slots.setdefault(hit.due_us // 100_000, {}).setdefault(hit.name, Slot())
        slot.due += 1
        count(slot, hit)
    state.hits, state.slots = hits, slots
    return state


@pytest.mark.parametrize("raw", [True, False])
def test_a_silence_is_explained_by_the_failures_in_it(raw: bool) -> None:
    """While log in fails no read is ever due: reads have recovered when log in has, not a journey later or earlier."""
    state = named(Journey(24.0, 31.0).script(Outcome.RESET).state())
    state.hits = state.hits if raw else []
    seen = recovery(after(errors(0.02, of="read"), load=steps("log in", "read")), state, LATER)
    assert seen.time_s == pytest.approx(31.0 - HEAL, abs=0.11)
    assert seen.low_s is not None
    assert seen.low_s <= 31.0 - HEAL


def test_a_silence_without_a_failure_ends_with_the_next_request() -> None:
    """When reads fell silent and nothing failed, nothing is known before the next read."""
    state = named(Journey(24.0, 31.0).script(Outcome.OK).state())
    seen = recovery(after(errors(0.02, of="read"), load=steps("log in", "read")), state, LATER)
    assert seen.time_s == pytest.approx(31.15 - HEAL, abs=0.02)
    assert seen.low_s == 0.0


def test_a_silence_that_never_ends() -> None:
    """Reads that do not come back have not recovered."""
    state = named(Journey(24.0, 99.0).script(Outcome.OK).state())
    seen = recovery(after(errors(0.02, of="read"), load=steps("log in", "read")), state, LATER)
    assert (seen.state, seen.why) == ("unknown", "50 requests too few in 10 s to prove a recovery")
    dead = named(Journey(24.0, 99.0).script(Outcome.RESET).state())
    both = after(errors(0.02, of="read"), errors(0.02), load=steps("log in", "read"))
    assert recovery(both, dead, LATER).state == "never"


def test_a_name_never_seen_in_the_baseline() -> None:
    """Without a usual distance of requests, silence is not suspicious; too few hits still prove nothing."""
    asked = after(errors(0.02, of="read"), load=steps("log in", "read"))
    assert measured(Script(), asked).state == "unknown"


def test_no_request_near_the_target_is_no_recovery() -> None:
    """Where the last bad request is before the target and the first good one after it, nobody knows which it was."""
    dues = [*(nth / 10 for nth in range(20, 339)), *(38.0 + nth / 10 for nth in range(220))]
    script = Script(answer=away(24.0, 33.85), dues=dues)
    for within_s, state in [(5.0, "late"), (8.0, "unknown"), (12.0, "recovered")]:
        seen = measured(script, replace(FEW, recover=RecoveryTarget(within_s=within_s, hold_s=10.0)))
        assert seen.state == state, seen.why
        assert state != "unknown" or seen.why == "no request between 6.3 s and 10.5 s after it tells"


@pytest.mark.parametrize(("apart_s", "state"), [(4.5, "unknown"), (1.0, "never")])
def test_failures_that_chance_explains_do_not_refute_a_recovery(apart_s: float, state: str) -> None:
    """Failures here and there leave a recovery unknown where requests are few; more than chance explains refute it."""

    def answer(due: float, _: int) -> tuple[Outcome, float]:
        fails = due >= 24.0 and (due - 24.0) % apart_s < 0.045
        return (Outcome.RESET, 0.001) if fails else (Outcome.OK, 0.005)

    seen = measured(Script(answer=answer, rate=20.0))
    assert seen.state == state, seen.why


def test_a_faint_illness_that_lasts_is_no_chance() -> None:
    """What a hold time of few requests cannot tell from chance the whole watch can."""

    def answer(due: float, _: int) -> tuple[Outcome, float]:
        return (Outcome.RESET, 0.001) if due >= 24.0 and round(due * 10) % 33 == 0 else (Outcome.OK, 0.005)

    asked = replace(FEW, recover=RecoveryTarget(within_s=300.0, hold_s=10.0))
    assert measured(Script(answer=answer, rate=10.0, end=345.0), asked).state == "never"
