"""Page cursors: opaque, signed, stable under inserts (keyset)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime

from api.problems import Problem

_MARK_BYTES = 12


def encode(secret: str, created_at: datetime, stop_id: str) -> str:
    body = json.dumps([created_at.isoformat(), stop_id]).encode()
    return base64.urlsafe_b64encode(_mark(secret, body) + body).decode().rstrip("=")


def decode(secret: str, cursor: str) -> tuple[datetime, str]:
    """Raises Problem 422 for a cursor that we did not make."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        mark, body = raw[:_MARK_BYTES], raw[_MARK_BYTES:]
        if not hmac.compare_digest(mark, _mark(secret, body)):
            raise ValueError("signature")
        at, stop_id = json.loads(body)
        return datetime.fromisoformat(at), str(stop_id)
    except ValueError as error:
        raise Problem(422, "cursor.invalid", "This cursor was not made by us.") from error


def _mark(secret: str, body: bytes) -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()[:_MARK_BYTES]
