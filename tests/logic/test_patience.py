"""How long a run waits for a proof that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, errors, experiment, noisy, ns, well

from chaosrunner.logic.decide import decide
from chaosrunner.logic.equivalence import SIDE
from chaosrunner.logic.fold import State
from chaosrunner.logic.patience import looks, next_look, side
from chaosrunner.model.experiment import RecoveryTarget
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.steps import Done, Wait

ASKED = experiment(
    hypothesis=Hypothesis(after=(errors(0.05),)), recover=RecoveryTarget(within_s=20.0, hold_s=5.0, margin=0.1)
)
PLAIN = replace(ASKED, recover=RecoveryTarget(within_s=20.0, hold_s=5.0))


def state(rate: float, until: float, **more: float | None) -> State:
    """Recovery and AFTER begin at 27.5 s, and the load is known until then."""
    script = Script(answer=noisy(10_000, wrong=0.0, slow=0.0), rate=rate, end=until, ended="", after=27.5)
    return replace(script, **more).state()  # type: ignore[arg-type]


def seconds(found: list[int]) -> list[float]:
    return [(at - ns(0)) / 1e9 for at in found]


def test_the_looks_are_known_beforehand() -> None:
    """After the hold time, each time half as much again, and at the end of target and hold; each has its share."""
    there = state(100.0, 28.0)
    assert seconds(looks(ASKED, there)) == [32.5, 35.0, 38.75, 44.375, 52.5]
    assert side(ASKED, there) == pytest.approx(SIDE / 5)
    assert looks(PLAIN, there) == []
    assert side(PLAIN, there) == SIDE
    assert looks(ASKED, state(100.0, 28.0, after=None)) == []
    assert seconds(looks(ASKED, state(100.0, 50.0, recovery=20.0, after=44.0))) == [49.0]
    assert len(looks(ASKED, state(100.0, 28.0, recovery=None))) == 5


def test_a_proof_ends_the_run_at_the_first_look() -> None:
    """Where all is proven to be as before when the hold time is over, the run is done."""
    there = state(200.0, 33.0)
    assert next_look(ASKED, there, ns(32.6)) is None
    assert decide(ASKED, there, ns(32.6)) == Done("proven")


def test_without_a_proof_it_waits_until_target_and_hold() -> None:
    """Where too little is known the run goes on to the next look, and ends when target and hold are over."""
    there = state(8.0, 33.0)
    assert next_look(ASKED, there, ns(32.6)) == ns(35.0)
    assert isinstance(decide(ASKED, there, ns(32.6)), Wait)
    assert next_look(ASKED, there, ns(34.0)) == ns(35.0)  # a look that came too late is left out
    late = state(8.0, 53.0)
    assert next_look(ASKED, late, ns(52.6)) is None
    assert decide(ASKED, late, ns(52.6)) == Done("proven")


def test_who_did_not_ask_does_not_wait() -> None:
    """Without a margin the run ends when the hold time is over."""
    assert decide(PLAIN, state(8.0, 33.0), ns(32.6)) == Done("proven")
    assert well(0.0, 0)[1] == 0.005
