"""Network namespaces in a system file, and targets that need them."""

from __future__ import annotations

from typing import ClassVar

import pytest
from parse_rig import Fake, read_system

from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.target import check_target, parse_target

SYSTEM = "api: {namespaces: [shop-1, shop-2]}\nweb: {namespaces: shop-3}\ncache: {at: '127.0.0.1:6379'}\n"


class Cut(Fake):
    """A fault that needs a namespace."""

    name: ClassVar[str] = "network.cut"
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)


def test_namespaces_arrive_in_the_system() -> None:
    """One name or a list of them."""
    components = read_system(SYSTEM).components
    assert components["api"].namespaces == ("shop-1", "shop-2")
    assert components["web"].namespaces == ("shop-3",)
    assert components["cache"].namespaces == ()


@pytest.mark.parametrize("target", ["1 of 2 api", "50% of api", "web"])
def test_a_target_that_counts_right_is_taken(target: str) -> None:
    """The count is of the names in the system file."""
    check_target(parse_target(target), read_system(SYSTEM), Cut())


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("1 of 3 api", "names 2 of 'api', not 3"),
        ("api", "write '1 of 2 api'"),
        ("cache", r"add 'namespaces: \[name\]' to it in"),
    ],
)
def test_a_target_without_namespaces_or_with_others_is_a_mistake(target: str, says: str) -> None:
    """What the system file does not say is asked for, and a wrong count is said."""
    with pytest.raises(ReadingError, match=says):
        check_target(parse_target(target), read_system(SYSTEM), Cut())
