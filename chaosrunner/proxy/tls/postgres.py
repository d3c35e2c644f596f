"""How TLS begins on a Postgres connection: the client asks in plain bytes and the server answers with one letter.

The protocol's manual has it under "SSL Session Encryption" and "GSSAPI Session Encryption". Since Postgres 17 a client
may also begin with TLS at once.
"""

import struct

from chaosrunner.proxy.postgres.framing import ERROR, GSS_REQUEST, SSL_REQUEST, message
from chaosrunner.proxy.tls.failures import TlsFailedError
from chaosrunner.proxy.tls.hello import HANDSHAKE
from chaosrunner.proxy.tls.line import Line
from chaosrunner.proxy.tls.settings import TlsSide

_REQUEST = struct.Struct(">ii")  # its length, and what it asks for
_TLS_PLEASE = _REQUEST.pack(_REQUEST.size, SSL_REQUEST)
# What a client reads that must use TLS and does not: SQLSTATE 28000, invalid_authorization_specification.
_TLS_REQUIRED = message(ERROR, b"SFATAL\0VFATAL\0C28000\0Mthis proxy requires TLS\0\0")


async def client_begins_tls(line: Line, listen: TlsSide | None) -> bool:
    """Answer a client's requests for encryption, up to what begins its session; whether that is TLS.

    Args:
        line: The client.
        listen: How clients can have TLS; None if they cannot.

    Raises:
        TlsFailedError: It left, must use TLS and does not, or uses it where there is none.
    """
    while True:
        if (await line.exactly(1))[0] == HANDSHAKE:
            if listen is None:
                raise TlsFailedError("client", "it speaks TLS, and tls.listen is not set")
            return True
        asked = _REQUEST.unpack(await line.exactly(_REQUEST.size))
        if asked == (_REQUEST.size, SSL_REQUEST) and listen is not None:
            line.take(_REQUEST.size)
            _nothing_follows(line)
            line.say(b"S")
            return True
        if asked not in {(_REQUEST.size, SSL_REQUEST), (_REQUEST.size, GSS_REQUEST)}:
            break
        line.take(_REQUEST.size)
        line.say(b"N")
    if listen is not None and listen.asked.get("required"):
        line.say(_TLS_REQUIRED)
        raise TlsFailedError("client", "it does not ask for TLS, which is required")
    return False


async def ask_server_for_tls(line: Line) -> None:
    """Have the server agree to TLS.

    Raises:
        TlsFailedError: It does not.
    """
    line.say(_TLS_PLEASE)
    answer = await line.exactly(1)
    line.take(1)
    if answer != b"S":
        raise TlsFailedError("server", "it speaks no TLS" if answer == b"N" else "it does not answer as Postgres does")
    _nothing_follows(line)


def _nothing_follows(line: Line) -> None:
    """See that nobody slipped plain bytes in front of the encrypted ones (CVE-2021-23214 and CVE-2021-23222)."""
    if line.heard:
        raise TlsFailedError(line.side, "plain bytes came in place of TLS")
