"""Numbers and names as people read them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SCENARIOS, sample, tolerance

from chaosrunner.model.hypothesis import Against, Stat
from chaosrunner.model.verdict import Recovery
from chaosrunner.report import words
from chaosrunner.report.prose import lost


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.031, "3.1 %"),
        (0.0002, "0.02 %"),
        (0.109, "10.9 %"),
        (0.9997, "99.97 %"),
    ],
)
def test_a_share_is_said_in_percent(value: float | None, text: str) -> None:
    """Shares keep two significant digits, and a nearly whole one is never rounded to all."""
    assert words.share(value) == text


@given(st.floats(min_value=1e-7, max_value=1 - 1e-7))
def test_only_nothing_is_nothing_and_only_all_is_all(value: float) -> None:
    """A share strictly between 0 and 1 reads neither `0 %` nor `100 %`."""
    assert words.share(value) not in {"0 %", "100 %"}


def test_what_users_lost_is_not_called_nothing_where_nobody_measured_it() -> None:
    """Without a recovery to measure, a load that failed altogether does not read `0 requests` lost."""
    assert lost(Recovery(state="none", target_s=1.0)) == lost(Recovery(state="unknown", target_s=1.0)) == "not measured"
    assert lost(Recovery(state="recovered", target_s=1.0)).startswith("0 requests")


def test_a_closed_model_is_called_one() -> None:
    """Where users wait for their answers, the line under the title says so instead of a rate."""
    verdict = replace(sample("control").verdict, users=1200.0, users_per_s=3.21)
    assert "1,200 users, closed model (100 requests/s)" in words.subtitle(verdict)
    both = replace(verdict, arriving=40.0)
    assert "40 users/s and 1,200 users, closed model (100 requests/s)" in words.subtitle(both)
    assert "20 users/s (100 requests/s)" in words.subtitle(sample("control").verdict)


@given(st.text())
def test_no_text_can_drive_a_terminal(text: str) -> None:
    """Printable text holds no control character, and making it printable twice changes nothing."""
    safe = words.printable(text)
    assert safe.isprintable()
    assert words.printable(safe) == safe
    assert words.ascii_only(text).isascii()


def test_an_observed_value_never_looks_like_the_bound_it_broke() -> None:
    """2.004 % beside a bound of 2 % shows the digits that differ."""
    assert words.beside(Stat.ERRORS, 0.02004, 0.02) == "2.004 %"
    assert words.beside(Stat.ERRORS, 0.02, 0.02) == "2 %"
    assert words.beside(Stat.QUANTILE, 0.4003, 0.4) == "400.3 ms"
    assert words.beside(Stat.RATE, 100.4, 100.0) == "100.4/s"
    assert words.beside(Stat.QUANTILE, math.inf, 0.4) == "failed"


def test_a_bound_is_a_number_once_the_baseline_is_known() -> None:
    """A relative bound is shown in the metric's unit, and as written while there is no baseline."""
    twice = tolerance("p95 <= 2x baseline", Stat.QUANTILE, 2, against=Against.TIMES_BASELINE)
    more = tolerance("errors < baseline + 1%", Stat.ERRORS, 0.01, "<", against=Against.PLUS_BASELINE)
    assert words.bound_of(twice, 0.34) == "≤680 ms"
    assert words.bound_of(twice, None) == "≤2x baseline"
    assert words.bound_of(more, 0.005) == "<1.5 %"


def test_a_title_is_the_exit_code_in_a_word() -> None:
    """What outranks the findings in the exit code outranks them in the headline."""
    titles = {scenario: words.title(sample(scenario).verdict) for scenario in SCENARIOS}
    assert titles == {
        "held": "HELD",
        "broken": "BROKEN",
        "unknown": "UNKNOWN",
        "never": "BROKEN",
        "not restored": "NOT RESTORED",
        "interrupted": "INTERRUPTED",
        "control": "HELD",
    }


def test_silence_is_no_pass() -> None:
    """A tolerance without a finding is `not judged`."""
    assert words.judged(None) == "not judged"


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("p95", ["p95"]),
        ("checkout.acknowledged", ["checkout.", "acknowledged"]),
        ("orders.read.lock_wait", ["orders.read.", "lock_wait"]),
        ("errors of add-to-cart", ["errors of add-", "to-cart"]),
        ("averyverylongnamewithoutjoints p95", ["averyverylongnamewithoutjoints", "p95"]),
        ("", [""]),
    ],
)
def test_a_label_is_broken_at_its_joints(label: str, lines: list[str]) -> None:
    """A name that is too long for its column goes on below after a dot, a dash, a blank; never inside a word."""
    assert words.broken(label, 14) == "\n".join(lines)
    assert "".join(words.broken(label, 14).split()) == "".join(label.split())
