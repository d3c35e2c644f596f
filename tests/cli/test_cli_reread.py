"""`judge` and `report` say what the run said, whatever has become of its files."""

from __future__ import annotations

import json
import shutil

from cli_rig import Desk

TIMELESS = ("exit", "headline", "findings", "recovery", "faults", "phases", "trust", "restored")


def test_a_journal_alone_gives_the_same_verdict(desk: Desk) -> None:
    """Without experiment, system and state, `judge` and `report` repeat the verdict to the last figure."""
    desk.experiment(hypothesis="  before: [errors < 5%]\n  during: [max <= 800ms]\n  after: [p50 <= 3x baseline]")
    played = desk.run("run", "own.yaml")
    word = {1: "BROKEN", 3: "UNKNOWN"}.get(played.returncode)  # on a host that had no CPU for it nothing is broken
    assert word, played.stdout + played.stderr
    run = desk.runs[0]
    written = desk.verdict()
    (desk.home / "own.yaml").unlink()
    shutil.rmtree(desk.home / "systems")
    shutil.rmtree(desk.state)
    judged = desk.run("judge", str(run), "--json")
    assert judged.returncode == played.returncode
    assert json.loads(judged.stdout) == written
    shown = desk.run("judge", str(run))
    verdict = played.stdout[played.stdout.index(f"{word}  ") :]
    kept = [line for line in verdict.splitlines() if not line.lstrip().startswith("evidence")]
    assert shown.stdout.splitlines() == kept
    for name in ("verdict.json", "junit.xml", "summary.md", "report.html", "latency.hlog"):
        (run / name).rename(run / f"{name}.before")
    again = desk.run("report", str(run))
    assert again.returncode == 0, again.stderr
    for name in ("verdict.json", "junit.xml", "summary.md", "report.html", "latency.hlog"):
        assert (run / name).read_text() == (run / f"{name}.before").read_text(), name
    elsewhere = desk.run("report", str(run), "--to", "copy")
    assert elsewhere.returncode == 0
    assert json.loads((desk.home / "copy/verdict.json").read_text()) == written
    assert torn(desk) in (3, 4)


def torn(desk: Desk) -> int:
    """The exit of a judge who finds half of the events, and the last of them in the middle of a line."""
    events = desk.runs[0] / "events.jsonl"
    data = events.read_bytes()
    events.write_bytes(data[: len(data) * 2 // 3])
    judged = desk.run("judge", str(desk.runs[0]))
    assert "Traceback" not in judged.stderr
    assert "the journal ends before the run does" in " ".join(judged.stdout.split()) or judged.returncode == 4
    return judged.returncode


def test_a_damaged_line_is_skipped_and_counted(desk: Desk) -> None:
    """A flipped bit costs one fact, which is said on stderr."""
    desk.experiment(hypothesis="  before: [errors < 5%]")
    assert desk.run("run", "own.yaml").returncode == 0
    events = desk.runs[0] / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"n"', b'"m"')
    events.write_bytes(b"".join(lines))
    judged = desk.run("judge", str(desk.runs[0]))
    assert "1 damaged parts of the journal were skipped" in judged.stderr
    assert "damaged" not in judged.stdout
