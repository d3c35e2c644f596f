"""What the reports say of a recovery: its verdict, what remains, what the faults did."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from samples import sample

from chaosrunner.model.verdict import Change, Degradation, Impact, Recovery, Relapse, Residual, Return
from chaosrunner.report.markup import serialised
from chaosrunner.report.prose import as_before, cost, recovered, recovery_label
from chaosrunner.report.recovery import recovery_section
from chaosrunner.report.recovery_json import recovery_json
from chaosrunner.report.sections import key_figures

SLOWER = Residual(
    metric="p50",
    scale="ratio",
    before=0.02,
    after=0.025,
    change=1.25,
    low=1.23,
    high=1.27,
    margin=0.1,
    proves=Change.WORSE,
)
FAILING = Residual(
    metric="errors", scale="difference", before=0.0, after=0.004, change=0.004, low=-0.001, high=0.012, margin=0.01,
    why="it may be 1.2 points worse, the margin is 1 point",
)  # fmt: skip
LESS = Residual(
    metric="rate",
    scale="ratio",
    before=100.0,
    after=0.0,
    change=0.0,
    low=0.0,
    high=math.inf,
    margin=0.05,
    proves=Change.WORSE,
)
EMPTY = Residual(metric="p95", scale="ratio", before=None, after=None, margin=0.1, why="the baseline itself fails")
IMPACT = Impact(
    degradation=Degradation.PARTIAL,
    sure_s=0.2,
    budget_s=90.0,
    budget_share=0.01,
    drain_s=2.5,
    in_flight=40,
    early=(replace(LESS, judged=False),),
    curve=((0.0, 1.0), (1.0, 0.4), (2.0, 1.1)),
    area_s=0.5,
)
BACK = replace(
    sample("held").verdict.recovery,
    verdict=Return.RECOVERED,
    verdict_why="p50 -1 % to +2 %",
    depth_low=0.02,
    depth_high=0.3,
    residuals=(SLOWER, FAILING, LESS, EMPTY),
    relapses=(Relapse(well_s=1.5, begin_s=7.5, end_s=12.5),),
    impact=IMPACT,
)


def page(seen: Recovery) -> str:
    one = sample("held")
    return serialised(recovery_section(replace(one.verdict, recovery=seen), one.experiment))


@pytest.mark.parametrize("verdict", [Return.NOT_RECOVERED, Return.RELAPSED])
def test_nothing_says_recovered_where_it_is_not(verdict: Return) -> None:
    """Where the verdict is against it, the line begins with that, is called otherwise, and the page is not green."""
    seen = replace(BACK, verdict=verdict, verdict_why="p50 +25 % (+23 % to +27 %), +10 % is allowed")
    said = recovered(seen)
    assert said.startswith(f"{verdict}: p50 +25 %")
    assert "'after' holds since" in said
    assert (recovery_label(seen), as_before(seen)) == ("recovery", "")
    assert 'class="lead unknown"' in page(seen)
    assert "TOO LATE" in recovered(replace(seen, state="late"))
    one = sample("held")
    assert str(verdict) in serialised(key_figures(replace(one.verdict, recovery=seen), one.experiment))
    assert str(verdict) not in serialised(key_figures(replace(one.verdict, recovery=BACK), one.experiment))


def test_what_is_proven_is_said_and_what_is_not() -> None:
    """RECOVERED says by which intervals, INCONCLUSIVE what would do, and NEVER for how long it was watched."""
    assert as_before(BACK) == "RECOVERED: proven to be as before: p50 -1 % to +2 %"
    assert recovery_label(BACK) == "recovered"
    open_ = replace(BACK, verdict=Return.INCONCLUSIVE, verdict_why="p95: 20 s of hold would do")
    assert as_before(open_) == "INCONCLUSIVE whether all is as before: p95: 20 s of hold would do"
    assert as_before(replace(open_, state="unknown")) == ""
    never = Recovery(state="never", longer_than_s=150.0, verdict=Return.NOT_RECOVERED, verdict_why="'after' never held")
    assert recovered(never).startswith("NEVER, > 2 min 30 s")
    for state in ("never", "unknown", "none"):
        assert recovery_label(Recovery(state=state)) == "recovery"
    assert as_before(never) == "NOT RECOVERED: 'after' never held"
    assert as_before(replace(never, verdict=Return.RELAPSED)) == "RELAPSED: 'after' never held"
    assert as_before(Recovery(state="none")) == ""


def test_what_it_cost_is_one_line() -> None:
    """Class, error budget, backlog and area in one line; nothing where nothing was measured."""
    assert cost(BACK) == (
        "partial outage · 1.5 min of the error budget (1 %) spent · backlog drained in 2.5 s, 40 requests at most · "
        "0.5 s of full service lost"
    )
    nothing = Impact(degradation=Degradation.NONE, budget_s=0.0, budget_share=0.01, area_s=-0.001, drain_s=0.0)
    assert cost(replace(BACK, impact=nothing)) == "no degradation proven"
    assert cost(replace(BACK, impact=None)) == ""


def test_the_page_shows_what_remains_and_the_curve() -> None:
    """A row a metric with its interval and what it proves, bounds of the depth, and the curve with its worst second."""
    text = page(BACK)
    for said in (
        "+23 % to +27 %", "WORSE", "unclear", "−5 %", "+1 points", "∞", "2 % to 30 %", "partial outage",
        "At worst 40 % of the baseline's goodput, 1 s after the first injection; 0.5 s of full service lost",
    ):  # fmt: skip
        assert said in text, said
    plain = page(replace(BACK, residuals=(), impact=replace(IMPACT, area_s=None, sure_s=None, in_flight=None)))
    assert "What remains" not in plain
    assert "after the first injection." in plain
    assert "<svg" not in page(replace(BACK, impact=replace(IMPACT, curve=())))
    assert "Resilience" not in page(replace(BACK, impact=None))


def test_programs_get_all_of_it() -> None:
    """The JSON has verdict, residuals, relapses and impact, infinities spelled, and is valid JSON."""
    told = json.loads(json.dumps(recovery_json(BACK), allow_nan=False))
    assert (told["state"], told["verdict"], told["depth_low_share"]) == ("recovered", "RECOVERED", 0.02)
    assert [one["proves"] for one in told["residuals"]] == ["worse", "unclear", "worse", "unclear"]
    assert told["residuals"][2]["high"] == "Infinity"
    assert told["relapses"] == [{"well_s": 1.5, "begin_s": 7.5, "end_s": 12.5}]
    assert told["impact"]["degradation"] == "partial outage"
    assert told["impact"]["resilience_curve"] == [[0.0, 1.0], [1.0, 0.4], [2.0, 1.1]]
    assert told["impact"]["overshoot"][0]["judged"] is False
    assert recovery_json(Recovery(state="none"))["impact"] is None
