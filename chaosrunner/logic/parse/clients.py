"""What the client does by itself: `redirects`, `cookies`, `compression`, `retry`; of a load, a scenario, a step."""

from __future__ import annotations

import re
from dataclasses import replace

from chaosrunner.logic.parse.fields import Fields, some_time, table, texts, whole
from chaosrunner.logic.parse.scalars import duration
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.yaml_nodes import Scalar
from chaosrunner.model.http_client import Client, Retry

KEYS = ("redirects", "cookies", "compression", "retry")
STEP_KEYS = ("redirects", "compression", "retry")
RETRY_KEYS = ("times", "on", "backoff", "jitter", "retry_after", "timeout")
OUTCOMES = ("refused", "reset", "timeout", "protocol", "connect", "dns", "tls")
"""The failures that a policy may name."""
MOST_REDIRECTS = 50


def read_client(fields: Fields, default: Client) -> Client:
    """The client of a load, a scenario or a step; what it does not say is as in `default`."""
    return Client(
        redirects=fields.read("redirects", lambda text: whole(text, 0, MOST_REDIRECTS), default.redirects),
        cookies=fields.read("cookies", yes_or_no, default.cookies),
        compression=fields.read("compression", yes_or_no, default.compression),
        retry=_retry(fields, default.retry),
    )


def yes_or_no(text: str) -> bool:
    """`true` or `false`. Raises ReadingError."""
    if text not in ("true", "false"):
        raise ReadingError("expected true or false")
    return text == "true"


def _retry(load: Fields, default: Retry | None) -> Retry | None:
    node = load.node("retry")
    if node is None:
        return default
    if isinstance(node, Scalar) and node.value is False:
        return None
    desk = load.desk
    found = table(desk, node, "retry")
    if found is None:
        return default
    fields = Fields(desk, found, "retry").only(RETRY_KEYS)
    on = fields.need("on", "say what is asked again, such as 'on: [503, reset]'")
    statuses: list[int] = []
    outcomes: list[str] = []
    for one in texts(desk, on, "on") if on else ():
        codes, outcome = desk.read(one, "on", _reason) or ((), "")
        statuses += codes
        outcomes += [outcome] if outcome else []
    if "timeout" in outcomes and fields.node("timeout") is None:
        wrong = "to ask again after a timeout, retry needs its own for one attempt, such as 'timeout: 500ms'"
        desk.wrong(fields.place("on"), f"{wrong}: the request's ends it for good")
    backoff_s, longest_s = fields.read("backoff", parse_backoff, (0.1, 2.0))
    return Retry(
        times=fields.count("times", 1, most=100),
        statuses=tuple(statuses),
        outcomes=tuple(outcomes),
        backoff_s=backoff_s,
        longest_s=longest_s,
        jitter=fields.read("jitter", yes_or_no, True),
        heed=fields.read("retry_after", yes_or_no, False),
        timeout_s=fields.seconds("timeout", 1.0) if fields.node("timeout") else None,
    )


def _reason(text: str) -> tuple[tuple[int, ...], str]:
    """A status, a hundred of them (`5xx`), or a failure. Raises ReadingError."""
    if re.fullmatch(r"[1-5]xx", text):
        first = int(text[0]) * 100
        return tuple(range(first, first + 100)), ""
    if text in OUTCOMES:
        return (), text
    if text.isdecimal():
        return (whole(text, 100, 599),), ""
    near = did_you_mean(text, OUTCOMES)
    raise ReadingError(f"{quoted(text)} is neither a status, such as 503 or 5xx, nor a failure{near}")


def parse_backoff(text: str) -> tuple[float, float]:
    """`100ms` (always), `100ms to 2s` (doubling up to that), `0s` (at once). Raises ReadingError."""
    between = re.fullmatch(r"(.*?)\s+to\s+(.*)", text)
    if not between:
        return (duration(text),) * 2
    low, high = some_time(between[1]), some_time(between[2])
    if low >= high:
        raise ReadingError("a range goes from the shortest to the longest, such as '100ms to 2s'")
    return low, high


def of_a_step(fields: Fields, default: Client) -> Client:
    """A step's client: cookies are a journey's, and no step's alone."""
    return replace(read_client(fields, default), cookies=default.cookies)
