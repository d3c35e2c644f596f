"""Other hosts in a system file, and faults that act on the whole of one."""

from __future__ import annotations

import pytest
from parse_rig import EXPERIMENT, SYSTEM, changed, read, read_system, wrong

from chaosrunner.errors import Mistakes

WHOLE_HOST = changed(EXPERIMENT, ("proxy.latency: {target: database, add: 200ms}", "noop: {target: far}"))


@pytest.mark.parametrize(
    "place",
    ["ssh://web-2", "ssh://root@web-2.shop.example:2022", "ssh://root@10.0.0.2/opt/chaosrunner/bin/chaosrunner"],
)
def test_a_host_arrives_in_the_system(place: str) -> None:
    """User, port and the place of the program may be said."""
    assert read_system(f"far: {{host: '{place}'}}\nnear: {{}}\n").components["far"].host == place
    assert read_system("near: {}\n").components["near"].host == ""


@pytest.mark.parametrize(
    "place", ["web-2", "https://web-2", "ssh://a:secret@web-2", "ssh://web-2:0", "ssh://-oProxyCommand"]
)
def test_what_ssh_does_not_reach_is_a_mistake(place: str) -> None:
    """Another scheme, a password, an impossible port and what ssh would take for an option are refused."""
    with pytest.raises(Mistakes, match="host"):
        read_system(f"far: {{host: '{place}'}}\n")


def test_what_acts_on_whole_hosts_may_be_aimed_at_another() -> None:
    """Without a host of its own a component is no target for it."""
    (fault,) = read(WHOLE_HOST, system=f"{SYSTEM}far: {{host: 'ssh://web-2'}}\n").faults
    assert str(fault.target) == "far"
    assert wrong(WHOLE_HOST, system=f"{SYSTEM}far: {{}}\n") == ["12:12: 'noop' takes no target"]
