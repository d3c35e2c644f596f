"""Who a user is: seed users, password digests, signed tokens.

Deliberately cheap: this is a target to break, not a library for authentication. One SHA-256 round costs
microseconds, where a real password hash would cost the load test its processor.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

SEED_USERS = 50
TOKEN_LIFETIME_S = 3600


def seed_users() -> list[tuple[str, str]]:
    """The users every demo starts with, as (name, password): user01/pass01 … user50/pass50."""
    return [(f"user{number:02d}", f"pass{number:02d}") for number in range(1, SEED_USERS + 1)]


def users_csv() -> str:
    """The seed users as a data file of a load: header `user,password`, one line a user."""
    return "".join(f"{user},{password}\n" for user, password in [("user", "password"), *seed_users()])


def digest(password: str, salt: bytes) -> bytes:
    """The 32-byte digest that is stored instead of the password."""
    return hashlib.sha256(salt + password.encode()).digest()


def matches(password: str, salt: bytes, expected: bytes) -> bool:
    """Whether the password has this digest, in constant time."""
    return hmac.compare_digest(digest(password, salt), expected)


class Tokens:
    """Signs tokens `user.expiry.signature` that any replica verifies without asking the database.

    Args:
        secret: The key all replicas share.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, user: str, *, now_s: float | None = None) -> str:
        """A token for `user`, valid for `TOKEN_LIFETIME_S` from `now_s` (wall clock, now when None)."""
        expiry_s = int(time.time() if now_s is None else now_s) + TOKEN_LIFETIME_S
        claim = f"{_encode(user.encode())}.{expiry_s}"
        return f"{claim}.{self._sign(claim)}"

    def user_of(self, token: str, *, now_s: float | None = None) -> str | None:
        """The user a token was issued to; None when it is forged, malformed or expired at `now_s` (wall clock)."""
        if not token.isascii():
            return None
        claim, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(claim).encode(), signature.encode()):
            return None
        user, _, expiry_s = claim.partition(".")
        if int(expiry_s) < (time.time() if now_s is None else now_s):
            return None
        return base64.urlsafe_b64decode(user + "=" * (-len(user) % 4)).decode()

    def _sign(self, claim: str) -> str:
        return _encode(hmac.digest(self._secret, claim.encode(), "sha256"))


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header; None when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
