"""Writes the report files of a run. Each appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chaosrunner.logic.fold import State
from chaosrunner.model.events import Entry
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.verdict import Verdict
from chaosrunner.report.hdr import interval_log
from chaosrunner.report.html import html
from chaosrunner.report.json import verdict_json
from chaosrunner.report.junit import junit_xml
from chaosrunner.report.markdown import markdown


def write_all(
    run_dir: Path, verdict: Verdict, experiment: Experiment, state: State, entries: Sequence[Entry]
) -> dict[str, Path]:
    """Write every report into a run directory.

    Args:
        run_dir: where to; it exists.
        verdict: the answer.
        experiment: what was asked.
        state: the fold of the journal.
        entries: the journal, for the page's table of events.

    Returns:
        `html`, `json`, `junit`, `markdown` and `hdr` → the file.

    Raises:
        OSError: a file could not be written; those written before it are whole.
    """
    texts = {
        "json": ("verdict.json", _dumped(verdict_json(verdict, experiment, state))),
        "junit": ("junit.xml", junit_xml(verdict)),
        "markdown": ("summary.md", markdown(verdict, experiment)),
        "html": ("report.html", html(verdict, experiment, state, entries)),
        "hdr": ("latency.hlog", interval_log(experiment, state, entries)),
    }
    return {kind: written(run_dir / name, text) for kind, (name, text) in texts.items()}


def _dumped(data: dict[str, object]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def written(path: Path, text: str) -> Path:
    """Write beside the file, then rename over it: a reader never sees half a report."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(beside).chmod(0o666 & ~umask)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path
