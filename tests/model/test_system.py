"""A system is a plain value with nothing said by default."""

from __future__ import annotations

from chaosrunner.model.system import Component, Processes, System


def test_nothing_is_there_unless_said() -> None:
    """A system without a word has no component, no protection and no address."""
    system = System(name="x", file="x.yaml")
    assert (system.environment, system.entry, system.fault_proxy, system.protect) == ("", "", "", ())
    assert dict(system.components) == {}
    component = Component(name="api")
    assert (component.at, component.processes, component.proxies, component.dsn, component.admin) == (
        (),
        None,
        (),
        None,
        None,
    )
    assert Processes() == Processes(ports=(), pids=(), pidfiles=(), command="", at_most=0)
