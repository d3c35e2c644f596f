"""The one-line language of arrivals: `10 to 200 users/s over 60s, then hold`.

arrivals = [number "to"] number "users/" ("s"|"min") ["over" duration]
           {", then" ("hold" [duration] | "to" number "over" duration)}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.fields import some_time
from chaosrunner.logic.parse.scalars import NUMBER
from chaosrunner.logic.parse.spelling import ReadingError, quoted
from chaosrunner.model.load import Stage

PER = {"s": 1, "min": 60}
MOST_PER_S = 100_000.0
"""Journeys a second; more is a slip of the pen."""


def parse_arrivals(text: str) -> tuple[Stage, ...]:
    """The stages that `text` spells, in journeys per second. Raises ReadingError."""
    first, *rest = re.split(r"\s*,\s*", text.strip())
    found = re.fullmatch(rf"(?:({NUMBER})\s+to\s+)?({NUMBER})\s+users?/(s|min)(?:\s+over\s+(.*))?", first)
    if not found:
        raise ReadingError(f"expected '10 users/s' or '10 to 200 users/s over 60s' instead of {quoted(first)}")
    per = PER[found[3]]
    end = scalars.number(found[2]) / per
    start = scalars.number(found[1]) / per if found[1] else end
    lasts = _lasts(found[4])
    if lasts is None and start != end:
        raise ReadingError(f"a ramp needs its length; write '{first} over 60s'")
    stages = [Stage(start=start, end=end, lasts_s=lasts)]
    for words in rest:
        if stages[-1].lasts_s is None:
            raise ReadingError(f"nothing can come after an open end; say how long before {quoted(words)}")
        stages.append(_then(words, stages[-1].end, per))
    _check(stages)
    return tuple(stages)


def warmup_s(stages: Sequence[Stage], default: float = 3.0) -> float:
    """Seconds before the first level stage: the ramp; `default` when the load begins level."""
    ramp = takewhile(lambda stage: stage.start != stage.end, stages)
    return sum(stage.lasts_s or 0.0 for stage in ramp) or default


def length_s(stages: Sequence[Stage]) -> float | None:
    """How long the load lasts; None = as long as the run."""
    lengths = [stage.lasts_s for stage in stages]
    return None if lengths[-1] is None else sum(length or 0.0 for length in lengths)


def level_s(stages: Sequence[Stage]) -> float | None:
    """How long the first plateau lasts, neighbours at the same level included; None = as long as the run."""
    total = 0.0
    for stage in stages:
        if stage.start != stage.end:
            if total:
                break
        elif stage.lasts_s is None:
            return None
        else:
            total += stage.lasts_s
    return total


def render(stages: Sequence[Stage]) -> str:
    """The canonical text of stages that `parse_arrivals` could have given, per second."""
    first, *rest = stages
    number = scalars.number_text
    text = f"{number(first.end)} users/s"
    if first.start != first.end:
        text = f"{number(first.start)} to {text}"
    if first.lasts_s is not None:
        text += f" over {scalars.duration_text(first.lasts_s)}"
    for stage in rest:
        lasts = "" if stage.lasts_s is None else scalars.duration_text(stage.lasts_s)
        text += (
            f", then hold {lasts}".rstrip()
            if stage.start == stage.end
            else f", then to {number(stage.end)} over {lasts}"
        )
    return text


def _lasts(text: str | None) -> float | None:
    return None if text is None else some_time(text.strip())


def _then(words: str, level: float, per: int) -> Stage:
    hold = re.fullmatch(r"then\s+hold(?:\s+(.*))?", words)
    if hold:
        return Stage(start=level, end=level, lasts_s=_lasts(hold[1]))
    ramp = re.fullmatch(rf"then\s+to\s+({NUMBER})(?:\s+users?/(?:s|min))?\s+over\s+(.*)", words)
    if ramp:
        return Stage(start=level, end=scalars.number(ramp[1]) / per, lasts_s=_lasts(ramp[2]))
    raise ReadingError(f"expected 'then hold', 'then hold 60s' or 'then to 100 over 10s' instead of {quoted(words)}")


def _check(stages: Sequence[Stage]) -> None:
    peak = max(max(stage.start, stage.end) for stage in stages)
    if not peak:
        raise ReadingError("no user ever arrives; expected a number above zero")
    if peak > MOST_PER_S:
        raise ReadingError(f"more than {MOST_PER_S:,.0f} users a second")
    if all(stage.start != stage.end for stage in stages):
        raise ReadingError("the load is never level, so there is no baseline; end it with ', then hold'")
    if any(stage.start == stage.end == 0 for stage in stages):
        raise ReadingError("a level of zero users measures nothing")
