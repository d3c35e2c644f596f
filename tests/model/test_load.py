"""Profiles and outcomes."""

from __future__ import annotations

from chaosrunner.model.load import ERRORS, LoadProfile, Outcome, Stage, Step


def test_every_outcome_blames_somebody_or_is_ok() -> None:
    """All outcomes but OK and LATE are the target's."""
    assert set(Outcome) - ERRORS == {Outcome.OK, Outcome.LATE}


def test_the_plateau_is_the_rate_the_stages_end_at() -> None:
    """After the ramp the rate is that of the last stage's end."""
    stages = (Stage(start=1, end=20, lasts_s=5), Stage(start=20, end=20, lasts_s=None))
    assert LoadProfile(steps=(Step(name="a", method="GET", path="/"),), stages=stages).plateau == 20
