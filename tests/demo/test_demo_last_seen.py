"""What a careful replica remembers for the time when the database is away."""

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.demo.careful import LastSeen
from chaosrunner.demo.service import Agent


def test_an_agent_is_remembered_as_it_was_last_seen():
    """The newest sight of an agent wins, by id and in the list."""
    seen = LastSeen()
    seen.saw("ann", Agent(1, "old"))
    seen.saw("ann", Agent(1, "new"))
    assert seen.agent("ann", 1) == Agent(1, "new")
    assert seen.agents("ann") == [Agent(1, "new")]


def test_a_listing_replaces_what_was_known():
    """Agents that the database no longer lists are forgotten."""
    seen = LastSeen()
    seen.saw("ann", Agent(1, "deleted elsewhere"))
    seen.listed("ann", [Agent(3, "c"), Agent(2, "b")])
    assert seen.agents("ann") == [Agent(3, "c"), Agent(2, "b")]
    assert seen.agent("ann", 1) is None


def test_a_deleted_agent_is_forgotten():
    """After a delete neither the agent nor the list shows it, and deleting the unknown is harmless."""
    seen = LastSeen()
    seen.saw("ann", Agent(1, "a"))
    seen.gone("ann", 1)
    seen.gone("bob", 1)
    assert seen.agent("ann", 1) is None
    assert seen.agents("ann") == []
    assert seen.agents("bob") is None


def test_nobody_sees_the_agents_of_another():
    """Memory is by owner."""
    seen = LastSeen()
    seen.saw("ann", Agent(1, "a"))
    assert seen.agent("bob", 1) is None


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 30)), max_size=200))
def test_memory_is_bounded_and_keeps_the_latest(sights):
    """However much is seen, at most the allowed users and agents are kept, and the last sight is among them."""
    seen = LastSeen(users=3, agents=4)
    for owner, agent_id in sights:
        seen.saw(owner, Agent(agent_id, "x"))
        assert seen.agent(owner, agent_id) is not None
    known = [seen.agents(owner) for owner in "abcdefgh"]
    assert sum(agents is not None for agents in known) <= 3
    assert all(len(agents) <= 4 for agents in known if agents is not None)
