"""Reading the user's files from the real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from chaosrunner.model.http_client import Tls
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


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key plain and locked, another key, and a damaged certificate."""
    folder = tmp_path_factory.mktemp("shown")
    authority = trustme.CA()
    mine, other = (authority.issue_cert("me@load.test") for _ in range(2))
    (folder / "me.pem").write_bytes(mine.cert_chain_pems[0].bytes())
    (folder / "me.key").write_bytes(mine.private_key_pem.bytes())
    (folder / "other.key").write_bytes(other.private_key_pem.bytes())
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"geheim"),
    )
    (folder / "locked.key").write_bytes(locked)
    whole = (folder / "me.pem").read_text().splitlines()
    (folder / "damaged.pem").write_text("\n".join([whole[0], *whole[5:]]))
    return folder


@pytest.mark.parametrize(
    ("tls", "key", "why"),
    [
        ({"ca": "me.pem", "certificate": "me.pem", "key": "me.key"}, "", ""),
        ({"certificate": "me.pem", "key": "locked.key", "password": "geheim"}, "", ""),
        ({"certificate": "me.pem", "key": "locked.key", "password": "falsch"}, "certificate", "its key is locked"),
        ({"certificate": "me.pem", "key": "locked.key"}, "certificate", "its key is locked"),
        ({"certificate": "me.pem", "key": "other.key"}, "certificate", "the key is not this certificate's"),
        ({"ca": "damaged.pem"}, "ca", "it is damaged"),
        ({"certificate": "damaged.pem", "key": "me.key"}, "certificate", "it is damaged"),
        ({"ca": "none.pem"}, "ca", "No such file"),
    ],
)
def test_what_tls_cannot_use_is_known_before_the_load(shown: Path, tls: dict[str, str], key: str, why: str) -> None:
    """A locked key, a stranger's key and a damaged file are told apart; no message holds the password."""
    given = {name: value if name == "password" else str(shown / value) for name, value in tls.items()}
    found = RealReader().refused(Tls(**given))  # type: ignore[arg-type]
    assert found[0] == key
    assert found[1].startswith(why)
    assert "falsch" not in found[1]
