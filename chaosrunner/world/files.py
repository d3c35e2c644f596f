"""Reading the user's files: the real `Reader`, and what files are read against on this host."""

from __future__ import annotations

import errno
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.logic.parse import Around
from chaosrunner.world import injectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaosrunner.model.http_client import Tls

LONGEST = 64 * 1024 * 1024
"""Bytes; a data file may be long, but not endless."""


class RealReader:
    """Files of this host."""

    def text(self, path: Path) -> str:
        """The file's text. Raises OSError (also for what is too long or no plain file) or UnicodeDecodeError."""
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "no plain file")  # a pipe would be waited for
        with path.open("rb") as file:
            found = file.read(LONGEST + 1)
        if len(found) > LONGEST:
            raise OSError(errno.EFBIG, f"longer than {LONGEST // 1024**2} MiB")
        return found.decode()

    def names(self, folder: Path) -> Sequence[str]:
        """Names of the files in a folder; empty when it cannot be listed."""
        try:
            return sorted(entry.name for entry in folder.iterdir())
        except OSError:
            return ()

    def refused(self, tls: Tls) -> tuple[str, str]:
        """What of TLS cannot be used, and why, without any secret: (`ca` or `certificate`, reason); empty when all can.

        A key is opened with its password, and must be its certificate's.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trial = "ca"
        try:
            if tls.ca:
                made.load_verify_locations(tls.ca)
            trial = "certificate"
            if tls.certificate:
                made.load_cert_chain(tls.certificate, tls.key or None, password=lambda: tls.password)
        except ssl.SSLError as error:
            locked = trial == "certificate" and _is_locked(tls.key or tls.certificate)
            return trial, _in_words(error.reason or "", locked=locked)
        except OSError as error:
            return trial, error.strerror or str(error)
        return "", ""


def _is_locked(key: str) -> bool:
    with Path(key).open("rb") as file:
        return b"ENCRYPTED" in file.read(LONGEST)


def _in_words(reason: str, *, locked: bool) -> str:
    """What OpenSSL says of a file, for people."""
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is not this certificate's"
    if locked:
        return "its key is locked, and 'password' is missing or wrong"
    return f"it is damaged ({reason or 'OpenSSL does not say how'})"


def around_here(environ: Mapping[str, str] | None = None) -> Around:
    """This process's variables, this installation's injectors, this host's files."""
    return Around(
        environ=os.environ if environ is None else environ,
        injectors=injectors.find,
        injector_names=injectors.names(),
        reader=RealReader(),
    )


def around_journal(variables: Mapping[str, str]) -> Around:
    """What a journalled experiment is read against: its own variables; whatever else is gone by now does not matter."""
    return Around(environ=variables, injectors=lambda _: None, injector_names=(), reader=RealReader(), lenient=True)
