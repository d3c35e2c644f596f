"""Reports for machines: JSON, JUnit, Markdown, and how they are written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml
from samples import SCENARIOS, hostile, sample

from chaosrunner.model.load import Closed, LoadProfile
from chaosrunner.model.verdict import Outcome
from chaosrunner.report.json import SCHEMA, verdict_json
from chaosrunner.report.junit import junit_xml
from chaosrunner.report.markdown import markdown
from chaosrunner.report.numbers import number
from chaosrunner.report.write import write_all


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_json_is_json_and_agrees_with_the_verdict(scenario: str) -> None:
    """The JSON has no number that JSON does not know, and says outcome, exit code and findings as judged."""
    one = sample(scenario)
    data = json.loads(json.dumps(verdict_json(one.verdict, one.experiment, one.state), allow_nan=False))
    assert data["schema"] == SCHEMA
    assert data["outcome"] == one.verdict.outcome.name
    assert data["exit"] == one.verdict.exit
    assert data["restored"] is one.verdict.restored
    assert [finding["outcome"] for finding in data["findings"]] == [f.outcome.name for f in one.verdict.findings]
    assert sum(p["hits"] for p in data["phases"] if not p["name"]) == one.verdict.trust.offered


def test_json_gives_value_limit_and_unit() -> None:
    """A finding can be checked from its JSON alone: the value is beyond the limit where it is broken."""
    one = sample("broken")
    findings = verdict_json(one.verdict, one.experiment, one.state)["findings"]
    assert isinstance(findings, list)
    [errors] = [f for f in findings if f["name"] == "during: errors < 2%"]
    assert errors["unit"] == "share"
    assert errors["value"] >= errors["limit"] == 0.02
    [p95] = [f for f in findings if f["name"].startswith("after: p95")]
    assert p95["limit"] == pytest.approx(1.5 * p95["baseline"])


def with_users(load: LoadProfile) -> LoadProfile:
    """The same load by users who begin every ten seconds."""
    (stream,) = load.streams
    return replace(load, streams=(replace(stream, closed=Closed(every_s=10.0)),))


def test_json_says_which_model_the_load_was() -> None:
    """An open model has no users, a closed one has them and says how often its pacing was not kept."""
    one = sample("control")
    load = verdict_json(one.verdict, one.experiment, one.state)["load"]
    assert load == {
        "model": "open model",
        "asked": "5 to 20 users/s over 6s, then hold",
        "users_per_s": 20,
        "requests_per_s": 100,
        "users": None,
        "iterations": None,
        "behind": None,
    }
    closed = replace(one.experiment, load=with_users(one.experiment.load))
    load = verdict_json(replace(one.verdict, users=20.0), closed, one.state)["load"]
    assert isinstance(load, dict)
    assert load["model"] == "closed model"
    assert load["asked"] == "5 to 20 users over 6s, then hold, each user every 10s"
    assert (load["users"], load["behind"]) == (20.0, 0)


def test_infinity_is_spelled() -> None:
    """Infinite latencies are text that `float` reads back; a missing number is null."""
    assert number(math.inf) == "Infinity"
    assert float(str(number(math.inf))) == math.inf
    assert number(None) is None
    assert number(math.nan) is None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_junit_reads_back_with_the_same_outcomes(scenario: str, tmp_path: Path) -> None:
    """Another program reads the file: a failure for each BROKEN, an error for each UNKNOWN, and counts that add up."""
    verdict = sample(scenario).verdict
    path = tmp_path / "junit.xml"
    path.write_text(junit_xml(verdict), encoding="utf-8")
    [suite] = list(JUnitXml.fromfile(str(path)))
    cases = {case.name: case.result for case in suite}
    for finding in verdict.findings:
        kinds = {Outcome.BROKEN: [Failure], Outcome.UNKNOWN: [Error], Outcome.HELD: []}[finding.outcome]
        assert [type(result) for result in cases[finding.name]] == kinds
    assert bool(cases["everything is restored"]) is not verdict.restored
    assert suite.tests == len(cases)
    assert suite.failures == sum(isinstance(r, Failure) for results in cases.values() for r in results)
    assert suite.errors == sum(isinstance(r, Error) for results in cases.values() for r in results)
    assert (suite.failures + suite.errors == 0) is (int(verdict.exit) == 0)


def test_junit_survives_any_text(tmp_path: Path) -> None:
    """Control characters and markup in names leave the XML readable."""
    path = tmp_path / "junit.xml"
    path.write_text(junit_xml(hostile('</testcase>\x00\x1b"&<![CDATA[').verdict), encoding="utf-8")
    assert JUnitXml.fromfile(str(path)).tests > 0


def test_markdown_has_the_answer_and_no_foreign_markup() -> None:
    """The summary holds headline, table and recovery; a hostile question is text in it."""
    one = sample("broken")
    text = markdown(one.verdict, one.experiment)
    assert text.startswith("## ❌ BROKEN: ")
    assert "10.9 % **BROKEN** &lt;2 %" in text
    assert "exit 1:" in text
    bad = hostile("<img src=x> | [link](javascript:1) `code`\n# head")
    assert "<img" not in markdown(bad.verdict, bad.experiment)
    assert "\n# head" not in markdown(bad.verdict, bad.experiment)
    assert "[link](" not in markdown(bad.verdict, bad.experiment)


def test_all_reports_are_written_whole(tmp_path: Path) -> None:
    """Every report appears under its name, nothing else is left, and writing again replaces it."""
    one = sample("broken")
    for _ in range(2):
        paths = write_all(tmp_path, one.verdict, one.experiment, one.state, one.entries)
    assert {path.name for path in tmp_path.iterdir()} == {
        "verdict.json",
        "junit.xml",
        "summary.md",
        "report.html",
        "latency.hlog",
    }
    assert set(paths.values()) == set(tmp_path.iterdir())
    assert json.loads(paths["json"].read_text())["run"] == "7f3a"


def test_a_report_that_cannot_be_written_leaves_nothing_half(tmp_path: Path) -> None:
    """Without its directory writing fails, and says so."""
    one = sample("broken")
    with pytest.raises(OSError, match="gone"):
        write_all(tmp_path / "gone", one.verdict, one.experiment, one.state, one.entries)
