"""The verdict as JUnit XML for CI: a test case a finding, one for the recovery, one for the restoration.

BROKEN is a failure; UNKNOWN is an error, because a question without an answer has not passed.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from chaosrunner.errors import Exit
from chaosrunner.model.verdict import Finding, Outcome, Verdict
from chaosrunner.report.prose import recovered, restored
from chaosrunner.report.words import printable, title

RECOVERED = {"recovered": Outcome.HELD, "none": Outcome.HELD, "late": Outcome.BROKEN, "never": Outcome.BROKEN}
"""What a recovery's state means; any other state is UNKNOWN."""


def junit_xml(verdict: Verdict) -> str:
    """One suite named after the question. Its counts are those of its cases."""
    cases = [_of_finding(finding) for finding in verdict.findings]
    cases.append(_case("recovery", RECOVERED.get(verdict.recovery.state, Outcome.UNKNOWN), recovered(verdict.recovery)))
    cases.append(
        _case("everything is restored", Outcome.HELD if verdict.restored else Outcome.BROKEN, restored(verdict))
    )
    if verdict.exit in (Exit.INTERRUPTED, Exit.INTERNAL):
        cases.append(_case("the run came to its end", Outcome.UNKNOWN, f"{title(verdict)}: {verdict.headline}"))
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "time": f"{verdict.seconds:.3f}",
    }
    root = ET.Element("testsuites", {"name": "chaosrunner", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": printable(verdict.question), **counts})
    properties = ET.SubElement(suite, "properties")
    facts = {"run": verdict.run, "system": verdict.system, "environment": verdict.environment}
    for name, value in (facts | {"exit": str(int(verdict.exit)), "headline": verdict.headline}).items():
        ET.SubElement(properties, "property", {"name": name, "value": printable(value)})
    suite.extend(cases)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _of_finding(finding: Finding) -> ET.Element:
    why = f" ({finding.why})" if finding.why else ""
    return _case(finding.name, finding.outcome, f"expected {finding.expected}, observed {finding.observed}{why}")


def _case(name: str, outcome: Outcome, says: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": "chaosrunner", "name": printable(name), "time": "0"})
    text = printable(says)
    match outcome:
        case Outcome.HELD:
            ET.SubElement(case, "system-out").text = text
        case Outcome.BROKEN:
            ET.SubElement(case, "failure", {"type": "BROKEN", "message": text}).text = text
        case Outcome.UNKNOWN:
            ET.SubElement(case, "error", {"type": "UNKNOWN", "message": text}).text = text
    return case
