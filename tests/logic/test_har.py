"""A browser's recording becomes an experiment: what is asked, what is taken from replies, and what is kept secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from chaosrunner.logic.har import Imported, Wishes, import_har
from chaosrunner.logic.parse import Around, load_experiment
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.http_client import Tls

O = "http://shop.test:8080"  # noqa: E741 - the origin, in every line
WISHES = Wishes(name="rec.har")


def entry(at: float, method: str, path: str, status: int = 200, **more: object) -> dict[str, object]:
    """One entry; `sent` is a JSON body, `form` the text of a form, `got` a JSON reply or a text."""
    request: dict[str, object] = {
        "method": method,
        "url": path if "://" in path or ":" in path[:5] else O + path,
        "headers": [{"name": name, "value": value} for name, value in more.get("headers", {}).items()],  # type: ignore[attr-defined]
    }
    for key, mime in (("sent", "application/json; charset=utf-8"), ("form", "application/x-www-form-urlencoded")):
        if key in more:
            text = json.dumps(more[key]) if key == "sent" else more[key]
            request["postData"] = {"mimeType": mime, "text": text}
    if "post" in more:
        request["postData"] = more["post"]
    got = more.get("got", "")
    content = {
        "mimeType": more.get("mime", "application/json"),
        "text": got if isinstance(got, str) else json.dumps(got),
    }
    replied = more.get("replied", {})
    return {
        "startedDateTime": f"2026-01-01T10:00:{at:06.3f}Z",
        "time": more.get("took", 50),
        "request": request,
        "response": {
            "status": status,
            "headers": [{"name": name, "value": value} for name, value in replied.items()],  # type: ignore[attr-defined]
            "content": {**content, **more.get("content", {})},  # type: ignore[dict-item]
        },
    }


def har(*entries: dict[str, object]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}})


def imported(*entries: dict[str, object], **wishes: object) -> Imported:
    return import_har(har(*entries), Wishes(**{"name": "rec.har", **wishes}))  # type: ignore[arg-type]


def load_of(*entries: dict[str, object], **wishes: object) -> dict[str, object]:
    found = yaml.safe_load(imported(*entries, **wishes).experiment)["load"]
    assert isinstance(found, dict)
    return found


def steps_of(*entries: dict[str, object], **wishes: object) -> list[dict[str, object]]:
    """What each step asks, without its name."""
    return [next(iter(step.values())) for step in load_of(*entries, **wishes)["each_user"]]  # type: ignore[attr-defined]


class Files:
    """The experiment and its system, in memory."""

    def __init__(self, found: Imported) -> None:
        self.files = {"x/e.yaml": found.experiment, "x/systems/recorded.yaml": found.system}

    def text(self, path: Path) -> str:
        return self.files[str(path)]

    def names(self, folder: Path) -> list[str]:
        return [Path(name).name for name in self.files if Path(name).parent == folder]

    def refused(self, tls: Tls) -> tuple[str, str]:
        return "", ""


def read(found: Imported, **environ: str) -> Experiment:
    """The experiment as the program reads it."""
    around = Around(environ=environ, injectors=lambda _name: None, injector_names=[], reader=Files(found))
    return load_experiment(Path("x/e.yaml"), around)


SITTING = (
    entry(0, "GET", "/", mime="text/html", replied={"Set-Cookie": "sid=s3cr3t-cookie; Path=/"},
          got='<form><input type="hidden" name="csrf" value="c5rf-abcdef"></form>'),
    entry(0.05, "GET", "/app.js", mime="text/javascript"),
    entry(0.06, "GET", "https://cdn.test/x.png", mime="image/png"),
    entry(2.5, "POST", "/form", 302, form="csrf=c5rf-abcdef&user=ann&password=hunter2!",
          headers={"Cookie": "sid=s3cr3t-cookie"}, replied={"Location": "/home"}),
    entry(2.6, "GET", "/home", mime="text/html", got="<b>hi</b>"),
    entry(3, "POST", "/login", sent={"user": "ann", "password": "hunter2!"},
          got={"token": "eyJhbGciOi.eyJzdWIiOjF9.abc123", "user": {"id": 17}}),
    entry(3.2, "POST", "/agents", 201, headers={"Authorization": "Bearer eyJhbGciOi.eyJzdWIiOjF9.abc123"},
          sent={"name": "1e3", "ownerId": 17, "on": True, "tag": "<b>", "a b": None, "f": 1.5}, got={"id": 4711}),
    entry(3.3, "GET", "/agents/4711?page=2&k=k-very-secret", headers={"X-Api-Key": "k-very-secret", "X-Trace": "7"}),
    entry(3.4, "DELETE", "/agents/4711", 204),
)  # fmt: skip


def test_a_sitting() -> None:
    """Steps in the order of time, with what an earlier reply gave as variables and think times as recorded."""
    assert load_of(*SITTING) == {
        "each_user": [
            {"get home": {"GET": "/", "keep": {"csrf": "/name=[\"']csrf[\"'][^>]*value=[\"']([^\"']+)[\"']/"}}},
            {"post form": {"POST": "/form", "form": {"csrf": "<csrf>", "user": "ann", "password": "${PASSWORD}"},
                           "think": "2.5s"}},
            {"post login": {"POST": "/login", "body": {"user": "ann", "password": "${PASSWORD}"}, "think": "0.4s",
                            "keep": {"token": "$.token", "id": "$.user.id"}}},
            {"post agents": {"POST": "/agents", "expect": 201, "think": "0.2s", "keep": {"id2": "$.id"},
                             "body": {"name": "1e3", "ownerId": "<id>", "on": True, "tag": "<<b>", "a b": None,
                                      "f": 1.5}}},
            {"get agents": {"GET": "/agents/<id2>?page=2&k=${X_API_KEY}",
                            "headers": {"x-api-key": "${X_API_KEY}", "x-trace": "7"}}},
            {"delete agents": {"DELETE": "/agents/<id2>", "expect": 204}},
        ],
        "auth": "bearer <token>",
        "cookies": True,
        "redirects": 1,
        "arrivals": "1 user/s",
    }  # fmt: skip


def test_the_program_reads_it() -> None:
    """What is printed parses, once the secrets it names are set, and runs on the system it needs."""
    found = read(imported(*SITTING), PASSWORD="x", X_API_KEY="y")
    assert [step.name for step in found.load.steps][:2] == ["get home", "post form"]
    assert found.system.entry == O
    assert found.load.steps[3].body == {  # type: ignore[union-attr]
        "name": "1e3", "ownerId": "<id>", "on": True, "tag": "<<b>", "a b": None, "f": 1.5,
    }  # fmt: skip


def test_no_secret_is_written() -> None:
    """No password, token, key or cookie of the recording is anywhere; the variables that replace them are named."""
    found = imported(*SITTING)
    written = "\n".join((found.experiment, found.system, *found.remarks))
    for secret in ("hunter2", "eyJhbGciOi", "k-very-secret", "s3cr3t-cookie", "c5rf-abcdef"):
        assert secret not in written
    assert found.remarks == (
        "left out: 1 request for styles, scripts, images and fonts",
        "left out: 1 request to https://cdn.test",
        "set PASSWORD before you run it: the recording had a secret there",
        "set X_API_KEY before you run it: the recording had a secret there",
    )


def test_what_is_left_out() -> None:
    """Assets unless they are wanted, other origins, what had no reply and what could not be written down."""
    entries = (
        entry(0, "GET", "/"),
        entry(1, "GET", "/a.css"),
        entry(1, "GET", "/b", mime="font/woff2"),
        entry(2, "GET", "https://other.test/x"),
        entry(3, "PROPFIND", "/"),
        entry(4, "GET", "/lost", 0),
        entry(5, "GET", "/?q=${HOME}"),
        entry(6, "GET", "data:text/plain,x"),
        entry(6, "GET", "ws://shop.test/socket"),
    )
    assert [step["GET"] for step in steps_of(*entries)] == ["/"]
    assert set(imported(*entries).remarks) == {
        "left out: 2 requests for styles, scripts, images and fonts",
        "left out: 1 request to https://other.test",
        "left out: 1 request by PROPFIND",
        "left out: 1 request without a reply",
        "left out: 1 request with a '${' in them, which would be a reference here",
    }
    assert [step["GET"] for step in steps_of(*entries, assets=True)] == ["/", "/a.css", "/b"]
    assert [step["GET"] for step in steps_of(*entries, origin="https://other.test/")] == ["/x"]


def test_names_of_steps() -> None:
    """A step is called after its method and the words of its path; no two are called alike."""
    entries = [entry(n, "GET", path) for n, path in enumerate(("/", "/", "/api/v1/users/17", "/a/b/c", "/%C3%A9"))]
    names = [next(iter(step)) for step in load_of(*entries)["each_user"]]  # type: ignore[attr-defined]
    assert names == ["get home", "get home2", "get api users", "get b c", "get home3"]


@pytest.mark.parametrize(
    ("header", "auth"),
    [
        ("Bearer opaque-token-1", "bearer ${TOKEN}"),
        ("Basic YW5uOnNlY3JldA==", "basic ${USERNAME}:${PASSWORD}"),
        ("Digest username=ann", "${AUTHORIZATION}"),
    ],
)
def test_credentials_from_elsewhere(header: str, auth: str) -> None:
    """An Authorization that no reply gave becomes environment variables."""
    found = load_of(
        entry(0, "GET", "/", headers={"Authorization": header}),
        entry(1, "GET", "/2", headers={"Authorization": header}),
    )
    assert found["auth"] == auth


def test_bodies() -> None:
    """JSON, forms, multipart forms and texts; what claims to be JSON and is none is sent as it was."""
    params = [{"name": "title", "value": "x"}, {"name": "photo", "fileName": "a.png", "value": "…"}]
    bodies = [
        {k: v for k, v in step.items() if k not in ("POST", "think")}
        for step in steps_of(
            entry(0, "POST", "/", post={"mimeType": "application/json", "text": "{no"}),
            entry(1, "POST", "/", post={"mimeType": "text/plain", "text": "a <b>"}),
            entry(2, "POST", "/", post={"mimeType": "multipart/form-data; boundary=x", "params": params}),
            entry(3, "POST", "/", post={"mimeType": "text/xml", "text": "<password>geheim</password>"}),
            entry(4, "POST", "/", sent=[1, {"deep": ["a"]}]),
            entry(5, "POST", "/", post={"mimeType": "application/json"}),
            entry(6, "POST", "/", post={"mimeType": "application/x-www-form-urlencoded", "params": []}),
        )
    ]
    assert bodies == [
        {"text": "{no"},
        {"text": "a <<b>"},
        {"multipart": {"title": "x", "photo": ""}},
        {"text": "${BODY}"},
        {"body": [1, {"deep": ["a"]}]},
        {},
        {},
    ]


def test_what_is_taken_from_replies() -> None:
    """Long values, and short ones that call themselves an id; not what the client itself had sent before."""
    steps = steps_of(
        entry(0, "POST", "/a", sent={"name": "chosen-by-me"}, got={
            "name": "chosen-by-me", "id": 7, "n": 8, "ok": True, "rows": [{"x.y": "hidden-away", "ref": "reference-1"}],
            "none": None, "1st": "first-value", "€": "symbols-1",
        }),
        entry(1, "GET", "/a/7/8", replied={"X-CSRF-Token": "header-token"}),
        entry(2, "GET", "/a/chosen-by-me/hidden-away?ref=reference-1&x=first-value&y=symbols-1&id=7"),
        entry(3, "POST", "/a", headers={"X-CSRF-Token": "header-token"},
              sent={"id": 7, "count": 7, "on": "7", "s": "reference-1"}),
    )  # fmt: skip
    assert [step.get("GET") for step in steps] == [
        None,
        "/a/<id>/8",
        "/a/chosen-by-me/hidden-away?ref=<ref>&x=<v1st>&y=<value>&id=<id>",
        None,
    ]
    assert steps[0]["keep"] == {
        "id": "$.id", "ref": "$.rows[0].ref", "v1st": "$.1st", "value": "$.€",
    }  # fmt: skip
    assert steps[1]["keep"] == {"x_csrf_token": "header x-csrf-token"}
    assert steps[3]["headers"] == {"x-csrf-token": "<x_csrf_token>"}
    assert steps[3]["body"] == {"id": "<id>", "count": 7, "on": "7", "s": "<ref>"}


def test_secrets_under_other_names() -> None:
    """The same secret has the same variable, wherever it stands; two of one name get two variables."""
    steps = steps_of(
        entry(
            0, "POST", "/", sent={"apiKey": "k-1234", "pin": "99"}, headers={"2fa-token": "one-two", "X-Bad": "a\x01b"}
        ),
        entry(1, "GET", "/k-1234?q=k-1234&pin=98"),
    )
    assert steps[0]["body"] == {"apiKey": "${API_KEY}", "pin": "${PIN}"}
    assert steps[0]["headers"] == {"2fa-token": "${SECRET_2FA_TOKEN}"}
    assert steps[1]["GET"] == "/${API_KEY}?q=${API_KEY}&pin=${PIN2}"


def test_redirects() -> None:
    """A chain of redirects is one step, which keeps what the end of the chain gave."""
    entries = (
        entry(0, "GET", "/1", 302, replied={"Location": "/2"}),
        entry(0.1, "GET", "/2", 307, replied={"Location": f"{O}/3#top"}),
        entry(0.2, "GET", "/3", got={"id": "abcdefgh"}),
        entry(1, "GET", "/x/abcdefgh"),
        entry(2, "GET", "/4", 302, replied={"Location": "/elsewhere"}),
        entry(3, "GET", "/5", 304),
        entry(4, "GET", "/6", 302, replied={"Location": "/7"}),
    )
    found = load_of(*entries)
    assert found["redirects"] == 2
    steps = [next(iter(step.values())) for step in found["each_user"]]  # type: ignore[attr-defined]
    assert [step["GET"] for step in steps] == ["/1", "/x/<id>", "/4", "/5", "/6"]
    assert steps[0]["keep"] == {"id": "$.id"}
    assert all("expect" not in step for step in steps)


def test_cookies_from_before() -> None:
    """A cookie that no recorded reply set cannot be had; the reader is told."""
    found = imported(entry(0, "GET", "/", headers={"Cookie": "sid=abcdefgh"}))
    assert found.remarks == (
        "a cookie was set before the recording began and is missing; begin a recording signed out",
    )
    assert "abcdefgh" not in found.experiment


def test_odd_recordings() -> None:
    """Replies in base64, entries without what others have, and times out of order are read all the same."""
    encoded = {"text": base64.b64encode(b'{"id": "abcdefgh"}').decode(), "encoding": "base64"}
    bare = {
        "startedDateTime": "2026-01-01T10:00:01+00:00",
        "request": {"method": "get", "url": O},
        "response": {"status": 200},
    }
    steps = steps_of(entry(3, "GET", "/abcdefgh"), entry(2, "GET", "/first", content=encoded, took=-1), bare)
    assert [step["GET"] for step in steps] == ["/", "/first", "/<id>"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "this is no HAR file: it is no JSON"),
        ("[]", "this is no HAR file: expected log.entries of HAR 1.2"),
        ('{"log": {"entries": [{"request": {}}]}}', "this is no HAR file: expected log.entries"),
        ('{"log": {"entries": [7]}}', "this is no HAR file: expected log.entries"),
        ("[" * 100_000, "this is no HAR file"),
        (har(), "nothing was recorded in this HAR file"),
        (har(entry(0, "GET", "data:,x")), "nothing was recorded in this HAR file"),
        (har(entry(0, "GET", "/a.css")), f"nothing was asked of {O}; it was recorded from {O}"),
    ],
)
def test_what_is_no_recording(text: str, problem: str) -> None:
    """A file that is none, or holds nothing to send, is said to be so."""
    with pytest.raises(ReadingError) as caught:
        import_har(text, WISHES)
    assert problem in str(caught.value)
