"""Whose something is, by the run's id in what it is called."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.model.fault import Recipe


def bears(recipe: Recipe, run: str) -> bool:
    """Whether a recipe that was made by a scan is about something of a run: the run's id stands in it as a word."""
    text = json.dumps(recipe.data)
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(run)}(?![0-9A-Za-z])", text) is not None
