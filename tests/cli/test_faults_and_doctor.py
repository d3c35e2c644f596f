"""`chaosrunner faults` and `chaosrunner doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from chaosrunner.cli import doctor, faults
from chaosrunner.world import injectors

if TYPE_CHECKING:
    from pathlib import Path


def row(name: str) -> faults.Row:
    """One fault's row."""
    return next(row for row in faults.faults() if row.name == name)


def test_every_installed_fault_has_a_row() -> None:
    """The list is what is installed; all of ours can run where the tests run, but for what its kernel may lack."""
    rows = faults.faults()
    assert [one.name for one in rows] == injectors.names()
    cannot = {one.name: one.why_not for one in rows if one.why_not}
    assert set(cannot) <= {"network.latency", "network.reorder", "network.duplicate"}
    assert all(why.startswith("this kernel has no netem; ") for why in cannot.values())


def test_a_row_says_what_a_file_must_say() -> None:
    """Required parameters come first; defaults and units are as files write them."""
    latency = row("proxy.latency")
    assert latency.needs == ("proxies",)
    shown = [(one.name, one.kind, one.default) for one in latency.parameters]
    assert shown == [
        ("add", "duration", None),
        ("share", "share", "100%"),
        ("direction", "downstream | upstream", "downstream"),
        ("jitter", "duration", "0s"),
    ]
    assert all(one.help for one in latency.parameters)
    assert row("process.kill").parameters[0].kind == "by itself"


def test_a_broken_injector_is_a_row_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad package does not hide all the others."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[chaosrunner.injectors]\nbroken.fault = broken_module:Fault\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "ModuleNotFoundError" in row("broken.fault").why_not
    shown = CliRunner().invoke(faults.command)
    assert "cannot run here" in shown.output
    assert "process.kill" in shown.output


def test_faults_are_printed_and_written_as_json() -> None:
    """People read every name, parameter and term; programs read the same rows."""
    shown = CliRunner().invoke(faults.command)
    assert shown.exit_code == 0
    for name in injectors.names():
        assert name in shown.output
    assert "has no undo" in shown.output
    rows = json.loads(CliRunner().invoke(faults.command, ["--json"]).output)
    assert [one["name"] for one in rows] == injectors.names()


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), ("", "none"), (None, "none"), (3, "3"), ("KILL", "KILL")]
)
def test_defaults_are_written_as_in_a_file(value: object, text: str) -> None:
    """A default reads the way a file would say it."""
    assert faults.written(value) == text


def test_the_doctor_finds_this_host_fit() -> None:
    """Everything that every run needs is here, and each check says something."""
    checks = doctor.doctor()
    assert [check.name for check in checks if check.needed and not check.ok] == []
    assert all(check.says for check in checks)


def test_a_state_directory_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for the way back nothing may run, and the advice says which variable to set."""
    monkeypatch.setenv("CHAOSRUNNER_STATE", "/proc/no/such/place")
    check = doctor.state()
    assert not check.ok
    assert check.needed
    assert "CHAOSRUNNER_STATE" in check.advice
    shown = CliRunner().invoke(doctor.command, standalone_mode=False)
    assert shown.return_value == 2
    assert "NO  state directory" in shown.output
    monkeypatch.setenv("CHAOSRUNNER_STATE", str(tmp_path / "not/yet/there"))
    assert doctor.state().ok
    assert list(tmp_path.iterdir()) == []


def test_a_taken_proxy_port_is_found() -> None:
    """Where another fault proxy listens already, the doctor says so."""
    import socket

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", doctor.PROXY_PORT))
            taken.listen()
        except OSError:
            pass  # somebody has it already: all the better
        assert not doctor.proxy_port().ok
