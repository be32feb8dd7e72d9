"""How a station's password is kept: salted SHA-256.

Station passwords are made by us or the installer with 16 and more random bytes (OCPP security profile 1), so
a slow hash would add nothing but a longer herd reconnect.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

_KIND = "sha256"


def _digest(salt: str, password: bytes) -> str:
    return hashlib.sha256(salt.encode() + password).hexdigest()


def hash_password(password: str) -> str:
    salt = secrets.token_hex(8)
    return f"{_KIND}${salt}${_digest(salt, password.encode())}"


def matches(kept: str, given: bytes) -> bool:
    """Constant time in the password."""
    kind, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    return kind == _KIND and hmac.compare_digest(digest, _digest(salt, given))


NOBODY = hash_password(secrets.token_hex(16))
"""Compared with where a station is unknown, so that the answer takes as long."""
