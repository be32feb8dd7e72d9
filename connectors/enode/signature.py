"""The vendor's webhook signature: `x-enode-signature: sha1=<HMAC-SHA1 hex of the raw body>`."""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: str, body: bytes) -> str:
    """The header's value for these bytes. SHA-1 is the vendor's choice; as an HMAC it still holds."""
    return "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()


def is_authentic(secret: str, body: bytes, header: str | None) -> bool:
    """Compares in constant time. Call it on the raw bytes, before anything reads them."""
    return hmac.compare_digest(sign(secret, body).encode(), (header or "").strip().encode())
