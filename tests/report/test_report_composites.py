"""Composites in reports: one line for all of a composite, and nothing hidden that went wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import sample

from chaosrunner.model.fault import Fault, Group
from chaosrunner.model.verdict import FaultReport
from chaosrunner.report import composites
from chaosrunner.report.charts import faults_chart
from chaosrunner.report.markdown import markdown
from chaosrunner.report.markup import serialised
from chaosrunner.report.series import Bar, Timeline

RAMP = Group(line=7, title="proxy.latency on database in 3 steps")
STEP = FaultReport(
    title="proxy.latency on database",
    says="add 50 ms",
    proven=True,
    evidence="48 bytes",
    lasted_s=4.0,
    restored=True,
    group=RAMP,
)


def test_a_composite_is_one_line() -> None:
    """All of a composite are told in one line, a fault that stands by itself as ever."""
    alone = replace(STEP, group=None)
    told = [composites.lines(members) for members in composites.together([STEP, replace(STEP, lasted_s=5.2), alone])]
    assert told == [
        ("proxy.latency on database in 3 steps", "2 of 2 proven; undone after 4 s to 5.2 s each"),
        ("add 50 ms", "proven: 48 bytes; lasted 4 s"),
    ]


def test_two_composites_are_two() -> None:
    """Composites of the same words on different lines are not thrown together, nor are two single faults."""
    other = replace(STEP, group=replace(RAMP, line=9))
    alone = replace(STEP, group=None)
    assert [len(members) for members in composites.together([STEP, STEP, other, alone, alone])] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("second", "proof", "well"),
    [
        (
            {"proven": None, "evidence": ""},
            "1 of 2 proven; number 2 not proven; lasted 4 s; undone after 4 s each",
            None,
        ),
        (
            {"says": "", "proven": None, "evidence": "", "lasted_s": None, "note": "was not injected"},
            "1 of 2 proven; number 2 was not injected; undone after 4 s each",
            None,
        ),
        ({"restored": False, "lasted_s": None}, "2 of 2 proven; undone after 4 s each; 1 MAY STILL BE IN PLACE", False),
    ],
)
def test_what_went_wrong_is_not_lost_among_the_others(second: dict[str, object], proof: str, well: bool | None) -> None:
    """The first that was not proven says why, and what is left in place is counted."""
    members = [STEP, replace(STEP, **second)]  # type: ignore[arg-type]
    assert composites.lines(members)[1] == proof
    assert composites.well(members) is well


def test_every_report_tells_a_composite_as_one() -> None:
    """Markdown has one line for it, and its faults share a lane of the chart."""
    held = sample("held")
    verdict = replace(held.verdict, faults=(STEP, STEP, STEP))
    assert markdown(verdict, held.experiment).count("in 3 steps") == 1
    bars = [Bar(title="x", begun=(1.0, 1.1), ended=(2.0, 2.1), final=False, proven_s=None, group=RAMP)] * 3
    line = Timeline(
        width_s=1,
        points=(),
        phases=(),
        bars=tuple(bars),
        recovered_s=None,
        begin_s=0.0,
        end_s=9.0,
        hits=(),
        hits_whole=True,
    )
    assert serialised(faults_chart(line, 800)).count("in 3 steps") == 1


def test_the_page_lists_every_fault_of_a_composite() -> None:
    """The HTML report has a row for the composite, and one for each of its faults."""
    from chaosrunner.report.sections import faults_section

    held = sample("held")
    one = Fault(index=0, injector="x", target=None, params=None)
    asked = replace(held.experiment, faults=tuple(replace(one, index=number) for number in range(3)))
    page = serialised(faults_section(replace(held.verdict, faults=(STEP, STEP, STEP)), asked, held.state))
    assert page.count("3 of 3 proven") == 1
    assert page.count("add 50 ms") == 3
