"""Composites laid out as plain faults: by the seed, in order, within their window, never on top of each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.composite import lay_out, overlapping
from chaosrunner.model.composite import Again, AtRandom, InTurn, Part, Together, ends_s, most, span_s
from chaosrunner.model.fault import Fault, Recipe

ABOUT_S = 1e-5


def fault(for_s: float, at_s: float = 0.0) -> Fault:
    return Fault(index=0, injector="noop", target=None, params=None, for_s=for_s, at_s=at_s)


def times(faults: tuple[Fault, ...]) -> list[tuple[float, float]]:
    return [(one.at_s, one.at_s + one.for_s) for one in faults]


seconds = st.integers(1, 40).map(lambda tenths: tenths / 10)
leaves = st.builds(fault, seconds)


def _again(part: Part, times: int, spare_s: float) -> Part:
    return Again(part=part, title="again", times=times, every_s=span_s(part) + spare_s)


def _random(parts: list[Part], choose: int, spare_s: float) -> Part:
    chosen = min(choose, len(parts))
    longest_s = sum(sorted(map(span_s, parts), reverse=True)[:chosen])
    return AtRandom(parts=tuple(parts), title="random", choose=chosen, within_s=longest_s + spare_s)


def _composites(inner: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    some = st.lists(inner, min_size=1, max_size=3)
    delayed = st.tuples(inner, seconds).map(lambda pair: replace(pair[0], at_s=pair[1]))
    return st.one_of(
        st.builds(lambda parts, pause_s: InTurn(parts=tuple(parts), title="in turn", pause_s=pause_s), some, seconds),
        st.builds(
            lambda parts: Together(parts=tuple(parts), title="together"), st.lists(delayed, min_size=1, max_size=3)
        ),
        st.builds(_again, inner, st.integers(2, 3), seconds),
        st.builds(_random, some, st.integers(1, 3), seconds),
    )


parts = st.lists(st.recursive(leaves, _composites, max_leaves=6), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**63 - 1)


@given(parts, seeds)
def test_a_seed_lays_out_the_same_faults_for_ever(asked: tuple[Part, ...], seed: int) -> None:
    """The same seed gives the same faults, numbered from 0."""
    laid_out = lay_out(asked, seed)
    assert lay_out(asked, seed) == laid_out
    assert [one.index for one in laid_out] == list(range(len(laid_out)))


@given(parts, seeds)
def test_nothing_exceeds_what_was_said_beforehand(asked: tuple[Part, ...], seed: int) -> None:
    """No draw has more faults, or ends later, than is known without its seed."""
    laid_out = lay_out(asked, seed)
    assert 1 <= len(laid_out) <= sum(map(most, asked))
    assert all(begin >= 0 and end <= ends_s(asked) + ABOUT_S for begin, end in times(laid_out))


@given(parts, seeds)
def test_waiting_costs_nothing_when_all_goes_well(asked: tuple[Part, ...], seed: int) -> None:
    """By plan whatever a fault waits for is over, and the pause has passed, when it is due."""
    laid_out = lay_out(asked, seed)
    for one in laid_out:
        for before in (laid_out[index] for index in one.after):
            assert before.index < one.index
            assert before.at_s + before.for_s + one.pause_s <= one.at_s + ABOUT_S


@given(st.lists(leaves, min_size=1, max_size=5), st.integers(1, 5), seconds, seeds)
def test_what_chance_chooses_stays_within_its_window(of: list[Fault], choose: int, spare_s: float, seed: int) -> None:
    """As many as were asked for are chosen, each once, one after the other, none outside the window."""
    part = _random([replace(one, line=number) for number, one in enumerate(of)], choose, spare_s)
    laid_out = lay_out([part], seed)
    assert len(laid_out) == min(choose, len(of))
    assert len({one.line for one in laid_out}) == len(laid_out)
    assert laid_out[-1].at_s + laid_out[-1].for_s <= span_s(part) + ABOUT_S
    assert [one.after for one in laid_out] == [(), *((index,) for index in range(len(laid_out) - 1))]


def test_chance_spreads_over_the_window() -> None:
    """A single fault of a second begins anywhere in its window of ten, in the first as in the last third."""
    part = AtRandom(parts=(fault(1.0),), title="random", choose=1, within_s=10.0)
    begins = [lay_out([part], seed)[0].at_s for seed in range(300)]
    assert sum(begin < 3 for begin in begins) == pytest.approx(100, abs=40)
    assert sum(begin > 6 for begin in begins) == pytest.approx(100, abs=40)


def test_seeds_of_other_faults_do_not_move() -> None:
    """A number that was promised stays: these are the faults that seed 7 has always chosen."""
    part = AtRandom(parts=(fault(1.0), fault(2.0), fault(3.0)), title="random", choose=2, within_s=20.0)
    assert times(lay_out([part], 7)) == [(3.346, 6.346), (8.0, 10.0)]


def recipe(*claims: str, reversible: bool = True) -> Recipe:
    return Recipe(injector="noop", says="", data={}, claims=claims, reversible=reversible)


def test_two_faults_on_one_resource_are_seen_beforehand() -> None:
    """A fault that would begin while another still has its claim is found, with both and the claim."""
    faults = lay_out([fault(5.0, at_s=3.0), fault(4.0), fault(1.0, at_s=4.0)], 0)
    found = list(overlapping(faults, [recipe("a", "b"), recipe("b"), recipe("b", "c")]))
    assert [(earlier.index, later.index, claim) for earlier, later, claim in found] == [(1, 0, "b"), (0, 2, "b")]


def test_what_waits_does_not_overlap() -> None:
    """Faults in turn share a resource, however many stand between them, and however long the first takes."""
    faults = lay_out([InTurn(parts=(fault(2.0), fault(2.0), fault(2.0)), title="in turn")], 0)
    late = [replace(faults[0], for_s=60.0), *faults[1:]]
    assert list(overlapping(late, [recipe("a"), recipe(), recipe("a")])) == []


def test_a_kill_holds_nothing() -> None:
    """What was killed cannot be hit again, so a later fault on it will find another; the other way round it cannot."""
    faults = lay_out([fault(5.0), fault(5.0, at_s=1.0)], 0)
    kill, pause = recipe("a", reversible=False), recipe("a")
    assert list(overlapping(faults, [kill, pause])) == []
    assert len(list(overlapping(faults, [pause, kill]))) == 1
