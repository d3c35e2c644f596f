"""Profiles and outcomes."""

from __future__ import annotations

from chaosrunner.model.http_step import Request
from chaosrunner.model.load import ERRORS, OURS, Outcome, Stage, Wave, single


def test_every_outcome_blames_somebody_or_is_ok() -> None:
    """All outcomes but OK are the target's, or ours for want of time, means or data."""
    assert set(Outcome) - ERRORS - OURS == {Outcome.OK}
    assert {Outcome.LATE, Outcome.LOCAL, Outcome.SPENT} == OURS
    assert not OURS & ERRORS


def test_a_wave_swings_about_its_mean() -> None:
    """Mean, swing and peak are those of its lowest and highest rate; it begins and ends at its mean."""
    wave = Wave(low=60, high=140, period_s=30, lasts_s=None)
    assert (wave.mean, wave.swing, wave.start, wave.end, wave.peak) == (100, 40, 100, 100, 140)
    profile = single(steps=(), stages=(Stage(start=0, end=20, lasts_s=5), wave)).streams[0]
    assert (profile.plateau, profile.peak) == (100, 140)


def test_the_plateau_is_the_rate_the_stages_end_at() -> None:
    """After the ramp the rate is that of the last stage's end."""
    stages = (Stage(start=1, end=20, lasts_s=5), Stage(start=20, end=20, lasts_s=None))
    assert single(steps=(Request(name="a", method="GET", path="/"),), stages=stages).streams[0].plateau == 20
