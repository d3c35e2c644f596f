"""A recovery as JSON values, in the manner of `report.json`: every number carries its unit in its key."""

from __future__ import annotations

from chaosrunner.model.verdict import Impact, Recovery, Relapse, Residual
from chaosrunner.report.numbers import number


def recovery_json(seen: Recovery) -> dict[str, object]:
    """All of it: `state` is about the tolerances of `after`, `verdict` about the baseline."""
    return {
        "state": seen.state,
        "why": seen.why,
        "verdict": seen.verdict,
        "verdict_why": seen.verdict_why,
        "margin_asked_share": seen.asked,
        "target_s": seen.target_s,
        "at_ns": seen.at_ns,
        "time_s": number(seen.time_s),
        "low_s": number(seen.low_s),
        "high_s": number(seen.high_s),
        "longer_than_s": number(seen.longer_than_s),
        "from_inject_s": number(seen.from_inject_s),
        "detected_s": number(seen.detected_s),
        "outage_s": number(seen.outage_s),
        "outage_low_s": number(seen.outage_low_s),
        "outage_high_s": number(seen.outage_high_s),
        "depth_share": number(seen.depth),
        "depth_low_share": number(seen.depth_low),
        "depth_high_share": number(seen.depth_high),
        "lost": seen.lost,
        "waited_s": number(seen.waited_s),
        "residual_ratio": number(seen.residual),
        "residuals": [_residual(one) for one in seen.residuals],
        "relapses": [_relapse(one) for one in seen.relapses],
        "held_s": number(seen.held_s),
        "impact": _impact(seen.impact) if seen.impact else None,
    }


def _residual(one: Residual) -> dict[str, object]:
    return {
        "metric": one.metric,
        "scale": one.scale,
        "baseline": number(one.before),
        "after": number(one.after),
        "change": number(one.change),
        "low": number(one.low),
        "high": number(one.high),
        "margin": one.margin,
        "proves": one.proves,
        "why": one.why,
        "judged": one.judged,
    }


def _relapse(one: Relapse) -> dict[str, object]:
    return {"well_s": one.well_s, "begin_s": one.begin_s, "end_s": one.end_s}


def _impact(seen: Impact) -> dict[str, object]:
    return {
        "degradation": seen.degradation,
        "sure_s": number(seen.sure_s),
        "error_budget_spent_s": number(seen.budget_s),
        "error_budget_share": number(seen.budget_share),
        "backlog_drained_s": number(seen.drain_s),
        "in_flight_max": seen.in_flight,
        "overshoot": [_residual(one) for one in seen.early],
        "resilience_curve": [[at_s, round(ratio, 6)] for at_s, ratio in seen.curve],
        "resilience_step_s": seen.step_s,
        "full_service_lost_s": number(seen.area_s),
    }
