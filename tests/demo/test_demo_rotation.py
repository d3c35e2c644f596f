"""Who gets the next request."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.demo.identity import Tokens, seed_users
from chaosrunner.demo.rotation import BlindRotation, CarefulRotation, Condition, Replica

CONDITIONS = st.tuples(*[st.sampled_from(Condition)] * 3)
KEYS = st.none() | st.text(max_size=20)


def replicas(conditions=(Condition.READY,) * 3):
    return [Replica(f"api-{n}", f"http://127.0.0.1:{n}", condition) for n, condition in enumerate(conditions, 1)]


@given(CONDITIONS, KEYS)
def test_everyone_is_in_the_order_and_the_best_come_first(conditions, key):
    """A careful order names every replica once, never a worse one before a better one."""
    rotation = CarefulRotation(replicas(conditions))
    order = rotation.order(key)
    assert sorted(replica.name for replica in order) == ["api-1", "api-2", "api-3"]
    assert [replica.condition for replica in order] == sorted(conditions)


@given(st.text(max_size=20), st.integers(0, 2))
def test_losing_a_replica_moves_only_its_own_users(key, lost):
    """A key stays with its replica unless that very replica is the one that went."""
    rotation = CarefulRotation(replicas())
    before = rotation.order(key)[0]
    rotation.replicas[lost].condition = Condition.GONE
    after = rotation.order(key)[0]
    assert after is before or before is rotation.replicas[lost]


def test_the_seed_users_are_spread_over_all_replicas():
    """No replica gets fewer than a fifth or more than half of the seed users."""
    rotation, tokens = CarefulRotation(replicas()), Tokens(b"any key")
    firsts = Counter(rotation.order(tokens.issue(user).partition(".")[0])[0].name for user, _ in seed_users())
    assert len(firsts) == 3
    assert all(10 <= count <= 25 for count in firsts.values())


def test_requests_without_a_key_take_turns_among_the_ready():
    """Without a key the ready replicas share the work evenly enough, and the gone get none."""
    rotation = CarefulRotation(replicas((Condition.READY, Condition.GONE, Condition.READY)))
    firsts = Counter(rotation.order(None)[0].name for _ in range(30))
    assert set(firsts) == {"api-1", "api-3"}
    assert min(firsts.values()) >= 10


@given(CONDITIONS, st.lists(KEYS, min_size=3, max_size=30))
def test_the_blind_take_turns_whatever_happened(conditions, keys):
    """A blind rotation names exactly one replica, the next in turn, dead or alive."""
    rotation = BlindRotation(replicas(conditions))
    orders = [rotation.order(key) for key in keys]
    assert [order[0].name for order in orders] == [f"api-{1 + turn % 3}" for turn in range(len(keys))]
    assert all(len(order) == 1 for order in orders)
