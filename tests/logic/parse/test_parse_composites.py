"""Composites: what belongs together, repeats, rises or is left to chance, and every slip in saying so."""

from __future__ import annotations

import pytest
from parse_rig import EXPERIMENT, Everything, Latency, around, changed, read, wrong_changed

from chaosrunner.logic.composite import drawn
from chaosrunner.logic.parse import Source, parse_experiment
from chaosrunner.model.fault import Fault

FAULT = "  - proxy.latency: {target: database, add: 200ms}\n    for: 12s\n"
DURING = "  during: [p95 <= 2x baseline, errors < 2%]\n"


def faults(text: str, environ: dict[str, str] | None = None) -> tuple[Fault, ...]:
    """The faults of a list that replaces the good one."""
    return read(changed(EXPERIMENT, (FAULT, text)), environ=environ).faults


def said(text: str) -> list[str]:
    """What is wrong with a list of faults; it begins at line 12."""
    return wrong_changed((FAULT, text))


def times(found: tuple[Fault, ...]) -> list[tuple[float, float, tuple[int, ...]]]:
    """When each begins, how long it lasts, and after which others."""
    return [(fault.at_s, fault.for_s, fault.after) for fault in found]


def test_in_turn_each_begins_after_the_one_before() -> None:
    """`in turn` puts faults one behind the other, with a pause between them."""
    found = faults("  - in turn: [{noop: {}, for: 5s}, {noop: {}, for: 3s}]\n    pause: 2s\n    at: 1s\n")
    assert times(found) == [(1.0, 5.0, ()), (8.0, 3.0, (0,))]
    assert [fault.pause_s for fault in found] == [0.0, 2.0]
    assert {fault.group.title for fault in found if fault.group} == {"in turn: noop"}


def test_together_they_overlap() -> None:
    """`together` lets faults overlap, each at its own time, and accepts for all what it accepts."""
    found = faults(
        "  - together: [{noop: {}, for: 5s}, {noop: {}, for: 3s, at: 4s}]\n    accept: unguarded\n    at: 1s\n"
    )
    assert times(found) == [(1.0, 5.0, ()), (5.0, 3.0, ())]
    assert [fault.accept for fault in found] == [{"unguarded"}] * 2


def test_a_dose_rises_in_equal_steps() -> None:
    """`50ms to 300ms` in six steps is six faults in turn that differ by the dose, exactly."""
    found = faults(
        "  - proxy.latency: {target: database, add: 50ms to 300ms}\n    for: 30s\n    steps: 6\n    at: 2s\n"
    )
    assert [fault.params.add for fault in found] == [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]  # type: ignore[attr-defined]
    assert times(found)[:2] == [(2.0, 5.0, ()), (7.0, 5.0, (0,))]
    assert {fault.group.title for fault in found if fault.group} == {"proxy.latency on database in 6 steps"}


def test_a_dose_rises_and_falls() -> None:
    """A dose may come by several values, and a whole number stays whole."""
    text = (
        "  - test.everything: {count: 1 to 6 to 2, size: '${FROM} to 1KB', factor: 0.5}\n    steps: 5\n    for: 10s\n"
    )
    found = [fault.params for fault in faults(text, {"FROM": "0B"})]
    assert [one.count for one in found if isinstance(one, Everything.Params)] == [1, 4, 6, 4, 2]
    assert [one.size for one in found if isinstance(one, Everything.Params)] == [0, 250, 500, 750, 1000]


def test_it_comes_again() -> None:
    """`every` repeats a fault so many times, or as often as it fits; none begins before the one before is over."""
    found = faults("  - noop: {}\n    for: 2s\n    every: 5s\n    times: 3\n    at: 1s\n")
    assert times(found) == [(1.0, 2.0, ()), (6.0, 2.0, (0,)), (11.0, 2.0, (1,))]
    assert len(faults("  - noop: {}\n    for: 2s\n    every: 5s\n    within: 12s\n")) == 3
    assert len(faults("  - noop: {}\n    for: 2s\n    every: 5s\n    within: 11.9s\n")) == 2
    both = faults("  - in turn: [{noop: {}, for: 1s}, {noop: {}, for: 1s}]\n    every: 5s\n    times: 2\n")
    assert [(fault.at_s, fault.after) for fault in both] == [(0.0, ()), (1.0, (0,)), (5.0, (0, 1)), (6.0, (2,))]


RANDOM = (
    "  - random: {choose: 2, of: [{noop: {}, for: 1s}, {noop: {}, for: 2s}, {noop: {}, for: 3s}], within: 10s}\n"
    "    at: 1s\n"
)


def test_chance_belongs_to_the_seed() -> None:
    """`random` chooses by the run's seed, and a journal that is read again chooses the same."""
    experiment = read(changed(EXPERIMENT, (FAULT, RANDOM)))
    chosen = {seed: drawn(experiment, seed).faults for seed in range(20)}
    assert len({tuple(fault.for_s for fault in found) for found in chosen.values()}) == 6, "every order of every pair"
    sources = Source(experiment.file, experiment.source), Source(experiment.system.file, experiment.system_source)
    again = parse_experiment(*sources, around(lenient=True))
    for seed, found in chosen.items():
        assert times(drawn(again, seed).faults) == times(found)
    assert experiment.fault_s == 11.0, "how long it may last does not hang on the seed"


def test_a_journal_needs_no_injector_to_be_read_again() -> None:
    """A ramp of an injector that is gone still has its steps."""
    text = "  - proxy.latency: {target: database, add: 50ms to 300ms}\n    for: 12s\n    steps: 6\n"
    experiment = read(changed(EXPERIMENT, (FAULT, text)))
    sources = Source(experiment.file, experiment.source), Source(experiment.system.file, experiment.system_source)
    again = parse_experiment(*sources, around(lenient=True))
    assert times(again.faults) == times(experiment.faults)
    assert {fault.params for fault in again.faults} == {None}


def test_an_experiment_without_composites_is_plain() -> None:
    """No seed changes faults that stand by themselves."""
    experiment = read(EXPERIMENT)
    assert experiment.asked == ()
    assert drawn(experiment, 5) is experiment
    assert experiment.faults[0].params == Latency.Params(add=0.2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  - in turns: [{noop: {}}]\n", "12:5: 'in turns' is no fault; did you mean 'in turn'?"),
        ("  - in turn: []\n", "12:5: 'in turn' holds no fault; begin each with its own '- '"),
        ("  - together:\n", "12:5: 'together' holds no fault; begin each with its own '- '"),
        ("  - in turn: [{nop: {}}]\n", "'nop' is no fault; did you mean 'noop'?"),
        ("  - in turn: [{noop: {}, at: 1s}]\n", "'at' has no meaning inside 'in turn': say 'pause' beside 'in turn'"),
        ("  - in turn: [{noop: {}}]\n    for: 1s\n", "13:5: 'for' stands beside each fault inside"),
        ("  - in turn: [{noop: {}}]\n    then: x\n", "13:5: 'then' stands inside the fault"),
        ("  - together: [{noop: {}}]\n    pause: 1s\n", "13:5: 'pause' stands beside 'in turn'"),
        ("  - noop: {}\n    pause: 1s\n", "13:5: 'pause' stands beside 'in turn'"),
        (
            "  - together: [{noop: {}}]\n    steps: 3\n",
            "'steps' stands beside a fault whose dose goes from one value to",
        ),
        ("  - noop: {}\n    evry: 3s\n    times: 3\n", "13:5: 'evry' is no key of a fault; did you mean 'every'?"),
        ("  - noop: {}\n    zzz: 3s\n", "13:5: 'noop' and 'zzz' in one entry; begin each fault with its own '- '"),
        ("  - noop: {}\n    every: 40s\n", "13:5: 'every' needs one of 'times: 3' and 'within: 2min' beside it"),
        ("  - noop: {}\n    every: 40s\n    times: 2\n    within: 3min\n", "13:5: 'every' needs one of 'times: 3' and"),
        ("  - noop: {}\n    times: 3\n", "13:5: 'times' needs 'every: 20s' beside it"),
        ("  - noop: {}\n    within: 3s\n", "13:5: 'within' needs 'every: 20s' beside it"),
        ("  - noop: {}\n    every: 0s\n    times: 2\n", "13:12: every '0s': expected more than zero"),
        ("  - noop: {}\n    every: 40s\n    times: 1\n", "14:12: times '1': expected 2 to 100"),
        ("  - noop: {}\n    every: 10s\n    times: 3\n", "it lasts 30s, so it cannot begin again every 10s; write 'e"),
        (
            "  - noop: {}\n    for: 5s\n    every: 10s\n    within: 12s\n",
            "within 12s: every 10s for 5s it fits not even",
        ),
        (
            "  - noop: {}\n    for: 5s\n    every: 10s\n    within: 1s\n",
            "within 1s: every 10s for 5s it fits not even tw",
        ),
        ("  - noop: {}\n    for: 1s\n    every: 1s\n    within: 2h\n", "fits 7,200 times, and at most 100 are allowed"),
        ("  - random: [noop]\n", "random: expected a mapping of keys, found a list"),
        ("  - random: {choose: 1, of: [{noop: {}}]}\n", "'within' is missing in random; say in how much time, such as"),
        ("  - random: {choose: 1, within: 5s}\n", "'of' is missing in random; list the faults to choose from"),
        ("  - random: {of: [{noop: {}}], within: 40s}\n", "'choose' is missing in random; say how many of them"),
        ("  - random: {choose: 1, of: [], within: 5s}\n", "'of' holds no fault; begin each with its own '- '"),
        (
            "  - random: {chose: 1, of: [{noop: {}}], within: 5s}\n",
            "'chose' is no key of random; did you mean 'choose'?",
        ),
        ("  - random: {choose: 2, of: [{noop: {}}], within: 5s}\n", "choose '2': expected 1 to 1"),
        (
            "  - random: {choose: 1, of: [{noop: {}}], within: 5s}\n",
            "1 of these may last 30s one after the other, which",
        ),
        ("  - random: {choose: 1, of: [{noop: {}, at: 1s}], within: 40s}\n", "inside 'random': the seed chooses it"),
        (
            "  - proxy.latency: {target: database, add: 1s to 2s}\n",
            "'add' goes from one value to another; say 'steps: 6'",
        ),
        (
            "  - proxy.latency: {target: database, add: 1s}\n    steps: 3\n",
            "13:5: 'steps' needs a dose that goes from o",
        ),
        ("  - proxy.latency: {target: database, add: 1s to 2}\n    steps: 3\n", "'1s to 2': a duration needs a unit"),
        (
            "  - proxy.latency: {target: database, add: 1s to 2s to 1s}\n    steps: 4\n",
            "13:5: 4 equal steps do not come by all 3 values; write 'steps: 3' or 'steps: 5'",
        ),
        (
            "  - proxy.latency: {target: database, add: 1s to 2s to 1s}\n    steps: 2\n",
            "13:5: 2 equal steps do not come by all 3 values; write 'steps: 3'",
        ),
        ("  - proxy.latency: {target: database, add: 1s to 2s}\n    steps: 51\n", "steps '51': expected 1 to 50"),
        (
            "  - proxy.latency: {target: database, add: 1s to 2s}\n    steps: 5\n    for: 1s\n",
            "13:5: 5 steps in 1s are too quick to be seen; allow each 0.5s",
        ),
        ("  - proxy.latency: {target: database, add: 1s to 2s, ad: 1s}\n    steps: 5\n", "'ad' is no parameter of"),
        ("  - test.everything: {count: 12 to 14}\n    steps: 3\n", "'test.everything' at step 2: 13 brings bad luck"),
        ("  - in turn: {a: b}\n", "in turn: expected a list, each entry beginning with '- '"),
        (
            "  - noop: {}\n    for: 1s\n    every: 1s\n    times: 60\n" * 2,
            "12:3: these are up to 120 faults; one experiment has at most 100",
        ),
    ],
)
def test_what_a_composite_may_not_say(text: str, problem: str) -> None:
    """Each slip in a composite has its place and its advice."""
    assert any(problem in mistake for mistake in said(text)), said(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  - in turn: nothing\n", "12:14: in turn: expected a list, each entry beginning with '- '"),
        (
            "  - random: {choose: 1, of: {noop: {}, for: 1s}, within: 5s}\n",
            "12:29: of: expected a list, each entry beginning with '- '",
        ),
        (
            "  - proxy.latency: {target: database, add: 50ms to 300ms}\n    for: 90s\n    steps: 51\n",
            "14:12: steps '51': expected 1 to 50",
        ),
    ],
)
def test_one_slip_is_one_mistake(text: str, problem: str) -> None:
    """A list that is none, or too many steps, is said once, without mistakes that would only follow from it."""
    (found,) = said(text)
    assert problem in found
