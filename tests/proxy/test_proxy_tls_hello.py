"""Reading a client's hello."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.proxy.tls.hello import offered_protocols

NAMES = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), max_size=6)


def hello_of(names: list[str]) -> bytes:
    """What OpenSSL says first as a client that offers these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if names:
        context.set_alpn_protocols(names)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same hello spread over records of `size` bytes."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@given(names=NAMES, size=st.integers(1, 600))
def test_what_openssl_offers_is_what_is_read(names: list[str], size: int) -> None:
    """The names are read from a real hello in any number of records, and not before its last byte is there."""
    hello = in_records(hello_of(names), size)
    assert offered_protocols(hello) == tuple(names)
    assert offered_protocols(hello + b"more") == tuple(names)
    assert offered_protocols(hello[:-1]) is None


@given(names=NAMES, data=st.data())
def test_a_part_of_a_hello_waits_for_the_rest(names: list[str], data: st.DataObject) -> None:
    """Any beginning of a hello, nothing at all included, is one that is not complete."""
    hello = hello_of(names)
    assert offered_protocols(hello[: data.draw(st.integers(0, len(hello) - 1))]) is None


@given(names=NAMES, data=st.data())
def test_a_spoilt_hello_is_read_or_refused(names: list[str], data: st.DataObject) -> None:
    """Whatever is changed in a hello, it is read, waited for, or refused, and nothing else."""
    hello = bytearray(hello_of(names))
    for place in data.draw(st.lists(st.integers(0, len(hello) - 1), max_size=5)):
        hello[place] = data.draw(st.integers(0, 255))
    try:
        offered = offered_protocols(bytes(hello))
    except ValueError:
        return
    assert offered is None or all(name.isascii() for name in offered)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "does not speak TLS"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "does not speak TLS"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "does not begin with a ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "too long"),
        (b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", "malformed"),
    ],
)
def test_what_is_no_hello_is_refused_at_once(heard: bytes, words: str) -> None:
    """Plain text, another TLS message, and a hello that claims to be endless or ends too early are told apart."""
    with pytest.raises(ValueError, match=words):
        offered_protocols(heard)


def test_a_name_that_is_not_ascii_is_left_out() -> None:
    """A GREASE name is passed over, and the one behind it is read."""
    hello = hello_of(["zz", "h2"]).replace(b"\x02zz", b"\x02\xfa\xfa")
    assert offered_protocols(hello) == ("h2",)
