"""`proxy` of a component: the fault proxy that is put in front of it for its user."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from chaosrunner.logic.parse.fields import Fields
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.system_addresses import address, host_and_port
from chaosrunner.model.system import OwnProxy

PROTOCOLS = ("tcp", "http", "postgres")
_FORMS = "'for me', 'for me, reset open connections' or 'at 127.0.0.1:6432'"


def read_own_proxy(fields: Fields, at: tuple[str, ...]) -> OwnProxy | None:
    """The proxy a component asks for; mistakes are noted at the desk.

    Args:
        fields: The component's.
        at: Its addresses, as they were read.
    """
    if fields.node("proxy") is None:
        return None
    proxy = fields.read("proxy", parse_own_proxy, None)
    wrong = partial(fields.desk.wrong, fields.place("proxy"))
    if fields.node("proxies"):
        wrong("a component has 'proxies', or 'proxy' puts one in front of it: not both")
    if not fields.node("at"):
        wrong("'proxy' needs to know what is behind it; add 'at: [127.0.0.1:5432]'")
    elif proxy and proxy.listen and len(at) > 1:
        wrong(f"one port leads to one address, and 'at' has {len(at)}; write 'proxy: for me'")
    return replace(proxy, behind=tuple(host_and_port(place) for place in at)) if proxy else None


def parse_own_proxy(text: str) -> OwnProxy:
    """`for me`, `for me, reset open connections`, `at host:port` or `at host:port as http`. Raises ReadingError."""
    words = " ".join(text.split())
    if words == "for me":
        return OwnProxy()
    if words == "for me, reset open connections":
        return OwnProxy(reset_open=True)
    found = re.fullmatch(r"at (\S+)(?: as (\S+))?", words)
    if not found or "://" in found[1]:
        raise ReadingError(f"expected {_FORMS}")
    protocol = found[2] or "tcp"
    if protocol not in PROTOCOLS:
        raise ReadingError(f"expected 'as http' or 'as postgres', not 'as {protocol}'")
    return OwnProxy(listen=address(found[1]), protocol=protocol)
