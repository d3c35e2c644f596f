"""The same run as a punctual generator would have seen it."""

from __future__ import annotations

from building import Script, away, experiment, p95

from chaosrunner.logic.judge import judge
from chaosrunner.logic.punctual import without_lag
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.verdict import Outcome


def test_the_lag_is_taken_off_hits_and_slots() -> None:
    """Responses are shorter by the lag, and the state that was given is left as it was."""
    state = Script(lag=0.05).state()
    kind = without_lag(state)
    assert {hit.response_us for hit in kind.hits} == {5_000}
    assert {hit.response_us for hit in state.hits} == {55_000}
    slot = kind.slots[300][0]
    assert slot.ok == slot.adjusted == state.slots[300][0].adjusted != state.slots[300][0].ok


def test_a_recovery_that_only_the_generator_spoils_is_unknown() -> None:
    """Never recovered by responses with lag, at once without it: that blames the generator, not the target."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(0.1),)))
    finding = next(one for one in judge(asked, Script(lag=0.2).state()).findings if one.name.startswith("recovery"))
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.why == "the generator's own lag decides: without it 0.00 s (0.00–0.00)"


def test_a_target_that_is_gone_is_broken_however_late_the_generator() -> None:
    """Lag does not excuse failures."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(0.1),)))
    gone = Script(answer=away(24.0, 999.0, outcome=Hits.REFUSED), lag=0.01).state()
    finding = next(one for one in judge(asked, gone).findings if one.name.startswith("recovery"))
    assert finding.outcome is Outcome.BROKEN
