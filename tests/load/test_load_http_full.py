"""The full path of HTTP against a real server: redirects, cookies, compression, retries."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import ssl
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import brotli
import pytest
import trustme
from load_rig import (
    OK,
    Asked,
    Books,
    BootClock,
    Keys,
    Target,
    always,
    crowd,
    finished,
    hang,
    playing,
    profile,
    reply,
    work,
)

from chaosrunner.load.driver import LoadDriver
from chaosrunner.load.http.retries import asked_for_s
from chaosrunner.model.http_client import Check, Client, Retry, Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import Outcome, Step

FOLLOW = Client(redirects=5)
QUICK = Retry(times=3, statuses=(503,), outcomes=("reset", "timeout"), backoff_s=0.01)


def get(path: str = "/", **fields: object) -> Request:
    return Request(**{"name": "get", "method": "GET", "path": path, **fields})  # type: ignore[arg-type]


async def ask(target: Target, *steps: Step, hits: int = 20, **fields: object) -> Books:
    return await work(profile(*steps, **fields), target.url, until=finished(hits))


def moved(status: int, location: str, headers: str = "") -> bytes:
    return reply(status, headers=f"Location: {location}\r\n{headers}")


async def test_redirects_are_followed_within_one_hit() -> None:
    """A POST that is answered 302 becomes a GET without its body, 307 repeats it; both are one hit each."""

    async def handler(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        places = {"/old": moved(307, "/login"), "/login": moved(302, "welcome?a=1#top")}
        return places.get(request.path, reply(200, {"at": request.path}))

    step = get("/old", method="POST", body={"a": 1}, keep={"at": "$.at"}, client=FOLLOW)
    async with Target(handler) as target:
        books = await ask(target, step, get("<at>", name="again", client=FOLLOW), hits=40)
    assert books.done == {Outcome.OK: 40}
    seen = Counter((request.method, request.path, bool(request.body)) for request in target.requests)
    assert seen[("POST", "/old", True)] == seen[("POST", "/login", True)] == 20
    assert seen[("GET", "/welcome?a=1", False)] == 40
    assert "content-type" not in next(r for r in target.requests if r.path.startswith("/welcome")).headers
    assert books.counts["get.redirects"] == 40


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("/", "more than 5 redirects"),
        ("http://127.0.0.1:1/x", "a redirect to http://127.0.0.1:1, which no step of this load names"),
        ("mailto:a@b", "a redirect to what is no http URL"),
        ("http://[", "a redirect to what is no URL"),
    ],
)
async def test_redirects_that_are_not_followed(location: str, why: str) -> None:
    """A redirect in circles, to a stranger or to nowhere fails as STATUS, and a sample says why."""
    async with Target(always(moved(301, location))) as target:
        books = await ask(target, get(client=FOLLOW))
    assert books.done == {Outcome.STATUS: 20}
    assert books.counts["get.status.301"] == 20
    assert 1 <= len(books.noted("reply")) <= 5
    assert why in str(books.noted("reply")[0]["why"])


async def test_an_expected_redirect_is_an_answer() -> None:
    """A status that the step expects is not followed, and its Location can be kept."""

    async def handler(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return moved(303, "/there") if request.path == "/" else OK

    step = get(expect=(303,), keep={"to": "header Location", "code": "status"}, client=FOLLOW)
    async with Target(handler) as target:
        books = await ask(target, step, get("<to>", name="next", headers={"X-Code": "<code>"}), hits=40)
    assert books.done == {Outcome.OK: 40}
    assert {r.headers.get("x-code") for r in target.requests if r.path == "/there"} == {"303"}


async def test_another_origin_is_not_given_the_credentials() -> None:
    """A redirect to another origin of the same load is followed without Authorization and Cookie."""
    async with Target(always(OK)) as other, Target(always(moved(302, f"{other.url}/x"))) as target:
        step = get(headers={"Authorization": "Bearer t", "Cookie": "a=1", "X-Mine": "1"}, client=FOLLOW)
        books = await ask(target, step, get(f"{other.url}/named", name="named"), hits=40)
    assert books.done == {Outcome.OK: 40}
    followed = next(request for request in other.requests if request.path == "/x")
    assert followed.headers["x-mine"] == "1"
    assert not {"authorization", "cookie"} & set(followed.headers)
    assert followed.headers["host"] == f"127.0.0.1:{other.port}"


async def sessions(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
    """Gives each visitor without a cookie one of its own; says who it is."""
    if "cookie" not in request.headers:
        cookies = f"Set-Cookie: sid={request.n}; Path=/; HttpOnly\r\nSet-Cookie: gone=1; Max-Age=0\r\n"
        return reply(200, {"who": None}, headers=cookies)
    return reply(200, {"who": request.headers["cookie"]})


async def test_each_journey_has_a_jar_of_its_own() -> None:
    """A cookie set in one step is sent in the next ones of the same journey, and in no other journey."""
    client = Client(cookies=True)
    steps = (
        get(client=client),
        get("/2", name="second", client=client, keep={"who": "$.who"}),
        get("/3?<who>", name="third", client=client, headers={"Cookie": "own=1"}),
    )
    async with Target(sessions) as target:
        books = await ask(target, *steps, hits=60)
    assert books.done == {Outcome.OK: 60}
    seconds = [request.headers["cookie"] for request in target.requests if request.path == "/2"]
    assert len(seconds) == len(set(seconds)) == 20
    thirds = {request.headers["cookie"] for request in target.requests if request.path.startswith("/3")}
    assert thirds == {f"own=1; {cookie}" for cookie in seconds}
    assert all("cookie" not in request.headers for request in target.requests if request.path == "/")


async def test_a_user_keeps_its_jar() -> None:
    """In the closed model cookies are the user's: its next journey still sends them."""
    step = get(client=Client(cookies=True))
    async with Target(sessions) as target:
        books = await work(crowd(step, users=3, iterations=4), target.url, until=finished(12))
    assert books.done == {Outcome.OK: 12}
    assert Counter(request.headers.get("cookie") for request in target.requests)[None] == 3


BODY = b'{"id": 7, "text": "' + b"x" * 5000 + b'"}'


def squeezed(encoding: str, content: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("x-gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]), id="two gzip members"),
        pytest.param("deflate", zlib.compress(BODY), id="deflate"),
        pytest.param("deflate", raw_deflate(BODY), id="raw deflate"),
        pytest.param("br", brotli.compress(BODY), id="brotli"),
        pytest.param("identity", BODY, id="identity"),
    ],
)
async def test_compressed_replies(encoding: str, content: bytes) -> None:
    """Compression is asked for, undone before the reply is judged, and both sizes are counted."""
    size = Check(says="size = 5021B", subject="size", test="=", value=str(len(BODY)))
    step = get(keep={"id": "$.id"}, checks=(size,), client=Client(compression=True))
    async with Target(always(squeezed(encoding, content))) as target:
        books = await ask(target, step)
    assert books.done == {Outcome.OK: 20}, books.notes
    assert {request.headers["accept-encoding"] for request in target.requests} == {"gzip, deflate, br"}
    assert books.counts["get.bytes.wire"] == 20 * len(content)
    assert books.counts["get.bytes.body"] == 20 * len(BODY)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(squeezed("gzip", b"no gzip at all"), id="not gzip"),
        pytest.param(squeezed("gzip", gzip.compress(BODY)[:-9]), id="cut short"),
        pytest.param(squeezed("br", b"no brotli at all"), id="not brotli"),
        pytest.param(squeezed("deflate", zlib.compress(BODY) + b"more"), id="more than its end"),
        pytest.param(squeezed("gzip", gzip.compress(b"\0" * (80 << 20), 1)), id="a bomb"),
    ],
)
async def test_compressed_replies_that_are_broken(content: bytes) -> None:
    """A body that is not what its Content-Encoding says, or grows beyond all bounds, is PROTOCOL."""
    async with Target(always(content)) as target:
        books = await ask(target, get(client=Client(compression=True)), rate=20, hits=4)
    assert books.done == {Outcome.PROTOCOL: 4}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(204, headers="Content-Encoding: gzip\r\n"), id="204"),
        pytest.param(squeezed("gzip", b""), id="nothing compressed"),
        pytest.param(b"HTTP/1.1 103 X\r\nContent-Encoding: gzip\r\n\r\n" + OK, id="103 first"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Encoding: br\r\n\r\n",
            id="a trailer",
        ),
    ],
)
async def test_headers_of_no_consequence(answer: bytes) -> None:
    """What an interim reply, a trailer or a reply without a body says of compression changes nothing."""
    async with Target(always(answer)) as target:
        books = await ask(target, get(client=Client(compression=True)))
    assert books.done == {Outcome.OK: 20}
    assert target.connections < 20


# --- retries


def retries(books: Books) -> int:
    """The observations of `get.retries`, the only series."""
    return books.by_name[SERIES].due if SERIES in books.by_name else 0


def nth_fails(answer: bytes | None, times: int) -> object:
    """Each journey's first `times` requests get `answer`, then all is well; journeys are told apart by a header."""
    seen: Counter[str] = Counter()

    async def handler(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        who = request.headers["x-who"]
        seen[who] += 1
        return answer if seen[who] <= times else OK

    return handler


def rows(count: int = 20) -> tuple[dict[str, str], ...]:
    return tuple({"who": str(n)} for n in range(count))


@pytest.mark.parametrize("answer", [pytest.param(reply(503), id="503"), pytest.param(None, id="reset")])
async def test_a_policy_asks_again(answer: bytes | None) -> None:
    """What failed is asked again, each time on the wire; the hit is OK, and the retries are counted by name."""
    step = get(headers={"X-Who": "<who>"}, client=Client(retry=QUICK))
    async with Target(nth_fails(answer, 2)) as target:  # type: ignore[arg-type]
        books = await ask(target, step, data=rows())
    assert books.done == {Outcome.OK: 20}
    assert len(target.requests) == 60
    assert retries(books) == 40
    assert all(hit.sent_us <= hit.first_us <= hit.response_us for hit in books.hits)  # type: ignore[operator]


async def test_a_policy_gives_up() -> None:
    """After the last retry the hit ends with what that one came to."""
    step = get(client=Client(retry=QUICK))
    async with Target(always(reply(503))) as target:
        books = await ask(target, step)
    assert books.done == {Outcome.STATUS: 20}
    assert len(target.requests) == 80
    assert retries(books) == 60
    assert books.counts["get.status.503"] == 20


async def test_what_is_not_in_the_policy_is_not_asked_again() -> None:
    """A status or a failure that the policy does not name ends the hit."""
    step = get(client=Client(retry=Retry(times=3, outcomes=("refused",), backoff_s=0.01)))
    async with Target(always(reply(500))) as target:
        books = await ask(target, step)
    assert books.done == {Outcome.STATUS: 20}
    assert len(target.requests) == 20
    assert not retries(books)


async def test_an_attempt_may_have_a_time_of_its_own() -> None:
    """An attempt that hangs is given up after the policy's timeout and asked again, on another connection."""

    async def first_hangs(target: Target, request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        return await hang(target, request, writer) if request.n < 2 else OK

    retry = Retry(times=1, outcomes=("timeout",), backoff_s=0.01, timeout_s=0.2)
    async with Target(first_hangs) as target:
        books = await ask(target, get(client=Client(retry=retry)), rate=10, hits=2)
    assert books.done == {Outcome.OK: 2}
    assert retries(books) == 2
    assert books.all.ok.rank(1) >= 200_000


async def test_retries_end_with_the_hits_own_time() -> None:
    """However patient the policy, a hit ends at its timeout, also in a pause between two attempts."""
    retry = Retry(times=50, statuses=(503,), backoff_s=5, jitter=False)
    async with Target(always(reply(503))) as target:
        books = await ask(target, get(client=Client(retry=retry)), timeout_s=0.3)
    assert books.done == {Outcome.TIMEOUT: 20}
    assert len(target.requests) == 20


async def test_retry_after_is_heeded_if_asked() -> None:
    """With `heed` the next attempt waits as long as the reply asks, else only as long as the policy says."""
    busy = reply(503, headers="Retry-After: 1\r\n")
    for heed in (True, False):
        retry = Retry(times=1, statuses=(503,), backoff_s=0.01, heed=heed)
        step = get(headers={"X-Who": "<who>"}, client=Client(retry=retry))
        async with Target(nth_fails(busy, 1)) as target:  # type: ignore[arg-type]
            books = await ask(target, step, data=rows(4), rate=20, hits=4)
        assert books.done == {Outcome.OK: 4}
        assert (books.all.ok.rank(1) >= 990_000) is heed


def test_what_retry_after_may_say() -> None:
    """Seconds, or a date; anything else, and the past, asks for nothing."""
    assert asked_for_s("120") == 120
    assert asked_for_s("9" * 30) == 3600
    assert 50 < asked_for_s(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    assert [asked_for_s(text) for text in ("", "-1", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "1.5")] == [0.0] * 5


# --- the same failures on both paths

REDIRECTING = get(client=FOLLOW)
BROKEN = {
    "closed without a word": None,
    "short": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nok",
    "no last chunk": b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nX: \r\nConnection: close\r\nContent-Le",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a malformed chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    "an upgrade nobody asked for": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 21),
    "nothing at all": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "500": reply(500),
    "a second reply": OK + reply(500),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_both_paths_call_a_failure_by_the_same_name(how: str) -> None:
    """What a broken reply is counted as does not depend on the path its request took."""
    async with Target(always(BROKEN[how])) as target:
        fast, full = await asyncio.gather(*(ask(target, s, lasts_s=0.1, hits=10) for s in (get(), REDIRECTING)))
    assert fast.done == full.done
    assert sum(fast.done.values()) == 10


@pytest.mark.parametrize("step", [get(), REDIRECTING], ids=["fast", "full"])
async def test_a_target_that_is_not_there(step: Request) -> None:
    """A port on which nobody listens is REFUSED, a name that nobody has is DNS; neither took no time at all."""
    refused = await work(profile(step), "http://127.0.0.1:1", until=finished(20))
    assert refused.done == {Outcome.REFUSED: 20}
    assert refused.all.failed.total == 20
    unknown = await work(profile(step), f"http://{'x' * 64}.invalid", until=finished(20))
    assert unknown.done == {Outcome.DNS: 20}


@pytest.mark.parametrize("step", [get(), REDIRECTING], ids=["fast", "full"])
async def test_a_target_that_dies(step: Request) -> None:
    """When a server is killed in the middle, its open requests are RESET and later ones REFUSED."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).parent / "hanging_server.py"), "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())

        def some(books: Books) -> bool:
            if books.all.finished >= 20 and server.returncode is None:
                server.kill()
            return books.done.get(Outcome.REFUSED, 0) >= 20

        books = await work(profile(step, rate=200, lasts_s=None), f"http://127.0.0.1:{port}", until=some)
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()
    assert books.done[Outcome.OK] >= 20
    assert books.done[Outcome.REFUSED] >= 20
    assert set(books.done) <= {Outcome.OK, Outcome.RESET, Outcome.REFUSED, Outcome.UNFINISHED}


async def test_two_processes_deal_each_row_once(tmp_path: Path) -> None:
    """Everything at once in two real workers: TLS, cookies, a redirect, a retry, unique rows; each row is used once."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("shop.test").configure_cert(server)
    seen: Counter[str] = Counter()

    async def handler(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        seen[request.path] += 1
        if request.path.startswith("/in"):
            return moved(302, request.path.replace("in", "home"), "Set-Cookie: sid=1; Path=/\r\n")
        if "sid=1" not in request.headers.get("cookie", ""):
            return reply(403)
        return reply(503) if seen[request.path] == 1 else OK

    client = Client(redirects=1, cookies=True, retry=Retry(times=2, statuses=(503,), backoff_s=0.01))
    load = profile(
        get("/in/<n>", client=client, headers={"Authorization": "Bearer ${KEY}"}),
        rate=60,
        lasts_s=1,
        workers=2,
        data=tuple({"n": str(n)} for n in range(40)),
        order="unique",
        tls=Tls(ca=str(tmp_path / "ca.pem"), server_name="shop.test"),
    )
    books = Books()
    async with Target(handler, ssl=server) as target:
        tools = Keys(values={"${KEY}": "k"})
        driver = LoadDriver(load, entry=target.url, seed=1, longest_s=20, clock=BootClock(), tools=tools)
        async with playing(driver, books):
            await books.until(finished(60))
    books.check()
    assert books.done == {Outcome.OK: 40, Outcome.SPENT: 20}
    assert retries(books) == books.counts["get.redirects"] == 40
    assert seen == {f"/{place}/{n}": times for n in range(40) for place, times in (("in", 1), ("home", 2))}
