"""The reports take what the judge gives."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from samples import SCENARIOS, Sample, sample

from chaosrunner.logic.fold import State, fold
from chaosrunner.logic.judge import judge
from chaosrunner.model.experiment import Phase
from chaosrunner.report.html import html
from chaosrunner.report.json import verdict_json
from chaosrunner.report.junit import junit_xml
from chaosrunner.report.markdown import markdown
from chaosrunner.report.table import others, rows
from chaosrunner.report.terminal import final


def rendered(one: Sample, state: State) -> str:
    """Every report of the judge's own verdict, one after another."""
    verdict = judge(one.experiment, state)
    out = io.StringIO()
    Console(file=out, width=100).print(final(verdict, one.experiment))
    data = json.dumps(verdict_json(verdict, one.experiment, state), allow_nan=False)
    page = html(verdict, one.experiment, state, one.entries)
    return "\n".join([out.getvalue(), data, junit_xml(verdict), markdown(verdict, one.experiment), page])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_finding_of_the_judge_has_its_place(scenario: str) -> None:
    """Each tolerance's finding is found by its name: none falls out of the table into the rest."""
    one = sample(scenario)
    verdict = judge(one.experiment, one.state)
    asked = one.experiment.hypothesis
    cells = [row.cell(phase) for row in rows(verdict, one.experiment) for phase in Phase]
    assert sum(cell.outcome is not None for cell in cells) == len(asked.before) + len(asked.during) + len(asked.after)
    assert not [f.name for f in others(verdict, one.experiment) if f.name.startswith(("before", "during", "after"))]
    assert f"exit {int(verdict.exit)}" in rendered(one, one.state)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_a_journal_that_ends_early_has_reports(share: float) -> None:
    """However early a run was cut off, its verdict can be shown."""
    one = sample("broken")
    assert rendered(one, fold(one.entries[: int(len(one.entries) * share)]))
