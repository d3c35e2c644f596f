"""A lease ends what nobody renews."""

from __future__ import annotations

import asyncio

from chaosrunner.load.lease import Lease


async def test_a_lease_that_is_renewed_lets_lines_through() -> None:
    """Without a lease, and within one, lines arrive as they were written, and the end is the end."""
    lease, stream = Lease(), asyncio.StreamReader()
    assert (lease.left_s, lease.over) == (None, False)
    stream.feed_data(b"one\n")
    assert await lease.line(stream) == b"one\n"
    lease.renew(60)
    assert lease.left_s is not None
    assert 0 < lease.left_s <= 60
    stream.feed_data(b"two\n")
    stream.feed_eof()
    assert await lease.line(stream) == b"two\n"
    assert await lease.line(stream) == b""
    assert not lease.over


async def test_a_lease_that_runs_out_ends_the_waiting() -> None:
    """When nobody renews it, waiting for a line ends, and lines that come too late are not obeyed."""
    lease, stream = Lease(), asyncio.StreamReader()
    lease.renew(0.05)
    async with asyncio.timeout(20):
        assert await lease.line(stream) == b""
    assert lease.over
    stream.feed_data(b"too late\n")
    assert await lease.line(stream) == b""
