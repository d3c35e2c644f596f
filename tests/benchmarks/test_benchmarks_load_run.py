"""The benchmark of the load driver measures what it says; how fast anything is, is not asked here."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench_frozen import FREEZE_S, PERIOD_S, SERVICE_S, behind_s, expected_s
from bench_peers import find
from bench_sheet import NOTHING, Claim, Section
from bench_spin import spin

FAST = Claim("ours ÷ theirs", 2.0)
SMALL = Claim("bytes", 10, least=False)


class Two(BaseHTTPRequestHandler):
    """Answers two bytes and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nobody reads it."""


def answered_s(came_s: float, first_s: float = 0.0, last_s: float = 0.0) -> float:
    """How long a request takes that comes so long after a freeze began."""
    if came_s < FREEZE_S:
        return FREEZE_S - came_s + first_s + (last_s - first_s) * came_s / FREEZE_S + SERVICE_S
    if came_s > PERIOD_S - SERVICE_S:
        return PERIOD_S - came_s + FREEZE_S
    return SERVICE_S


@pytest.mark.parametrize("share", [0.5, 0.88, 0.9, 0.95, 0.97, 0.99, 0.999])
def test_what_a_frozen_server_must_show_is_what_following_each_request_gives(share: float) -> None:
    """The formula's quantiles are those of requests that come evenly and are followed one by one."""
    count = 100_000
    took = sorted(answered_s(n * PERIOD_S / count) for n in range(count))
    assert expected_s(share) == pytest.approx(took[int(share * count)], abs=0.001)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_a_server_that_takes_its_time_shows_what_following_each_request_gives(share: float) -> None:
    """So they are below the length of a freeze when those that waited are read one after the other, by its account."""
    behind = behind_s("0.002 0.031\n0.004 0.033\n")
    assert behind == pytest.approx((0.003, 0.032))
    count = 100_000
    took = sorted(answered_s(n * PERIOD_S / count, *behind) for n in range(count))
    assert expected_s(share, *behind) == pytest.approx(took[int(share * count)], abs=0.001)


def test_the_bare_loop_is_never_early_and_sends_no_more_than_it_is_to() -> None:
    """Its lag is no less than 0, and it has sent something, at most what the rate allows."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Two) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            said = spin(server.server_address[1], 200, 0.5)
        finally:
            server.shutdown()
            serving.join()
    assert said["lag_p99_us"] >= 0
    assert 0 < said["per_s"] <= 200


def test_a_claim_is_judged_by_the_median_of_the_rounds() -> None:
    """One bad round of three misses nothing, two do, in either direction; without a value it is unknown."""
    section = Section("a section", {"per_s": "requests/s"})
    for good, bad in ((2.5, 1.0), (3.0, 1.0)):
        section.claim(FAST, good)
        section.claim(FAST, bad)
    section.claim(FAST, 2.5)
    section.claim(SMALL, None)
    assert section.missed() == []
    assert section.unknown() == ["bytes ≤ 10"]
    for size in (9, 11, 12):
        section.claim(SMALL, size)
    assert section.missed() == ["bytes ≤ 10"]
    assert section.unknown() == []


def test_a_table_has_a_row_a_generator_and_a_dash_for_what_it_does_not_tell() -> None:
    """Cells are medians of their rounds; what a generator does not tell is a dash."""
    section = Section("a section", {"per_s": "requests/s", "p50": "p50 ms"})
    section.put("ours", per_s=1_000, p50=1.5)
    section.put("ours", per_s=3_000, p50=None)
    section.put("theirs", per_s=10)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.lines() if line.startswith("|")]
    assert rows[0] == ["", "requests/s", "p50 ms"]
    assert rows[2:] == [["ours", "2,000", "1.5"], ["theirs", "10", NOTHING]]


@pytest.mark.skipif(not find("nginx"), reason="nginx is not installed")
def test_a_section_runs_to_its_end_and_the_exit_code_agrees_with_the_text() -> None:
    """Real workers load a real nginx; every cell has a number, and the exit code says what the text does."""
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("load.py")),
            "--rounds",
            "1",
            "--seconds",
            "1",
            "--only",
            "workers",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "1 worker " in done.stdout, done.stdout + done.stderr
    assert "2 workers" in done.stdout
    assert NOTHING not in done.stdout
    assert done.returncode == (1 if "MISSED" in done.stdout else 0)
