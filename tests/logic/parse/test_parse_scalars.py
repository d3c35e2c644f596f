"""Durations, shares and sizes: what is written is what is meant, and the other way round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.fields import whole
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250us", 0.00025), ("300ms", 0.3), ("1.5s", 1.5), ("2min", 120.0), ("2 m", 120.0), ("1h", 3600.0), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number and its unit, in seconds."""
    assert scalars.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2", "a duration needs a unit; write '2s' or '2min'"),
        ("2 sec", "'2 sec' is no duration; expected a number and us, ms, s, m, min or h, such as '300ms'"),
        ("", "'' is no duration"),
        ("-2s", "'-2s' is no duration"),
        ("1e3s", "'1e3s' is no duration"),
        ("01s", "'01s' is no duration"),
        ("٣s", "'٣s' is no duration"),
    ],
)
def test_what_is_no_duration(text: str, said: str) -> None:
    """Signs, exponents, other digits and unknown units are refused; a missing unit gets advice."""
    with pytest.raises(ReadingError) as caught:
        scalars.duration(text)
    assert str(caught.value).startswith(said)


@given(st.floats(0, 1e9, allow_nan=False), st.integers(0, 9))
def test_durations_round_trip(number: float, decimals: int) -> None:
    """Reading the exact spelling of any duration gives the same duration."""
    seconds = round(number, decimals)
    assert scalars.duration(scalars.duration_text(seconds)) == seconds


@given(st.integers(0, 100_000), st.integers(0, 4))
def test_shares_round_trip(number: int, decimals: int) -> None:
    """Reading the exact spelling of any share gives the same share."""
    share = scalars.percent(f"{number / 10**decimals:.{decimals}f}%")
    assert scalars.percent(scalars.percent_text(share)) == share


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_numbers_round_trip(number: int, decimals: int) -> None:
    """Reading the exact spelling of any number gives the same number."""
    value = round(number / 10**decimals, decimals)
    assert scalars.number(scalars.number_text(value)) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (7200.0, "2h"),
        (120.0, "2min"),
        (90.0, "90s"),
        (0.3, "300ms"),
        (0.00025, "0.00025s"),
        (1.5, "1500ms"),
    ],
)
def test_the_spelling_of_a_duration(seconds: float, text: str) -> None:
    """A duration is spelled in its largest whole unit."""
    assert scalars.duration_text(seconds) == text


def test_shares() -> None:
    """A share is 0..1, and more than all is refused."""
    assert scalars.share("30%") == 0.3
    assert scalars.share("0.5 %") == 0.005
    for text, said in (
        ("30", "a share needs a percent sign; write '30%'"),
        ("130%", "'130%' is more than 100%"),
        ("x%", "'x%' is no share; expected a number and %, such as '30%'"),
        ("3s", "'3s' is no share"),
    ):
        with pytest.raises(ReadingError, match=said.replace("?", r"\?")):
            scalars.share(text)


def test_sizes_and_rates() -> None:
    """KB counts in thousands, KiB in 1024s, and a rate is a size a second."""
    assert scalars.size("512B") == 512
    assert scalars.size("1.5KB") == 1500
    assert scalars.size("2 MiB") == 2 * 1024**2
    assert scalars.bytes_per_second("64KB/s") == 64_000.0
    for text, said in (
        ("64", "a size needs a unit; write '64B' or '64KB'"),
        ("64kB", "'64kB' is no size; expected a number and B, KB, MB"),
        ("x", "'x' is no size"),
        ("0.5B", "'0.5B' is not a whole number of bytes"),
    ):
        with pytest.raises(ReadingError, match=said):
            scalars.size(text)
    with pytest.raises(ReadingError, match="'64KB' is no rate"):
        scalars.bytes_per_second("64KB")


def test_plain_numbers() -> None:
    """A number has digits only."""
    assert scalars.number("0.5") == 0.5
    with pytest.raises(ReadingError, match="'1e3' is no number"):
        scalars.number("1e3")


def test_whole_numbers() -> None:
    """A whole number lies within its bounds and has no leading zero."""
    assert whole("+5", 1, 10) == 5
    assert whole("-5", -10, 10) == -5
    for text, said in (
        ("11", "expected 1 to 10"),
        ("0", "expected 1 to 10"),
        ("x", "expected a whole number, such as 1"),
        ("", "expected a whole number"),
        ("²", "expected a whole number"),
        ("9" * 30, "expected a whole number"),
        ("07", "a number does not begin with zero; write 7, or quote it"),
    ):
        with pytest.raises(ReadingError, match=said):
            whole(text, 1, 10)


def test_spelling_help() -> None:
    """A near word is offered, else all words are named, in any case of letters."""
    assert did_you_mean("GTE", ["GET", "PUT"]) == "; did you mean 'GET'?"
    assert did_you_mean("post", ["GET", "POST"]) == "; did you mean 'POST'?"
    assert did_you_mean("zzz", ["b", "a"]) == "; expected b or a"
    assert did_you_mean("zzz", []) == ""
    assert one_of(["a", "b", "c"]) == "a, b or c"
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted("x" * 100) == f"'{'x' * 80}…'"
