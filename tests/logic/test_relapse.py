"""Whether it was ill again after it had been well."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from building import errors, p95

from chaosrunner.logic.relapse import alarm, illnesses, relapses
from chaosrunner.logic.trace import Rule, Trace
from chaosrunner.model.hypothesis import Tolerance

SLOW, FEW = p95(0.1), errors(0.01)
LONG = 60_000_000

Bad = Callable[[float], bool]
"""Due time in seconds → whether a hit due then is bad."""


def trace(bad: Bad, asked: Tolerance = SLOW, *, width_us: int = 0) -> Trace:
    """Sixty seconds of 100 requests a second, as a tolerance sees it; in slots where they have a width."""
    hits = [bad(nth / 100) for nth in range(6000)]
    each = max(1, width_us // 10_000)
    points = [sum(hits[at : at + each]) for at in range(0, 6000, each)]
    return Trace(
        rule=Rule(asked, asked.value),
        due=[nth * each * 10_000 for nth in range(len(points))],
        before=range(0, 6000 + each, each),
        bad=[(nth, count) for nth, count in enumerate(points) if count],
        width_us=width_us,
    )


def seen(found: Trace) -> list[tuple[float, float]]:
    return [(first / 1e6, last / 1e6) for first, last in illnesses(found, 0, LONG)]


def within(*spans: tuple[float, float]) -> Bad:
    return lambda due: any(begin <= due < end for begin, end in spans)


def noise(seed: int, share: float = 0.04) -> Bad:
    chance = random.Random(seed)
    return lambda _due: chance.random() < share


@pytest.mark.parametrize("asked", [SLOW, FEW], ids=["p95", "errors"])
@pytest.mark.parametrize("width_us", [0, 100_000], ids=["raw hits", "slots"])
def test_two_outages_are_two_illnesses(asked: Tolerance, width_us: int) -> None:
    """An outage, twenty seconds of health and another one are told apart, each from its first bad hit to its last."""
    found = seen(trace(within((10.0, 14.0), (34.0, 39.0)), asked, width_us=width_us))
    last = 0.1 if width_us else 0.01
    assert found == [(10.0, pytest.approx(14.0 - last)), (34.0, pytest.approx(39.0 - last))]


def test_noise_is_no_illness() -> None:
    """With 4 % bad hits where 5 % are allowed nothing is ill in at least 49 of 50 runs."""
    assert sum(seen(trace(noise(seed))) != [] for seed in range(10_000, 10_050)) <= 1


def test_noise_splits_no_illness() -> None:
    """An endpoint of five that fails, by chance and for long, is one illness."""
    for seed in range(10_000, 10_010):
        faint = noise(seed, 0.2)
        found = seen(trace(lambda due, faint=faint: due < 30 and faint(due), FEW))  # type: ignore[misc]
        assert len(found) == 1


def test_a_slow_return_is_one_illness() -> None:
    """Whatever sinks little by little, and wavers on the way, does not come back."""
    for seed in range(10_000, 10_020):
        chance = random.Random(seed)
        sinking = trace(lambda due, chance=chance: chance.random() < max(0.02, 1 - due / 40))  # type: ignore[misc]
        assert len(seen(sinking)) == 1


def test_what_remains_of_an_illness_is_no_other() -> None:
    """An outage that leaves twice as many bad hits as are allowed, for ever, is not said to come back by chance."""
    again = 0
    for seed in range(10_000, 10_050):
        remains = noise(seed, 0.12)
        again += len(seen(trace(lambda due, remains=remains: due < 5 or remains(due)))) > 1  # type: ignore[misc]
    assert again <= 1


def test_where_it_was_never_well_both_are_one() -> None:
    """A burst amid twice as many bad hits as are allowed is no relapse; after a time of health it is one."""
    burst = within((0.0, 5.0), (30.0, 31.0))
    assert len(seen(trace(lambda due: burst(due) or round(due * 100) % 10 == 0))) == 1
    assert len(seen(trace(lambda due: burst(due) or (due < 15 and round(due * 100) % 10 == 0)))) == 2


@pytest.mark.parametrize("asked", [errors(0.0), errors(0.5)], ids=["none", "half"])
def test_where_nothing_or_half_may_be_bad_nothing_is_told(asked: Tolerance) -> None:
    """Without a share that could be chance, or with half of all, illnesses are not looked for."""
    assert seen(trace(within((10.0, 14.0), (34.0, 39.0)), asked)) == []


def test_a_relapse_needs_an_illness_before_and_the_end_of_the_effect() -> None:
    """The second illness counts when it began after the effect had ended, and joins the first within a second."""
    found = trace(within((10.0, 14.0), (34.0, 39.0)))
    [one] = relapses([found, found], 0, 12_000_000, LONG)
    assert (one.well_s, one.begin_s, one.end_s) == (pytest.approx(1.99), pytest.approx(22.0), pytest.approx(26.99))
    assert relapses([found], 0, 36_000_000, LONG) == ()
    assert relapses([found], 20_000_000, 20_000_000, LONG) == ()
    assert relapses([trace(within((10.0, 14.0), (14.8, 20.0)))], 0, 12_000_000, LONG) == ()


def test_an_illness_may_last() -> None:
    """What has not ended when the watch does ends with its last bad hit."""
    assert seen(trace(within((50.0, 99.0)))) == [(50.0, 59.99)]


def test_when_it_was_sure() -> None:
    """An outage is sure after a few bad hits, a brown-out after more, noise never; one is enough where none may be."""
    assert alarm(trace(within((10.0, 14.0))), 0, LONG) in range(10_010_000, 10_100_000)
    faint = noise(10_000, 0.2)
    late = alarm(trace(lambda due: due > 10 and faint(due)), 0, LONG)
    assert late is not None
    assert 10_050_000 < late < 14_000_000
    assert alarm(trace(noise(10_001)), 0, LONG) is None
    assert alarm(trace(within((10.0, 10.01)), replace(FEW, value=0.0)), 0, LONG) == 10_000_000
    assert alarm(trace(within(), replace(FEW, value=1.0)), 0, LONG) is None
