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


NO_ANSWER = "no_answer"
"""What a handshake lacked that was not finished in time."""

_CERTIFICATE = {9: "not_yet_valid", 10: "expired", 62: "wrong_name", 64: "wrong_name"}
"""OpenSSL's `X509_V_ERR_…` of a certificate that was refused; any other is one that nobody vouches for."""

_PROTOCOL = ("VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS", "NO_SHARED_CIPHER", "HANDSHAKE_FAILURE")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def reason(error: OSError) -> str:
    """Why a handshake failed, as a word to count by.

    Returns:
        `expired`, `not_yet_valid`, `wrong_name` or `unknown_ca` for what the target's certificate lacks; `not_tls` if
        it did not speak TLS; `protocol` if both found no version or cipher; `broken_off` if the connection ended
        without a word; else OpenSSL's own word for it.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, "unknown_ca")
    said = str(getattr(error, "reason", None) or "")
    if said in _NOT_TLS:
        return "not_tls"
    if any(word in said for word in _PROTOCOL):
        return "protocol"
    return said.lower() or "broken_off"


def _load(path: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ValueError(f"tls: {path!r} holds nothing that can be used: {error.reason or 'no certificate'}") from None
    except OSError as error:
        raise ValueError(f"tls: {path!r} or its key cannot be read: {error.strerror}") from None
