"""TLS that did not come about or broke: what went wrong on which side, counted, and said once in a while."""

import ssl
import time
from typing import Literal

from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.stats import ProxyTally

Side = Literal["client", "server"]

# A scanner that fails a thousand handshakes a second is worth one line in this time.
QUIET_S = 60.0


class TlsFailedError(Exception):
    """TLS with one side failed; the connection is over.

    Attributes:
        side: With whom.
        reason: Why, in a few words.
    """

    def __init__(self, side: Side, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side = side
        self.reason = reason


class LeftError(TlsFailedError):
    """A client went away before it had said a word: nothing failed, somebody looked whether the port is open."""


class TlsWatch:
    """Counts what happens to TLS at one proxy, and tells the audit of the first failure of each side in `QUIET_S`."""

    def __init__(self, proxy: str, tally: ProxyTally, audit: Audit) -> None:
        self._proxy = proxy
        self._tally = tally
        self._audit = audit
        self._quiet_until: dict[Side, float] = {}

    def failed(self, failure: TlsFailedError) -> None:
        """Count a connection that ended because TLS failed."""
        if isinstance(failure, LeftError):
            return
        self._tally.tls_failed += 1
        now = time.monotonic()
        if now >= self._quiet_until.get(failure.side, 0.0):
            self._quiet_until[failure.side] = now + QUIET_S
            self._audit.error(
                "tls failed",
                proxy=self._proxy,
                side=failure.side,
                reason=failure.reason,
                failed=self._tally.tls_failed,
            )

    def truncated(self) -> None:
        """Count a stream that ended without the farewell (close_notify) which tells a whole one from a cut one."""
        self._tally.tls_truncated += 1


def reason_of(error: Exception) -> str:
    """OpenSSL's words for what went wrong, without the place in its code."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
