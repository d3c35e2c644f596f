"""The HTTP dialect without sockets: what passes, what is struck, in which order, and with which proof."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxy_http_rig import CUTS, Bench, Talk, cut, ends, talks
from proxy_rig import until

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.dialect import ROOM_BYTES
from chaosrunner.proxy.http.kinds import HttpStatus
from chaosrunner.proxy.toxics.stage import End

ASK = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nthere\r\n0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
UPGRADE = b"GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
OURS = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
HOUR_MS = 3_600_000


def status(stream: str = "downstream", **attributes: Any) -> dict[str, Any]:
    """A toxic that replaces answers."""
    return {"type": "http_status", "stream": stream, "attributes": attributes}


def late(latency: float = HOUR_MS, stream: str = "downstream", **attributes: Any) -> dict[str, Any]:
    """A toxic that makes late."""
    return {"type": "http_latency", "stream": stream, "attributes": {"latency": latency, **attributes}}


def malformed(kind: str) -> dict[str, Any]:
    """A toxic that breaks answers."""
    return {"type": "http_malformed", "attributes": {"kind": kind}}


def truncated(after: int) -> dict[str, Any]:
    """A toxic that cuts answers off."""
    return {"type": "http_truncate", "attributes": {"after": after}}


IDLE = [
    [],
    [status(path="/never"), malformed("body") | {"toxicity": 0}],
    [late(0), truncated(1000), late(0, "upstream"), status(method="BREW")],
    [truncated(0) | {"toxicity": 0}, late(method="BREW"), late(method="BREW", stream="upstream")],
]


@given(said=talks(), places=CUTS, toxics=st.sampled_from(IDLE))
def test_what_no_toxic_strikes_passes_byte_for_byte(said: list[Talk], places: list[int], toxics: list[Any]) -> None:
    """Pipelined requests and their answers, cut anywhere, reach the other side as they were sent, and at once."""
    bench = Bench(*toxics)
    requests = b"".join(talk.request.data for talk in said)
    answers = b"".join(talk.interim + talk.answer.data for talk in said)
    sent = b""
    for item in cut(requests, places):
        bench.ask(item)
        sent += item
        assert toxics or bench.asked == sent
    bench.ask(End.FIN)
    for item in cut(answers, places):
        bench.answer(item)
    bench.answer(End.FIN)
    assert bench.asked == requests
    assert bench.answered == answers
    assert (bench.up[-1], bench.down[-1]) == (End.FIN, End.FIN)
    assert bench.tally["requests"] == bench.tally["answers"] == len(said)
    assert bench.tally["opaque"] == bench.dialect.held_down == bench.reviews == 0
    assert not bench.agenda.entries


@given(
    up=st.lists(st.binary(min_size=1, max_size=60) | st.sampled_from([ASK, POST, UPGRADE, ASK[:9], POST[:-2]])),
    down=st.lists(st.binary(min_size=1, max_size=60) | st.sampled_from([OK, CHUNKED, SWITCH, OK[:9], CHUNKED[:-7]])),
    order=st.lists(st.booleans(), max_size=40),
    toxics=st.sampled_from(IDLE),
)
def test_what_is_not_understood_passes_byte_for_byte(
    up: list[bytes], down: list[bytes], order: list[bool], toxics: list[Any]
) -> None:
    """Any bytes in any order of the two directions, valid or not, all reach the other side."""
    bench = Bench(*toxics)
    asks, answers = iter(up), iter(down)
    for upward in [*order, *[True] * len(up), *[False] * len(down)]:
        item = next(asks if upward else answers, None)
        if item is not None:
            (bench.ask if upward else bench.answer)(item)
    bench.ask(End.FIN)
    bench.answer(End.FIN)
    assert bench.asked == b"".join(up)
    assert bench.answered == b"".join(down)


@given(said=talks(paths=("/", "/up/x", "/down/y")), places=CUTS, greedy=st.booleans())
def test_replaced_answers_keep_their_places(said: list[Talk], places: list[int], greedy: bool) -> None:
    """However requests and answers are cut, each answer, ours or the server's, comes at its request's turn."""
    bench = Bench(status("upstream", path="/up/*", status=429), status(path="/down/*", status=404, body="gone"))
    server = Answering(bench, [talk for talk in said if talk.path != "/up/x"])
    for item in cut(b"".join(talk.request.data for talk in said), places):
        bench.ask(item)
        if greedy:
            server.answer(places)
    server.answer(places)
    assert bench.asked == b"".join(talk.request.data for talk in said if talk.path != "/up/x")
    assert bench.answered == b"".join(expected_answer(talk) for talk in said)
    for applied, path in zip(bench.toxics, ("/up/x", "/down/y"), strict=True):
        meant = sum(talk.path == path for talk in said)
        assert (applied.matched, applied.struck, applied.connections) == (meant, meant, min(meant, 1))
    assert ends(bench.down) == []


class Answering:
    """A server that answers each request as soon as the last byte of it has come."""

    def __init__(self, bench: Bench, said: list[Talk]) -> None:
        self.bench = bench
        self.left = said
        self.known = 0

    def answer(self, places: list[int]) -> None:
        """Answer what has come."""
        while self.left and len(self.bench.asked) >= self.known + len(self.left[0].request.data):
            talk = self.left.pop(0)
            self.known += len(talk.request.data)
            self.bench.answer(*(item for item in cut(talk.interim + talk.answer.data, places) if item))


def expected_answer(talk: Talk) -> bytes:
    """What the client is to see in answer to a request."""
    line, body = {
        "/": (b"", b""),
        "/up/x": (b"HTTP/1.1 429 Too Many Requests", b""),
        "/down/y": (b"HTTP/1.1 404 Not Found", b"gone"),
    }[talk.path]
    if not line:
        return talk.interim + talk.answer.data
    # An answer that would have ended with the connection still does.
    bodiless = talk.method == "HEAD" or talk.status in {204, 304}
    framed = any(name in talk.answer.head.lower() for name in (b"content-length", b"transfer-encoding"))
    close = b"" if bodiless or framed or talk.path == "/up/x" else b"Connection: close\r\n"
    head = line + b"\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(body) + close + b"\r\n"
    return (b"" if talk.path == "/up/x" else talk.interim) + head + (b"" if talk.method == "HEAD" else body)


def test_a_request_that_the_server_does_not_see_is_answered_when_all_of_it_has_come() -> None:
    """The client sends all of its body, the server sees nothing, and the connection goes on."""
    bench = Bench(status("upstream"))
    bench.ask(POST[:-2])
    assert bench.down == []
    bench.ask(POST[-2:])
    assert bench.answered == OURS
    bench.ask(POST)
    assert bench.answered == OURS * 2
    assert bench.up == []
    assert bench.toxics[0].bytes == len(POST) * 2
    assert bench.tally == {"requests": 2, "answers": 2, "opaque": 0, "statuses": {"5xx": 2}}


def test_a_client_that_waits_for_permission_to_send_its_body_gets_it() -> None:
    """When the server does not see the request, the 100 comes from us, at its turn, and our reply behind the body."""
    bench = Bench(status("upstream", method="POST"))
    bench.ask(ASK + b"POST /a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert bench.down == []
    bench.answer(OK)
    assert bench.answered == OK + b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.ask(b"hi")
    assert bench.answered == OK + b"HTTP/1.1 100 Continue\r\n\r\n" + OURS
    assert bench.asked == ASK


@pytest.mark.parametrize(
    ("request_head", "said", "closes"),
    [
        (b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", b"Connection: close\r\n", True),
        (b"GET /a HTTP/1.0\r\n\r\n", b"Connection: close\r\n", True),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"Connection: keep-alive\r\n", False),
    ],
)
def test_our_reply_ends_the_connection_when_the_client_asked_for_that(
    request_head: bytes, said: bytes, closes: bool
) -> None:
    """A reply to a request that the server does not see says whether the connection goes on, and so it does."""
    bench = Bench(status("upstream"))
    bench.ask(request_head)
    assert said in bench.answered
    assert ends(bench.down) == [End.CLOSE] * closes


def test_a_swallowed_request_that_turns_out_to_be_none_ends_the_connection() -> None:
    """When a body's chunks are garbage, nothing of it reaches the server, and our reply is the last."""
    bench = Bench(status("upstream"))
    bench.ask(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nno chunk\r\nmore")
    bench.ask(b"and more")
    assert bench.up == []
    assert bench.down == [OURS[:-2] + b"Connection: close\r\n\r\n", End.CLOSE]


def test_the_server_does_the_work_of_an_answer_that_is_lost() -> None:
    """Downstream, the server sees the request, and the client our reply when the server's begins."""
    bench = Bench(status(status=500, body="é", content_type="text/html", retry_after=3))
    bench.ask(POST)
    assert bench.asked == POST
    bench.answer(b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED[:50])
    expected = (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\n"
    ) + "é".encode()
    assert bench.answered == b"HTTP/1.1 100 Continue\r\n\r\n" + expected
    bench.answer(CHUNKED[50:])
    assert bench.answered == b"HTTP/1.1 100 Continue\r\n\r\n" + expected
    assert bench.toxics[0].bytes == len(CHUNKED)
    assert bench.tally["statuses"] == {"5xx": 1}


@pytest.mark.parametrize("code", [204, 304])
def test_a_reply_without_a_body_does_not_speak_of_one(code: int) -> None:
    """A 204 or 304 of ours has neither a length nor a type."""
    bench = Bench(status(status=code))
    bench.ask(ASK)
    bench.answer(OK)
    assert bench.answered.startswith(b"HTTP/1.1 %d " % code)
    assert b"Content-" not in bench.answered


def test_a_status_that_has_no_name_is_sent_all_the_same() -> None:
    """Codes that nobody has registered are good for tests."""
    bench = Bench(status(status=599))
    bench.ask(ASK)
    bench.answer(OK)
    assert bench.answered.startswith(b"HTTP/1.1 599 Unknown\r\n")


def test_a_lost_answer_that_closes_makes_ours_say_so() -> None:
    """If the server will close the connection, or its answer ends with it, our reply says close."""
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for answer in (closing, ENDLESS, OK.replace(b"1.1", b"1.0")):
        bench = Bench(status())
        bench.ask(ASK)
        bench.answer(answer, End.FIN)
        assert bench.down == [OURS[:-2] + b"Connection: close\r\n\r\n", End.FIN]


def test_an_answer_that_breaks_while_it_is_replaced_ends_the_connection() -> None:
    """Where the next answer would begin cannot be known any more."""
    bench = Bench(status())
    bench.ask(ASK)
    bench.answer(CHUNKED[:60], b"\r\nno chunk\r\n")
    assert bench.down == [OURS, End.CLOSE]


def test_an_upgrade_makes_both_directions_opaque() -> None:
    """After a 101 anything passes, whatever it looks like, and no toxic strikes it."""
    bench = Bench(status("upstream", path="/b"), status(path="/b"))
    bench.ask(UPGRADE)
    bench.answer(SWITCH)
    bench.ask(ASK.replace(b"/a", b"/b"), b"\x00")
    bench.answer(OK, b"\x01")
    assert bench.asked == UPGRADE + ASK.replace(b"/a", b"/b") + b"\x00"
    assert bench.answered == SWITCH + OK + b"\x01"
    assert bench.tally == {"requests": 1, "answers": 1, "opaque": 1, "statuses": {"1xx": 1}}


def test_what_follows_an_unanswered_upgrade_is_not_judged() -> None:
    """It may be anything; once the server has declined, requests are judged again."""
    bench = Bench(status("upstream"), status("downstream") | {"toxicity": 0})
    bench.change(0, attributes={"path": "/b"})
    asked = ASK.replace(b"/a", b"/b")
    bench.ask(UPGRADE, asked)
    assert bench.asked == UPGRADE + asked
    bench.answer(OK, OK)
    bench.ask(asked)
    assert bench.asked == UPGRADE + asked
    assert bench.answered == OK + OK + OURS


def test_a_tunnel_is_opaque() -> None:
    """After a 2xx to CONNECT anything passes; after a refusal HTTP goes on."""
    connect = b"CONNECT x:443 HTTP/1.1\r\n\r\n"
    bench = Bench(status("upstream", method="GET"))
    bench.ask(connect)
    bench.answer(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
    bench.ask(ASK)
    assert bench.answered.endswith(OURS)
    bench.ask(connect)
    bench.answer(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03")
    bench.ask(ASK)
    assert bench.asked == connect + connect + ASK


def test_a_replaced_upgrade_ends_the_connection() -> None:
    """The server has switched and the client has not: nothing more can be said."""
    bench = Bench(status())
    bench.ask(UPGRADE)
    bench.answer(SWITCH)
    assert bench.down == [OURS[:-2] + b"Connection: close\r\n\r\n", End.CLOSE]
    bench.answer(b"frames")
    bench.ask(b"frames")
    assert bench.asked == UPGRADE
    assert len(bench.down) == 2


def test_an_answer_to_nothing_makes_the_connection_opaque() -> None:
    """A server that speaks first, or gives up waiting, is passed on and not matched to a later request."""
    bench = Bench(status(), status("upstream"))
    timed_out = b"HTTP/1.1 408 Too slow\r\nContent-Length: 0\r\n\r\n"
    bench.answer(timed_out)
    bench.ask(ASK)
    bench.answer(OK)
    assert (bench.asked, bench.answered) == (ASK, timed_out + OK)
    assert bench.tally["opaque"] == 1
    assert bench.toxics[0].matched == 0


def test_an_answer_to_a_request_that_is_still_held_back_is_not_its_answer() -> None:
    """The server cannot have seen it; the connection is opaque then, and the request goes on when its delay is over."""
    for toxic in (status(), status("upstream")):
        bench = Bench(late(stream="upstream"), toxic)
        bench.ask(ASK)
        bench.answer(OK)
        assert bench.answered == OK
        bench.remove(0)
        bench.answer(OK)
        assert (bench.asked, bench.answered) == (ASK, OK + OK)
        assert bench.dialect.held_up == 0


def test_an_answer_while_a_request_is_being_swallowed_is_not_its_answer() -> None:
    """The server gave up waiting for what it is never sent; that passes on, the rest of the request does not."""
    bench = Bench(status("upstream"))
    timed_out = b"HTTP/1.1 408 Too slow\r\nContent-Length: 0\r\n\r\n"
    bench.ask(POST[:-2])
    bench.answer(timed_out, End.FIN)
    bench.ask(POST[-2:])
    assert bench.down == [timed_out, End.FIN]
    assert bench.up == []
    assert bench.tally == {"requests": 1, "answers": 0, "opaque": 1, "statuses": {}}


def test_a_request_that_has_gone_on_is_not_swallowed_any_more() -> None:
    """A toxic of requests whose toxicity is raised meanwhile leaves the answer alone."""
    bench = Bench(status("upstream") | {"toxicity": 0.0})
    bench.ask(ASK)
    bench.change(0, toxicity=1)
    bench.answer(OK)
    assert bench.answered == OK
    assert bench.toxics[0].struck == 0


def test_answers_to_requests_before_garbage_are_still_told_apart() -> None:
    """Only what follows the garbage is opaque."""
    bench = Bench(status())
    bench.ask(ASK + ASK + b"\x00")
    bench.answer(OK + OK + b"HTTP/1.1 400 What\r\n\r\n")
    assert bench.answered == OURS + OURS + b"HTTP/1.1 400 What\r\n\r\n"
    assert bench.tally["opaque"] == 1


@pytest.mark.parametrize("answer", [OK, CHUNKED, ENDLESS])
@pytest.mark.parametrize("places", [(), range(200)])
def test_a_truncated_answer_ends_within_its_body(answer: bytes, places: Any) -> None:
    """Of the body, framed any way and cut anywhere, exactly so many bytes come, then a close and nothing else."""
    bench = Bench(truncated(1))
    bench.ask(ASK)
    bench.answer(*(item for item in cut(answer, places) if item))
    bench.answer(b"HTTP/1.1 200", End.FIN)
    head, _, body = answer.partition(b"\r\n\r\n")
    kept = body[:4] if answer is CHUNKED else body[:1]
    assert bench.answered == head + b"\r\n\r\n" + kept
    assert ends(bench.down) == [End.CLOSE]
    assert bench.down[-1] is End.CLOSE
    assert bench.toxics[0].struck == 1


def test_an_answer_that_is_short_enough_is_not_truncated() -> None:
    """A body of no more bytes than may pass is left whole, is not counted as struck, and the connection goes on."""
    bench = Bench(truncated(10))
    bench.ask(ASK + ASK + b"HEAD /a HTTP/1.1\r\n\r\n")
    headed = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    bench.answer(OK + CHUNKED + headed)
    assert bench.answered == OK + CHUNKED + headed
    assert (bench.toxics[0].matched, bench.toxics[0].struck) == (3, 0)


@pytest.mark.parametrize("kind", ["status_line", "header", "length", "chunk"])
@pytest.mark.parametrize("answer", [OK, CHUNKED, ENDLESS])
@pytest.mark.parametrize("places", [(), range(200)])
def test_a_malformed_answer_is_wrong_in_its_head_and_the_last(kind: str, answer: bytes, places: Any) -> None:
    """What is after the head comes as it was, then the connection closes."""
    bench = Bench(malformed(kind))
    bench.ask(ASK)
    bench.answer(*(item for item in cut(answer, places) if item))
    head, _, body = answer.partition(b"\r\n\r\n")
    got_head, _, got_body = bench.answered.partition(b"\r\n\r\n")
    assert got_body == (b"no size\r\n" if kind == "chunk" else b"") + body
    assert (got_head, got_body) != (head, body)
    assert ends(bench.down) == ([] if answer is ENDLESS else [End.CLOSE])
    assert (bench.toxics[0].struck, bench.toxics[0].bytes) == (1, len(answer))


@pytest.mark.parametrize("kind", ["length", "chunk", "body"])
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASK, b"HTTP/1.1 204 No\r\n\r\n"),
        (ASK, b"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n"),
        (b"HEAD /a HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_has_none_to_break(kind: str, asked: bytes, answer: bytes) -> None:
    """It passes as it is, the connection goes on, and nothing is counted as struck."""
    bench = Bench(malformed(kind))
    bench.ask(asked)
    bench.answer(answer)
    assert bench.down == [answer]
    assert (bench.toxics[0].matched, bench.toxics[0].struck) == (1, 0)


@pytest.mark.parametrize("places", [(), range(200)])
def test_a_wrong_body_leaves_the_framing_intact(places: Any) -> None:
    """Each byte of the payload is another one, chunk sizes are as they were, and the connection goes on."""
    bench = Bench(malformed("body"))
    bench.ask(ASK + ASK)
    bench.answer(*(item for item in cut(CHUNKED + OK, places) if item))
    wrong = {word: bytes(255 - byte for byte in word) for word in (b"hello", b"there")}
    expected = CHUNKED.replace(b"hello", wrong[b"hello"]).replace(b"there", wrong[b"there"])
    assert bench.answered == expected + OK[:-2] + bytes(255 - byte for byte in b"ok")
    assert bench.toxics[0].struck == 2


def test_the_first_toxic_that_strikes_decides() -> None:
    """Of several that say what the answer is, the one added first does, even if another would have kept the request."""
    first = Bench(malformed("body"), status("upstream"), status())
    first.ask(ASK)
    first.answer(OK)
    assert first.asked == ASK
    assert first.answered == OK[:-2] + bytes(255 - byte for byte in b"ok")
    assert [applied.struck for applied in first.toxics] == [1, 0, 0]
    assert [applied.matched for applied in first.toxics] == [1, 1, 1]
    second = Bench(status("upstream"), malformed("body"))
    second.ask(ASK)
    assert (second.asked, second.answered) == (b"", OURS)


@given(places=CUTS)
def test_an_hour_late_is_nothing_now_and_everything_when_the_toxic_goes(places: list[int]) -> None:
    """What is held either way, with what is behind it and its end, goes on in order when the latencies are removed."""
    bench = Bench(late(stream="upstream", method="POST"), late(method="POST"))
    bench.ask(*cut(ASK + POST + ASK, places), End.FIN)
    assert bench.asked == ASK
    assert bench.dialect.held_up >= len(POST + ASK)
    bench.remove(0)
    assert bench.asked == ASK + POST + ASK
    assert bench.up[-1] is End.FIN
    bench.answer(*cut(OK + CHUNKED + ENDLESS, places), End.FIN)
    assert bench.answered == OK
    assert bench.dialect.held_down == len(CHUNKED + ENDLESS)
    bench.remove(0)
    assert bench.answered == OK + CHUNKED + ENDLESS
    assert bench.down[-1] is End.FIN
    assert bench.dialect.held_down == 0
    assert not bench.agenda.entries
    assert bench.reviews > 0


@given(said=talks(), places=CUTS, steps=st.lists(st.sampled_from(["ask", "answer", "add", "change", "remove"])))
def test_latencies_that_come_and_go_lose_nothing(said: list[Talk], places: list[int], steps: list[str]) -> None:
    """Added, changed and removed in the middle of anything, they swap and lose no byte, whoever speaks first."""
    requests = b"".join(talk.request.data for talk in said)
    answers = b"".join(talk.interim + talk.answer.data for talk in said)
    asks, replies = cut(requests, places), cut(answers, places)
    spare = Bench(*[late(ms, stream) for ms in (HOUR_MS, 0) for stream in ("upstream", "downstream")] * 5).toxics
    bench = Bench()
    for step in steps:
        match step:
            case "ask" if asks:
                bench.ask(asks.pop(0))
            case "answer" if replies:
                bench.answer(replies.pop(0))
            case "add" if spare:
                bench.toxics = [*bench.toxics, spare.pop()]
                bench.dialect.refit()
            case "change" if bench.toxics:
                bench.change(0, attributes={"latency": 0 if bench.toxics[0].toxic.attributes.latency else HOUR_MS})
            case "remove" if bench.toxics:
                bench.remove(0)
        assert requests.startswith(bench.asked)
        assert answers.startswith(bench.answered)
    bench.ask(*asks, End.FIN)
    bench.answer(*replies, End.FIN)
    bench.remove(*range(len(bench.toxics)))
    assert (bench.asked, bench.answered) == (requests, answers)
    assert (bench.up[-1], bench.down[-1]) == (End.FIN, End.FIN)
    assert bench.dialect.held_down == 0


def test_interim_answers_are_not_late() -> None:
    """A client that waits for a 100 gets it, though the answer itself is an hour late."""
    bench = Bench(late())
    bench.ask(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    bench.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    bench.ask(b"hi")
    bench.answer(OK)
    assert bench.answered == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_our_own_reply_is_late_too() -> None:
    """Latency of both directions adds to a request that the server does not see."""
    bench = Bench(late(stream="upstream"), late(), status("upstream"))
    bench.ask(ASK, ASK)
    assert bench.dialect.held_up >= 2 * len(ASK)
    bench.remove(0)
    assert (bench.up, bench.down) == ([], [])
    assert bench.dialect.held_up == bench.dialect.held_down == 2 * len(OURS)
    bench.remove(0)
    assert bench.answered == OURS * 2
    assert bench.dialect.held_up == 0


def test_a_changed_toxic_acts_by_what_it_is_now() -> None:
    """A latency made short, a pattern that no longer fits, a toxicity of 0: each lets go what is held."""
    for change in ({"attributes": {"latency": 0}}, {"attributes": {"path": "/b"}}, {"toxicity": 0.0}):
        bench = Bench(late())
        bench.ask(ASK)
        bench.answer(OK)
        assert bench.answered == b""
        bench.change(0, **change)
        assert bench.answered == OK


def test_a_toxic_that_goes_before_it_could_act_leaves_no_trace() -> None:
    """A request on its way to be swallowed reaches the server, and an answer on its way to be replaced the client."""
    bench = Bench(late(stream="upstream"), late(), status("upstream", path="/a"), status(path="/b"))
    asked = ASK + ASK.replace(b"/a", b"/b")
    bench.ask(asked)
    bench.remove(2)
    bench.remove(0)
    assert bench.asked == asked
    bench.answer(OK + OK)
    bench.remove(1)
    bench.remove(0)
    assert bench.answered == OK + OK


def test_the_luck_of_each_request_is_drawn_once() -> None:
    """A raised toxicity strikes the held requests whose luck is below it, a lowered one spares the others again."""
    bench = Bench(late(stream="upstream"), status("upstream") | {"toxicity": 0.0})
    bench.ask(ASK * 200)
    bench.change(1, toxicity=1)
    bench.change(1, toxicity=0.3)
    bench.remove(0)
    spared = len(bench.asked) // len(ASK)
    assert 110 < spared < 170
    bench.answer(*[OK] * spared)
    assert bench.answered.count(OURS) == bench.toxics[0].struck == 200 - spared
    assert bench.answered.count(OK) == spared


def test_the_same_seed_strikes_the_same_requests_however_fast_answers_come() -> None:
    """The luck depends on the order of the requests, not on when each answer comes or how it is cut."""
    toxics = [late(0, jitter=0.001) | {"toxicity": 0.4}, status() | {"toxicity": 0.4}]
    pipelined, patient = Bench(*toxics), Bench(*toxics)
    pipelined.ask(ASK * 50)
    for _ in range(50):
        pipelined.answer(OK)
        patient.ask(*cut(ASK, range(30)))
        patient.answer(*cut(OK, range(50)))
        assert [applied.struck for applied in pipelined.toxics] == [applied.struck for applied in patient.toxics]
    assert pipelined.answered == patient.answered
    assert 0 < patient.toxics[0].struck < 50


def test_a_head_waits_for_its_end_only_while_there_are_toxics() -> None:
    """Half a head passes at once without toxics, waits with them, and goes on, spared, when the last one goes."""
    bench = Bench(status("upstream"), status())
    bench.ask(ASK[:10])
    assert (bench.up, bench.dialect.held_up) == ([], 10)
    bench.remove(0, 1)
    assert (bench.asked, bench.dialect.held_up) == (ASK[:10], 0)
    late_comers = Bench(status("upstream"), status(status=404)).toxics
    bench.toxics = late_comers
    bench.dialect.refit()
    bench.ask(ASK[10:])
    assert bench.asked == ASK
    bench.answer(OK[:10])
    assert bench.answered == b""
    bench.answer(OK[10:])
    assert bench.answered.startswith(b"HTTP/1.1 404")
    assert [applied.matched for applied in late_comers] == [0, 1]


def test_half_an_answers_head_goes_on_when_the_toxics_go() -> None:
    """It waits to be judged; without judges it goes on, and new ones leave that answer alone."""
    bench = Bench(status())
    bench.ask(ASK)
    bench.answer(OK[:10])
    assert (bench.down, bench.dialect.held_down) == ([], 10)
    judges = bench.toxics
    bench.remove(0)
    assert bench.answered == OK[:10]
    bench.toxics = judges
    bench.dialect.refit()
    bench.answer(OK[10:])
    assert bench.answered == OK


def test_an_end_brings_half_a_head_along() -> None:
    """A client or server that gives up in the middle of a head is passed on as it is."""
    bench = Bench(status("upstream"), status())
    bench.ask(ASK[:10], End.FIN)
    assert bench.up == [ASK[:10], End.FIN]
    bench = Bench(status())
    bench.ask(ASK)
    bench.answer(OK[:10], End.FIN)
    assert bench.down == [OK[:10], End.FIN]


def test_a_reset_passes_at_once() -> None:
    """It overtakes what is held."""
    bench = Bench(late(), late(stream="upstream", path="/b"))
    bench.ask(ASK, ASK.replace(b"/a", b"/b"), End.RESET)
    bench.answer(OK, End.RESET)
    assert bench.up == [ASK, End.RESET]
    assert bench.down == [End.RESET]


def test_nothing_happens_after_the_connection_is_over() -> None:
    """What is held is forgotten, timers are cancelled, and what still comes is lost."""
    bench = Bench(late(stream="upstream"), late())
    bench.ask(ASK)
    assert bench.agenda.entries
    bench.dialect.drop()
    assert not bench.agenda.entries
    bench.ask(ASK, End.FIN)
    bench.answer(OK, End.FIN)
    bench.remove(0, 1)
    assert (bench.up, bench.down) == ([], [])


def test_what_arrives_together_is_handed_on_together() -> None:
    """A message, or several, that came in one read leave in one write, with or without toxics."""
    for toxics in ([], [status(path="/never")]):
        bench = Bench(*toxics)
        bench.ask(POST + ASK)
        bench.answer(CHUNKED + OK)
        assert bench.up == [POST + ASK]
        assert bench.down == [CHUNKED + OK]


def test_a_client_that_asks_and_asks_is_not_read_from_for_ever() -> None:
    """Requests without an answer, and late replies of ours, count as held; answers make room again, and say so."""
    bench = Bench()
    bench.ask(ASK * 10_000)
    assert bench.dialect.held_up > ROOM_BYTES
    assert bench.reviews == 0
    bench.answer(OK * 10_000)
    assert bench.dialect.held_up == 0
    assert bench.reviews == 1
    owing = Bench(late(), status("upstream", body="x" * 100_000))
    owing.ask(ASK * 100)
    assert owing.dialect.held_up > ROOM_BYTES


async def test_delays_are_measured_and_shared_out() -> None:
    """Each request leaves late by the sum of its latencies, and each toxic is credited with its share of the time."""
    agenda = Agenda()
    bench = Bench(late(20, "upstream"), late(40, "upstream"), late(30), agenda=agenda)
    began = time.monotonic()
    bench.ask(POST[:-2])
    await asyncio.sleep(0.01)
    bench.ask(POST[-2:])
    await until(lambda: len(bench.asked) == len(POST))
    took = time.monotonic() - began
    assert took >= 0.069
    first, second, _ = bench.toxics
    assert 0.0599 <= first.delayed_s + second.delayed_s <= took
    assert second.delayed_s == pytest.approx(2 * first.delayed_s)
    bench.answer(OK)
    await until(lambda: bench.answered == OK)
    assert [applied.delays.total for applied in bench.toxics] == [1, 1, 1]
    assert [applied.struck for applied in bench.toxics] == [1, 1, 1]
    assert [applied.bytes for applied in bench.toxics] == [len(POST), len(POST), len(OK)]
    assert bench.toxics[2].delayed_s >= 0.0299
    assert bench.reviews >= 2
    agenda.close()


async def test_a_changed_latency_counts_from_when_the_request_came() -> None:
    """Made shorter, it lets the request go when the new delay is over, not that much later than now."""
    agenda = Agenda()
    bench = Bench(late(stream="upstream"), agenda=agenda)
    came = time.monotonic()
    bench.ask(ASK)
    await asyncio.sleep(0.4)
    bench.change(0, attributes={"latency": 500})
    assert bench.up == []
    await until(lambda: bench.asked == ASK)
    assert time.monotonic() - came >= 0.499
    assert 0.499 <= bench.toxics[0].delayed_s < 0.899
    agenda.close()


@pytest.mark.parametrize(
    ("attributes", "method", "path", "meets"),
    [
        ({}, "GET", "/anything", True),
        ({"method": "GET"}, "GET", "/", True),
        ({"method": "GET"}, "POST", "/", False),
        ({"method": "get, post"}, "POST", "/", True),
        ({"method": "GE"}, "GET", "/", False),
        ({"path": "/a"}, "GET", "/a", True),
        ({"path": "/a"}, "GET", "/a/", False),
        ({"path": "/a/*"}, "GET", "/a/", True),
        ({"path": "/a/*"}, "GET", "/a/b/c", True),
        ({"path": "/a/*"}, "GET", "/a", False),
        ({"path": "*/b"}, "GET", "/a/b", True),
        ({"path": "/a*b*c"}, "GET", "/axbxc", True),
        ({"path": "/a*b*c"}, "GET", "/axcxb", False),
        ({"path": "/ab*bc"}, "GET", "/abc", False),
        ({"path": "/[a]*"}, "GET", "/a", False),
        ({"path": "*"}, "OPTIONS", "*", True),
        ({"method": "POST", "path": "/a"}, "POST", "/b", False),
    ],
)
def test_a_toxic_is_meant_for_requests_of_its_methods_and_path(
    attributes: dict[str, str], method: str, path: str, meets: bool
) -> None:
    """Methods are a list in any case, in a path * is anything, and both must fit."""
    assert HttpStatus(**attributes).meets(method, path) is meets


@given(pattern=st.text("ab*", max_size=8), path=st.text("ab", max_size=8))
def test_a_star_is_anything(pattern: str, path: str) -> None:
    """A pattern fits the paths that the same regular expression matches."""
    import re

    as_regex = ".*".join(re.escape(part) for part in f"/{pattern}".split("*"))
    assert HttpStatus(path=f"/{pattern}").meets("GET", f"/{path}") is bool(re.fullmatch(as_regex, f"/{path}"))
