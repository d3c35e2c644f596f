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

    value = read_experiment(experiment, system)
    injectors = injectors_of(value)
    chosen = seed if seed is not None else value.seed if value.seed is not None else new_seed()
    plan = asyncio.run(resolve(value, injectors, chosen))
    again = shlex.join([str(experiment), *(["--system", system] if system else []), "--plan", plan.hash])
    for line in lines(value, plan):
        tell(line)
    tell(f"nothing was touched; play exactly this with:\n  chaosrunner run {again}")
    return Exit.HELD


def lines(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """The plan as text, a line at a time."""
    from chaosrunner.cli.compose import inside_container, unguarded
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
    for fault, recipe in zip(experiment.faults, plan.recipes, strict=True):
        yield f"fault   {fault.title} for {human_duration(fault.for_s)}"
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
    yield ""
    kills = frozenset(f.index for f, r in zip(experiment.faults, plan.recipes, strict=True) if not r.reversible)
    for planned in imagine(experiment, without_undo=kills):
        yield f"{planned.at_s:7.1f} s  {sentence(experiment, planned)}"
    yield f"at most {human_duration(experiment.longest_s)} if recovery never comes"
    if open_ended := unguarded(experiment, plan.recipes):
        yield ""
        inside = " (this looks like a container)" if inside_container() else ""
        yield f"needs 'accept: unguarded', or 'chaosrunner watchdog' outside{inside}:"
        yield from (f"        {fault.title}" for fault in open_ended)
    yield ""


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
