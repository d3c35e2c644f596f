"""TLS as a load wants it: whom to trust, what to show."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.model.http_client import Tls


def context(tls: Tls) -> ssl.SSLContext:
    """The context of a client.

    Args:
        tls: with its password revealed.

    Raises:
        ValueError: a file cannot be read, or is not what it should be; names the file, never a secret.
    """
    made = ssl.create_default_context()
    if tls.ca:
        # Only those: a certificate that the system would trust, too, is not the one that was meant.
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(tls.ca, lambda: made.load_verify_locations(tls.ca))
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        _load(
            tls.certificate,
            lambda: made.load_cert_chain(tls.certificate, tls.key or None, password=lambda: tls.password),
        )
    return made


def _load(path: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ValueError(f"tls: {path!r} holds nothing that can be used: {error.reason or 'no certificate'}") from None
    except OSError as error:
        raise ValueError(f"tls: {path!r} or its key cannot be read: {error.strerror}") from None
