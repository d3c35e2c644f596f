"""What may be concluded from bytes that clients sent into a plain Toxiproxy."""

from __future__ import annotations

from fault_injectors.toxiproxy_seen import Mark, Traffic, judge

LATENCY = {"type": "latency", "toxicity": 1.0}
RESET = {"type": "reset_peer", "toxicity": 1.0}


def test_bytes_on_a_connection_that_lives_prove_a_toxic() -> None:
    """More bytes on a connection from before, or any on a new one, have met the toxic."""
    mark = Mark(Traffic({"a": 10}, None))
    assert judge(mark, Traffic({"a": 10}, None), LATENCY).ok is None
    assert judge(mark, Traffic({"a": 12}, None), LATENCY).ok
    assert judge(Mark(Traffic({}, None)), Traffic({"b": 1}, None), LATENCY).ok


def test_bytes_from_before_the_mark_prove_nothing_when_their_connection_ends() -> None:
    """What the server adds up at the end of a connection counts only as far as it came after the mark."""
    mark = Mark(Traffic({"a": 10}, 100.0))
    assert judge(mark, Traffic({}, 110.0), LATENCY).ok is None
    proof = judge(mark, Traffic({}, 114.0), LATENCY)
    assert proof.ok
    assert "4 bytes" in proof.says


def test_a_reset_is_proven_by_connections_that_came_after_it_only() -> None:
    """Toxiproxy resets none that was open before, so traffic on those says nothing, nor does their end."""
    mark = Mark(Traffic({"a": 10}, 100.0))
    assert judge(mark, Traffic({"a": 99}, 100.0), RESET).ok is None
    assert judge(mark, Traffic({}, 199.0), RESET).ok is None
    assert judge(mark, Traffic({}, 199.0), RESET).ok is None
    assert judge(mark, Traffic({}, 203.0), RESET).ok


def test_a_share_is_proven_by_enough_connections() -> None:
    """Half of the connections: seven in use leave less than one in a hundred that none is struck, six do not."""
    half = {"type": "latency", "toxicity": 0.5}
    mark = Mark(Traffic({}, None))
    assert judge(mark, Traffic({f"c{n}": 1 for n in range(6)}, None), half).ok is None
    assert judge(mark, Traffic({"c6": 1}, None), half).ok


def test_a_server_elsewhere_that_does_not_count_says_so() -> None:
    """Without the kernel's numbers and the server's own there is no evidence, and the reason is said."""
    says = judge(Mark(Traffic({}, None)), Traffic({}, None), LATENCY).says
    assert "-proxy-metrics" in says
