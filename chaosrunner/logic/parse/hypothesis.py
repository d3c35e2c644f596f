"""The hypothesis, the conditions to abort on, and the recovery target."""

from __future__ import annotations

import re
from collections.abc import Mapping

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, some_time, table, texts
from chaosrunner.logic.parse.scalars import duration_text, percent
from chaosrunner.logic.parse.spelling import ReadingError, quoted
from chaosrunner.logic.parse.tolerance import Names, parse_tolerance
from chaosrunner.logic.parse.yaml_nodes import Node
from chaosrunner.model.experiment import RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Stat, Tolerance

PHASES = ("before", "during", "after")
BETTER_WHEN_SMALL = (Stat.QUANTILE, Stat.MAX, Stat.ERRORS)
"""Statistics of single requests: recovery is found by them, request by request."""


def read_hypothesis(
    desk: Desk, node: Node | None, names: Names, *, lasts_s: Mapping[str, float], faults: bool
) -> Hypothesis:
    """The tolerances by phase; mistakes are noted at the desk.

    Args:
        desk: the file's.
        node: what stands under `hypothesis`.
        names: the requests and probes there are.
        lasts_s: phase name → its length in seconds, the shortest it can be.
        faults: whether there is any fault.
    """
    mapping = table(desk, node, "hypothesis") if node else None
    if mapping is None:
        return Hypothesis()
    fields = Fields(desk, mapping, "hypothesis").only(PHASES)
    found: dict[str, tuple[Tolerance, ...]] = {}
    for phase in PHASES:
        at = fields.node(phase)
        if at is None:
            continue
        if phase != "before" and not faults:
            desk.wrong(fields.place(phase), f"'{phase}' needs a fault, and there is none; say it under 'before'")
        found[phase] = _phase(desk, at, names, phase=phase, lasts_s=lasts_s[phase])
    if not any(found.values()) and not desk.mistakes:
        desk.wrong(node or mapping, SAY_WHAT)
    return Hypothesis(**found)


def read_abort(desk: Desk, node: Node | None, names: Names) -> tuple[Tolerance, ...]:
    """The conditions to abort on; mistakes are noted at the desk."""
    found = []
    for scalar in texts(desk, node, "abort") if node else []:
        try:
            found.append(parse_tolerance(scalar.text, names, abort=True, line=scalar.line))
        except ReadingError as bad:
            desk.wrong(scalar, f"abort {quoted(scalar.source)}: {desk.shown(scalar, str(bad))}")
    return tuple(found)


def parse_recover(text: str) -> RecoveryTarget:
    """`within 2min, hold 30s, to within 10% of baseline`, any of them left out. Raises ReadingError."""
    found: dict[str, float] = {}
    for words in text.split(","):
        one = re.fullmatch(r"\s*(within|hold|to\s+within)\s+(.*?)\s*", words)
        key = one[1].split()[0] if one else ""
        if not one or key in found:
            raise ReadingError(f"expected 'within 2min, hold 30s' instead of {quoted(words.strip())}")
        found[key] = _margin(one[2]) if key == "to" else some_time(one[2])
    default = RecoveryTarget()
    return RecoveryTarget(
        within_s=found.get("within", default.within_s),
        hold_s=found.get("hold", default.hold_s),
        margin=found.get("to", default.margin),
    )


def _margin(text: str) -> float:
    """`10% of baseline` as 0.1. Raises ReadingError."""
    one = re.fullmatch(r"(.*?)\s+of\s+(?:the\s+)?baseline", text)
    if not one:
        raise ReadingError(f"expected 'to within 10% of baseline' instead of {quoted('to within ' + text)}")
    share = percent(one[1])
    if not 0 < share < 1:
        raise ReadingError(f"expected more than 0% and less than 100% of baseline, found {quoted(one[1])}")
    return share


SAY_WHAT = "say what must hold, such as 'before: [p95 <= 400ms, errors < 1%]'"


def _phase(desk: Desk, node: Node, names: Names, *, phase: str, lasts_s: float) -> tuple[Tolerance, ...]:
    found: list[Tolerance] = []
    for scalar in texts(desk, node, phase):
        try:
            tolerance = parse_tolerance(scalar.text, names, line=scalar.line)
            _check_phase(tolerance, names, phase, lasts_s)
        except ReadingError as bad:
            desk.wrong(scalar, f"{quoted(scalar.source)}: {desk.shown(scalar, str(bad))}")
            continue
        if any(tolerance.text == other.text for other in found):
            desk.wrong(scalar, f"{quoted(scalar.source)} is said twice")
        found.append(tolerance)
    return tuple(found)


def _check_phase(tolerance: Tolerance, names: Names, phase: str, lasts_s: float) -> None:
    if phase == "before" and tolerance.against is not Against.ABSOLUTE:
        raise ReadingError("'before' is judged on the baseline itself; expected a value without 'baseline'")
    if phase == "after" and tolerance.cmp in (">", ">=") and tolerance.metric.stat in BETTER_WHEN_SMALL:
        raise ReadingError("this asks for the worse, so it cannot say that anything has recovered; expected '<='")
    if tolerance.window_s > lasts_s:
        window = duration_text(tolerance.window_s)
        raise ReadingError(f"a window of {window} is longer than '{phase}', which lasts {duration_text(lasts_s)}")
    every_s = names.paces.get(tolerance.metric.probe, 0.0)
    if every_s > lasts_s:
        pace, lasts = duration_text(every_s), duration_text(lasts_s)
        raise ReadingError(f"asked every {pace}, it may be silent in '{phase}', which lasts {lasts}; ask it more often")
