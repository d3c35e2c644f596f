"""Rules held against what is asked: which faults, where, when, and how much at once. Each answer names its rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Fault, Recipe, Target
from chaosrunner.model.rules import EACH, IN_ALL, AtMost, Dates, Hours, Rules, Struck

MINUTE_S = 60.0
"""Hours begin and end on whole minutes, so an hour that closes is found minute by minute, whatever the zone does."""


def not_here(experiment: Experiment) -> str:
    """Why the experiment may not run in this environment; empty when it may."""
    allowed, environment = experiment.rules.environments, experiment.system.environment
    if not allowed or any(one.means(environment) for one in allowed):
        return ""
    where = f"environment '{environment}'" if environment else "no 'environment'"
    return f"{experiment.system.file} has {where}, and this may only run in {_either(allowed)}"


def not_this(rules: Iterable[Rules], fault: Fault) -> str:
    """Why a fault is not allowed whatever it hits; empty when it is."""
    for one in rules:
        if one.faults and not any(pattern.means(fault.injector) for pattern in one.faults):
            return f"'{fault.injector}' is not among the faults that are allowed: {_either(one.faults)}"
    return ""


def surely_too_much(rules: Iterable[Rules], target: Target, named: int | None) -> str:
    """Why what a target asks for is more than a limit in any case; empty when that cannot be said before looking.

    Args:
        rules: the system's and the experiment's.
        target: of a fault.
        named: how many instances the system file names; None when it does not say.
    """
    live = target.of or named
    if target.share is not None and live is None:
        over = [limit for limit in _limits(rules, target.component) if (limit.share or 1.0) < target.share]
        return f"{target} is more than {over[0]} allows" if over else ""
    try:
        count = target.how_many(live or 1)
    except ValueError:
        return ""  # said elsewhere, or by whoever looks
    names = tuple(map(str, range(count)))
    return too_much(rules, [Struck(component=target.component, names=names, live=live or 1, by=str(target))])


def too_much(rules: Iterable[Rules], struck: Sequence[Struck]) -> str:
    """Why all this may not be under faults at once; empty when it may.

    An instance counts once for all faults that know it by the same name; kinds of faults that name it otherwise count
    it again: what cannot be told apart is taken for more, not for less.
    """
    there = {one.component: _seen(struck, one.component) for one in struck}
    for limit in [limit for one in rules for limit in one.at_most]:
        if limit.component == IN_ALL:
            over = _over(limit, sum(count for count, _ in there.values()), 0, "instances", struck)
        else:
            meant = [limit.component] if limit.component != EACH else sorted(there)
            over = "".join(
                _over(limit, *there[name], name, [one for one in struck if one.component == name])
                for name in meant
                if name in there
            )
        if over:
            return over
    return ""


def refused_together(experiment: Experiment, recipes: Sequence[Recipe]) -> Iterator[tuple[Fault, str]]:
    """Faults that may not be, or not beside the others of the same run, and why, by what a plan has drawn."""
    for fault in experiment.faults:  # a seed may have chosen some that no file names outright
        if why := not_this(experiment.all_rules, fault):
            yield fault, why
    drawn = {fault.index: recipe for fault, recipe in zip(experiment.faults, recipes, strict=True)}
    for group in together(experiment.faults):
        struck = [one for fault in group if (one := struck_by(fault, drawn[fault.index])) is not None]
        if why := too_much(experiment.all_rules, struck):
            yield group[-1], why


def together(faults: Sequence[Fault]) -> Iterator[list[Fault]]:
    """For each fault: those that are in place when it begins, by the plan, and the fault itself as the last.

    One whose time is over at that very moment still is: it takes a while to undo. One that it waits for is not.
    """
    for newest in faults:
        over = _waited_for(newest, faults)
        yield [
            *(
                one
                for one in faults
                if (one.at_s, one.index) < (newest.at_s, newest.index)
                and newest.at_s <= one.at_s + one.for_s
                and one.index not in over
            ),
            newest,
        ]


def struck_by(fault: Fault, recipe: Recipe) -> Struck | None:
    """What a fault has under it; None when it has no target. An injector that does not say takes what the file says."""
    target = fault.target
    if target is None:
        return None
    unsaid = tuple(f"{fault.injector} {nth}" for nth in range(target.count or 1))
    return Struck(
        component=target.component,
        names=recipe.names or unsaid,
        live=recipe.live or target.of or 1,
        by=fault.title,
    )


def closed(rules: Iterable[Rules], at: datetime) -> str:
    """Why there may be no fault at an instant; empty when there may."""
    for one in rules:
        day = next((day for day in one.never if day.first <= at.astimezone(day.zone).date() <= day.last), None)
        if day is not None:
            return f"no fault on {day}"
        if one.only and not any(_open(hours, at) for hours in one.only):
            return f"faults are allowed only in {_either(one.only)}"
    return ""


def closes_within(rules: Sequence[Rules], at: datetime, seconds: float) -> tuple[float, str] | None:
    """When within so many seconds there may be no fault any more, in seconds from `at`, and why; None when never."""
    if not any(one.only or one.never for one in rules):
        return None
    if why := closed(rules, at):
        return 0.0, why
    step = MINUTE_S - (at.second + at.microsecond / 1e6)
    while step <= seconds:
        if why := closed(rules, at + timedelta(seconds=step)):
            return step, why
        step += MINUTE_S
    return None


def _waited_for(fault: Fault, faults: Sequence[Fault]) -> set[int]:
    """All that must be over before a fault begins."""
    found: set[int] = set()
    todo = list(fault.after)
    while todo:
        index = todo.pop()
        found.add(index)
        todo += faults[index].after
    return found


def _limits(rules: Iterable[Rules], component: str) -> list[AtMost]:
    return [limit for one in rules for limit in one.at_most if limit.component in (component, EACH)]


def _seen(struck: Sequence[Struck], component: str) -> tuple[int, int]:
    """How many of how many of a component."""
    ours = [one for one in struck if one.component == component]
    return len({name for one in ours for name in one.names}), max(one.live for one in ours)


def _over(limit: AtMost, count: int, live: int, what: str, struck: Sequence[Struck]) -> str:
    # Rounded: 29 % of 100 is 29, though not in binary fractions.
    allowed = limit.count if limit.count is not None else round((limit.share or 0.0) * live, 6)
    if count <= allowed:
        return ""
    of = f"{count} of {live}" if live else f"{count}"
    by = ", ".join(dict.fromkeys(one.by for one in struck))
    return f"{of} {what} would be under faults at once ({by}), more than {limit} allows"


def _open(hours: Hours, at: datetime) -> bool:
    here = at.astimezone(hours.zone)
    second = here.hour * 3600 + here.minute * 60 + here.second
    if hours.begin_s < hours.end_s:
        return here.weekday() in hours.days and hours.begin_s <= second < hours.end_s
    yesterday = (here.weekday() - 1) % 7
    return (here.weekday() in hours.days and second >= hours.begin_s) or (
        yesterday in hours.days and second < hours.end_s
    )


def _either(rules: Sequence[Hours | Dates | AtMost] | Sequence[object]) -> str:
    """The rules, any of which would do."""
    return " or ".join(map(str, rules))
