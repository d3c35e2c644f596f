"""Reading the user's files from the real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaosrunner.world.files import LONGEST, RealReader, around_here, around_journal


def test_texts_are_utf8(tmp_path: Path) -> None:
    """A file is read as UTF-8 whatever the locale, and anything else is refused."""
    (tmp_path / "a").write_bytes("é".encode())
    (tmp_path / "b").write_bytes(b"\xff")
    assert RealReader().text(tmp_path / "a") == "é"
    with pytest.raises(UnicodeDecodeError):
        RealReader().text(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        RealReader().text(tmp_path / "c")


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    """A file longer than the limit is refused without being kept."""
    with (tmp_path / "long").open("wb") as file:
        file.truncate(LONGEST + 1)
    with pytest.raises(OSError, match="longer than 64 MiB"):
        RealReader().text(tmp_path / "long")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """A named pipe is refused instead of waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no plain file"):
        RealReader().text(tmp_path / "pipe")


def test_names_of_a_folder(tmp_path: Path) -> None:
    """A folder's files are listed in order; a folder that is not there has none."""
    for name in ("b", "a"):
        (tmp_path / name).touch()
    assert RealReader().names(tmp_path) == ["a", "b"]
    assert RealReader().names(tmp_path / "none") == ()


def test_surroundings() -> None:
    """Here files are read against this process's variables and installed faults; a journal's only against its own."""
    here = around_here()
    assert here.environ is os.environ
    assert "noop" in here.injector_names
    assert not here.lenient
    assert around_here({"A": "b"}).environ == {"A": "b"}
    later = around_journal({"A": "b"})
    assert later.lenient
    assert (later.environ, later.injectors("noop"), later.injector_names) == ({"A": "b"}, None, ())
