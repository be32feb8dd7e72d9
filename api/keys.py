"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "bsk_"


def hash_of(plain: str) -> str:
    """SHA-256, hex. A key has 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(plain.encode()).hexdigest()


def generate_key() -> tuple[str, str]:
    """A new key in clear, and its hash."""
    plain = PREFIX + secrets.token_urlsafe(32)
    return plain, hash_of(plain)
