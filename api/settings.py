"""Settings that the API needs."""

from __future__ import annotations

from pydantic import BaseModel, SecretStr


class ApiSettings(BaseModel):
    """`cursor_secret` signs page cursors. `update_wait_s`: for a stop worker to answer an Update."""

    cursor_secret: SecretStr
    update_wait_s: float = 5.0
    max_body_bytes: int = 64 * 1024
    key_cache_s: float = 5.0
