"""What is insisted on before a run begins; whatever is not so is exit 2, and nothing was touched."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from chaosrunner.errors import ChaosrunnerError, Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.cli.compose import Plan
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.world.state_home import StateHome


def on_state(home: StateHome) -> None:
    """Refuse when the state directory cannot be written."""
    try:
        home.folder("systems")
    except ChaosrunnerError as error:
        raise Mistakes([Mistake("CHAOSRUNNER_STATE", 0, 0, str(error))]) from error


def on_hours(experiment: Experiment) -> None:
    """Refuse when the rules allow no fault now, or not until the last one will be over."""
    if why := not_now(experiment):
        raise Mistakes([Mistake(experiment.file, experiment.faults[0].line, 1, why)])


def not_now(experiment: Experiment) -> str:
    """Why the rules allow no run that begins now; empty when they do. A load test is nobody's harm."""
    from chaosrunner.logic.rules import closes_within
    from chaosrunner.model.units import human_duration
    from chaosrunner.world.clock import RealClock

    if not experiment.faults:
        return ""
    needed_s = experiment.load.warmup_s + experiment.baseline_s + experiment.fault_s
    found = closes_within(experiment.all_rules, datetime.fromisoformat(RealClock().wall()), needed_s)
    if found is None:
        return ""
    when_s, why = found
    return f"in {human_duration(when_s)} {why}, and until then the last fault is not over" if when_s else why


def on_plan(wanted: str, plan: Plan) -> None:
    """Refuse when what would be hit is not what was planned."""
    if wanted and wanted != plan.hash:
        now = "; ".join(recipe.says for recipe in plan.recipes)
        message = f"the files or the live targets have changed since plan {wanted}; now it would be {plan.hash}: {now}"
        raise Mistakes([Mistake("--plan", 0, 0, message)])


def on_guard(experiment: Experiment, plan: Plan, home: StateHome) -> None:
    """Refuse faults that only this host can end, unless that was accepted or somebody outside stands guard."""
    from chaosrunner.cli.compose import OUTSIDE, unguarded
    from chaosrunner.world.lock import held

    open_ended = unguarded(experiment, plan.recipes)
    if not open_ended or held(home.path / OUTSIDE):
        return
    raise Mistakes(
        [
            Mistake(
                experiment.file,
                fault.line,
                1,
                f"{fault.title}: if this host, container or cgroup died, nobody could end it; "
                "add 'accept: unguarded', or run 'chaosrunner watchdog --state DIR' outside",
            )
            for fault in open_ended
        ]
    )
