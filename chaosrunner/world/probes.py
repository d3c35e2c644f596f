"""Probes: questions asked on a schedule while the experiment runs. An error is an answer.

Kinds: `http` (a status below 400, or the one expected; the value is 1 or 0, or the number at a JSON path),
`tcp` (a connection is accepted), `process` (a command exits with 0; the value is the number it prints, if it does).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from chaosrunner.model.events import ProbeAnswered
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaosrunner.model.events import Event
    from chaosrunner.model.hypothesis import Probe
    from chaosrunner.world.clock import Clock


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe saw: whether it is well, a number to hold a tolerance against, and a sentence."""

    ok: bool
    value: float | None
    says: str = ""


async def ask_on_schedule(
    probes: Sequence[Probe], *, entry: str, clock: Clock, report: Callable[[Event], object]
) -> None:
    """Ask every probe at its own pace until cancelled; a slow answer never delays the next question of another."""
    await asyncio.gather(*(_ask_for_ever(probe, entry, clock, report) for probe in probes))


async def _ask_for_ever(probe: Probe, entry: str, clock: Clock, report: Callable[[Event], object]) -> None:
    due = clock.now()
    while True:
        at = clock.now()
        answer = await ask(probe, entry)
        report(ProbeAnswered(probe=probe.name, at_ns=at, ok=answer.ok, value=answer.value, says=answer.says))
        due = max(due + int(probe.every_s * NANOS), clock.now())
        await clock.sleep_until(due)


async def ask(probe: Probe, entry: str) -> Answer:
    """Ask once; whatever goes wrong, including the timeout, is an answer that is not ok."""
    kinds = {"http": _http, "tcp": _tcp, "process": _process}
    try:
        answer = await asyncio.wait_for(kinds[probe.kind](probe, entry), probe.timeout_s)
        return answer if isfinite(answer.value or 0.0) else Answer(False, 0.0, f"{answer.value} is no number")
    except TimeoutError:
        return Answer(False, 0.0, f"no answer in {probe.timeout_s:g} s")
    except Exception as error:
        return Answer(False, 0.0, f"{type(error).__name__}: {error}")


async def _http(probe: Probe, entry: str) -> Answer:
    import aiohttp

    url = urljoin(entry, str(probe.args["url"]))
    expect = probe.args.get("expect")
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(url) as reply:
        ok = reply.status == expect if expect else reply.status < 400
        path = probe.args.get("value")
        if not path or not ok:
            return Answer(ok, float(ok), f"status {reply.status}")
        found = await reply.json(content_type=None)
        for key in str(path).removeprefix("$").strip(".").split("."):
            found = found[int(key)] if isinstance(found, list) else found[key]
        return Answer(True, float(found), f"{path} is {found}")


async def _tcp(probe: Probe, _entry: str) -> Answer:
    host, _, port = str(probe.args["at"]).rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    return Answer(True, 1.0, "accepted")


async def _process(probe: Probe, _entry: str) -> Answer:
    command = probe.args["command"]
    assert isinstance(command, list | tuple)
    child = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        value = float(printed.strip() or b"x")
    except ValueError:
        value = float(child.returncode == 0)
    return Answer(child.returncode == 0, value, f"exit {child.returncode}")
