"""Station passwords: how they are made, and how they are kept (salted SHA-256).

They are made by us or the installer with 16 and more random bytes (OCPP security profile 1), so a slow hash
would add nothing but a longer herd reconnect.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string

_KIND = "sha256"
_LETTERS = string.ascii_letters + string.digits


def _digest(salt: str, password: bytes) -> str:
    return hashlib.sha256(salt.encode() + password).hexdigest()


def hash_password(password: str | bytes) -> str:
    salt = secrets.token_hex(8)
    given = password.encode() if isinstance(password, str) else password
    return f"{_KIND}${salt}${_digest(salt, given)}"


def matches(kept: str, given: bytes) -> bool:
    """Constant time in the password."""
    kind, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    return kind == _KIND and hmac.compare_digest(digest, _digest(salt, given))


def new_password(*, as_text: bool) -> bytes:
    """As OCPP wants it: 20 raw bytes (1.6), or 40 characters of text (2.x)."""
    return secrets.token_hex(20).encode() if as_text else secrets.token_bytes(20)


def first_password() -> str:
    """For a station whose version is not known yet: 20 letters and digits (119 random bits) are a 2.x
    BasicAuthPassword (16 to 40 characters), and as 40 hex digits a 1.6 AuthorizationKey (20 bytes)."""
    return "".join(secrets.choice(_LETTERS) for _ in range(20))


NOBODY = hash_password(secrets.token_hex(16))
"""Compared with where a station is unknown, so that the answer takes as long."""
