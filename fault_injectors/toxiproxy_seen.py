"""What can be seen of a plain Toxiproxy's traffic, which it does not count while connections live.

The kernel does: `ss` shows, for each connection that a client has made to the proxy's port on this host, the bytes that
came in. With `-proxy-metrics` Toxiproxy itself adds, when a connection ends, the bytes that clients had sent on it. A
fault is proven by bytes that clients have sent into the proxy since its toxic was seen there: since a mark, which the
first look makes.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaosrunner.model.fault import Evidence
from fault_injectors.proxy_control import ControlApi, Hung, Json

SS_S = 2.0
DOUBT = 0.01
"""A fault of a share of the connections is proven by so many that the chance that none was struck is at most this."""
_COUNTER = re.compile(r"^toxiproxy_proxy_received_bytes_total\{([^}]*)\} (\S+)$", re.M)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What clients have sent into a proxy so far, in bytes."""

    live: Mapping[str, int]
    """By connection that is open, named by its two ends."""
    ended: float | None
    """On connections that have ended; None: the server does not count."""


@dataclass(slots=True)
class Mark:
    """Where counting begins."""

    traffic: Traffic
    carriers: set[str] = field(default_factory=set)
    """Connections that were seen to carry bytes since."""


async def look(api: ControlApi, proxy: Json) -> Traffic:
    """The traffic of a proxy so far."""
    live = await asyncio.to_thread(_connections, str(proxy["listen"]))
    try:
        _, said = await api.call("GET", "/metrics", gone_is_fine=True)
    except Hung:
        said = ""
    ended = sum(float(value) for labels, value in _COUNTER.findall(str(said)) if _is_of(labels, proxy))
    return Traffic(live, ended if "toxiproxy_proxy_" in str(said) else None)


def judge(mark: Mark, now: Traffic, toxic: Json) -> Evidence:
    """Whether bytes went in since the mark; moves the mark where nothing can be said from it any more.

    Args:
        mark: Made when the toxic was there already.
        now: Seen later.
        toxic: Its type and toxicity decide what is proof.
    """
    then = mark.traffic
    gone = [count for name, count in then.live.items() if name not in now.live]
    if toxic["type"] == "reset_peer":
        # It strikes connections that were opened after it; of one that was open before nothing follows.
        grown = {name: count for name, count in now.live.items() if count and name not in then.live}
        if gone:
            mark.traffic = now
            return Evidence(ok=None, says="connections from before have ended, none that came later has been seen yet")
    else:
        grown = {name: more for name, count in now.live.items() if (more := count - then.live.get(name, 0)) > 0}
    ended = 0.0 if now.ended is None or then.ended is None else max(0.0, now.ended - then.ended - sum(gone))
    mark.carriers.update(grown)
    if not grown and not ended:
        return Evidence(ok=None, says=_nothing(now))
    if toxic["toxicity"] < 1 and (1 - toxic["toxicity"]) ** len(mark.carriers) > DOUBT:
        return Evidence(
            ok=None, says=f"{len(mark.carriers)} connections in use are too few to know that one was struck"
        )
    count = sum(grown.values()) + ended
    data = {"bytes": count, "connections": len(mark.carriers)}
    return Evidence(ok=True, says=f"{count:,.0f} bytes that clients sent have met it", data=data)


def _nothing(now: Traffic) -> str:
    if now.live or now.ended is not None:
        return "the toxic is there, and clients have sent nothing since"
    return "the toxic is there, but no connection to it is seen on this host, and it runs without -proxy-metrics"


def _connections(listen: str) -> dict[str, int]:
    """Bytes received on each established connection to an address of this host; none where there is no ss."""
    if shutil.which("ss") is None:
        return {}
    host, _, port = listen.rpartition(":")
    where = ["sport", "=", f":{port}"] if host in ("", "[::]", "0.0.0.0") else ["src", listen]  # noqa: S104 -- compared
    try:
        done = subprocess.run(
            ["ss", "-tinHO", "state", "established", *where],
            capture_output=True, text=True, timeout=SS_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}
    found = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) > 4:
            came: Any = re.search(r"\bbytes_received:(\d+)", line)
            found[f"{words[2]}-{words[3]}"] = int(came[1]) if came else 0
    return found


def _is_of(labels: str, proxy: Json) -> bool:
    """Whether a counter is of what clients have sent into this proxy, and not an earlier one of its name."""
    wanted = {"direction": "upstream", "listener": proxy["listen"], "proxy": proxy["name"]}
    found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
    return all(found.get(key) == value for key, value in wanted.items())
