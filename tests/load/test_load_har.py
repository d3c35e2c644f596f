"""A recording, imported, read by the program and played: against a site that insists on its cookies, tokens and ids."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from load_rig import Asked, Target, finished, reply, work

from chaosrunner.cli import main
from chaosrunner.errors import Exit
from chaosrunner.logic.parse import load_experiment
from chaosrunner.logic.reveal import revealed, revealed_auth
from chaosrunner.model.load import Outcome, Stage
from chaosrunner.world.files import around_here
from chaosrunner.world.injectors import RealTools

PASSWORD = "hunter2!"


@dataclass
class Site:
    """Signs in by a form with a hidden token and a session cookie, and gives an API token and ids."""

    refused: Counter[str] = field(default_factory=Counter)
    made: set[str] = field(default_factory=set)

    async def __call__(self, _target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        path = request.path.partition("?")[0]
        session = request.headers.get("cookie", "").partition("sid=")[2]
        match request.method, path.split("/")[1:]:
            case "GET", [""]:
                page = f'<form><input type="hidden" name="csrf" value="csrf-for-{request.n:06}"></form>'.encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n"
                return f"{head}Set-Cookie: sid={request.n:06}; Path=/\r\n\r\n".encode() + page
            case "POST", ["form"]:
                form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
                right = form == {"csrf": f"csrf-for-{session}", "user": "ann", "password": PASSWORD}
                return reply(302, headers="Location: /home\r\n") if right else self.no("form")
            case "GET", ["home"]:
                return reply(200, {"token": f"token-for-{session}"}) if session else self.no("home")
            case method, ["agents", *rest] if request.headers.get("authorization") == f"Bearer token-for-{session}":
                return self.agents(method, rest, f"agent-{request.n}")
        return self.no(f"{request.method} {request.path}")

    def agents(self, method: str, rest: list[str], new: str) -> bytes:
        if method == "POST":
            self.made.add(new)
            return reply(201, {"id": new})
        if rest and rest[0] in self.made:
            if method == "DELETE":
                self.made.discard(rest[0])
            return reply(204 if method == "DELETE" else 200)
        return self.no("agent")

    def no(self, why: str) -> bytes:
        self.refused[why] += 1
        return reply(403)


def recorded(origin: str) -> str:
    """What a browser would have recorded there, once."""

    def entry(at: float, method: str, path: str, reply: dict[str, object], **request: object) -> dict[str, object]:
        return {
            "startedDateTime": f"2026-01-01T10:00:{at:06.3f}Z",
            "time": 5,
            "request": {"method": method, "url": origin + path, **request},
            "response": {"headers": [], "content": {}, **reply},
        }

    cookie = {"name": "Cookie", "value": "sid=old-session"}
    bearer = [cookie, {"name": "Authorization", "value": "Bearer token-for-old-session"}]
    form = {"mimeType": "application/x-www-form-urlencoded", "text": f"csrf=csrf-for-old&user=ann&password={PASSWORD}"}
    page = {"mimeType": "text/html", "text": '<form><input type="hidden" name="csrf" value="csrf-for-old"></form>'}
    sets, goes = [{"name": "Set-Cookie", "value": "sid=old-session"}], [{"name": "Location", "value": "/home"}]
    token = {"mimeType": "application/json", "text": '{"token": "token-for-old-session"}'}
    made = {"mimeType": "application/json", "text": '{"id": "agent-old-1"}'}
    agent = {"mimeType": "application/json", "text": '{"name": "probe"}'}
    entries = [
        entry(0, "GET", "/", {"status": 200, "headers": sets, "content": page}),
        entry(0.01, "GET", "/logo.png", {"status": 200}),
        entry(0.02, "POST", "/form", {"status": 302, "headers": goes}, headers=[cookie], postData=form),
        entry(0.03, "GET", "/home", {"status": 200, "content": token}, headers=[cookie]),
        entry(0.04, "POST", "/agents", {"status": 201, "content": made}, headers=bearer, postData=agent),
        entry(0.05, "GET", "/agents/agent-old-1", {"status": 200}, headers=bearer),
        entry(0.06, "DELETE", "/agents/agent-old-1", {"status": 204}, headers=bearer),
    ]
    return json.dumps({"log": {"entries": entries}})


def imported(tmp_path: Path, *args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["import", "har", str(tmp_path / "shop.har"), *args])
    return int(ended.value.code or 0)


def all_of(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.yaml"))


async def test_an_imported_recording_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each journey signs in for itself, with a cookie, a hidden token and ids of its own, and none is refused."""
    site = Site()
    os.environ["PASSWORD"] = PASSWORD
    try:
        async with Target(site) as target:
            (tmp_path / "shop.har").write_text(recorded(target.url))
            assert imported(tmp_path, "--out", str(tmp_path), "--system", "shop") == Exit.HELD
            load = load_experiment(tmp_path / "shop.yaml", around_here()).load
            auths = tuple(revealed_auth(scenario, RealTools()) for scenario in load.scenarios)
            brief = replace(load.streams[0], stages=(Stage(start=40, end=40, lasts_s=0.5),))
            books = await work(
                revealed(replace(load, streams=(brief,)), RealTools()), target.url, auths=auths, until=finished(100)
            )
    finally:
        del os.environ["PASSWORD"]
    assert not site.refused
    assert books.done == {Outcome.OK: 100}
    assert not site.made
    written = all_of(tmp_path) + "".join(capsys.readouterr())
    assert not [secret for secret in (PASSWORD, "old-session", "csrf-for-old") if secret in written]
    assert "set PASSWORD before you run it" in written


def test_an_experiment_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --out the experiment is all of stdout, and what to do next is on stderr."""
    (tmp_path / "shop.har").write_text(recorded("http://shop.test"))
    assert imported(tmp_path) == Exit.HELD
    out, err = capsys.readouterr()
    assert out.startswith('question: "Does the system bear what was recorded in shop.har?"\nsystem: recorded\n')
    assert 'systems/recorded.yaml needs: entry: "http://shop.test"' in err


def test_files_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there already stays; what cannot be read is a mistake, exit 2."""
    (tmp_path / "shop.har").write_text(recorded("http://shop.test"))
    (tmp_path / "shop.yaml").write_text("mine")
    assert imported(tmp_path, "--out", str(tmp_path)) == Exit.MISTAKE
    assert (tmp_path / "shop.yaml").read_text() == "mine"
    assert "shop.yaml: cannot be written: File exists" in capsys.readouterr().err
    (tmp_path / "shop.har").write_bytes(b"\xff\xfe")
    assert imported(tmp_path) == Exit.MISTAKE
    (tmp_path / "shop.har").write_text("{}")
    assert imported(tmp_path) == Exit.MISTAKE
    (tmp_path / "shop.har").unlink()
    assert imported(tmp_path) == Exit.MISTAKE
    err = capsys.readouterr().err
    for problem in ("it is no UTF-8 text", "this is no HAR file: expected log.entries of HAR 1.2", "No such file"):
        assert problem in err
