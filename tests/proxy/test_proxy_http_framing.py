"""The scanner finds where messages begin and end, wherever the stream is cut, and leaves each byte as it is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxy_http_rig import CUTS, Message, Talk, cut, message, talks

from chaosrunner.proxy.http.framing import HEAD_LIMIT_BYTES, Part, Piece, Scanner
from chaosrunner.proxy.http.heads import Framing, NotHttpError, may_be_answer, may_be_request, read_answer, read_request


def request_scanner(heads: list[bytes] | None = None) -> Scanner:
    """A scanner of requests that remembers their heads."""

    def read(head: bytes):
        body = read_request(head).body
        if heads is not None:
            heads.append(head)
        return body

    return Scanner(read, may_be_request)


def answer_scanner(methods: Iterable[str]) -> Scanner:
    """A scanner of answers to requests of these methods, interim ones included."""
    asked = list(methods)

    def read(head: bytes):
        answer = read_answer(head, asked[0])
        if not answer.interim:
            del asked[0]
        return answer.body

    return Scanner(read, may_be_answer)


def scanned(scanner: Scanner, data: bytes, places: Iterable[int] = ()) -> list[Piece]:
    """All pieces of a stream that is cut there."""
    return [piece for item in cut(data, places) for piece in scanner.feed(item)]


def messages(pieces: list[Piece]) -> list[bytes]:
    """The bytes of each whole message, and of what is left behind the last one."""
    found = [b""]
    for piece in pieces:
        found[-1] += piece.data
        if piece.last:
            found.append(b"")
    return found


def is_opaque(data: bytes) -> bool:
    """Whether a stream of requests is given up."""
    scanner = request_scanner()
    scanned(scanner, data)
    return scanner.opaque


@given(said=talks(), places=CUTS)
def test_requests_are_told_apart(said: list[Talk], places: list[int]) -> None:
    """Pipelined requests of any framing, cut anywhere, are found each as it was sent."""
    heads: list[bytes] = []
    pieces = scanned(request_scanner(heads), b"".join(talk.request.data for talk in said), places)
    assert messages(pieces) == [*(talk.request.data for talk in said), b""]
    assert heads == [talk.request.head.lstrip(b"\r\n") for talk in said]


@given(said=talks(), places=CUTS)
def test_answers_are_told_apart(said: list[Talk], places: list[int]) -> None:
    """Answers with interim ones before them, cut anywhere, are found each as it was sent; the last may have no end."""
    stream = b"".join(talk.interim + talk.answer.data for talk in said)
    pieces = scanned(answer_scanner(talk.method for talk in said), stream, places)
    wanted = [part for talk in said for part in (talk.interim, talk.answer.data) if part]
    assert [part for part in messages(pieces) if part] == wanted


@given(said=message(b"POST /x HTTP/1.1", ("length", "chunked")), places=CUTS)
def test_what_is_body_is_told_from_what_frames_it(said: Message, places: list[int]) -> None:
    """The bytes of a body are the same pieces of the stream, framed by length or by chunks."""
    pieces = scanned(request_scanner(), said.data, places)
    head = b"".join(piece.data for piece in pieces if piece.part in {Part.BEGUN, Part.HEAD})
    body = b"".join(piece.data for piece in pieces if piece.part is Part.BODY)
    assert head == said.head
    if b"chunked" not in said.head.lower():
        assert body == said.body
    else:
        assert body == unchunked(said.body)


def unchunked(body: bytes) -> bytes:
    """The payload of a chunked body, by another way than the scanner's."""
    payload = b""
    while True:
        line, _, rest = body.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            return payload
        payload, body = payload + rest[:size], rest[size + 2 :]


@given(data=st.binary(max_size=300), said=talks(), place=st.integers(0, 2**20), places=CUTS)
def test_garbage_passes_byte_for_byte(data: bytes, said: list[Talk], place: int, places: list[int]) -> None:
    """Whatever comes, in the middle of valid requests or answers too, all pieces together are the stream."""
    for stream, scanner in (
        (b"".join(talk.request.data for talk in said), request_scanner()),
        (b"".join(talk.answer.data for talk in said), answer_scanner(["GET"] * 500)),
    ):
        at = place % (len(stream) + 1)
        spoilt = stream[:at] + data + stream[at:]
        assert b"".join(piece.data for piece in scanned(scanner, spoilt, places)) == spoilt


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5_0\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length:\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X: 1\r\n Transfer-Encoding: chunked\r\n",
        b"X: 1\rContent-Length: 5\r\n",
        b"X: \x00\r\n",
        b": empty\r\n",
        b"no colon\r\n",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_not_read(head: bytes) -> None:
    """Shapes by which requests are smuggled past a proxy make the stream opaque, and are not guessed at."""
    assert is_opaque(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
    with pytest.raises(NotHttpError):
        read_request(b"POST / HTTP/1.1\r\n" + head + b"\r\n")


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"\r\n", b"0x5\r\n", b"-1\r\n", b"5 5\r\n", b"3\r\nabcd\r\n", b"3\r\nabc5\r\n", b"0\r\nno trailer\r\n"],
)
def test_a_chunk_that_is_none_is_not_read(body: bytes) -> None:
    """Chunks of a size that is no number, or that end elsewhere than they say, make the stream opaque."""
    assert is_opaque(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)


def test_chunks_are_not_sent_by_http_1_0() -> None:
    """An old peer that says so may have been misread by somebody before us."""
    assert is_opaque(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_trailers_without_end_are_given_up() -> None:
    """More than 64 KiB of them are opaque, though each line is short."""
    start = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    line = b"X: " + b"x" * 95 + b"\r\n"
    assert not is_opaque(start + line * 600 + b"\r\n")
    assert is_opaque(start + line * 700 + b"\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n",
        b"GET /\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1.2\r\n",
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b" GET / HTTP/1.1\r\n",
    ],
)
def test_another_protocol_is_noticed_by_its_first_line(data: bytes) -> None:
    """What is no HTTP/1 request is opaque as soon as its first line shows that, not only when a head would end."""
    assert is_opaque(data)
    assert not is_opaque(b"GET / HTTP/1.1\r\n")


def test_another_protocol_of_the_server_is_noticed_by_its_first_bytes() -> None:
    """A server that greets first, as a mail server does, makes the stream opaque at once."""
    for data in (b"2", b"HTTPS", b"HTTP/2 200\r\n", b"HTTP/1.1 OK\r\n", b"HTTP/1.1 20 OK\r\n"):
        scanner = answer_scanner(["GET"])
        scanned(scanner, data)
        assert scanner.opaque, data
    scanner = answer_scanner(["GET"])
    scanned(scanner, b"HTTP/1.1 200\r\n", [1, 2, 3, 9])
    assert not scanner.opaque


def test_a_head_without_end_is_given_up() -> None:
    """A head of more than 64 KiB is opaque, whether it comes at once or bit by bit; one of 64 KiB is read."""
    start = b"GET / HTTP/1.1\r\nX: "
    whole = start + b"x" * (HEAD_LIMIT_BYTES - len(start) - 4) + b"\r\n\r\n"
    assert len(whole) == HEAD_LIMIT_BYTES
    assert not is_opaque(whole)
    longer = whole.replace(b"xxxx", b"xxxxx", 1)
    assert is_opaque(longer)
    scanner = request_scanner()
    scanned(scanner, longer[:-4], range(0, len(longer), 1000))
    assert not scanner.opaque
    scanned(scanner, b"x" * 5)
    assert scanner.opaque


@pytest.mark.parametrize(
    ("method", "head", "framing"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Framing.LENGTH),
        ("GET", b"HTTP/1.1 200\r\ntransfer-encoding: gzip,chunked\r\n", Framing.CHUNKED),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", Framing.UNTIL_CLOSE),
        ("GET", b"HTTP/1.0 200 OK\r\n", Framing.UNTIL_CLOSE),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Framing.NONE),
        ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n", Framing.NONE),
        ("GET", b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n", Framing.NONE),
        ("GET", b"HTTP/1.1 100 Go on\r\n", Framing.NONE),
        ("GET", b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n", Framing.SWITCH),
        ("CONNECT", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Framing.SWITCH),
        ("CONNECT", b"HTTP/1.1 502 No\r\nContent-Length: 5\r\n", Framing.LENGTH),
    ],
)
def test_how_an_answer_ends_follows_from_its_head_and_the_request(method: str, head: bytes, framing: Framing) -> None:
    """The rules of RFC 9112 §6.3 decide, in their order."""
    assert read_answer(head + b"\r\n", method).body.framing is framing


@pytest.mark.parametrize(
    ("version", "field", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: x\r\nconnection: y, close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_who_keeps_the_connection_says_so_by_version_and_field(version: bytes, field: bytes, kept: bool) -> None:
    """HTTP/1.1 goes on unless it says close, HTTP/1.0 ends unless it says keep-alive."""
    assert read_request(b"GET / HTTP/" + version + b"\r\n" + field + b"\r\n").keep_alive is kept
    answer = b"HTTP/" + version + b" 200 OK\r\nContent-Length: 0\r\n" + field + b"\r\n"
    assert read_answer(answer, "GET").keep_alive is kept
    endless = read_answer(b"HTTP/" + version + b" 200 OK\r\n" + field + b"\r\n", "GET")
    assert not endless.keep_alive


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?c=/d", "/a/b"),
        ("http://there:80/a?b", "/a"),
        ("http://there", "/"),
        ("http://there?q", "/"),
        ("/a?u=http://other/b", "/a"),
        ("/to/http://there/a", "/to/http://there/a"),
        ("*", "*"),
        ("/a%2Fb//c", "/a%2Fb//c"),
    ],
)
def test_the_path_is_what_a_server_would_route_by(target: str, path: str) -> None:
    """Scheme, host and query of a target are left out, and nothing is decoded."""
    assert read_request(f"GET {target} HTTP/1.1\r\n\r\n".encode()).path == path
