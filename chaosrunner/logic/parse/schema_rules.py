"""The JSON Schema of `rules` and `environments`, which systems and experiments share."""

from __future__ import annotations

from chaosrunner.logic.parse.rules import DATE, TIME, WEEK, ZONE
from chaosrunner.logic.parse.scalars import PERCENT
from chaosrunner.logic.parse.schema_words import Schema, pattern, several, table, text
from chaosrunner.logic.parse.target import COMPONENT

HOURS = rf"(?:{WEEK} )?(?:{TIME}-{TIME} )?{ZONE}"


def environments() -> Schema:
    """The only environments an experiment may run in."""
    about = "The only environments it may run in, by the system's `environment`; `*` stands for anything."
    return {**several(text("A name.")), "description": about}


def rules() -> Schema:
    """What may break, how much at once, and when."""
    names = several(text("A name, or a part of one with `*`."))
    at_most = pattern(rf"(?:{PERCENT}|[0-9]+) of {COMPONENT}|[0-9]+ in all", "`30% of api`, `1 of each`, `3 in all`.")
    hours = pattern(HOURS, "`Mon-Fri 09:00-17:00 Europe/Berlin`.")
    dates = pattern(rf"{DATE}(?: to {DATE})? {ZONE}", "`2026-12-24 to 2027-01-01 Europe/Berlin`.")
    protect = {
        "names": {**names, "description": "Of containers, proxies, namespaces and programs."},
        "labels": {**names, "description": "Of containers: `key` or `key=value`."},
        "namespaces": {**names, "description": "Of the network."},
    }
    return table(
        {
            "faults": {**names, "description": "The only faults that are allowed: `proxy.*`."},
            "at_most": {**several(at_most), "description": "How much may be under faults at once."},
            "only": {**several(hours), "description": "The only hours for faults; any of them."},
            "never": {**several(dates), "description": "Days without faults."},
            "protect": table(protect, "What no fault may touch, whichever way it is reached."),
        },
        "What may break, how much at once, and when. The system's owner says it; an experiment can only narrow it.",
    )
