"""TLS as a request asks for it: the files it names, read and checked, and OpenSSL's contexts made of them."""

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaosrunner.proxy import decode
from chaosrunner.proxy.refusals import bad_value, missing_field

# A bundle of every public authority is 0.25 MB.
FILE_LIMIT_BYTES = 4 * 1024 * 1024
_LISTEN = ("certificate", "key", "client_ca", "required")
_UPSTREAM = ("verify", "ca", "server_name", "certificate", "key")


class Contexts:
    """What a side's TLS connections have in common, for any ALPN names."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        # A context that has had ALPN names cannot be rid of them in every OpenSSL: one never has any.
        self._silent = make()
        self._offering = make()

    def offering(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """The context that offers, or as a server takes, these ALPN names; until the next call."""
        if not protocols:
            return self._silent
        self._offering.set_alpn_protocols(list(protocols))
        return self._offering


@dataclass(frozen=True, slots=True)
class TlsSide:
    """How one side has TLS. Equal to another one if it was asked for the same, and the files' contents were the same.

    Attributes:
        asked: What was asked for, by field.
        digest: Of the contents of all files.
        contexts: Made of them.
    """

    asked: dict[str, Any]
    digest: str
    contexts: Contexts = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """Which sides have TLS, and how.

    Attributes:
        listen: What clients are served with; None to serve them plain.
        upstream: What the server is spoken to with; None to speak plain.
    """

    listen: TlsSide | None
    upstream: TlsSide | None

    def as_json(self) -> dict[str, Any]:
        """What was asked for: paths and flags, never what is in a file."""
        sides = {"listen": self.listen, "upstream": self.upstream}
        return {name: side.asked for name, side in sides.items() if side is not None}


async def parse_tls(fields: decode.Fields) -> Tls | None:
    """The TLS that the field `tls` of a request body asks for; None for null, {} or nothing.

    Raises:
        RefusedError: 400 for a file that is missing, unreadable, or not what it should be, a key that is not the
            certificate's, a path that is not absolute, or a field that is not known: a misspelt `client_ca` must not
            let everybody in.
    """
    asked = decode.nested(fields, "tls")
    _only(asked, ("listen", "upstream"), "tls")
    listen, upstream = (_Asked(asked, name) if name in asked else None for name in ("listen", "upstream"))
    if listen is None and upstream is None:
        return None
    # Not on the event loop: a disk may take its time, and so does reading the system's authorities.
    return await asyncio.to_thread(
        lambda: Tls(None if listen is None else _listen(listen), None if upstream is None else _upstream(upstream))
    )


class _Asked:
    """The fields of one side, and a reader of the files they name."""

    def __init__(self, asked: decode.Fields, side: str) -> None:
        self.where = f"tls.{side}"
        self._fields = decode.nested(asked, side)
        self._digest = hashlib.sha256()
        _only(self._fields, _LISTEN if side == "listen" else _UPSTREAM, self.where)

    def text(self, key: str) -> str | None:
        return decode.text(self._fields, key) if key in self._fields else None

    def flag(self, key: str, default: bool) -> bool:
        given = decode.flag(self._fields, key)
        return default if given is None else given

    def file(self, key: str) -> str | None:
        """The path under `key`, of a file that can be read."""
        path = self.text(key)
        if path is None:
            return None
        if not path.startswith("/") or "\0" in path:
            raise bad_value(f"{self.where}.{key} must be an absolute path, not {path!r}")
        try:
            if not Path(path).is_file():  # a device or a pipe might never end
                raise bad_value(f"{self.where}.{key}: there is no file {path}")
            with Path(path).open("rb") as file:
                content = file.read(FILE_LIMIT_BYTES + 1)
        except OSError as error:
            raise bad_value(f"{self.where}.{key}: cannot read {path}: {error.strerror}") from None
        if len(content) > FILE_LIMIT_BYTES:
            raise bad_value(f"{self.where}.{key}: {path} is larger than {FILE_LIMIT_BYTES} bytes")
        self._digest.update(hashlib.sha256(content).digest())
        return path

    def pair(self) -> tuple[str, str] | None:
        """The paths of a certificate and its key; one is not given without the other."""
        certificate, key = self.file("certificate"), self.file("key")
        if certificate is not None and key is not None:
            return certificate, key
        if certificate is None and key is None:
            return None
        raise missing_field(f"{self.where}.{'key' if key is None else 'certificate'}")

    def side(self, make: Callable[[], ssl.SSLContext]) -> TlsSide:
        return TlsSide(dict(self._fields), self._digest.hexdigest(), Contexts(make))


def _listen(asked: _Asked) -> TlsSide:
    pair, client_ca = asked.pair(), asked.file("client_ca")
    if pair is None:
        raise missing_field(f"{asked.where}.certificate")
    asked.flag("required", default=False)

    def make() -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        _own(context, asked, pair)
        if client_ca is not None:
            _trust(context, asked, "client_ca", client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    return asked.side(make)


def _upstream(asked: _Asked) -> TlsSide:
    pair, ca = asked.pair(), asked.file("ca")
    verify, server_name = asked.flag("verify", default=True), asked.text("server_name")
    if ca is not None and not verify:
        raise bad_value(f"{asked.where}.ca says whom to trust, but verify is false")

    def make() -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif ca is None:
            context.load_default_certs()
        else:
            _trust(context, asked, "ca", ca)
        if pair is not None:
            _own(context, asked, pair)
        return context

    side = asked.side(make)
    if server_name is not None:
        _check_name(side.contexts, asked, server_name)
    return side


def _context(kind: int) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _own(context: ssl.SSLContext, asked: _Asked, pair: tuple[str, str]) -> None:
    """Have `context` show the certificate in the first file, proven by the key in the second."""
    certificate, key = pair
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), asked, "certificate", certificate)
    locked = False

    def no_passphrase() -> str:
        nonlocal locked
        locked = True
        return ""

    try:
        context.load_cert_chain(certificate, key, no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise bad_value(_why_not(asked, error, key, locked=locked)) from None


def _why_not(asked: _Asked, error: Exception, key: str, *, locked: bool) -> str:
    """The sentence for a certificate that is one, but cannot be used with that key."""
    reason = getattr(error, "reason", None)
    if locked:
        return f"{asked.where}.key: {key} is locked by a passphrase; give one without"
    if reason == "KEY_VALUES_MISMATCH":
        return f"{asked.where}.key: {key} is not the key of the certificate"
    if reason in {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}:
        return f"{asked.where}.certificate: OpenSSL finds it too weak: {reason.lower().replace('_', ' ')}"
    return f"{asked.where}.key: {key} holds no private key in PEM form"


def _trust(context: ssl.SSLContext, asked: _Asked, key: str, path: str) -> None:
    """Have `context` trust the certificates in a file; also the way to see whether there are any."""
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, ValueError):
        raise bad_value(f"{asked.where}.{key}: {path} holds no certificate in PEM form") from None


def _check_name(contexts: Contexts, asked: _Asked, name: str) -> None:
    try:
        contexts.offering(()).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except (ssl.SSLError, ValueError, TypeError):
        raise bad_value(f"{asked.where}.server_name cannot be the name of a server: {name!r}") from None


def _only(fields: decode.Fields, known: Collection[str], where: str) -> None:
    for key in fields:
        if key not in known:
            raise bad_value(f"{where} does not know {key!r}, only {', '.join(known)}")
