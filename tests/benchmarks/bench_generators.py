"""The load generators ours is compared with: how each is told what to do, and what it says of itself.

Each runs as its users would run it at its best: one core (`GOMAXPROCS=1`), no log, no bodies kept that nobody reads.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench_load import WRK_SAYS
from bench_peers import FailedError, find, pinned
from bench_sites import PEERS_PYTHON

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS, WRK, VEGETA, K6, LOCUST, AIOHTTP = "chaosrunner", "wrk", "vegeta", "k6", "Locust", "aiohttp"
PICOWS, PGBENCH, BARE = "picows", "pgbench", "a bare loop"
ENDS_S = 60.0
"""A generator that has not ended so long after its time never will."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a generator is to do, for `seconds`.

    Attributes:
        url: Of the server, without a path.
        seconds: How long.
        rate: Requests a second whatever the answers do (open model); None: `connections` users without pauses.
        connections: How many may be open; in a closed loop that many users.
        steps: "get"; "scenario": log in, list with the token, read the first item and check it; "five" different GETs;
            "echo" on a WebSocket; "select" on a Postgres, whose DSN `url` is then.
        settles: Whether ours may leave out a second before; what others do at their start is theirs to tell.
    """

    url: str
    seconds: int
    rate: int | None = None
    connections: int = 50
    steps: str = "get"
    settles: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a generator says came of it. Times in ms; None is what it does not tell.

    Attributes:
        per_s: Requests answered in a second.
        quantiles: Response time by share: 0.5, 0.9, 0.99.
        missing: Share of the requests asked for that were never sent.
        lag_p99_us: How late it was itself, in µs.
        cpu_us: CPU it used for a request, in µs.
    """

    per_s: float
    quantiles: dict[float, float]
    missing: float = 0.0
    lag_p99_us: float | None = None
    cpu_us: float | None = None


def wrk(job: Job, folder: Path, core: int) -> Said | None:
    """wrk: closed loops of one request only."""
    if job.steps != "get":
        return None
    script = folder / "said.lua"
    script.write_text(WRK_SAYS)
    options = ("-t", "1", "-c", str(job.connections), "-d", f"{job.seconds}s", "--timeout", "10s", "-s", str(script))
    said = _run(core, job, program("wrk"), *options, job.url + "/").partition("SAID ")[2]
    requests, took_us, p50, p99, errors, p90 = (float(number) for number in said.split())
    _no_failures(WRK, errors)
    return Said(per_s=requests / took_us * 1e6, quantiles={0.5: p50 / 1000, 0.9: p90 / 1000, 0.99: p99 / 1000})


def vegeta(job: Job, folder: Path, core: int) -> Said | None:
    """vegeta: open, or with a rate of 0 and so many workers closed; no scenarios."""
    if job.steps != "get":
        return None
    many = str(job.connections)
    model = ("-rate", f"{job.rate}/1s") if job.rate else ("-rate", "0", "-max-workers", many)
    limits = ("-connections", many, "-max-connections", many)
    targets, results = folder / "targets", folder / "vegeta.bin"
    targets.write_text(f"GET {job.url}/\n")
    files = ("-targets", str(targets), "-output", str(results))
    _run(core, job, program("vegeta"), "attack", *model, *limits, "-duration", f"{job.seconds}s", *files)
    said = json.loads(_run(core, job, program("vegeta"), "report", "-type", "json", str(results)))
    _no_failures(VEGETA, sum(count for status, count in said["status_codes"].items() if status != "200"))
    times = {share: said["latencies"][name] / 1e6 for share, name in ((0.5, "50th"), (0.9, "90th"), (0.99, "99th"))}
    asked = (job.rate or 0) * job.seconds
    return Said(
        per_s=said["throughput"],
        quantiles=times,
        missing=max(0.0, 1 - said["requests"] / asked) if asked else 0.0,
    )


K6_SCRIPT = """
import http from 'k6/http';
import { check } from 'k6';
export const options = {
  discardResponseBodies: %(discard)s,
  summaryTrendStats: ['p(50)', 'p(90)', 'p(99)'],
  scenarios: { it: %(executor)s },
};
const base = '%(url)s';
function get() { http.get(base + '/'); }
function scenario() {
  const head = { headers: { 'Content-Type': 'application/json' } };
  const token = http.post(base + '/login', JSON.stringify({ user: 'ann', password: 'secret' }), head).json('token');
  const auth = { headers: { Authorization: 'Bearer ' + token } };
  const id = http.get(base + '/items', auth).json('items.0.id');
  const item = http.get(base + '/items/' + id, auth);
  check(item, { 'is 200': (r) => r.status === 200, 'has a price': (r) => r.json('price') > 0 });
}
export default %(steps)s;
export function handleSummary(data) { return { '%(file)s': JSON.stringify(data) }; }
"""


def k6(job: Job, folder: Path, core: int) -> Said | None:
    """k6: constant virtual users, or a constant arrival rate with virtual users enough."""
    length = {"duration": f"{job.seconds}s", "gracefulStop": "0s"}
    if job.rate is None:
        executor: dict[str, Any] = {"executor": "constant-vus", "vus": job.connections, **length}
    else:
        users = max(200, job.connections)
        executor = {"executor": "constant-arrival-rate", "rate": job.rate, "preAllocatedVUs": users, **length}
        executor |= {"maxVUs": 2 * users}
    script, file = folder / "k6.js", folder / "k6.json"
    discard = str(job.steps == "get").lower()
    text = {"discard": discard, "executor": json.dumps(executor), "url": job.url, "steps": job.steps, "file": file}
    script.write_text(K6_SCRIPT % text)
    _run(core, job, program("k6"), "run", "-q", "--no-usage-report", str(script))
    summary = json.loads(file.read_text())
    metrics = {name: metric["values"] for name, metric in summary["metrics"].items()}
    _no_failures(K6, metrics["http_req_failed"]["passes"] + metrics.get("checks", {}).get("fails", 0))
    dropped = metrics.get("dropped_iterations", {}).get("count", 0)
    times = metrics["http_req_duration"]
    return Said(
        per_s=metrics["http_reqs"]["count"] / summary["state"]["testRunDurationMs"] * 1000,
        quantiles={0.5: times["p(50)"], 0.9: times["p(90)"], 0.99: times["p(99)"]},
        missing=dropped / (job.rate * job.seconds) if job.rate else 0.0,
    )


LOCUST_FILE = """
from locust import FastHttpUser, constant_pacing, task

class User(FastHttpUser):
    host = %(url)r
    wait_time = %(wait)s

    def get(self):
        self.client.get("/")

    def scenario(self):
        with self.client.post("/login", json={"user": "ann", "password": "secret"}) as answer:
            head = {"Authorization": "Bearer " + answer.json()["token"]}
        with self.client.get("/items", headers=head) as answer:
            id = answer.json()["items"][0]["id"]
        with self.client.get(f"/items/{id}", headers=head, catch_response=True) as answer:
            if answer.status_code != 200 or not answer.json()["price"] > 0:
                answer.failure("no price")

    go = task(%(steps)s)
"""


def locust(job: Job, folder: Path, core: int) -> Said | None:
    """Locust's FastHttpUser: closed; a rate is so many users who each keep their pace."""
    users = job.connections
    wait = "lambda self: 0" if job.rate is None else f"constant_pacing({users / job.rate})"
    script = folder / "locustfile.py"
    script.write_text(LOCUST_FILE % {"url": job.url, "wait": wait, "steps": job.steps})
    length = ("-u", str(users), "-r", str(users), "-t", f"{job.seconds}s", "--stop-timeout", "0")
    quiet = ("--headless", "--only-summary", "--json", "--loglevel", "ERROR")
    said = json.loads(_run(core, job, program("locust"), "-f", str(script), *length, *quiet, codes=(0, 1)))
    requests = sum(entry["num_requests"] for entry in said)
    _no_failures(LOCUST, sum(entry["num_failures"] for entry in said))
    took = max(entry["last_request_timestamp"] for entry in said) - min(entry["start_time"] for entry in said)
    times: dict[float, int] = {}
    for entry in said:
        for millis, count in entry["response_times"].items():
            times[float(millis)] = times.get(float(millis), 0) + count
    return Said(
        per_s=requests / took,
        quantiles={share: _quantile(times, share) for share in (0.5, 0.9, 0.99)},
        missing=max(0.0, 1 - requests / (job.rate * job.seconds)) if job.rate else 0.0,
    )


def aiohttp(job: Job, folder: Path, core: int) -> Said | None:
    """A loop of one's own around aiohttp's client: closed, one request."""
    if job.rate is not None or job.steps != "get":
        return None
    script = str(Path(__file__).with_name("bench_aiohttp.py"))
    options = (job.url + "/", str(job.connections), str(job.seconds))
    said = json.loads(_run(core, job, sys.executable, script, *options))
    _no_failures(AIOHTTP, said["failed"])
    return Said(per_s=said["answers"] / job.seconds, quantiles={0.5: said["p50_ms"], 0.99: said["p99_ms"]})


def picows(job: Job, core: int) -> Said:
    """A bare client on picows."""
    script, port = str(Path(__file__).with_name("bench_picows.py")), str(urlsplit(job.url).port)
    command = (str(PEERS_PYTHON), script, "ask", port, str(job.connections), str(job.seconds))
    return Said(per_s=json.loads(_run(core, job, *command))["per_s"], quantiles={})


def spin(job: Job, core: int) -> Said:
    """The bare loop: how late anybody is here. See `bench_spin`."""
    command = (sys.executable, str(Path(__file__).with_name("bench_spin.py")), str(urlsplit(job.url).port))
    said = json.loads(_run(core, job, *command, str(job.rate), str(job.seconds)))
    return Said(per_s=said["per_s"], quantiles={}, lag_p99_us=said["lag_p99_us"])


def pgbench(job: Job, core: int) -> Said:
    """The select-only script that pgbench brings with it, prepared."""
    many, where = str(job.connections), urlsplit(job.url)
    server = ("-h", str(where.hostname), "-p", str(where.port), "-U", str(where.username), "postgres")
    model = ("-n", "-S", "-M", "prepared", "-c", many, "-j", "1", "-T", str(job.seconds))
    said = _run(core, job, program("pgbench"), *model, *server)
    found = re.search(r"tps = ([0-9.]+)", said)
    if not found or "failed transactions: 0 " not in said:
        raise FailedError(f"pgbench: {said[-300:]}")
    return Said(per_s=float(found.group(1)), quantiles={})


GENERATORS = {WRK: wrk, VEGETA: vegeta, K6: k6, LOCUST: locust, AIOHTTP: aiohttp}


def installed() -> list[str]:
    """Those that are there; aiohttp always is, ours needs it."""
    return [name for name in GENERATORS if name == AIOHTTP or find(name.lower())]


def program(name: str) -> str:
    """Where it is. Raises FailedError."""
    path = find(name)
    if path is None:
        raise FailedError(f"{name} is not installed")
    return path


def version(name: str) -> str:
    """What a program calls itself."""
    flag = {"wrk": "-v", "vegeta": "-version", "k6": "version", "locust": "--version", "nginx": "-v"}[name]
    done = subprocess.run([program(name), flag], capture_output=True, text=True, timeout=ENDS_S, check=False)
    number = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return f"{name} {number.group() if number else '?'}"


def _run(core: int, job: Job, *command: str, codes: Sequence[int] = (0,)) -> str:
    """A program's stdout, run on one core."""
    environment = {**os.environ, "GOMAXPROCS": "1", "K6_NO_USAGE_REPORT": "true"}
    with pinned(core):
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
    try:
        said, complained = running.communicate(timeout=job.seconds + ENDS_S)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{command[0]} did not end") from None
    finally:
        running.kill()
        running.wait()
    if running.returncode not in codes:
        raise FailedError(f"{command[0]}: exit {running.returncode}: {(complained or said)[-300:]}")
    return said


def _no_failures(who: str, failures: float) -> None:
    if failures:
        raise FailedError(f"{failures:.0f} requests of {who} failed")


def _quantile(times: dict[float, int], share: float) -> float:
    left = share * sum(times.values())
    for millis in sorted(times):
        left -= times[millis]
        if left <= 0:
            return millis
    return 0.0
