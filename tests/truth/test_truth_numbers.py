"""The lie detector, a reduced set: seeds are fixed, so that what passes here passes everywhere."""

from __future__ import annotations

import pytest
from truth import Line, many
from truth_cells import cells

from chaosrunner.model.verdict import Outcome, Return

CELLS = list(cells())


def line(says: str, rate: float = 20.0, noise: str = "noisy", *, runs: int = 20) -> Line:
    """The runs of one cell."""
    wanted = (says, rate, noise)
    [nth] = [nth for nth, cell in enumerate(CELLS) if (cell.says, cell.rate, cell.noise.name) == wanted]
    return Line(CELLS[nth], many(nth, range(runs)))


@pytest.mark.parametrize(
    "says",
    [
        "connection reset",
        "connection refused",
        "accepts, never answers",
        "half-open: every other waits in vain",
        "one endpoint of five",
        "relapse after 20 s",
    ],
)
def test_an_outage_is_timed_right(says: str) -> None:
    """Noisy outages are timed within four bad requests, in intervals that hold the truth; only relapses are said so."""
    seen = line(says)
    assert len(seen.errors) >= 18
    assert seen.misses() == []
    relapsed = sum(run.verdict is Return.RELAPSED for run in seen.runs)
    assert relapsed >= 18 if says == "relapse after 20 s" else relapsed == 0


def test_a_slow_return_is_timed_nearly_as_by_one_who_knows_its_law() -> None:
    """At 200 requests/s the error of a return in a straight line is below three times that of an oracle."""
    seen = line("back in a straight line", 200.0)
    assert seen.ratio is not None
    assert seen.ratio < 3
    assert seen.inside is not None
    assert seen.inside >= 0.93


@pytest.mark.parametrize("noise", ["noisy", "wandering"])
def test_what_remains_is_no_recovery(noise: str) -> None:
    """A system that stays a quarter slower than its baseline is never said to have recovered to within a tenth."""
    runs = line("+25 % remains", 20.0, noise, runs=10).runs
    assert all(run.outcome is not Outcome.HELD for run in runs)
    assert all(run.verdict is not Return.RECOVERED for run in runs)


def test_nothing_is_no_finding() -> None:
    """Where nothing happened nothing is broken."""
    runs = line("A/A: nothing happens", runs=30).runs
    assert all(run.outcome is not Outcome.BROKEN for run in runs)
    assert all(run.verdict in (Return.RECOVERED, Return.INCONCLUSIVE, None) for run in runs)


def test_the_dead_do_not_hold() -> None:
    """A target that is gone for good is broken, every time."""
    assert {run.outcome for run in line("dead", runs=10).runs} == {Outcome.BROKEN}


@pytest.mark.parametrize(
    "says",
    [
        "no traffic since the fault",
        "no traffic at all",
        "no answer of the probe",
        "generator starts 80 % only",
        "generator lags 100 ms",
    ],
)
def test_what_cannot_be_known_is_unknown(says: str) -> None:
    """Without traffic, without a probe's answer and with a saturated generator the verdict is UNKNOWN."""
    assert {run.outcome for run in line(says, runs=10).runs} == {Outcome.UNKNOWN}


def test_a_probe_that_says_nothing_and_failures_by_chance_prove_nothing() -> None:
    """Three failures of 283 where 1 % may fail, and no answer of a probe: nobody knows whether it recovered."""
    [nth] = [nth for nth, cell in enumerate(CELLS) if cell.says == "no answer of the probe" and cell.rate == 20.0]
    [run] = many(nth, [200_118])
    assert run.outcome is Outcome.UNKNOWN
