"""`chaosrunner plan`: what would be hit, how many of how many, for how long, under which load, and the way back."""

from __future__ import annotations

import asyncio
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaosrunner.cli.compose import Plan
    from chaosrunner.logic.imagine import Planned
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Group, Recipe
    from chaosrunner.model.load import Stream


@click.command("plan")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--system", help="Another system: a file, or a name in systems/ beside the experiment.")
@click.option("--seed", type=int, help="Choose targets as a run with this seed would.")
def command(experiment: Path, system: str | None, seed: int | None) -> int:
    """Show what EXPERIMENT would do to the live targets. Touches nothing.

    The hash it prints binds the files, the seed and the targets: `run --plan HASH` refuses when any of them changed.
    """
    from chaosrunner.cli.compose import injectors_of, new_seed, read_experiment, resolve
    from chaosrunner.logic.composite import drawn
    from chaosrunner.world.orphans import refuse_orphans

    asked = read_experiment(experiment, system)
    chosen = seed if seed is not None else asked.seed if asked.seed is not None else new_seed()
    value = drawn(asked, chosen)
    injectors = injectors_of(value)
    refuse_orphans(value.system.name, scan=value.system.file)
    plan = asyncio.run(resolve(value, injectors, chosen))
    once = ["--repeat", "1"] if asked.repeat > 1 else []
    again = shlex.join([str(experiment), *(["--system", system] if system else []), *once, "--plan", plan.hash])
    for line in lines(value, plan):
        tell(line)
    tell(f"nothing was touched; play exactly this with:\n  chaosrunner run {again}")
    return Exit.HELD


def lines(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """The plan as text, a line at a time."""
    from chaosrunner.cli.compose import inside_container, unguarded
    from chaosrunner.cli.insist import not_now
    from chaosrunner.logic.http_account import path_taken, tls_spoken
    from chaosrunner.logic.imagine import imagine
    from chaosrunner.model.units import human_duration

    load = experiment.load
    yield f"PLAN    {experiment.question}"
    where = f" @ {experiment.system.environment}" if experiment.system.environment else ""
    yield f"system  {experiment.system.name}{where}, {experiment.system.entry or 'no entry'}"
    for nth, stream in enumerate(load.streams):
        begin = " " * 8 if nth else "load    "
        yield from textwrap.wrap(_stream(stream), 79, initial_indent=begin, subsequent_indent=" " * 8)
    for line in filter(None, (path_taken(load), tls_spoken(experiment))):
        yield from textwrap.wrap(line, 79, initial_indent=" " * 8, subsequent_indent=" " * 8)
    if load.workers is None:
        yield from textwrap.wrap(_workers(experiment), 79, initial_indent=" " * 8, subsequent_indent=" " * 8)
    yield ""
    yield from _faults(experiment, plan)
    yield ""
    kills = frozenset(f.index for f, r in zip(experiment.faults, plan.recipes, strict=True) if not r.reversible)
    for planned in imagine(experiment, without_undo=kills):
        yield f"{planned.at_s:7.1f} s  {sentence(experiment, planned)}"
    yield f"at most {human_duration(experiment.longest_s)} if recovery never comes"
    if experiment.repeat > 1:
        every = human_duration(experiment.repeat * experiment.longest_s)
        yield f"repeat  {experiment.repeat} runs, each with a seed of its own, in at most {every}"
    yield ""
    yield from _needs(experiment)
    if why := not_now(experiment):
        yield ""
        yield from textwrap.wrap(f"not now: {why}", 78, subsequent_indent=" " * 8)
    if open_ended := unguarded(experiment, plan.recipes):
        yield ""
        inside = " (this looks like a container)" if inside_container() else ""
        yield f"needs 'accept: unguarded', or 'chaosrunner watchdog' outside{inside}:"
        yield from (f"        {fault.title}" for fault in open_ended)
    yield ""


def _needs(experiment: Experiment) -> Iterator[str]:
    """How long baseline and phases must be, and what can be seen in them."""
    from chaosrunner.cli.prior import last_baseline
    from chaosrunner.logic.foresight import foresee, rests_on

    prior = last_baseline(Path("runs"), experiment)
    needs = list(foresee(experiment, prior))
    if len({need.says for need in needs}) == 1 and len(needs) > 1:
        yield from textwrap.wrap(f"needs   {needs[0].says}", 79, subsequent_indent=" " * 8)
        return
    for nth, need in enumerate(needs):
        begin = " " * 8 if nth else "needs   "
        mark = "TOO SHORT: " if need.short and need.phase != "proof" else ""
        told = f"{need.phase} {need.what}: {mark}{need.says}"
        yield from textwrap.wrap(told, 79, initial_indent=begin, subsequent_indent=" " * 10)
    yield from textwrap.wrap(rests_on(prior), 79, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _faults(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """What each fault would hit, and its way back; of a composite what repeats is said once."""
    from chaosrunner.model.units import human_duration

    group: Group | None = None
    said: tuple[str, ...] = ()
    for fault, recipe in zip(experiment.faults, plan.recipes, strict=True):
        if fault.group != group:
            group, said = fault.group, ()
            if group is not None:
                yield from textwrap.wrap(f"faults  {group.title}", 78, subsequent_indent=" " * 8)
        when = f" at {human_duration(fault.at_s)}" if group is not None else ""
        yield f"fault   {fault.title}{when} for {human_duration(fault.for_s)}"
        told = tuple(_way_back(recipe))
        yield from () if group is not None and told == said else told
        said = told


def _way_back(recipe: Recipe) -> Iterator[str]:
    yield from textwrap.wrap(recipe.says, 78, initial_indent=" " * 8, subsequent_indent=" " * 8)
    for claim in recipe.claims:
        yield f"        claims {claim}"
    if not recipe.reversible:
        yield "        has no undo: whether the replacement comes is what the experiment measures"
    elif recipe.guard == "runner":
        yield "        undone by runner or watchdog: survives the runner's death,"
        yield "        not that of its container, cgroup or host"
    else:
        yield "        ends by itself at the target, even if this host dies"


def _stream(stream: Stream) -> str:
    """How much of what: at the plateau, and the whole line where that says more."""
    from chaosrunner.logic.parse.arrivals import of_whom, render_stream
    from chaosrunner.model.load import Stage

    names = ", ".join(one.name for scenario in stream.scenarios for one in scenario.steps)
    plain = len(stream.stages) == 1 and isinstance(stream.stages[0], Stage) and not stream.at_random
    whom = of_whom(stream)
    begin = f"{whom}: " if whom else ""
    if stream.closed is not None:
        times = f", {stream.closed.iterations} journeys each" if stream.closed.iterations else ""
        text = f"{begin}{stream.plateau:g} users, closed model{times}: {names}"
        plain = plain and stream.closed.every_s is None
    else:
        requests = stream.plateau * stream.steps_a_journey
        text = f"{begin}{stream.plateau:g} users/s = {requests:g} requests/s: {names}"
    return text if plain and not stream.starts_s else f"{text}; {render_stream(stream)}"


def _workers(experiment: Experiment) -> str:
    """How many processes `auto` means here and now, and why."""
    from chaosrunner.cli.hands import local_crew

    size = asyncio.run(local_crew(experiment.system).size(experiment.load))
    return f"from {size.workers} {'process' if size.workers == 1 else 'processes'} (auto: {size.why})"


def sentence(experiment: Experiment, planned: Planned) -> str:
    """A planned step in words."""
    from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Wait

    match planned.step:
        case Enter(phase=phase):
            return f"enter {phase}"
        case Inject(fault=index):
            return f"inject {experiment.faults[index].title}"
        case Heal(fault=index):
            return f"undo {experiment.faults[index].title}"
        case Done(why=why) | Abort(why=why):
            return f"end ({why})"
        case Wait():
            return "wait"
        case _:
            assert_never(planned.step)
