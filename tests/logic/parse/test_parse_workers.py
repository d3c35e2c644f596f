"""How many processes send the load."""

from __future__ import annotations

import pytest
from parse_rig import EXPERIMENT, read, wrong

ARRIVALS = "  arrivals: 5 to 25 users/s over 6s, then hold\n"


def with_workers(text: str) -> str:
    return EXPERIMENT.replace(ARRIVALS, f"{ARRIVALS}  workers: {text}\n")


@pytest.mark.parametrize(("text", "workers"), [("1", 1), ("256", 256), ("auto", None), ("'auto'", None)])
def test_workers(text: str, workers: int | None) -> None:
    """A count, or `auto`; one unless said."""
    assert read(with_workers(text)).load.workers == workers
    assert read(EXPERIMENT).load.workers == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "workers '0': expected 1 to 256"),
        ("257", "workers '257': expected 1 to 256"),
        ("2.5", "workers '2.5': expected a whole number, such as 1"),
        ("atuo", "workers 'atuo': expected 1 to 256, or auto"),
        ("many", "workers 'many': expected 1 to 256, or auto"),
    ],
)
def test_what_is_no_number_of_workers(text: str, why: str) -> None:
    """Anything else is one line with its place, what was expected and the nearest spelling."""
    assert wrong(with_workers(text)) == [f"10:12: {why}"]
