"""Settings that the API needs."""

from __future__ import annotations

from pydantic import BaseModel, SecretStr


class ApiSettings(BaseModel):
    """`cursor_secret` signs page cursors. `update_wait_s`: for a stop worker to answer an Update.
    `command_wait_s`: at most, for a station to answer; then 202. `tails`: at most, at once, per process."""

    cursor_secret: SecretStr
    update_wait_s: float = 5.0
    max_body_bytes: int = 64 * 1024
    key_cache_s: float = 5.0
    command_wait_s: float = 60.0
    watch_renewal_s: float = 10.0
    tails: int = 100
