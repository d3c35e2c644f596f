"""What is to be said about the HTTP of a load: which path its requests take, how TLS is spoken, what retries added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaosrunner.logic.traffic import Span, Traffic
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import LoadProfile

NAMED = 3
"""Steps that are named; more are counted."""


def path_taken(load: LoadProfile) -> str:
    """Whether requests take the full path, and for which steps' sake; empty when they take the fast one."""
    needs: dict[str, list[str]] = {}
    for step in load.steps:
        for need in step.full_for if isinstance(step, Request) else ():
            needs.setdefault(need, []).append(step.name)
    if not needs:
        return ""
    alike: dict[tuple[str, ...], list[str]] = {}
    for need, names in needs.items():
        alike.setdefault(tuple(names), []).append(need)
    told = "; ".join(f"{', '.join(same)} ({_several(names)})" for names, same in alike.items())
    return f"requests take the full path, slower than the fast one, for {told}"


def tls_spoken(experiment: Experiment) -> str:
    """How far the target's certificate is trusted; empty when nothing speaks TLS."""
    load = experiment.load
    paths = [step.path for step in load.steps if isinstance(step, Request)]
    urls = [experiment.system.entry if path.startswith("/") else path for path in paths]
    if not any(url.startswith("https:") for url in urls):
        return ""
    tls = load.tls
    if tls is not None and not tls.verify:
        return "TLS without looking at the target's certificate (verify: false): it could be anybody's"
    return f"TLS, the target's certificate verified against {tls.ca if tls and tls.ca else 'what this host trusts'}"


def amplification(traffic: Traffic, span: Span, name: str) -> float | None:
    """Requests sent for each that was due, of one name or (empty) of all; None when none of them is ever retried.

    Retries count when they were sent, requests when they were due; redirects are no retries.
    """
    load = traffic.experiment.load
    called = load.called(name)
    retried = [step for nth, step in enumerate(load.steps) if nth in called and _retries(step)]
    hits = traffic.sample(span, name).hits
    if not retried or not hits:
        return None
    return 1.0 + sum(traffic.sample(span, step.series[0]).slot.due for step in retried) / hits


def retries_told(traffic: Traffic) -> Iterator[str]:
    """The amplification, phase by phase; nothing when no step has a policy."""
    retried = [step.name for step in traffic.experiment.load.steps if _retries(step)]
    parts = []
    for phase, _ in traffic.state.phases:
        span = traffic.span(phase)
        overall = amplification(traffic, span, "") if span else None
        if span is None or overall is None:
            continue
        by_name = sorted(((amplification(traffic, span, name) or 1.0, name) for name in retried), reverse=True)
        told = ", ".join(f"{name} {factor:.3g}" for factor, name in by_name[:NAMED] if factor > 1)
        parts.append(f"{phase.value} {overall:.3g}" + (f" ({told})" if told else ""))
    if parts:
        yield f"requests sent for each that was due, retries included: {'; '.join(parts)}"


def http_remarks(traffic: Traffic) -> Iterator[str]:
    """All that a report says about the HTTP of its load."""
    yield from retries_told(traffic)
    yield from filter(None, (path_taken(traffic.experiment.load), tls_spoken(traffic.experiment)))


def _retries(step: object) -> bool:
    return isinstance(step, Request) and step.client.retry is not None


def _several(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
