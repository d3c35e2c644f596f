"""Reading request bodies: whatever comes, it is a value in range or a refusal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.proxy import decode
from chaosrunner.proxy.leases import parse_term
from chaosrunner.proxy.listener import Address, parse_address
from chaosrunner.proxy.refusals import RefusedError
from chaosrunner.proxy.toxics.toxic import TYPES, parse_toxic

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
ATTRIBUTE_NAMES = sorted({field.name for kind in TYPES.values() for field in dataclasses.fields(kind)})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TOXICS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(TYPES))},
    optional={
        "name": SCALARS,
        "stream": st.sampled_from(["upstream", "DOWNSTREAM", "sideways", ""]) | SCALARS,
        "toxicity": st.floats(-1, 2) | SCALARS,
        "attributes": st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES), st.integers(-3, 50) | SCALARS),
    },
)


def attempt(parse: Callable[[], T]) -> T | RefusedError:
    """What parsing gives, or the refusal."""
    try:
        return parse()
    except RefusedError as refusal:
        return refusal


@given(st.binary())
def test_any_bytes_are_an_object_or_a_refusal(body: bytes) -> None:
    """Whatever the bytes, reading them gives fields or a 400."""
    for read in (decode.read_object, decode.read_list):
        found = attempt(lambda read=read: read(body))
        assert isinstance(found, dict | list) or found.status == 400


@given(TOXICS)
def test_any_toxic_is_in_range_or_refused(body: dict[str, object]) -> None:
    """A toxic that is let in has an addressable name, a probability, and finite attributes that are not negative."""
    toxic = attempt(lambda: parse_toxic(decode.read_object(json.dumps(body).encode())))
    if isinstance(toxic, RefusedError):
        assert toxic.status == 400
        assert toxic.sentence
        return
    assert "/" not in toxic.name
    assert toxic.name.isprintable()
    assert toxic.stream in {"upstream", "downstream"}
    assert 0 <= toxic.toxicity <= 1
    for value in dataclasses.asdict(toxic.attributes).values():
        assert isinstance(value, str) or (math.isfinite(value) and value >= 0)


@given(TOXICS, st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES), st.integers(-3, 50)))
def test_an_amended_toxic_differs_only_in_what_was_named(body: dict[str, object], changes: dict[str, int]) -> None:
    """A change keeps name, type, stream and every attribute that it does not name."""
    with contextlib.suppress(RefusedError):
        toxic = parse_toxic(decode.read_object(json.dumps(body).encode()))
        amended = toxic.amended({"attributes": changes, "type": "noop", "stream": "upstream", "name": "other"})
        assert (amended.name, amended.type, amended.stream) == (toxic.name, toxic.type, toxic.stream)
        before, after = dataclasses.asdict(toxic.attributes), dataclasses.asdict(amended.attributes)
        assert after == {key: changes.get(key, value) for key, value in before.items()}


@given(SCALARS, SCALARS)
def test_any_term_is_in_range_or_refused(ttl: object, owner: object) -> None:
    """A ttl that is let in is above 0 and at most a week, and an owner can be addressed."""
    term = attempt(lambda: parse_term({"ttl": ttl, "owner": owner}))
    if isinstance(term, RefusedError):
        assert term.status == 400
        return
    assert term.ttl_s is None or 0 < term.ttl_s <= 7 * 24 * 3600
    assert term.owner is None or (term.owner and "/" not in term.owner)
    assert term.given == (ttl is not None or owner is not None)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Whatever the text, it is an address that reads back the same, or a 400."""
    address = attempt(lambda: parse_address(text, "listen"))
    if isinstance(address, RefusedError):
        assert address.status == 400
        return
    assert parse_address(str(address), "listen") == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        (":80", Address("", 80)),
        ("db.shop:0", Address("db.shop", 0)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    """Hosts, bracketed IPv6 addresses and an absent host are read, and shown as they were."""
    assert parse_address(text, "listen") == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", ":", "80", "host", "host:", "host:http", "::1:80", "a b:1", "h:-1", "h:65536", "h:٣"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Anything else is refused with a sentence that names the field."""
    with pytest.raises(RefusedError, match="upstream must be host:port"):
        parse_address(text, "upstream")
