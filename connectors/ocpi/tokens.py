"""Tokens of the `Authorization: Token` header (OCPI 2.2.1, section 4.1.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets


def new_token() -> str:
    """A fresh token: 256 bit, 43 printable characters (at most 64 are allowed)."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """How a token that a partner presents is kept and looked up: SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def authorization(token: str, *, raw: bool = False) -> str:
    """The header's value. `raw`: for peers that never learned the base64 form."""
    return f"Token {token if raw else base64.b64encode(token.encode()).decode()}"


def presented(header: str | None) -> list[str]:
    """The tokens that a header may mean, likeliest misreading last: as it stands, then decoded.

    Some peers encode a trailing line break with the token, because the specification's samples do."""
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() != "token" or not value or len(value) > 512:
        return []
    candidates = [value]
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8").rstrip("\r\n")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return candidates
    if decoded and decoded.isprintable():
        candidates.append(decoded)
    return candidates
